// Where things are: the repository, its node_modules, the per-user cache.
import { homedir } from "node:os";
import { dirname, join } from "node:path";
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
