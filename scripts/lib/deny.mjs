// Licences, sources, duplicates and advisories of the crates, by cargo-deny, without the network.
import { readFileSync } from "node:fs";
import { describe, lockedCrates, requireCoverage, writeDatabase } from "./advisories.mjs";
import { inRoot, root } from "./paths.mjs";
import { run } from "./run.mjs";
import { note } from "./term.mjs";

export const SNAPSHOT = inRoot("deny", "advisories", "snapshot.json");

export const readSnapshot = (path = SNAPSHOT) => JSON.parse(readFileSync(path, "utf8"));

/**
 * @param {string} program cargo-deny
 * @param {{snapshot?: any, folder?: string}} [options] for tests: other facts, another place
 */
export async function checkDependencies(program, options = {}) {
  const { snapshot = readSnapshot(), folder = inRoot("target", "advisories") } = options;
  requireCoverage(snapshot, lockedCrates(readFileSync(inRoot("Cargo.lock"), "utf8")));
  note(describe(snapshot));
  writeDatabase(snapshot, folder);
  // The crates' own manifests hold their licences: cargo must have them, so they are fetched first.
  const fetched = await run("cargo", ["fetch", "--locked"], {
    cwd: root,
    show: "progress",
    timeout: 600_000,
  });
  if (fetched !== 0) return fetched;
  const checks = [
    "--offline",
    "check",
    "--hide-inclusion-graph",
    "advisories",
    "bans",
    "licenses",
    "sources",
  ];
  const env = { ...process.env, EDGEWEIR_ADVISORIES: folder };
  return run(program, checks, { cwd: root, env, timeout: 120_000 });
}
