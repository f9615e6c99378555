// What a client may write to pass for another: fields of every name that some server reads an address
// from, and every trick with the grammar of a chain.

import type { Fields } from "./raw.ts";

export interface Attack {
  name: string;
  fields: Fields;
}

/** The address that the attacks claim: one of the trusted hops', which would be the worst. */
export const CLAIMED = "10.6.6.6";

const FIELDS = [
  "X-Forwarded-For",
  "x-forwarded-for",
  "X-FORWARDED-FOR",
  "X_Forwarded_For",
  "X-Forwarded_For",
  "X-Forwarded",
  "Forwarded-For",
  "X-Real-IP",
  "True-Client-IP",
  "Client-IP",
  "X-Client-IP",
  "X-Cluster-Client-IP",
  "X-Originating-IP",
  "X-Remote-Addr",
  "Fastly-Client-IP",
  "CF-Connecting-IPv6",
  "CF-Pseudo-IPv4",
  "CF_Connecting_IP",
];

const CHAINS: [name: string, ...lines: string[]][] = [
  ["two lines", CLAIMED, CLAIMED],
  ["an empty line after it", CLAIMED, ""],
  ["empty elements", `,,, ${CLAIMED},,`],
  ["white space", `\t ${CLAIMED} \t`],
  ["a comma at the end", `${CLAIMED},`],
  ["commas alone", ",".repeat(2_000)],
  ["an open quote", `"${CLAIMED}`],
  ["a quoted comma", `"${CLAIMED}, `],
  ["unknown", "unknown"],
  ["an obfuscated name", "_hidden"],
  ["garbage", "<script>; DROP TABLE"],
  ["a port", `${CLAIMED}:80`],
  ["IPv4-mapped", `::ffff:${CLAIMED}`],
  ["6to4", "2002:a06:606::1"],
  ["NAT64", `64:ff9b::${CLAIMED}`],
  ["brackets", `[::ffff:${CLAIMED}]:80`],
  ["a zone", "fe80::1%eth0"],
  ["octal", "012.6.6.6"],
  ["a very long chain", `${CLAIMED},`.repeat(1_500)],
];

const ELEMENTS: [name: string, ...lines: string[]][] = [
  ["two elements", `for=${CLAIMED}, for=${CLAIMED}`],
  ["two lines", `for=${CLAIMED}`, `for=${CLAIMED}`],
  ["upper case", `FOR="${CLAIMED}"`],
  ["an open quote", `for=${CLAIMED};by="`],
  ["an open quote in for", `for="${CLAIMED}`],
  ["an open quote and a backslash", `for=${CLAIMED};by="\\`],
  ["an escaped quote", `for=${CLAIMED};by="\\"`],
  ["a quoted comma", `for="${CLAIMED}, for=${CLAIMED}"`],
  ["for twice", `for=${CLAIMED};for=${CLAIMED}`],
  ["an open element", `for=${CLAIMED};`],
  ["an element without for", "proto=https;host=evil.test"],
  ["unknown", "for=unknown"],
  ["an obfuscated name", "for=_hidden;by=_x"],
  ["empty elements", `,, for=${CLAIMED},,`],
  ["no value", "for="],
  ["no pairs", "=;;=,"],
  ["IPv6", 'for="[::ffff:10.6.6.6]:80"'],
  ["a very long chain", `for=${CLAIMED},`.repeat(1_200)],
];

const lines = (field: string, values: string[]): Fields => values.map((value) => [field, value]);

/** All of them, and all at once. */
export const ATTACKS: Attack[] = [
  { name: "nothing", fields: [] },
  ...FIELDS.map((field): Attack => ({ name: field, fields: [[field, CLAIMED]] })),
  ...CHAINS.map(([name, ...values]) => ({
    name: `X-Forwarded-For: ${name}`,
    fields: lines("X-Forwarded-For", values),
  })),
  ...ELEMENTS.map(([name, ...values]) => ({
    name: `Forwarded: ${name}`,
    fields: lines("Forwarded", values),
  })),
  {
    name: "all fields at once",
    fields: [
      ...FIELDS.map((field): [string, string] => [field, CLAIMED]),
      ["Forwarded", `for=${CLAIMED};by="`],
    ],
  },
];

