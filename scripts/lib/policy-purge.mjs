// Purges: which stored answers are not served any more.
import { USAGE } from "./admin-refusal.mjs";
import { agree, change, pending, readMessage, somebody } from "./consent.mjs";
import { readWhole } from "./flags.mjs";
import { print } from "./policy-read.mjs";
import { NEEDS, printTable } from "./policy-sets.mjs";
import { answers, flag, list, maybe, number, object, text } from "./shape.mjs";
import { bold, dim, note, printable, Refusal } from "./term.mjs";
import { count, counted, moment } from "./units.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const usage = (problem, mend) => new Refusal(problem, mend, USAGE);

/** The most URLs, prefixes and tags of one purge. */
const MOST = 500;

const PURGE_LIST = object({
  purges: list(
    object({
      sequence: number,
      scope: text,
      value: maybe(text),
      soft: maybe(flag),
      time: text,
      by: maybe(text),
      cause: maybe(text),
    }),
  ),
  more: maybe(flag),
  total: maybe(number),
});

/** @param {Call} call */
export async function purges(call, flags, now = Date.now()) {
  const query = {
    limit: readWhole("limit", flags.limit, 1, 100),
    before: readWhole("before", flags.before, 0, Number.MAX_SAFE_INTEGER),
  };
  const known = answers(PURGE_LIST);
  const { text: answer, json } = await call("GET", "purges", { query, known, needs: NEEDS });
  if (flags.json) return print(answer);
  const all = json.purges;
  if (all.length === 0) {
    note(query.before === undefined ? "Nothing is purged." : "There are no older ones.");
    return;
  }
  printTable(
    ["scope", "what", "", "when", "by", "why"],
    all.map((it) => [
      it.scope,
      it.value ?? "",
      it.soft ? "soft" : "",
      moment(it.time, now),
      it.by ?? "",
      it.cause ?? "",
    ]),
    [],
  );
  if (json.more) {
    const next = `${count(all.length)} of ${count(json.total)}`;
    note(dim(`${next}; older ones: --before ${printable(all.at(-1).sequence)}`, process.stderr));
  }
}

/** What was named; the gateway looks at it more closely. */
function readScopes(flags) {
  const { url: urls = [], prefix: prefixes = [], tag: tags = [], all = false } = flags;
  const texts = [...urls, ...prefixes, ...tags];
  if (all === texts.length > 0) {
    const either = all ? "--all is for everything: it takes no others." : "Say what to purge.";
    throw usage(either, "npm run policy -- purge --url URL | --prefix URL | --tag TAG | --all");
  }
  if (texts.length > MOST) {
    throw usage(`At most ${MOST} URLs, prefixes and tags at once, not ${count(texts.length)}.`);
  }
  for (const [name, list] of [
    ["url", urls],
    ["prefix", prefixes],
  ]) {
    const wrong = list.find((text) => !/^https?:\/\/[^/?#]+\//i.test(text));
    if (wrong === undefined) continue;
    const shown = printable(wrong).slice(0, 80);
    throw usage(`--${name} wants a URL such as https://www.example.com/blog/, not ${shown}.`);
  }
  return { urls, prefixes, tags, all };
}

const known = answers(
  object({ sequence: number, state: text, purged: number, overflowed: maybe(flag) }),
);

/** @param {Call} call */
export async function purge(call, target, flags, person = somebody()) {
  const scopes = readScopes(flags);
  const soft = flags.soft === true;
  const body = JSON.stringify({ ...scopes, soft, message: readMessage(flags.message) });
  if (scopes.all) {
    const what = soft ? "Make everything stale that" : "Take away everything that";
    const where = printable(target.name);
    await agree(
      `${what} ${where} has stored? All of it will be asked of the origins.`,
      flags,
      person,
    );
  }
  const options = { body, known, needs: NEEDS };
  const { text: answer, json } = await change(call, ["POST", "purge", options], "purges");
  if (flags.json) return print(answer);
  if (json.overflowed) note("There was no room for more purges, so everything was purged.");
  const what = scopes.all ? "everything" : counted(json.purged, "purge", "purges");
  const how = soft ? ", soft" : "";
  print(`${bold(what)}${how}; ${printable(json.state)}${pending(json.state)}`);
}
