// What a policy would do: with one request (explain), and with recorded ones (replay).
import { USAGE } from "./admin-refusal.mjs";
import { readDocument, readText } from "./input.mjs";
import { print, requireRevision } from "./policy-read.mjs";
import { printable, Refusal } from "./term.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const RECORDS_LIMIT = 8 << 20;

/** Which policy is asked, as members of a body: a document stays as it was written. */
async function subject(flags) {
  const revision = requireRevision(flags.revision, "--revision");
  if (flags.document === undefined)
    return revision === undefined ? {} : { revision: `"${revision}"` };
  if (revision !== undefined) {
    throw new Refusal("That names two policies.", "Give --document or --revision.", USAGE);
  }
  return { document: await readDocument(flags.document) };
}

/** A JSON object of members that are JSON already. */
const object = (members) =>
  `{${Object.entries(members)
    .map(([name, text]) => `${JSON.stringify(name)}:${text}`)
    .join(",")}}`;

export function header(text) {
  const [, name, value] = /^([^:\s]+):[ \t]*(.*?)[ \t]*$/s.exec(text) ?? [];
  if (name !== undefined && !/[\r\n\0]/.test(value)) return [name, value];
  throw new Refusal(`-H wants 'name: value'; ${JSON.stringify(text)} is none.`, undefined, USAGE);
}

async function judge(call, path, members, flags) {
  const { text } = await call("POST", path, { body: object(members), plain: !flags.json });
  print(flags.json ? text : printable(text, { lines: true }));
}

/** @param {Call} call */
export async function explain(call, [url, ...more], flags) {
  if (url === undefined || more.length > 0) {
    const mend = "npm run policy -- explain https://www.example.org/path --client 192.0.2.1";
    throw new Refusal("explain takes one URL.", mend, USAGE);
  }
  const members = { url: JSON.stringify(url) };
  if (flags.method !== undefined) members.method = JSON.stringify(flags.method);
  if (flags.client !== undefined) members.client = JSON.stringify(flags.client);
  // Lines, not members: a field may stand twice.
  if (flags.header !== undefined) members.headers = JSON.stringify(flags.header.map(header));
  await judge(call, "explain", { ...members, ...(await subject(flags)) }, flags);
}

/** @param {Call} call */
export async function replay(call, [log, ...more], flags) {
  if (log === undefined || more.length > 0) {
    const mend = "npm run policy -- replay access.log --document FILE";
    throw new Refusal("replay takes one log, or - for the standard input.", mend, USAGE);
  }
  if (log === "-" && flags.document === "-") {
    throw new Refusal("There is one standard input.", "Name a file for one of both.", USAGE);
  }
  const policy = await subject(flags);
  const records = JSON.stringify(await readText(log, RECORDS_LIMIT));
  await judge(call, "replay", { records, ...policy }, flags);
}
