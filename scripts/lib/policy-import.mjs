// Brings a list of addresses into the gateway: from a file (import), or from its feed (refresh).
import { USAGE } from "./admin-refusal.mjs";
import { change, pending, readMessage } from "./consent.mjs";
import { readWhole } from "./flags.mjs";
import { openList } from "./list-file.mjs";
import { FORMATS, guessFormat } from "./list-format.mjs";
import { print } from "./policy-read.mjs";
import { NEEDS, requireSet, setPath, STALE } from "./policy-sets.mjs";
import { progress } from "./progress.mjs";
import { answers, flag, maybe, number, object, text } from "./shape.mjs";
import { bold, dim, note, printable, Refusal } from "./term.mjs";
import { count, counted } from "./units.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const HOST_BITS = ["refuse", "mask"];
const MOST_CHANGE = 10_000;
const MOST_PREFIXES = 2_000_000;

const usage = (problem, mend) => new Refusal(problem, mend, USAGE);

function readColumn(column) {
  if (column === undefined) return undefined;
  const isNumber = /^\d+$/.test(column);
  const good = isNumber
    ? column.length <= 4 && Number(column) >= 1 && Number(column) <= 1_000
    : column.trim() === column && column !== "" && Buffer.byteLength(column) <= 128;
  if (good) return column;
  throw usage("--column wants a number from 1 to 1,000, or the name in the first line.");
}

/** The flags as the query has them, once they fit together. */
export function importQuery(flags) {
  const { format, "host-bits": hostBits } = flags;
  if (format !== undefined && !FORMATS.includes(format)) {
    throw usage(`There is no format ${printable(format)}.`, `Formats: ${FORMATS.join(" ")}`);
  }
  if (hostBits !== undefined && !HOST_BITS.includes(hostBits)) {
    throw usage("--host-bits wants refuse or mask.");
  }
  const column = readColumn(flags.column);
  if (format === "csv" && column === undefined) {
    throw usage("A csv wants its column.", "--column 1, or the name in the first line");
  }
  if (column !== undefined && (format ?? "csv") !== "csv") {
    throw usage(`--column is for --format csv; ${format} has no columns.`);
  }
  return {
    format,
    column,
    host_bits: hostBits,
    max_change: readWhole("max-change", flags["max-change"]?.replace(/ ?%$/, ""), 0, MOST_CHANGE),
    max_prefixes: readWhole("max-prefixes", flags["max-prefixes"], 1, MOST_PREFIXES),
    allow_private: flags["allow-private"] ? "true" : undefined,
    message: readMessage(flags.message),
  };
}

/** By how many percent a list changes, rounded up; as the gateway says it in its refusal. */
function changeOf(body) {
  const [, to, from] = /^(\d{1,9}) prefixes after (\d{1,9})\b/.exec(body.detail ?? "") ?? [];
  if (!(Number(from) > 0)) return undefined;
  const percent = Math.ceil((100 * Math.abs(to - from)) / from);
  return percent <= MOST_CHANGE ? percent : undefined;
}

const aboutPrefixes = (body) => /prefixes/.test(body.detail ?? "");

/** What to do about a list that is refused, by the reason of that; with an import's flags. */
const MEND_OF_LIST = {
  malformed: (_, { format }) =>
    `Is it another format? --format ${FORMATS.join("|")}; it was read as ${format ?? "the feed's, or a netset"}.`,
  "host-bits": () => "To clear those bits: --host-bits mask",
  oversized: (body) =>
    aboutPrefixes(body)
      ? `To take more: --max-prefixes N, at most ${count(MOST_PREFIXES)}`
      : "Make several sets of it.",
  empty: (_, { name }) => `To take the set away: npm run policy -- remove-set ${name}`,
  shrunk: (body) =>
    `Is it whole? To take it all the same: --max-change ${changeOf(body) ?? "PERCENT"}`,
  grown: (body) =>
    `Is it right? To take it all the same: --max-change ${changeOf(body) ?? "PERCENT"}`,
  "short-prefix": () => "No list may hold that much of the Internet: take it out.",
  private: () => "If they belong there: --allow-private",
  guarded: () => 'Take it out of the list, or out of "guard_list" in the policy.',
};

