// The set-up: packages, toolchain, tools. Does only what is missing.
import { join } from "node:path";
import { withLock } from "./lock.mjs";
import { again, isPrepared, runsPinnedNode, script } from "./node.mjs";
import { installPackages } from "./npm.mjs";
import { cacheDir, cloneId } from "./paths.mjs";
import { cargoEnv, installToolchain, requireCompiler } from "./rust.mjs";
import { installTool, toolList } from "./tools.mjs";

/** A lock that belongs to this clone, outside the folders that a set-up replaces. */
export function cloneLock(name) {
  return join(cacheDir(), "locks", `${name}-${cloneId()}`);
}

/** @param {("workerBuild" | "bindgen" | "deny")[]} tools */
export async function setUp(tools) {
  requireCompiler();
  process.env.PATH = cargoEnv().PATH;
  await withLock(cloneLock("setup"), async () => {
    await installPackages();
    await installToolchain();
  });
  return findTools(tools);
}

/** The Rust toolchain alone, where no package and no tool is needed. */
export async function setUpRust() {
  requireCompiler();
  process.env.PATH = cargoEnv().PATH;
  await withLock(cloneLock("setup"), () => installToolchain());
}

/** The tools' programs by name, compiled first where they are missing. */
export async function findTools(tools) {
  const list = toolList();
  const programs = {};
  for (const name of tools) Object.assign(programs, await installTool(list[name]));
  return programs;
}

/**
 * Sets up, then makes sure that the rest runs under the pinned Node: gives the exit code of the
 * second process, or undefined in that process, which goes on.
 */
export async function prepare(name, args, tools) {
  if (!isPrepared()) await setUp(tools);
  if (runsPinnedNode()) return undefined;
  return again(script(name), args);
}
