// What is measured, as data. A scenario compares its entries with its first one, the baseline.
//
// An entry names the server that is loaded, the status it must give, and whether its requests reach
// the origin: "all" of them, "none", or undefined where the server has no origin. `proves` looks at
// one answer before the measuring begins and returns what is wrong with it: a number is worth
// nothing if the stage it is about did not run.

import { UNIQUE } from "./requests.mjs";

const MIB16 = 16 * 1024 * 1024;

const passThrough = (rest) => ({
  name: "pass-through",
  server: "passthrough",
  expect: 200,
  origin: "all",
  ...rest,
});
const gateway = (rest) => ({
  name: "gateway",
  server: "gateway",
  expect: 200,
  origin: "all",
  ...rest,
});
const constant = (rest) => ({ name: "constant", server: "constant", expect: 200, ...rest });

const mapped = (rest) => ({
  name: "map in memory",
  server: "mapped",
  expect: 200,
  origin: "none",
  primed: true,
  ...rest,
});

// What the gateway asks of the runtime, and nothing decided: see workers/calls.js.
const calls = (rest) => ({ server: "calls", expect: 200, origin: "none", primed: true, ...rest });

const cacheStatus = (pattern) => (answer) =>
  pattern.test(answer.headers["cache-status"] ?? "")
    ? undefined
    : `Cache-Status is ${answer.headers["cache-status"]}`;

const fromMemory = gateway({
  name: "gateway, hit from memory",
  origin: "none",
  primed: true,
  proves: cacheStatus(/^edgeweir; hit/),
});

// As many as an isolate keeps: each counts 512 bytes besides its texts, and all of them 16 MiB.
const STORED = [100, 1_000, 10_000];
const storing = (count) => `gateway, ${count.toLocaleString("en-GB")} stored`;

// A server each: what it keeps is what its requests ask for.
const amongStored = (count) =>
  gateway({
    name: storing(count),
    server: `gateway ${count}`,
    origin: "none",
    primed: true,
    request: { path: `/v1/store/near/${UNIQUE}`, among: count },
    proves: cacheStatus(/^edgeweir; hit/),
  });

// Each stage leaves a trace in the answer: the limiter its field, the cache its status.
const allStages = (answer) =>
  answer.headers.ratelimit === undefined
    ? "no RateLimit field: the limiter did not run"
    : cacheStatus(/^edgeweir; fwd=/)(answer);

// A label decides nothing, so members are forwarded like all others. Asked at a route that lets
// nobody else in, a member shows that its prefix is in the stored set that was loaded; without one,
// nobody would get in.
const labels = (family) => {
  const path = "/v1/plain/listed";
  const show =
    (inSet) =>
    ({ clients }) => {
      const { members, others, probe } = clients[family];
      return [
        { path, client: probe, expect: 200 },
        { path, client: members[0], expect: inSet },
        { path, client: others[0], expect: 403 },
      ];
    };
  const full = "gateway, 1,250,000 prefixes";
  return {
    request: { path: "/v1/plain", clients: family },
    entries: [
      gateway({
        name: "gateway, two prefixes",
        server: "unlisted",
        shows: show(403),
      }),
      gateway({ name: full, server: "listed", shows: show(200) }),
    ],
    targets: [{ entry: full, metric: "cpu", atMost: 1.03 }],
  };
};