/** The same for a feed: the policy says how it is read. */
const MEND_OF_FEED = {
  malformed: () => 'Is it another format? Set "format" of the feed in the policy.',
  "host-bits": () => 'To clear those bits: "host_bits": "mask" in the feed of the policy.',
  oversized: (body) =>
    `To take more: "${aboutPrefixes(body) ? "max_prefixes" : "max_bytes"}" of the feed in the policy.`,
  shrunk: (body, { name }) => onceByHand(body, name),
  grown: (body, { name }) => onceByHand(body, name),
  private: () => 'If they belong there: "allow_private": true in the feed of the policy.',
  guarded: () => 'Take it out of "guard_list" in the policy, or ask whoever keeps the feed.',
};

const onceByHand = (body, name) =>
  `Look at it. To take it this once: npm run policy -- import ${name} FILE --max-change ${changeOf(body) ?? "PERCENT"}`;

function refusals(mends, context) {
  return {
    "invalid-list": (body) => {
      const reason = body.list_reason;
      return [undefined, Object.hasOwn(mends, reason) ? mends[reason](body, context) : undefined];
    },
    "no-feed": () => [
      `The policy gives ${context.name} no feed.`,
      `Import a list: npm run policy -- import ${context.name} FILE`,
    ],
    "feed-unavailable": (_, said) => [
      `The feed of ${context.name} did not answer as it should (${said}).`,
      "The set is what it was.",
    ],
    ...STALE,
  };
}

const known = answers(
  object({
    name: text,
    generation: number,
    state: text,
    changed: flag,
    read: number,
    prefixes: number,
    v4: number,
    v6: number,
    before: maybe(number),
  }),
);

/** How a set came to have the prefixes that it has. */
function stepText({ before, prefixes, changed }) {
  if (!changed) return `unchanged, ${counted(prefixes, "prefix", "prefixes")}`;
  if (before === undefined || before === null)
    return `new, ${counted(prefixes, "prefix", "prefixes")}`;
  const more = prefixes - before;
  const sign = more > 0 ? "+" : "";
  const percent = before > 0 ? `, ${sign}${((100 * more) / before).toFixed(1)} %` : "";
  const step = more === 0 ? "others" : `${sign}${count(more)}${percent}`;
  return `${count(before)} -> ${counted(prefixes, "prefix", "prefixes")} (${step})`;
}

function showImported({ text: answer, json }, flags) {
  if (flags.json) return print(answer);
  const { name, generation, state, read, v4, v6 } = json;
  const which = `${count(v4)} IPv4, ${count(v6)} IPv6; ${count(read)} in the list`;
  print(`${bold(printable(name))}  ${stepText(json)}`);
  print(`  ${which}; generation ${count(generation)} ${printable(state)}${pending(state)}`);
}

/** @param {Call} call */
export async function importList(call, [name, path, ...more], flags) {
  if (path === undefined || more.length > 0) {
    const mend = "npm run policy -- import NAME FILE, or - for the standard input";
    throw usage("import takes the name of a set and one file.", mend);
  }
  requireSet(name, "import");
  const query = importQuery(flags);
  const list = await openList(path);
  try {
    const guess =
      query.format === undefined && query.column === undefined ? guessFormat(list.head) : undefined;
    if (guess !== undefined) {
      query.format = guess.format;
      note(dim(`format ${guess.format}, by ${guess.by}; --format decides`, process.stderr));
    }
    const shown = progress(list.size);
    const options = {
      query,
      list,
      onSent: shown.sent,
      known,
      needs: NEEDS,
      refusals: refusals(MEND_OF_LIST, { name, format: query.format }),
    };
    const sending = (...request) => call(...request).finally(shown.end);
    showImported(await change(sending, ["PUT", setPath(name), options], "sets"), flags);
  } finally {
    await list.close();
  }
}

/** @param {Call} call */
export async function refresh(call, [name, ...more], flags) {
  if (name === undefined || more.length > 0) {
    throw usage("refresh takes the name of one set.", "npm run policy -- refresh NAME");
  }
  requireSet(name, "refresh");
  const options = { known, needs: NEEDS, refusals: refusals(MEND_OF_FEED, { name }) };
  showImported(await change(call, ["POST", `${setPath(name)}/refresh`, options], "sets"), flags);
}
