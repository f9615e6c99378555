// What is stored for a request, and having it stored.
import { NO, USAGE } from "./admin-refusal.mjs";
import { readText } from "./input.mjs";
import { header } from "./policy-judge.mjs";
import { print } from "./policy-read.mjs";
import { NEEDS } from "./policy-sets.mjs";
import { lines } from "./table.mjs";
import { answers, flag, list, maybe, number, object, text } from "./shape.mjs";
import { bold, dim, note, printable, Refusal } from "./term.mjs";
import { bytes, count, counted, moment } from "./units.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const usage = (problem, mend) => new Refusal(problem, mend, USAGE);

/** How many URLs one call has: few enough that it is over within its time. */
const AT_ONCE = 20;

/** The most URLs of one command, and the longest list of them in bytes. */
const MOST = 100_000;
const LIST_LIMIT = 16 << 20;

const FIELDS = list(object({ name: text, value: maybe(text) }));

const REPORT = object({
  url: text,
  method: text,
  revision: text,
  colo: maybe(text),
  isolate: text,
  route: maybe(text),
  because: maybe(text),
  tiers: list(
    object({
      tier: text,
      variant: maybe(text),
      state: text,
      key: text,
      unstorable: maybe(flag),
      selected_by: maybe(FIELDS),
      error: maybe(text),
      answer: maybe(
        object({
          serves: text,
          status: number,
          fields: FIELDS,
          size: maybe(number),
          received: text,
          age: maybe(number),
          lifetime: number,
          ttl: maybe(number),
          part: maybe(text),
          tags: maybe(list(text)),
          began: number,
          purged_by: maybe(
            object({ sequence: number, scope: text, value: maybe(text), soft: maybe(flag) }),
          ),
        }),
      ),
    }),
  ),
});

