// What of the build folder is uploaded: the modules that index.js reaches through its imports, as
// a bundler would find them, and their size.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";

const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*(["'])(\.{1,2}\/[^"']+)\1/g;

/** Paths relative to the build folder, the entry first: the order that workerd wants. */
export function reachableModules(build) {
  if (!existsSync(path.join(build, "index.js"))) {
    throw new Error(`${path.join(build, "index.js")} is missing: run npm run build first`);
  }
  const found = ["index.js"];
  for (const module of found) {
    if (module.endsWith(".wasm")) continue;
    const source = readFileSync(path.join(build, module), "utf8");
    for (const [, , target] of source.matchAll(IMPORT)) {
      const next = path.posix.join(path.posix.dirname(module), target);
      if (!found.includes(next)) found.push(next);
    }
  }
  return found;
}

/** Bytes of the upload, plain and gzipped together at zlib's default level, as wrangler reports it. */
export function uploadSize(build) {
  const modules = reachableModules(build);
  const whole = Buffer.concat(modules.map((module) => readFileSync(path.join(build, module))));
  return { modules, bytes: whole.length, gzip: gzipSync(whole).length };
}
