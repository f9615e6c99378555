// Where things are: the repository, its node_modules, the folders of the user.
import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const buildDir = join(root, "build");

export const inRoot = (...parts) => join(root, ...parts);

/** The binary of an npm package, as npm links it. */
export const nodeBin = (name) => inRoot("node_modules", ".bin", name);

/** Tools that take minutes to compile are shared by every clone of one user. */
export function cacheDir(env = process.env) {
  const base = env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache");
  return join(base, "edgeweir");
}

/** What the user has set. */
export function configDir(env = process.env) {
  const base = env.XDG_CONFIG_HOME || join(env.HOME || homedir(), ".config");
  return join(base, "edgeweir");
}

/** What a run leaves for other commands. */
export function stateDir(env = process.env) {
  const base = env.XDG_STATE_HOME || join(env.HOME || homedir(), ".local", "state");
  return join(base, "edgeweir");
}

/** Tells this clone from the user's other ones. */
export const cloneId = () => createHash("sha256").update(root).digest("hex").slice(0, 16);

/** A path as the user wrote it: npm runs its commands in the root, whatever folder one is in. */
export function userPath(path, env = process.env) {
  const from = env.npm_lifecycle_event && env.INIT_CWD ? env.INIT_CWD : process.cwd();
  return resolve(from, path);
}