const isUrl = (text) => /^https?:\/\/[^/?#\s]/i.test(text);

const where = ({ colo, isolate }) =>
  `${colo ? `location ${printable(colo)}, ` : ""}isolate ${printable(isolate)}`;

/** @param {Call} call */
export async function cache(call, [url, ...more], flags, now = Date.now()) {
  if (url === undefined || more.length > 0 || !isUrl(url)) {
    throw usage("cache takes one URL.", "npm run policy -- cache https://www.example.org/path");
  }
  const query = new URLSearchParams({ url });
  if (flags.method !== undefined) query.append("method", flags.method);
  for (const line of flags.header ?? []) query.append("header", header(line).join(": "));
  const options = { known: answers(REPORT), needs: NEEDS };
  const { text: answer, json } = await call("GET", `cache?${query}`, options);
  if (flags.json) return print(answer);
  const place = `${where(json)}, policy ${printable(json.revision)}`;
  print(`${bold(`${printable(json.method)} ${printable(json.url)}`)} in ${place}`);
  if (json.route) print(`  route ${printable(json.route)}`);
  if (json.because) print(`  the cache is not asked: ${printable(json.because)}`);
  for (const tier of json.tiers) print(tierText(tier, now));
}

const STATES = {
  none: "nothing is stored",
  other: "what is stored is for other values of what selects it",
  failed: "failed",
};

function tierText(tier, now) {
  const { answer, variant, unstorable, error } = tier;
  const name = `${tier.tier}${variant ? ` (${variant})` : ""}`;
  const rows = [];
  const row = (label, value) => rows.push([`    ${label}`, value]);
  const selectors = tier.selected_by ?? [];
  if (selectors.length > 0) {
    const shown = ({ name, value }) => (answer ? `${name}: ${value ?? "(none)"}` : name);
    row("selected by", selectors.map(shown).join("; "));
  }
  if (unstorable) row("hit-for-miss", "the last answer could not be kept");
  if (error) row("error", error);
  let state = STATES[tier.state] ?? tier.state;
  if (answer) {
    const size = answer.size === undefined ? "" : `, ${bytes(answer.size)}`;
    state = `stored: ${answer.status}${size}; such a request: ${answer.serves}`;
    row("received", moment(answer.received, now));
    row("age", `${count(answer.age)} s of ${count(answer.lifetime)} s; ttl ${count(answer.ttl)} s`);
    if (answer.part) row("part", answer.part);
    if (answer.tags?.length > 0) row("tags", answer.tags.join(" "));
    if (answer.began > 0) row("began", `when purge ${answer.began} was the newest`);
    if (answer.purged_by) row("purged by", purgeText(answer.purged_by));
    for (const { name, value } of answer.fields) row(`${name}:`, value);
  }
  row("key", tier.key);
  return [`  ${bold(printable(name))}  ${printable(state)}`, ...lines(rows)].join("\n");
}

const purgeText = ({ sequence, scope, value, soft }) =>
  `${soft ? "soft " : ""}${scope}${value ? ` ${value}` : ""}, sequence ${sequence}`;

const WARMED = object({
  colo: maybe(text),
  isolate: text,
  results: list(
    object({
      url: text,
      variant: maybe(text),
      outcome: text,
      status: maybe(number),
      why: maybe(text),
    }),
  ),
});

/** The URLs that were named, and those of the files. */
async function readUrls(names) {
  if (names.length === 0) {
    throw usage("Say what to warm.", "npm run policy -- warm urls.txt, or - or URLs in its place");
  }
  if (names.filter((name) => name === "-").length > 1) throw usage("There is one standard input.");
  const urls = [];
  for (const name of names) {
    if (isUrl(name)) {
      urls.push(name);
      continue;
    }
    const rows = (await readText(name, LIST_LIMIT)).split("\n").map((line) => line.trim());
    for (const [at, line] of rows.entries()) {
      if (line === "" || line.startsWith("#")) continue;
      if (!isUrl(line)) {
        const place = `line ${at + 1} of ${name === "-" ? "the standard input" : printable(name)}`;
        throw usage(`${place} is no URL: ${printable(line).slice(0, 80)}`);
      }
      urls.push(line);
    }
  }
  if (urls.length === 0) throw usage("There is no URL in it.");
  if (urls.length > MOST)
    throw usage(`At most ${count(MOST)} URLs at once, not ${count(urls.length)}.`);
  return urls;
}

/** A line that changes on a terminal; elsewhere nothing before the end. */
function showProgress(done, all, stream = process.stderr) {
  if (!stream.isTTY || all <= AT_ONCE) return;
  stream.write(`\r\u001b[K${done < all ? `   ${count(done)} of ${count(all)}` : ""}`);
}

/** @param {Call} call */
export async function warm(call, names, flags) {
  const urls = await readUrls(names);
  const headers = flags.header?.map(header);
  const sums = { hit: 0, stored: 0 };
  const failed = [];
  const places = new Set();
  for (let at = 0; at < urls.length; at += AT_ONCE) {
    showProgress(at, urls.length);
    const body = JSON.stringify({ urls: urls.slice(at, at + AT_ONCE), headers });
    const options = { body, known: answers(WARMED), needs: NEEDS };
    const { text: answer, json } = await call("POST", "cache/warm", options);
    if (flags.json) print(answer);
    places.add(where(json));
    for (const result of json.results) {
      if (Object.hasOwn(sums, result.outcome)) sums[result.outcome] += 1;
      else failed.push(result);
    }
  }
  showProgress(urls.length, urls.length);
  if (!flags.json) showWarmed(sums, failed, [...places]);
  return failed.length > 0 ? NO : 0;
}

function showWarmed(sums, failed, places) {
  for (const { url, variant, status, why } of failed) {
    const of = variant ? ` (${printable(variant)})` : "";
    print(
      `not stored  ${printable(url)}${of}: ${[why, status].filter(Boolean).map(printable).join(", ")}`,
    );
  }
  const kept = `${count(sums.stored)} stored, ${count(sums.hit)} there already`;
  const lost = failed.length > 0 ? `, ${counted(failed.length, "not stored", "not stored")}` : "";
  print(`${bold(kept)}${lost}`);
  note(dim(`Warmed was ${places.join("; ")}. Other locations are not.`, process.stderr));
}
