// The stored address sets: what there is, taking one away, going back.
import { NO, USAGE } from "./admin-refusal.mjs";
import { agree, change, pending, readMessage, somebody } from "./consent.mjs";
import { print } from "./policy-read.mjs";
import { answers, flag, list, maybe, number, object, text } from "./shape.mjs";
import { lines } from "./table.mjs";
import { bold, dim, note, printable, red, Refusal } from "./term.mjs";
import { age, bytes, count, counted, moment } from "./units.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

/** The module from which on a gateway has sets, bans and purges. */
export const NEEDS = "0.3.0";

/** A set's name, as policies write it. */
export function requireSet(name, what) {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(name)) return name;
  const problem = `${what} wants the name of a set, 1 to 64 of A-Z a-z 0-9 _ -`;
  throw new Refusal(`${problem}; ${printable(name).slice(0, 80)} is none.`, undefined, USAGE);
}

export const setPath = (name) => `address-sets/${name}`;

/** Sets have no base that a person would name: somebody else was faster. */
export const STALE = {
  "stale-base": () => [
    "Somebody changed the sets at the same time.",
    "Look (npm run policy -- sets), then do it again.",
  ],
};

const ADDRESS_SETS = object({
  generation: number,
  state: text,
  prefixes: number,
  bytes: number,
  sets: list(
    object({
      name: text,
      prefixes: number,
      v4: number,
      v6: number,
      since: maybe(text),
      source: text,
      in_use: flag,
      feed: maybe(
        object({
          url: text,
          format: text,
          interval: text,
          checked: maybe(text),
          changed: maybe(text),
          failure: maybe(
            object({ reason: text, detail: maybe(text), since: maybe(text), attempts: number }),
          ),
        }),
      ),
    }),
  ),
  earlier: list(
    object({
      generation: number,
      replaced: text,
      sets: list(text),
      author: text,
      message: maybe(text),
    }),
  ),
});

const addressSets = (call) =>
  call("GET", "address-sets", { known: answers(ADDRESS_SETS), needs: NEEDS });

/** A table under its dimmed head. */
export function printTable(head, rows, right) {
  const [first, ...rest] = lines([head, ...rows], { right });
  print([dim(first), ...rest].join("\n"));
}

function feedRow({ name, feed }, now) {
  const { format, interval, url } = feed;
  const [checked, changed] = [feed.checked, feed.changed].map((it) =>
    it ? age(it, now) : "never",
  );
  return [name, format, interval, checked, changed, url];
}

/** What is wrong with a feed, as one line. */
function failureLine({ name, feed: { failure } }, now) {
  const { reason, detail, since, attempts } = failure;
  const when = since ? ` since ${moment(since, now)}` : "";
  const why = detail ? `: ${detail}` : "";
  return printable(`${name}: ${reason}${when}, ${counted(attempts, "attempt", "attempts")}${why}`);
}

const names = (list) => (list.length > 0 ? list.join(", ") : "no sets");

function earlierRow(it, now) {
  return [
    count(it.generation),
    moment(it.replaced, now),
    it.author,
    names(it.sets),
    it.message ?? "",
  ];
}

/** @param {Call} call */
export async function sets(call, flags, now = Date.now()) {
  const { text: answer, json } = await addressSets(call);
  if (flags.json) return print(answer);
  const { sets: all, earlier } = json;
  // Without a time there is a feed that has not given a list yet.
  const held = all.filter((it) => it.since);
  if (all.length === 0) note("To store one: npm run policy -- import NAME FILE");
  const size = `${counted(json.prefixes, "prefix", "prefixes")}, ${bytes(json.bytes)}`;
  print(
    `generation ${count(json.generation)} ${printable(json.state)}: ${counted(held.length, "set", "sets")}, ${size}`,
  );
  if (all.length > 0) {
    print("");
    printTable(
      ["name", "prefixes", "IPv4", "IPv6", "in use", "since", "source"],
      all.map((it) => [
        it.name,
        ...[it.prefixes, it.v4, it.v6].map(count),
        it.in_use ? "yes" : "no",
        it.since ? moment(it.since, now) : "never",
        it.source,
      ]),
      [1, 2, 3],
    );
  }
  const fed = all.filter((it) => it.feed);
  if (fed.length > 0) {
    print("");
    const head = ["feed of", "format", "every", "checked", "changed", "from"];
    printTable(
      head,
      fed.map((it) => feedRow(it, now)),
    );
    for (const it of fed.filter(({ feed }) => feed.failure)) {
      print(red(failureLine(it, now)));
    }
  }
  if (earlier.length > 0) {
    print("");
    const head = ["earlier", "replaced", "by", "with", "message"];
    printTable(
      head,
      earlier.map((it) => earlierRow(it, now)),
      [0],
    );
    note(dim("to go back: npm run policy -- rollback-sets GENERATION", process.stderr));
  }
}

