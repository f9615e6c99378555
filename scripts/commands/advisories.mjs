import { readFileSync, writeFileSync } from "node:fs";
import { asText, describe, lockedCrates, takeSnapshot } from "../lib/advisories.mjs";
import { SNAPSHOT } from "../lib/deny.mjs";
import { readFlags } from "../lib/flags.mjs";
import { inRoot } from "../lib/paths.mjs";
import { main, note, Refusal } from "../lib/term.mjs";

const help = `npm run advisories -- --from FOLDER

Renews deny/advisories/snapshot.json for the crates of Cargo.lock.

  --from FOLDER   a clone of the RustSec advisory-db
  --help          this text
`;

await main(async () => {
  const flags = readFlags(process.argv.slice(2), { from: { type: "string" } });
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  if (!flags.from) throw new Refusal("Name a clone of the RustSec advisory-db: --from FOLDER.");
  const crates = lockedCrates(readFileSync(inRoot("Cargo.lock"), "utf8"));
  const today = new Date().toISOString().slice(0, 10);
  const snapshot = takeSnapshot(flags.from, crates, today);
  writeFileSync(SNAPSHOT, asText(snapshot));
  note(describe(snapshot));
});
