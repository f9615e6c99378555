// Bans: who may not speak for a while.
import { USAGE } from "./admin-refusal.mjs";
import { change, pending, readMessage, requireMessage } from "./consent.mjs";
import { readWhole } from "./flags.mjs";
import { requireAddress, requireNetwork } from "./networks.mjs";
import { print } from "./policy-read.mjs";
import { NEEDS, printTable } from "./policy-sets.mjs";
import { answers, flag, list, maybe, number, object, text } from "./shape.mjs";
import { bold, dim, note, printable, Refusal } from "./term.mjs";
import { count, moment, parseSpan, parseTime } from "./units.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const usage = (problem, mend) => new Refusal(problem, mend, USAGE);

export const BAN = {
  network: text,
  until: text,
  since: maybe(text),
  reason: maybe(text),
  by: maybe(text),
};

const BAN_LIST = object({
  bans: list(object({ ...BAN, count: maybe(number) })),
  more: maybe(flag),
  total: maybe(number),
});

/** @param {Call} call */
export async function bans(call, flags, now = Date.now()) {
  const query = {
    address: flags.address === undefined ? undefined : requireAddress(flags.address, "--address"),
    limit: readWhole("limit", flags.limit, 1, 1_000),
    after: flags.after === undefined ? undefined : requireNetwork(flags.after, "--after"),
  };
  const known = answers(BAN_LIST);
  const { text: answer, json } = await call("GET", "bans", { query, known, needs: NEEDS });
  if (flags.json) return print(answer);
  const all = json.bans;
  if (all.length === 0) {
    note(query.address === undefined ? "Nobody is banned." : `${query.address} is not banned.`);
    return;
  }
  printTable(
    ["network", "until", "since", "count", "by", "reason"],
    all.map((it) => [
      it.network,
      moment(it.until, now),
      moment(it.since, now),
      count(it.count),
      it.by,
      it.reason,
    ]),
    [3],
  );
  if (json.more) {
    const next = `${count(all.length)} of ${count(json.total)}`;
    const last = printable(all.at(-1).network);
    note(dim(`${next}; more: --after ${last}`, process.stderr));
  }
}

/** Until when, as the body has it. */
function readEnd(flags, now) {
  const { for: span, until } = flags;
  if ((span === undefined) === (until === undefined)) {
    throw usage("Say for how long: --for 1h, or --until 2026-12-01T00:00:00Z.");
  }
  if (span !== undefined) {
    if (parseSpan(span) !== undefined) return { duration: span };
    throw usage("--for wants a duration such as 90s, 15m, 12h or 7d, at most 366d.");
  }
  const time = parseTime(until);
  if (time === undefined) {
    throw usage("--until wants a time such as 2026-12-01T00:00:00Z (RFC 3339).");
  }
  if (time <= now) throw usage(`--until ${moment(until, now)} is over.`);
  return { until: new Date(time).toISOString() };
}

const known = answers(
  object({ generation: number, state: text, networks: list(text), unheard: maybe(list(text)) }),
);

function acknowledge({ text: answer, json }, what, flags) {
  if (flags.json) return print(answer);
  const { networks, generation, state, unheard } = json;
  if (unheard?.length > 0) {
    const them = printable(unheard.join(", "));
    note(`No ban of ${them} was known; what a trigger made of it before now is lifted, too.`);
  }
  const done = `${bold(printable(networks.join(", ")))} ${what}`;
  print(`${done}; bans ${count(generation)} ${printable(state)}${pending(state)}`);
}

function requireOne(name, [network, ...more]) {
  if (network === undefined || more.length > 0) {
    const flags = name === "ban" ? " --for 1h -m REASON" : "";
    throw usage(
      `${name} takes one address or prefix.`,
      `npm run policy -- ${name} NETWORK${flags}`,
    );
  }
  return requireNetwork(network, name);
}

const why = (network) => `Look: npm run policy -- address ${network.split("/")[0]}`;

/** @param {Call} call */
export async function ban(call, names, flags, now = Date.now()) {
  const network = requireOne("ban", names);
  const end = readEnd(flags, now);
  const reason = requireMessage(flags.message, "guesses passwords", "the ban");
  const refusals = {
    guarded: () => [
      `${network} cannot be banned: the guard list of the policy protects it, or a part of it.`,
      why(network),
    ],
    "too-many-bans": (_, said) => [
      `There is no room for another ban (${said}).`,
      "Unban others, or deny many networks by an address set: npm run policy -- import NAME FILE",
    ],
  };
  const body = JSON.stringify({ network, ...end, reason });
  const options = { body, known, needs: NEEDS, refusals };
  const done = await change(call, ["POST", "bans", options], "bans");
  const span =
    end.duration === undefined ? `until ${moment(end.until, now)}` : `for ${end.duration}`;
  acknowledge(done, `banned ${span}`, flags);
}

/** @param {Call} call */
export async function unban(call, names, flags) {
  const network = requireOne("unban", names);
  const refusals = {
    "no-such-ban": () => [
      `${network} is not banned as such.`,
      `A wider prefix may be, or a rule may deny it. ${why(network)}`,
    ],
  };
  const query = { network, message: readMessage(flags.message) };
  const options = { query, known, needs: NEEDS, refusals };
  acknowledge(await change(call, ["DELETE", "bans", options], "bans"), "unbanned", flags);
}