const known = answers(object({ generation: number, state: text }));

function acknowledge({ text: answer, json }, done, flags) {
  if (flags.json) return print(answer);
  const { generation, state } = json;
  print(`${done}; generation ${count(generation)} ${printable(state)}${pending(state)}`);
}

/** @param {Call} call */
export async function removeSet(call, target, [name, ...more], flags, person = somebody()) {
  if (name === undefined || more.length > 0) {
    const mend = "npm run policy -- remove-set NAME";
    throw new Refusal("remove-set takes the name of one set.", mend, USAGE);
  }
  requireSet(name, "remove-set");
  const message = readMessage(flags.message);
  if (!flags.yes) {
    const { json } = await addressSets(call);
    const held = json.sets.filter((it) => it.since);
    const found = held.find((it) => it.name === name);
    if (found === undefined) {
      const all = held.map((it) => printable(it.name)).join(" ") || "none";
      throw new Refusal(`There is no stored set ${name}.`, `Stored sets: ${all}`, NO);
    }
    const has = counted(found.prefixes, "prefix", "prefixes");
    const use = found.in_use ? ", in use by the active policy" : "";
    note(`${name} has ${has} since ${moment(found.since, Date.now())}${use}.`);
  }
  await agree(`Remove ${name} from ${target.name} (${target.url})?`, flags, person);
  const refusals = {
    "set-in-use": () => [
      `The active policy names ${name}.`,
      "Push one that does not, then remove the set.",
    ],
    "no-such-set": () => [
      `There is no stored set ${name}.`,
      "npm run policy -- sets lists those that there are.",
    ],
    ...STALE,
  };
  const options = { query: { message }, known, needs: NEEDS, refusals };
  const done = await change(call, ["DELETE", setPath(name), options], "sets");
  acknowledge(done, `${bold(name)} removed`, flags);
}

/** @param {Call} call */
export async function rollbackSets(call, target, [to, ...more], flags, person = somebody()) {
  const generation = /^\d{1,15}$/.test(to ?? "") ? Number(to) : undefined;
  if (generation === undefined || more.length > 0) {
    const mend = "npm run policy -- rollback-sets 11; npm run policy -- sets lists them.";
    throw new Refusal("rollback-sets takes the number of one generation.", mend, USAGE);
  }
  const message = readMessage(flags.message);
  if (!flags.yes) {
    const { json } = await addressSets(call);
    const earlier = json.earlier.find((it) => it.generation === generation);
    const now = Date.now();
    if (earlier !== undefined) {
      note(`present: generation ${count(json.generation)} with ${names(json.sets.map(printName))}`);
      const [, replaced, author, those, why] = earlierRow(earlier, now).map((it) => printable(it));
      note(`wanted:  generation ${generation} with ${those}, by ${author}, replaced ${replaced}`);
      if (why) note(`         ${why}`);
    }
  }
  const question = `Roll the sets of ${target.name} (${target.url}) back to generation ${generation}?`;
  await agree(question, flags, person);
  const refusals = {
    "no-such-generation": () => [
      `There is no generation ${generation} to go back to.`,
      "They are kept for 24 hours; npm run policy -- sets lists them.",
    ],
    "set-in-use": (_, said) => [
      `Generation ${generation} lacks a set that the active policy names (${said}).`,
      "Push a policy without it first.",
    ],
    ...STALE,
  };
  const body = JSON.stringify({ to: generation, ...(message === undefined ? {} : { message }) });
  const options = { body, known, needs: NEEDS, refusals };
  const done = await change(call, ["POST", "address-sets/rollback", options], "sets");
  acknowledge(done, `sets as in generation ${generation}`, flags);
}

const printName = ({ name }) => printable(name);
