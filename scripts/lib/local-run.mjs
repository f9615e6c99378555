// What a running `npm start` tells the other commands of its clone: where it is, and the token of this
// run. The file lies outside the repository, for its owner only, and goes when the run ends.
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import { readPrivate } from "./private-file.mjs";
import { cloneId, stateDir } from "./paths.mjs";

export const localRunPath = (env = process.env) => join(stateDir(env), `start-${cloneId()}.json`);

/**
 * @param {{url: string, token: string}} run
 * @returns {() => void} takes the file away, unless a later run has written it
 */
export function publishLocalRun(run, env = process.env) {
  const path = localRunPath(env);
  const text = `${JSON.stringify(run)}\n`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const aside = `${path}.${randomUUID()}`;
  writeFileSync(aside, text, { mode: 0o600, flag: "wx" });
  chmodSync(aside, 0o600);
  renameSync(aside, path);
  return () => {
    try {
      if (readFileSync(path, "utf8") === text) rmSync(path);
    } catch {
      // Gone already.
    }
  };
}

/** The running `npm start`, or undefined. */
export function readLocalRun(env = process.env) {
  const text = readPrivate(localRunPath(env));
  if (text === undefined) return undefined;
  try {
    const { url, token } = JSON.parse(text);
    if (typeof url === "string" && typeof token === "string") return { url, token };
  } catch {
    // As good as none: the next run writes it anew.
  }
  return undefined;
}
