// Known vulnerabilities, offline: deny/advisories/snapshot.json holds what the RustSec advisory
// database said about each crate of Cargo.lock, facts only. cargo-deny reads it in the shape of that
// database. `npm run advisories -- --from FOLDER` renews it from a clone of the database.
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Refusal } from "./term.mjs";

/** cargo-deny's own name for a database of the URL in deny.toml: its last part and a hash of it. */
export const DATABASE = "advisory-db-f1d925a66c7726fe";

/** Names of the crates in a Cargo.lock that come from a registry. */
export function lockedCrates(lock) {
  const packages = lock.split("[[package]]\n").slice(1);
  const named = packages
    .filter((text) => /^source = "registry\+/m.test(text))
    .map((text) => /^name = "([^"]+)"/m.exec(text)?.[1]);
  return [...new Set(named)].filter(Boolean).sort();
}

const list = (requirements) => `[${requirements.map((text) => JSON.stringify(text)).join(", ")}]`;

/** One advisory as the database writes it. */
export function asMarkdown(crate, advisory) {
  const lines = [
    "```toml",
    "[advisory]",
    `id = "${advisory.id}"`,
    `package = "${crate}"`,
    `date = "${advisory.date}"`,
  ];
  if (advisory.informational) lines.push(`informational = "${advisory.informational}"`);
  lines.push("", "[versions]", `patched = ${list(advisory.patched)}`);
  if (advisory.unaffected.length > 0) lines.push(`unaffected = ${list(advisory.unaffected)}`);
  lines.push("```", "", `# ${advisory.title}`, "");
  return lines.join("\n");
}

/** Writes the snapshot below `folder` as a database that cargo-deny takes for a fetched one. */
export function writeDatabase(snapshot, folder) {
  const base = join(folder, DATABASE);
  rmSync(base, { recursive: true, force: true });
  for (const [crate, advisories] of Object.entries(snapshot.crates)) {
    for (const advisory of advisories) {
      mkdirSync(join(base, "crates", crate), { recursive: true });
      writeFileSync(join(base, "crates", crate, `${advisory.id}.md`), asMarkdown(crate, advisory));
    }
  }
  // The age of a database is that of this file.
  const taken = new Date(snapshot.taken);
  mkdirSync(join(base, ".git"), { recursive: true });
  writeFileSync(join(base, ".git", "FETCH_HEAD"), "");
  utimesSync(join(base, ".git", "FETCH_HEAD"), taken, taken);
  return folder;
}

const RENEW =
  "npm run advisories -- --from FOLDER renews deny/advisories/snapshot.json from a clone of the RustSec advisory-db.";

/** Crates that the snapshot says nothing about, not even that there is nothing. */
export function requireCoverage(snapshot, crates) {
  const unknown = crates.filter((name) => !(name in snapshot.crates));
  if (unknown.length === 0) return;
  throw new Refusal(`The advisory snapshot does not cover ${unknown.join(", ")}.`, RENEW);
}

export function describe(snapshot, now = Date.now()) {
  const days = Math.floor((now - Date.parse(snapshot.taken)) / 86_400_000);
  const count = Object.values(snapshot.crates).flat().length;
  const lines = [
    `Advisory snapshot of ${snapshot.taken} (${days} days old): ${Object.keys(snapshot.crates).length} crates, ${count} advisories, none newer than ${snapshot.newest_seen}.`,
  ];
  if (days > 60) lines.push(`It is old. ${RENEW}`);
  return lines.join("\n");
}

const strings = (text) => [...(text ?? "").matchAll(/"([^"]*)"/g)].map((match) => match[1]);

/** The facts of one advisory file; undefined for one that was withdrawn or has no number yet. */
export function readAdvisory(markdown) {
  const [, toml, rest] = /^```toml\n([\s\S]*?)\n```\n([\s\S]*)$/.exec(markdown) ?? [];
  if (toml === undefined) throw new Error("no front matter");
  const text = (key) => new RegExp(`^${key}\\s*=\\s*"([^"]*)"`, "m").exec(toml)?.[1];
  const array = (key) =>
    strings(new RegExp(`^${key}\\s*=\\s*\\[([^\\]]*)\\]`, "m").exec(toml)?.[1]);
  const id = text("id");
  if (!id || id === "RUSTSEC-0000-0000" || text("withdrawn")) return undefined;
  const informational = text("informational");
  return {
    id,
    date: text("date"),
    title: (/^#\s+(.*)$/m.exec(rest)?.[1] ?? id).trim(),
    patched: array("patched"),
    unaffected: array("unaffected"),
    ...(informational ? { informational } : {}),
  };
}

/** A new snapshot for these crates, from a clone of the database. */
export function takeSnapshot(folder, crates, taken) {
  if (!existsSync(join(folder, "crates"))) {
    throw new Refusal(`${folder} is no clone of the advisory database: it has no crates folder.`);
  }
  let newest = "";
  for (const crate of readdirSync(join(folder, "crates"))) {
    for (const file of readdirSync(join(folder, "crates", crate))) {
      const id = /^(RUSTSEC-\d{4}-\d{4})\.md$/.exec(file)?.[1];
      if (id && id > newest && !id.startsWith("RUSTSEC-0000")) newest = id;
    }
  }
  const read = (crate) => {
    const inside = join(folder, "crates", crate);
    if (!existsSync(inside)) return [];
    const files = readdirSync(inside)
      .filter((name) => name.endsWith(".md"))
      .sort();
    return files
      .map((name) => readAdvisory(readFileSync(join(inside, name), "utf8")))
      .filter(Boolean);
  };
  return {
    taken,
    newest_seen: newest,
    crates: Object.fromEntries(crates.map((crate) => [crate, read(crate)])),
  };
}

/** One line a crate, or an advisory: a renewal is then a diff that can be read. */
export function asText(snapshot) {
  const crates = Object.entries(snapshot.crates).map(([name, advisories]) => {
    if (advisories.length === 0) return `    ${JSON.stringify(name)}: []`;
    const lines = advisories.map((advisory) => `      ${JSON.stringify(advisory)}`);
    return `    ${JSON.stringify(name)}: [\n${lines.join(",\n")}\n    ]`;
  });
  return `{
  "taken": ${JSON.stringify(snapshot.taken)},
  "newest_seen": ${JSON.stringify(snapshot.newest_seen)},
  "crates": {
${crates.join(",\n")}
  }
}
`;
}
