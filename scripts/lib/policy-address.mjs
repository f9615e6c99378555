// What becomes of an address, and why: the guard list, the sets and bans that hold it, and the stages in
// the order in which they decide.
import { USAGE } from "./admin-refusal.mjs";
import { requireAddress } from "./networks.mjs";
import { print } from "./policy-read.mjs";
import { BAN } from "./policy-bans.mjs";
import { NEEDS } from "./policy-sets.mjs";
import { answers, flag, list, maybe, number, object, text } from "./shape.mjs";
import { lines } from "./table.mjs";
import { bold, printable, red, Refusal } from "./term.mjs";
import { count, moment } from "./units.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const REPORT = object({
  address: text,
  network: maybe(text),
  revision: text,
  generation: maybe(number),
  guarded_by: maybe(text),
  sets: list(
    object({
      name: text,
      stored: maybe(flag),
      prefix: text,
      since: maybe(text),
      source: maybe(text),
    }),
  ),
  bans: maybe(list(object(BAN))),
  decisions: list(
    object({
      stage: text,
      route: maybe(text),
      action: text,
      because: maybe(text),
      rule: maybe(text),
      prefix: maybe(text),
      address_set: maybe(text),
      shadow: maybe(flag),
      tags: maybe(list(text)),
    }),
  ),
});

const joined = (parts) => parts.filter(Boolean).join(", ");

/** Which set, and since when it has the prefix. */
function holding({ name, stored, prefix, since, source }, now) {
  const when = since && `since ${moment(since, now)}`;
  return [
    "set",
    name,
    prefix,
    joined([!stored && "in the policy", when, source && `from ${source}`]),
  ];
}

function banned({ network, until, since, by, reason }, now) {
  const when = `until ${moment(until, now)}`;
  const who = joined([by && `by ${by}`, since && `since ${moment(since, now)}`]);
  return ["ban", "", network, [joined([when, who]), reason].filter(Boolean).join(": ")];
}

/** What a stage goes by. Where the guard list does, the rule is the one that would have refused. */
function because(it) {
  const prefix = it.address_set ? `${it.prefix ?? ""} of set ${it.address_set}` : it.prefix;
  const tags = it.tags?.length > 0 && `tags ${it.tags.join(" ")}`;
  if (it.because === "guard_list") {
    return joined(["guard list", it.prefix, it.rule && `not rule ${it.rule}`, tags]);
  }
  return joined([it.rule ? `rule ${it.rule}` : it.because, prefix, tags]);
}

function decision(it) {
  const where = it.route ? `${it.stage} of ${it.route}` : it.stage;
  return [`  ${where}`, it.shadow ? `${it.action} (shadow)` : it.action, because(it)];
}

/** @param {Call} call */
export async function address(call, [ip, ...more], flags, now = Date.now()) {
  if (ip === undefined || more.length > 0) {
    throw new Refusal("address takes one address.", "npm run policy -- address 192.0.2.7", USAGE);
  }
  requireAddress(ip, "address");
  const options = { known: answers(REPORT), needs: NEEDS };
  const { text: answer, json } = await call("GET", `address/${ip}`, options);
  if (flags.json) return print(answer);
  const { network, revision, generation, guarded_by: guard } = json;
  const by = [`policy ${revision}`];
  if (typeof generation === "number") by.push(`sets of generation ${count(generation)}`);
  const counts = network ? `, counted as ${network}` : "";
  print(`${bold(printable(json.address))}${printable(`${counts}; ${joined(by)}`)}`);
  const rows = [
    ...(!guard ? [] : [["guard list", "", guard, "nothing refuses it"]]),
    ...(json.bans ?? []).map((it) => banned(it, now)),
    ...json.sets.map((it) => holding(it, now)),
  ];
  print(rows.length > 0 ? lines(rows).join("\n") : "in no set, and not banned");
  const decisions = lines(json.decisions.map(decision));
  if (decisions.length > 0) print("by stage:");
  for (const [at, row] of decisions.entries()) {
    print(json.decisions[at].action === "allow" ? row : red(row));
  }
}
