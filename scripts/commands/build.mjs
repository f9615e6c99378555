import { build, buildPrevious } from "../lib/build.mjs";
import { readFlags } from "../lib/flags.mjs";
import { findTools, prepare } from "../lib/prepare.mjs";
import { main } from "../lib/term.mjs";

const help = `npm run build [-- FLAGS]

Compiles the gateway into build/index.js and build/index_bg.wasm, and tells the size of the upload.
Does nothing when no source has changed.

  --force      build even so
  --previous   the module that speaks the protocol before this one, into target/previous-protocol:
               for the tests, never to be deployed
  --help       this text
`;

await main(async () => {
  const args = process.argv.slice(2);
  const flags = readFlags(args, {
    force: { type: "boolean" },
    previous: { type: "boolean" },
  });
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  const tools = ["workerBuild", "bindgen"];
  const code = await prepare("build", args, tools);
  if (code !== undefined) return code;
  const programs = await findTools(tools);
  await (flags.previous ? buildPrevious : build)(programs, { force: flags.force });
});
