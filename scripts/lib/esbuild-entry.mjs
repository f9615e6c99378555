#!/usr/bin/env node
// Stands in for esbuild when worker-build makes the bundle, to give the module another entry.
//
// worker-build exports a class behind two proxies: the runtime makes an object of it for every
// request, and each call goes through both, which costs a quarter of a pass-through request. The
// entry written here is a plain object that is made once. What the proxies are for, beginning
// anew after the module has trapped, it does itself, with worker-build's own functions.
//
// The runtime forgets a request whose client goes away before there is an answer: its future would
// never be polled or dropped again, so its memory would be lost and its log line never written.
// Handed to waitUntil, it comes to its end.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const CLASS_ENTRY = "export default new Proxy(Entrypoint, classProxyHooks);";
const OBJECT_ENTRY = `export default {
  fetch(request, env, context) {
    try {
      checkReinitialize();
      const response = exports.fetch(request, env, context);
      context.waitUntil(response);
      return response;
    } catch (error) {
      handleMaybeCritical(error);
      throw error;
    }
  },
};`;

const shim = readFileSync("shim.js", "utf8");
if (!shim.includes(CLASS_ENTRY) || !/Entrypoint\.prototype\.fetch\b/.test(shim)) {
  console.error(
    "error: worker-build's entry is not the one that scripts/lib/esbuild-entry.mjs knows; adapt it.",
  );
  process.exit(1);
}
// Handlers that the object does not have would be lost without a word.
const others = [...shim.matchAll(/^Entrypoint\.prototype\.(\w+)/gm)]
  .map((match) => match[1])
  .filter((name) => name !== "fetch");
if (others.length > 0) {
  console.error(
    `error: the module exports ${others.join(", ")}; add them to scripts/lib/esbuild-entry.mjs.`,
  );
  process.exit(1);
}
writeFileSync("shim.js", shim.replace(CLASS_ENTRY, OBJECT_ENTRY));
const done = spawnSync(process.env.EDGEWEIR_ESBUILD, process.argv.slice(2), { stdio: "inherit" });
process.exit(done.status ?? 1);
