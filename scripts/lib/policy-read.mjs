// What a gateway's control plane knows: documents, differences, history, audit, health.
import { randomUUID } from "node:crypto";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { NO, USAGE } from "./admin-refusal.mjs";
import { readWhole } from "./flags.mjs";
import { readText } from "./input.mjs";
import { userPath } from "./paths.mjs";
import { columns } from "./table.mjs";
import { bold, dim, green, note, printable, red, Refusal } from "./term.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const REVISION = /^r\d{1,20}$/;

export const isRevision = (text) => REVISION.test(text);

export function requireRevision(text, flag) {
  if (text === undefined || isRevision(text)) return text;
  throw new Refusal(`${flag} wants the name of a revision, such as r7.`, undefined, USAGE);
}

export const print = (text) => process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);

const SIGNS = { added: green, removed: red };

/** A diff as the API writes it, a change a line. */
export function showDiff(text, stream = process.stdout) {
  const lines = printable(text, { lines: true }).split("\n").filter(Boolean);
  if (lines.length === 0) stream.write(`${dim("no differences", stream)}\n`);
  for (const line of lines) {
    const paint = SIGNS[line.split(" ")[0]] ?? ((it) => it);
    stream.write(`${paint(line, stream)}\n`);
  }
  return lines.length;
}

/** How to ask for the differences between a revision and a file's text. */
export const againstText = (text, base) => ["POST", "policy/diff", { query: { base }, body: text }];

export const betweenRevisions = (from, to) => ["GET", "policy/diff", { query: { from, to } }];

/** @param {Call} call */
export async function diff(call, names, flags) {
  const base = requireRevision(flags.base, "--base");
  const [first, second] = names;
  let request;
  if (names.length === 1 && !isRevision(first)) {
    request = againstText(await readText(first), base);
  } else if (names.length === 2 && names.every(isRevision) && base === undefined) {
    request = betweenRevisions(first, second);
  } else {
    const mend = "Give FILE (with --base r5, if not against the active revision), or r1 r2.";
    throw new Refusal("That is not what can be compared.", mend, USAGE);
  }
  const [method, path, options] = request;
  const known = ({ json }) => !flags.json || Array.isArray(json?.changes);
  const answer = await call(method, path, { ...options, plain: !flags.json, known });
  if (flags.json) print(answer.text);
  const changes = flags.json ? answer.json.changes.length : showDiff(answer.text);
  return flags["exit-code"] && changes > 0 ? NO : 0;
}

/** Whole or not at all, also for a reader beside us. */
function writeWhole(path, text) {
  const goal = userPath(path);
  const aside = `${goal}.${randomUUID()}.tmp`;
  try {
    writeFileSync(aside, text, { flag: "wx" });
    renameSync(aside, goal);
  } catch (error) {
    rmSync(aside, { force: true });
    const why = error.code ?? error.message;
    throw new Refusal(`${printable(path)} cannot be written: ${why}.`, undefined, USAGE);
  }
}

/** @param {Call} call */
export async function pull(call, flags) {
  const wanted = requireRevision(flags.revision, "--revision");
  // Not by its tag, which something in between may have taken away.
  const known = ({ json }) => typeof json?.version === "number";
  const query = { revision: wanted };
  const { text, revision } = await call("GET", "policy", { query, known });
  const name = revision ?? wanted ?? "the active revision";
  if (flags.output === undefined || flags.output === "-") {
    process.stdout.write(text);
    note(dim(`${name}`, process.stderr));
  } else {
    writeWhole(flags.output, text);
    note(`${printable(flags.output)}: ${name}`);
  }
}

const joined = (parts) => parts.filter(Boolean).join(", ");

/** @param {Call} call */
export async function history(call, flags) {
  const query = {
    limit: readWhole("limit", flags.limit, 1, 100),
    before: requireRevision(flags.before, "--before"),
  };
  const known = ({ json }) => Array.isArray(json?.revisions);
  const { text, json } = await call("GET", "policy/history", { query, known });
  if (flags.json) return print(text);
  const { revisions } = json;
  if (revisions.length === 0) note("No revision is stored.");
  const rows = columns(
    revisions.map((it, at) => {
      const active = at === 0 && query.before === undefined;
      const what = joined([
        active && "active",
        it.rollback_to && `rollback to ${it.rollback_to}`,
        `on ${it.base}`,
      ]);
      return [it.revision, it.time, `${it.author} (${it.role})`, what, it.message];
    }),
  );
  for (const [name, ...rest] of rows) print(`${bold(name)}  ${rest.join("  ").trimEnd()}`);
  if (json.more)
    note(dim(`older ones: --before ${printable(revisions.at(-1)?.revision)}`, process.stderr));
}

/** @param {Call} call */
export async function audit(call, flags) {
  if (flags.before !== undefined && !/^\d{1,20}$/.test(flags.before)) {
    throw new Refusal("--before wants the number of an entry.", undefined, USAGE);
  }
  const query = { limit: readWhole("limit", flags.limit, 1, 100), before: flags.before };
  const known = ({ json }) => Array.isArray(json?.entries);
  const { text, json } = await call("GET", "audit", { query, known });
  if (flags.json) return print(text);
  const { entries } = json;
  if (entries.length === 0) note("Nothing was attempted yet.");
  const rows = columns(
    entries.map((it) => {
      const who = it.role ? `${it.author} (${it.role})` : it.author;
      const what = joined([
        it.reason,
        it.revision,
        it.to && `to ${it.to}`,
        it.base && `on ${it.base}`,
        it.purged,
      ]);
      return [it.id, it.time, who, it.action, it.outcome, what, it.message];
    }),
  );
  for (const row of rows) {
    const refused = row[4].trim() === "refused";
    print(
      row
        .map((cell, at) => (at === 4 && refused ? red(cell) : cell))
        .join("  ")
        .trimEnd(),
    );
  }
  if (json.more) note(dim(`older ones: --before ${printable(entries.at(-1)?.id)}`, process.stderr));
}

/** @param {Call} call */
export async function health(call, flags) {
  const known = ({ json }) => typeof json?.status === "string";
  const { text, json } = await call("GET", "health", { expect: [200, 503], known });
  const good = json.status === "ok";
  if (flags.json) {
    print(text);
  } else {
    const control = json.control ?? {};
    const word = printable(json.status);
    const lines = [
      `${(good ? green : red)(word)}  ${printable(json.revision ?? "no policy")}, module ${printable(json.version)}`,
      json.reason && `reason: ${printable(json.reason)}`,
      control.active &&
        printable(
          `control: ${control.active}, ${control.state}` +
            (control.failures ? `, ${control.failures} failed attempts to publish` : "") +
            (control.oldest_module ? `, oldest module ${control.oldest_module}` : ""),
        ),
    ];
    print(lines.filter(Boolean).join("\n"));
  }
  return good ? 0 : NO;
}
