// Child processes: their output passed on, a sign of life while they are silent, and no orphans.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { dim, note, Refusal, seconds } from "./term.mjs";

const SIGN_OF_LIFE = 10_000;
const LINES_KEPT = 40;
const GRACE_BEFORE_KILL = 5_000;
const live = new Set();

/** Ends every child that still runs. */
async function endChildren() {
  await Promise.all([...live].map((child) => endChild(child)));
}

/** SIGTERM to the child's process group, then SIGKILL to what has not gone after the grace time. */
async function endChild(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  signalGroup(child, "SIGTERM");
  const timer = setTimeout(() => signalGroup(child, "SIGKILL"), GRACE_BEFORE_KILL);
  await gone;
  clearTimeout(timer);
}

function signalGroup(child, signal) {
  try {
    // A negative id names the group that `detached` made: npm's and cargo's own children too.
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal);
  }
}

const onSignal = {
  SIGINT: () => leave(130),
  SIGTERM: () => leave(143),
  SIGHUP: () => leave(129),
};

let leaving = false;
/** What waits for this never goes on: the process is on its way out. */
const never = new Promise(() => {});

function leave(code) {
  leaving = true;
  endChildren().finally(() => process.exit(code));
}

/** While a child runs, a signal to this process ends it too; otherwise signals are not ours. */
function guard(needed) {
  for (const [signal, handler] of Object.entries(onSignal)) {
    process.off(signal, handler);
    if (needed) process.on(signal, handler);
  }
}

function start(command, args, options) {
  // Before the child is there: a signal may come as soon as it is.
  guard(true);
  const child = spawn(command, args, { ...options, detached: process.platform !== "win32" });
  live.add(child);
  for (const event of ["exit", "error"]) {
    child.once(event, () => {
      live.delete(child);
      guard(live.size > 0);
    });
  }
  return child;
}

/**
 * Runs a command to its end and gives its exit code.
 *
 * `show` says what becomes of its output: "pass" hands over our own streams; "progress" tells every
 * few seconds how far it is, and repeats its last lines if it fails, unless `forgive` says that the
 * failure does not matter. `onLine` sees each line.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, show?: "pass" | "progress", label?: string,
 *   timeout?: number, onLine?: (line: string) => void, forgive?: () => boolean}} [options]
 */
export async function run(command, args, options = {}) {
  if (leaving) return never;
  const { cwd, env, show = "pass", label = command, timeout, onLine, forgive } = options;
  const started = Date.now();
  const piped = show !== "pass";
  const stdio = piped ? ["ignore", "pipe", "pipe"] : ["ignore", "inherit", "inherit"];
  const child = start(command, args, { cwd, env, stdio });
  const last = [];
  if (piped) {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        onLine?.(line);
        if (line.trim() !== "") last.push(line);
        if (last.length > LINES_KEPT) last.shift();
      });
    }
  }
  const say = () => {
    const sofar = seconds(Date.now() - started);
    note(dim(`   ${sofar}: ${last.at(-1)?.trim() ?? "working"}`, process.stderr));
  };
  const pulse = piped ? setInterval(say, SIGN_OF_LIFE) : undefined;
  let timedOut = false;
  const limit = timeout
    ? setTimeout(() => {
        timedOut = true;
        endChild(child);
      }, timeout)
    : undefined;
  try {
    const code = await new Promise((resolve, reject) => {
      child.once("error", (error) => (error.code === "ENOENT" ? resolve(127) : reject(error)));
      child.once("close", (code) => resolve(code ?? 1));
    });
    if (leaving) return never;
    if (timedOut) note(`${label} was ended: it ran longer than ${seconds(timeout)}.`);
    if (piped && code !== 0 && !forgive?.())
      for (const line of last) note(dim(`   ${line}`, process.stderr));
    return timedOut ? 1 : code;
  } finally {
    clearInterval(pulse);
    clearTimeout(limit);
  }
}

/** Runs a command and gives what it printed, or undefined where it cannot be started. */
export async function output(command, args, { cwd, env, input } = {}) {
  if (leaving) return never;
  const child = start(command, args, { cwd, env, stdio: ["pipe", "pipe", "pipe"] });
  const chunks = { stdout: [], stderr: [] };
  child.stdout.on("data", (chunk) => chunks.stdout.push(chunk));
  child.stderr.on("data", (chunk) => chunks.stderr.push(chunk));
  child.stdin.on("error", () => {});
  child.stdin.end(input ?? "");
  return new Promise((resolve, reject) => {
    child.once("error", (error) => (error.code === "ENOENT" ? resolve(undefined) : reject(error)));
    child.once("close", (code) =>
      resolve({
        code: code ?? 1,
        stdout: Buffer.concat(chunks.stdout).toString(),
        stderr: Buffer.concat(chunks.stderr).toString(),
      }),
    );
  });
}

/** As `run`, but anything other than 0 is a refusal. */
export async function must(command, args, options, refusal) {
  const code = await run(command, args, options);
  if (code !== 0)
    throw refusal ?? new Refusal(`${options?.label ?? command} failed (exit ${code}).`);
}
