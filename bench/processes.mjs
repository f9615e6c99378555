// Starts, watches and ends the processes of a run. Each is ended by the handle that started it, and
// everything they leave lies in one temporary folder.

import { fork, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";

const START_MS = 20_000;
const STOP_MS = 3_000;

const running = new Set();
const folders = new Set();

export function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), "edgeweir-bench-"));
  folders.add(folder);
  return folder;
}

/** Ends every process that was started here and removes the temporary folders. */
export async function cleanUp() {
  await Promise.all([...running].map(stop));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  folders.clear();
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await gone;
  clearTimeout(timer);
}

function track(child) {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** A node script of this folder that answers one question at a time over IPC. */
export class Helper {
  #child;
  #next = 0;
  #waiting = new Map();

  static async start(script) {
    const helper = new Helper();
    const child = track(
      fork(path.join(import.meta.dirname, script), {
        stdio: ["ignore", "ignore", "inherit", "ipc"],
      }),
    );
    helper.#child = child;
    helper.ready = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${script} did not start`)), START_MS);
      child.once("exit", (code) => reject(new Error(`${script} ended with code ${code}`)));
      child.on("message", (message) => {
        if (message.ready === undefined) return helper.#settle(message);
        clearTimeout(timer);
        resolve(message.ready);
      });
    });
    child.once("exit", () => {
      for (const { reject } of helper.#waiting.values())
        reject(new Error(`${script} ended in mid-run`));
    });
    return helper;
  }

  get child() {
    return this.#child;
  }

  ask(question = {}) {
    const id = (this.#next += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ ...question, id });
    });
  }

  #settle({ id, value, error }) {
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  }
}

/** The workerd binary of the project's own dependency, and its version. */
export function findWorkerd(root) {
  const require = createRequire(path.join(root, "package.json"));
  try {
    return { binary: require("workerd").default, version: require("workerd/package.json").version };
  } catch {
    throw new Error("workerd is not installed: run npm install first");
  }
}

/**
 * Starts workerd and waits until it listens. Its standard output, where console.log goes, is
 * dropped by the kernel: the line is formatted and written, and nobody reads it.
 * @param prefix a command to run it under, such as valgrind
 */
export async function startWorkerd(binary, config, prefix = [], startMs = START_MS) {
  const [command, ...args] = [...prefix, binary, "serve", config, "--control-fd=3"];
  const child = track(spawn(command, args, { stdio: ["ignore", "ignore", "pipe", "pipe"] }));
  let complaint = "";
  child.stderr.on("data", (data) => {
    complaint = (complaint + data).slice(-4000);
  });
  const port = await new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`workerd did not listen in time\n${complaint}`)),
      startMs,
    );
    child.once("error", reject);
    child.once("exit", (code) =>
      reject(new Error(`workerd ended with code ${code}\n${complaint}`)),
    );
    let control = "";
    child.stdio[3].on("data", (data) => {
      control += data;
      const listening = /\{"event":"listen"[^\n]*"port":(\d+)/.exec(control);
      if (listening === null) return;
      clearTimeout(timer);
      resolve(Number(listening[1]));
    });
  });
  return { child, pid: child.pid, port, complaint: () => complaint };
}

// proc(5): USER_HZ, the unit of the two fields below, is 100 wherever Node runs on Linux.
const TICKS_PER_SECOND = 100;

/** Seconds of CPU that a process and its threads have used, or null where there is no /proc. */
export function cpuSeconds(pid) {
  const file = `/proc/${pid}/stat`;
  if (!existsSync(file)) return null;
  // The second field is the command in brackets and may hold spaces: count from the last bracket.
  const fields = readFileSync(file, "utf8").split(") ").at(-1).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
