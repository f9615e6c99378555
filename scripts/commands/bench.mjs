import { build } from "../lib/build.mjs";
import { findTools, prepare } from "../lib/prepare.mjs";
import { inRoot, root } from "../lib/paths.mjs";
import { run } from "../lib/run.mjs";
import { main } from "../lib/term.mjs";

await main(async () => {
  const args = process.argv.slice(2);
  const tools = ["workerBuild", "bindgen"];
  const code = await prepare("bench", args, tools);
  if (code !== undefined) return code;
  // bench/run.mjs knows its own flags; only the words about it need no build.
  if (!args.includes("--help")) await build(await findTools(tools));
  return run(process.execPath, [inRoot("bench", "run.mjs"), ...args], { cwd: root });
});
