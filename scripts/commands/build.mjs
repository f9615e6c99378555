import { build, requireBudget } from "../lib/build.mjs";
import { readFlags } from "../lib/flags.mjs";
import { findTools, prepare } from "../lib/prepare.mjs";
import { main, Refusal } from "../lib/term.mjs";

const help = `npm run build [-- FLAGS]

Compiles the gateway into build/index.js and build/index_bg.wasm, and tells the size of the upload.
Does nothing when no source has changed.

  --force           build even so
  --max-gzip KIB    fail when the upload, gzipped, is larger
  --help            this text
`;

await main(async () => {
  const args = process.argv.slice(2);
  const flags = readFlags(args, { force: { type: "boolean" }, "max-gzip": { type: "string" } });
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  const limit = flags["max-gzip"] === undefined ? undefined : Number(flags["max-gzip"]);
  if (limit !== undefined && !(limit > 0)) {
    throw new Refusal(`--max-gzip ${flags["max-gzip"]} is not a size in KiB.`);
  }
  const tools = ["workerBuild", "bindgen"];
  const code = await prepare("build", args, tools);
  if (code !== undefined) return code;
  const size = await build(await findTools(tools), { force: flags.force });
  if (limit !== undefined) requireBudget(size, limit);
});