/** What a hop sends on: it appends to the chain, on a line of its own or on the last that is there. */
function appended(fields: Fields, chain: string, value: string, merged: boolean): Fields {
  const last = fields.findLastIndex(([name]) => name.toLowerCase() === chain.toLowerCase());
  if (!merged || last < 0) return [...fields, [chain, value]];
  return fields.map(([name, old], at) => (at === last ? [name, `${old}, ${value}`] : [name, old]));
}

/** Somebody who would rather be somebody else. */
export const STRANGER = "203.0.113.7";

/** A hop of our own. */
export const PROXY = "10.0.0.1";

/** How a stranger's request arrives: with what it wrote, and what hops on its way add. */
type Arrival = (fields: Fields, merged: boolean) => { client: string | null; fields: Fields };

const directly: Arrival = (fields) => ({ client: STRANGER, fields });

/** Over hops, each of which appends its peer: the last of them is the gateway's own peer. */
const over =
  (peer: string | null, chain: string, ...values: string[]): Arrival =>
  (fields, merged) => ({
    client: peer,
    fields: values.reduce((sent, value) => appended(sent, chain, value, merged), fields),
  });

export const XFF = "X-Forwarded-For";

/** Hops by their addresses. */
export const TRUSTED = { trusted_hops: ["10.0.0.0/8", "2001:db8:aaaa::/48"] };

/** Whatever is wrong with a chain, the peer is the client. */
export const LENIENT = { on_short_chain: "peer", on_garbled_chain: "peer" };

/** Whatever is wrong with a chain, the request is refused. */
export const STRICT = { on_short_chain: "reject", on_garbled_chain: "reject" };

/** Every documented configuration, and every way to reach it on which a client has an address. */
export const CONFIGURATIONS: [
  name: string,
  address: object,
  arrival: Arrival,
  expected?: string,
][] = [
  ["the peer's field alone", {}, directly],
  [
    "a field of another platform",
    { header: "X-Edge-Address" },
    (fields) => ({ client: null, fields: [["X-Edge-Address", STRANGER], ...fields] }),
  ],
  ["an address assumed", { on_missing: { address: "127.0.0.1" } }, over(null, XFF), "127.0.0.1"],
  ["hops by address, past them", TRUSTED, directly],
  ["hops by address, lenient, past them", { ...TRUSTED, ...LENIENT }, directly],
  ["hops by address, strict, past them", { ...TRUSTED, ...STRICT }, directly],
  ["Forwarded, hops by address, past them", { ...TRUSTED, chain: "Forwarded" }, directly],
  ["hops by address, one", TRUSTED, over(PROXY, XFF, STRANGER)],
  [
    "hops by address, three",
    TRUSTED,
    over(PROXY, XFF, `${STRANGER}:4711`, "2001:db8:aaaa::1", "10.0.0.9"),
  ],
  ["hops by address, lenient", { ...TRUSTED, ...LENIENT }, over(PROXY, XFF, STRANGER)],
  ["hops by address, strict", { ...TRUSTED, ...STRICT }, over(PROXY, XFF, STRANGER)],
  [
    "hops by address, one assumed",
    { ...TRUSTED, on_missing: { address: PROXY } },
    over(null, XFF, STRANGER),
  ],
  [
    "Forwarded, hops by address, one",
    { ...TRUSTED, chain: "Forwarded" },
    over(PROXY, "Forwarded", `for=${STRANGER}`),
  ],
  [
    "Forwarded, hops by address, two, lenient",
    { ...TRUSTED, ...LENIENT, chain: "Forwarded" },
    over(PROXY, "Forwarded", `for="${STRANGER}:1";host="a, b\\"";proto=https`, "for=10.0.0.9"),
  ],
  ["hops by number, one", { trusted_depth: 1 }, over("198.51.100.77", XFF, STRANGER)],
  [
    "hops by number, three",
    { trusted_depth: 3 },
    over("198.51.100.77", XFF, STRANGER, "unknown", "198.51.100.8"),
  ],
  ["hops by number, lenient", { trusted_depth: 1, ...LENIENT }, over(PROXY, XFF, STRANGER)],
  ["hops by number, strict", { trusted_depth: 1, ...STRICT }, over(PROXY, XFF, STRANGER)],
  [
    "hops by number, one assumed",
    { trusted_depth: 1, on_missing: { address: "127.0.0.1" } },
    over(null, XFF, STRANGER),
  ],
  [
    "Forwarded, hops by number, two",
    { trusted_depth: 2, chain: "Forwarded" },
    over("198.51.100.77", "Forwarded", `by=_x;for=${STRANGER}`, "proto=https;for=_hop"),
  ],
];
