// The Node that the commands run under: the one in node_modules, whatever started them.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { inRoot, nodeBin, root } from "./paths.mjs";

const PREPARED = "EDGEWEIR_PREPARED";

/** The version that package.json pins. */
export function pinnedNode(manifest = JSON.parse(readFileSync(inRoot("package.json"), "utf8"))) {
  return manifest.devDependencies.node;
}

/** An environment in which `node` and the npm tools are ours. */
export function toolEnv(env = process.env) {
  return { ...env, PATH: `${inRoot("node_modules", ".bin")}${delimiter}${env.PATH ?? ""}` };
}

/** An environment without our node_modules: npm replaces that folder while it runs. */
export function bareEnv(env = process.env) {
  const own = inRoot("node_modules", ".bin");
  const path = (env.PATH ?? "").split(delimiter).filter((part) => part !== own);
  return { ...env, PATH: path.join(delimiter) };
}

/** Has a parent process in this clone done the set-up already? */
export function isPrepared(env = process.env) {
  return env[PREPARED] === root;
}

export function runsPinnedNode(version = process.version) {
  return version === `v${pinnedNode()}`;
}

/**
 * Runs this same command again under the pinned Node and gives its exit code.
 *
 * A signal is passed on and this process waits; the channel between the two tells the other one if
 * this one is killed. (Ctrl-C reaches both, so the other one may hear it twice.)
 */
export function again(script, args) {
  const child = spawn(nodeBin("node"), [script, ...args], {
    cwd: process.cwd(),
    env: { ...toolEnv(), [PREPARED]: root },
    stdio: ["inherit", "inherit", "inherit", "ipc"],
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
    process.on(signal, () => child.kill(signal));
  whenAbandoned(() => child.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}

/** Tells `body`, once, when the process that started this one is gone, however it went. */
export function whenAbandoned(body) {
  if (process.channel) {
    process.once("disconnect", body);
    process.channel.unref();
  } else if (process.env.npm_lifecycle_event) {
    // Under npm only: a shell that starts this in the background and leaves means no harm.
    const parent = process.ppid;
    const look = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(look);
      body();
    }, 500);
    look.unref();
  }
}

export const script = (name) => join(root, "scripts", `${name}.mjs`);