export const SCENARIOS = [
  {
    name: "uncacheable",
    title: "GET, small JSON, no-store; all stages on",
    request: { path: "/v1/plain" },
    entries: [
      passThrough(),
      gateway({ proves: allStages }),
      gateway({ name: "gateway, LOG_LEVEL=error", server: "quiet", proves: allStages }),
      constant(),
    ],
    targets: [
      { entry: "gateway", metric: "requests", atLeast: 0.85 },
      { entry: "gateway", metric: "cpu", atMost: 1.2 },
    ],
  },
  {
    name: "miss",
    title: "GET, small JSON, each URL new, stored by the gateway",
    request: { path: `/v1/store?n=${UNIQUE}` },
    entries: [passThrough(), gateway({ proves: cacheStatus(/stored/) })],
  },
  {
    name: "hit",
    title: "GET, small JSON, answered from the cache",
    request: { path: "/v1/store/hit" },
    entries: [
      passThrough(),
      gateway({
        name: "gateway, hit",
        origin: "none",
        primed: true,
        proves: cacheStatus(/^edgeweir; hit/),
      }),
      constant(),
    ],
  },
  {
    name: "memory",
    title: "GET, small JSON, answered from the isolate's memory, against the constant answer",
    request: { path: "/v1/store/near" },
    entries: [constant(), fromMemory],
    targets: [
      { entry: fromMemory.name, metric: "requests", atLeast: 0.7 },
      { entry: fromMemory.name, metric: "cpu", atMost: 1.4 },
    ],
  },
  {
    name: "memory-map",
    title: "the same against a Worker that answers from a Map",
    request: { path: "/v1/store/near" },
    entries: [mapped(), fromMemory],
    targets: [{ entry: fromMemory.name, metric: "requests", atLeast: 0.85 }],
  },
  {
    name: "memory-calls",
    title: "the same, and what its calls to the runtime cost by themselves",
    request: { path: "/v1/store/near" },
    entries: [
      constant(),
      calls({ name: "the calls, no line", server: "quiet calls" }),
      calls({ name: "the calls" }),
      { ...fromMemory, name: `${fromMemory.name}, no line`, server: "quiet" },
      fromMemory,
    ],
  },
  {
    name: "memory-large",
    title: "GET, 1 MiB body, answered from memory, against a Worker that answers from a Map",
    request: { path: "/v1/mebibyte" },
    connections: 4,
    entries: [mapped(), fromMemory],
    targets: [{ entry: fromMemory.name, metric: "requests", atLeast: 0.9 }],
  },
  {
    name: "memory-entries",
    title: "GET, small JSON, answered from memory, by the number of answers that are stored there",
    request: {},
    entries: STORED.map(amongStored),
    targets: STORED.slice(1).map((count) => ({
      entry: storing(count),
      metric: "cpu",
      atMost: 1.2,
    })),
  },
  {
    name: "refused",
    title: "refused at once, against the constant answer",
    request: { path: "/v1/plain" },
    entries: [
      constant(),
      gateway({
        name: "gateway, 403 by ip_filter",
        expect: 403,
        origin: "none",
        request: { refused: true },
      }),
      gateway({
        name: "gateway, 429 by rate_limit",
        expect: 429,
        origin: "none",
        exhausted: true,
        request: { path: "/v1/limited" },
      }),
    ],
  },
  {
    name: "exact",
    title: "GET, small JSON, each request counted in a Durable Object",
    request: { path: "/v1/exact" },
    entries: [passThrough(), gateway({ name: "gateway, exact limit", proves: allStages })],
  },
  {
    name: "addresses",
    title:
      "GET, small JSON, forwarded; 65,536 IPv4 clients looked up in a stored set, half are in it",
    ...labels("v4"),
  },
  {
    name: "addresses-v6",
    title: "the same with IPv6 clients",
    ...labels("v6"),
  },
  {
    name: "download",
    title: "GET, 16 MiB body",
    request: { path: "/v1/large" },
    connections: 4,
    entries: [passThrough(), gateway()],
    targets: [{ entry: "gateway", metric: "cpu", atMost: 1.15 }],
  },
  {
    name: "upload",
    title: "POST, 16 MiB body",
    request: { method: "POST", path: "/v1/upload", body: MIB16 },
    connections: 4,
    entries: [passThrough(), gateway()],
    targets: [{ entry: "gateway", metric: "cpu", atMost: 1.15 }],
  },
];

/** The upload, gzipped. */
export const SIZE_TARGET = 300 * 1024;
