// What makes a new revision: push and rollback. Both name the revision that they were made for, show
// what would change, and ask.
import { USAGE } from "./admin-refusal.mjs";
import { agree, change, pending, requireMessage, somebody } from "./consent.mjs";
import { readText } from "./input.mjs";
import { againstText, betweenRevisions, print, requireRevision, showDiff } from "./policy-read.mjs";
import { answers, list, maybe, object, text } from "./shape.mjs";
import { bold, note, printable, Refusal } from "./term.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const known = answers(object({ revision: text, state: text, missing_sets: maybe(list(text)) }));

/** The active revision's name; undefined where nothing is stored yet. */
async function activeRevision(call) {
  try {
    const { revision } = await call("GET", "policy");
    if (revision !== undefined) return revision;
  } catch (error) {
    if (error.reason === "no-such-revision") return undefined;
    throw error;
  }
  throw new Refusal("The gateway did not name its active revision.", "Name it: --base r7", USAGE);
}

function acknowledge({ text: answer, json }, flags) {
  if (flags.json) return print(answer);
  print(`${bold(printable(json.revision))} ${printable(json.state)}${pending(json.state)}`);
  for (const name of json.missing_sets ?? []) {
    const until = "until then rules that name it do what their on_failure says";
    note(`The set ${printable(name)} is still to be imported; ${until}.`);
  }
}

async function preview(call, [method, path, options], flags) {
  if (flags.yes && flags.json) return;
  try {
    showDiff((await call(method, path, { ...options, plain: true })).text, process.stderr);
  } catch (error) {
    // Agreed to beforehand: the change itself will be refused, and stand in the audit.
    if (!(flags.yes && error.reason === "invalid-policy")) throw error;
  }
}

/** @param {Call} call */
export async function push(call, target, [file, ...more], flags, person = somebody()) {
  if (file === undefined || more.length > 0) {
    throw new Refusal("push takes one file.", "npm run policy -- push FILE -m MESSAGE", USAGE);
  }
  if (flags.create && flags.base !== undefined) {
    throw new Refusal("The first revision has no base.", "Give --create or --base.", USAGE);
  }
  const message = requireMessage(flags.message, "deny the scanners' range");
  let base = requireRevision(flags.base, "--base");
  const document = await readText(file);
  if (base === undefined && !flags.create) base = await activeRevision(call);
  if (base === undefined) note(`This would be the first revision of ${target.name}.`);
  else await preview(call, againstText(document, base), flags);
  const on = base === undefined ? "" : ` on ${base}`;
  await agree(`Push ${printable(file)} to ${target.name} (${target.url})${on}?`, flags, person);
  const headers = base === undefined ? { "If-None-Match": "*" } : { "If-Match": `"${base}"` };
  const options = { query: { message }, headers, body: document, expect: [200, 201], known };
  acknowledge(await change(call, ["PUT", "policy", options], "history"), flags);
}

/** @param {Call} call */
export async function rollback(call, target, [to, ...more], flags, person = somebody()) {
  if (to === undefined || more.length > 0) {
    const mend = "npm run policy -- rollback r3 -m MESSAGE";
    throw new Refusal("rollback takes one revision.", mend, USAGE);
  }
  requireRevision(to, "rollback");
  const message = requireMessage(flags.message, "r7 refused the office");
  const base = requireRevision(flags.base, "--base") ?? (await activeRevision(call));
  if (base === undefined) throw new Refusal(`Nothing is stored in ${target.name}.`);
  await preview(call, betweenRevisions(base, to), flags);
  await agree(`Roll ${target.name} (${target.url}) back from ${base} to ${to}?`, flags, person);
  const headers = { "If-Match": `"${base}"` };
  const body = JSON.stringify({ to, message });
  const options = { headers, body, expect: [200, 201], known };
  acknowledge(await change(call, ["POST", "policy/rollback", options], "history"), flags);
}
