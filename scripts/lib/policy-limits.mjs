// Limits: which counters are used most, what one says, and setting it back.
import { USAGE } from "./admin-refusal.mjs";
import { readWhole } from "./flags.mjs";
import { requireAddress } from "./networks.mjs";
import { print } from "./policy-read.mjs";
import { NEEDS, printTable } from "./policy-sets.mjs";
import { answers, list, maybe, number, object, text } from "./shape.mjs";
import { note, Refusal } from "./term.mjs";
import { count } from "./units.mjs";

/** @typedef {import("./admin-client.mjs").Call} Call */

const USED = object({
  counters: list(object({ counter: text, label: text, used: number, refused: number })),
  unanswered: number,
});

const STATE = { remaining: maybe(number), retry_after_ms: maybe(number), unknown: maybe(text) };

const REPORT = object({
  counters: list(
    object({
      route: maybe(text),
      rule: text,
      counter: text,
      counting: text,
      quota: object({ max: number, window_ms: number }),
      key: maybe(list(object({ part: text, value: maybe(text) }))),
      state: object(STATE),
    }),
  ),
});

const MEND =
  "Give a URL, --client 192.0.2.7, --rule ROUTE/RULE with --key header:NAME=VALUE, or --counter HEX with --rule ROUTE/RULE.";

const SIMPLE = ["tag", "country", "asn", "method", "variant"];
const NAMED = ["header", "cookie", "query", "path"];

/** Which counters, as the body has it. */
function meant(command, [url, ...more], flags) {
  const byValues = flags.key ?? (url === undefined ? flags.client : undefined);
  const named = [url, flags.counter, byValues];
  if (more.length > 0 || named.filter((it) => it !== undefined).length !== 1) {
    throw new Refusal(`That is not what ${command} takes.`, MEND, USAGE);
  }
  const { rule, counter } = flags;
  if (counter !== undefined) return { counter, rule };
  const client = flags.client === undefined ? undefined : requireAddress(flags.client, "--client");
  if (url === undefined) return { client, rule, key: flags.key?.map(part) };
  return { request: { url, client, method: flags.method, headers: flags.header?.map(line) }, rule };
}

/** A part of a key and its value: `header:X-User=ann`, `country=KR`. */
function part(given) {
  const [, kind, name, value] = /^([a-z]+)(?::([^=]+))?=(.*)$/s.exec(given) ?? [];
  if (name === undefined && SIMPLE.includes(kind)) return { part: kind, value };
  if (name !== undefined && NAMED.includes(kind)) return { part: { [kind]: name }, value };
  const kinds = `${SIMPLE.join(", ")}, ${NAMED.map((it) => `${it}:NAME`).join(", ")}`;
  throw new Refusal(
    `--key wants PART=VALUE; ${JSON.stringify(given)} is none.`,
    `Parts are ${kinds}; the client has --client.`,
    USAGE,
  );
}

function line(header) {
  const [, name, value] = /^([^:\s]+):[ \t]*(.*?)[ \t]*$/s.exec(header) ?? [];
  if (name !== undefined && !/[\r\n\0]/.test(value)) return [name, value];
  throw new Refusal(`-H wants 'name: value'; ${JSON.stringify(header)} is none.`, undefined, USAGE);
}

function show({ counters }) {
  printTable(
    ["rule", "key", "counting", "left", "again in", "counter"],
    counters.map(({ route, rule, key, counting, quota, state, counter }) => [
      route ? `${route}/${rule}` : rule,
      (key ?? []).map(({ part, value }) => `${part}=${value ?? ""}`).join(" "),
      counting,
      state.unknown ?? `${count(state.remaining)} of ${count(quota.max)}`,
      state.retry_after_ms > 0 ? `${Math.ceil(state.retry_after_ms / 1_000)} s` : "",
      counter,
    ]),
  );
}

/** @param {Call} call */
export async function limits(call, names, flags) {
  const { client, counter, key } = flags;
  if (names.length > 0 || [client, counter, key].some((it) => it !== undefined)) {
    const body = JSON.stringify(meant("limits", names, flags));
    const known = answers(REPORT);
    const { text: answer, json } = await call("POST", "limits/look", { body, known, needs: NEEDS });
    return flags.json ? print(answer) : show(json);
  }
  const query = { limit: readWhole("limit", flags.limit, 1, 100) };
  const known = answers(USED);
  const { text: answer, json } = await call("GET", "limits", { query, known, needs: NEEDS });
  if (flags.json) return print(answer);
  if (json.counters.length === 0) note("Nothing was counted by an object since it began.");
  else {
    printTable(
      ["rule and key", "used", "refused", "counter"],
      json.counters.map((it) => [it.label, count(it.used), count(it.refused), it.counter]),
      [1, 2],
    );
  }
  if (json.unanswered > 0) note(`${count(json.unanswered)} objects did not answer.`);
}

/** @param {Call} call */
export async function reset(call, names, flags) {
  const body = JSON.stringify(meant("reset", names, flags));
  const known = answers(REPORT);
  const { text: answer, json } = await call("POST", "limits/reset", { body, known, needs: NEEDS });
  if (flags.json) return print(answer);
  show(json);
  const many = json.counters.length;
  note(
    `Set back: ${many === 1 ? "1 counter" : `${count(many)} counters`}; above is what was there before.`,
  );
  note("Isolates elsewhere may hold on to a refusal for ten seconds.");
}
