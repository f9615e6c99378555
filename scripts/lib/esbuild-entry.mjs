#!/usr/bin/env node
// Stands in for esbuild when worker-build makes the bundle, to give the module another entry.
//
// worker-build exports a class behind two proxies: the runtime makes an object of it for every
// request, and each call goes through both, which costs a quarter of a pass-through request. The
// entry written here is a plain object that is made once, and `edge/exchange.js` answers. What the
// proxies are for, beginning anew after the module has trapped, it does itself, with worker-build's
// own functions.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";

const CLASS_ENTRY = "export default new Proxy(Entrypoint, classProxyHooks);";
const OBJECT_ENTRY = `const edgeweir = {
  begin: exports.begin,
  beginRefresh: exports.beginRefresh,
  beginScheduled: exports.beginScheduled,
  beginReports: exports.beginReports,
  beginSettling: exports.beginSettling,
  beginRevalidation: exports.beginRevalidation,
  beginWarming: exports.beginWarming,
  bodyArrived: exports.bodyArrived,
  bodyLost: exports.bodyLost,
  bodySettled: exports.bodySettled,
  resume: exports.resume,
  trapped: handleMaybeCritical,
};
export default {
  fetch(request, env, context) {
    try {
      checkReinitialize();
      return serve(edgeweir, request, env, context);
    } catch (error) {
      handleMaybeCritical(error);
      throw error;
    }
  },
  scheduled(controller, env, context) {
    try {
      checkReinitialize();
      return runScheduled(edgeweir, env, context);
    } catch (error) {
      handleMaybeCritical(error);
      throw error;
    }
  },
};`;

/** What the entry calls; anything else that the module exports would be lost without a word. */
const KNOWN = [
  "begin",
  "beginRefresh",
  "beginReports",
  "beginRevalidation",
  "beginScheduled",
  "beginSettling",
  "beginWarming",
  "bodyArrived",
  "bodyLost",
  "bodySettled",
  "resume",
];

// The objects that count and those that collapse get a class of their own, too.
const plain = (name) => `export const ${name} = new Proxy(exports.${name}, classProxyHooks);`;
const wrapped = (name, by) =>
  `export const ${name} = ${by}(new Proxy(exports.${name}, classProxyHooks));`;

const shim = readFileSync("shim.js", "utf8");
const snippets = existsSync("snippets") ? readdirSync("snippets") : [];
const snippet = (name) =>
  snippets
    .map((folder) => `./snippets/${folder}/src/cloudflare/${name}`)
    .find((path) => existsSync(path));
const [exchange, limiter, collapser] = [
  "edge/exchange.js",
  "objects/limiter.js",
  "objects/collapser.js",
].map(snippet);
const exported = [...shim.matchAll(/^Entrypoint\.prototype\.(\w+)/gm)].map((match) => match[1]);
if (
  !shim.includes(CLASS_ENTRY) ||
  !shim.includes(plain("Limiter")) ||
  !shim.includes(plain("Collapser")) ||
  exchange === undefined ||
  limiter === undefined ||
  collapser === undefined ||
  KNOWN.some((name) => !exported.includes(name))
) {
  console.error(
    "error: worker-build's entry is not the one that scripts/lib/esbuild-entry.mjs knows; adapt it.",
  );
  process.exit(1);
}
const others = exported.filter((name) => !KNOWN.includes(name));
if (others.length > 0) {
  console.error(
    `error: the module exports ${others.join(", ")}; add them to scripts/lib/esbuild-entry.mjs.`,
  );
  process.exit(1);
}
const entry = shim
  .replace(CLASS_ENTRY, OBJECT_ENTRY)
  .replace(plain("Limiter"), wrapped("Limiter", "limiterClass"))
  .replace(plain("Collapser"), wrapped("Collapser", "collapserClass"));
const imports = [
  `import { runScheduled, serve } from "${exchange}";`,
  `import { limiterClass } from "${limiter}";`,
  `import { collapserClass } from "${collapser}";`,
];
writeFileSync("shim.js", `${imports.join("\n")}\n${entry}`);
const done = spawnSync(process.env.EDGEWEIR_ESBUILD, process.argv.slice(2), { stdio: "inherit" });
process.exit(done.status ?? 1);
