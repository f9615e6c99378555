// One process at a time: a file with a heartbeat. A holder that died leaves an old heartbeat, which
// the next one takes over.
import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { randomUUID } from "node:crypto";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { note } from "./term.mjs";

const BEAT = 2_000;
const STALE = 20_000;

function age(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return undefined;
  }
}

function tryTake(path, token) {
  try {
    writeFileSync(path, token, { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function breakStale(path, token, stale) {
  if (!((age(path) ?? 0) > stale)) return;
  // Renaming first makes one of several waiters the breaker; the others find nothing to rename.
  const aside = `${path}.${token}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  // Between the look and the rename a new holder may have come: then it gets its lock back.
  if ((age(aside) ?? 0) <= stale && age(path) === undefined) renameSync(aside, path);
  else rmSync(aside, { force: true });
}

/**
 * Runs `body` while holding the lock at `path`.
 *
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} body
 * @param {{what?: string, stale?: number, beat?: number, poll?: number}} [options]
 * @returns {Promise<T>}
 */
export async function withLock(path, body, options = {}) {
  const { what = "another set-up", stale = STALE, beat = BEAT, poll = 250 } = options;
  mkdirSync(dirname(path), { recursive: true });
  const token = randomUUID();
  let said = false;
  while (!tryTake(path, token)) {
    if (!said && age(path) !== undefined) {
      said = true;
      note(`Waiting for ${what} to finish …`);
    }
    breakStale(path, token, stale);
    await sleep(poll);
  }
  const pulse = setInterval(() => {
    try {
      const now = new Date();
      utimesSync(path, now, now);
    } catch {
      // The lock was taken over while this process was suspended; the body goes on all the same.
    }
  }, beat);
  pulse.unref();
  // Ctrl-C ends the process without coming back here.
  const release = () => {
    try {
      if (readFileSync(path, "utf8") === token) rmSync(path, { force: true });
    } catch {
      // Gone already.
    }
  };
  process.once("exit", release);
  try {
    return await body();
  } finally {
    clearInterval(pulse);
    process.off("exit", release);
    release();
  }
}
