import { readFlags } from "../lib/flags.mjs";
import { setUp } from "../lib/prepare.mjs";
import { main, note, seconds } from "../lib/term.mjs";

const help = `npm run setup

Installs what the other commands need, where it is missing: the npm packages of the lock file (with a
Node of their own), the Rust toolchain of rust-toolchain.toml, worker-build, wasm-bindgen and
cargo-deny. The last three are compiled once for each user, into the cache folder.
npm start, npm test and npm run build do this by themselves.
`;

await main(async () => {
  const flags = readFlags(process.argv.slice(2), {});
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  const started = Date.now();
  await setUp(["workerBuild", "bindgen", "deny"]);
  note(`Set up (${seconds(Date.now() - started)}).`);
});
