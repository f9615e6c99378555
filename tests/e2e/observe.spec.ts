// Stage 16: one line a request, complete, and with nothing in it that does not belong there.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertOneLineEach, eventually, lineOf } from "./expect.ts";
import type { Access } from "./log.ts";
import { Gateway, policy, route, using } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
  origin.on("/cached", { fields: [["Cache-Control", "max-age=600"]], body: "x" });
});
after(() => origin.stop());

const rules = (more: Record<string, object> = {}): object =>
  policy(
    origin.url,
    [
      route("plain", "/plain/*"),
      route("cached", "/cached", { cache: {} }),
      route("guarded", "/guarded", { ip_filter: { default: "deny" } }),
      route("dead", "/dead", { upstream: "dead" }),
      route("full", "/full", {
        ip_filter: { rules: [{ id: "office", action: "allow", prefixes: ["192.0.2.0/24"] }] },
        rate_limit: { rules: [{ id: "few", max: 100, window: "1h", counting: "local" }] },
        canary: {
          variants: [
            { name: "a", upstream: "app", weight: 100 },
            { name: "b", upstream: "app", weight: 0 },
          ],
        },
      }),
    ],
    // Port 1 answers nobody.
    { ...more, upstreams: { dead: { origin: "http://127.0.0.1:1" } } },
  );

/** Every field there may be, and what it holds. */
const SCHEMA: Record<keyof Access, (value: unknown) => boolean> = {
  schema: (value) => value === 1,
  time: (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(String(value)),
  request_id: (value) => /^[0-9a-f]{32}$/.test(String(value)),
  trace_id: (value) => /^[0-9a-f]{32}$/.test(String(value)),
  client: (value) => typeof value === "string",
  method: (value) => /^[A-Z]+$/.test(String(value)),
  host: (value) => value === "gateway.test",
  path: (value) => typeof value === "string" && value.startsWith("/") && !value.includes("?"),
  route: (value) => typeof value === "string",
  verdict: (value) =>
    ["forwarded", "cached", "refused", "failed", "answered"].includes(String(value)),
  reason: (value) => /^[a-z-]+$/.test(String(value)),
  status: (value) => Number.isInteger(value),
  stages: (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(({ stage, verdict }) => stage && verdict),
  tags: (value) => Array.isArray(value) && value.every((tag) => /^[a-z0-9_-]+$/.test(String(tag))),
  cache: (value) => /^[a-z-]+$/.test(String(value)),
  variant: (value) => typeof value === "string",
  upstream: (value) => typeof value === "string",
  upstream_status: (value) => Number.isInteger(value),
  duration_ms: (value) => Number.isInteger(value),
  upstream_ms: (value) => Number.isInteger(value),
  revision: (value) => value === "r1",
  error: (value) => typeof value === "string" && value !== "",
};
const ALWAYS = [
  "schema",
  "time",
  "request_id",
  "method",
  "verdict",
  "status",
  "duration_ms",
  "revision",
];

/** The line has the fields of the schema, and besides those of every line exactly these. */
function assertLine(line: Access, fields: (keyof Access)[]): void {
  for (const [name, value] of Object.entries(line)) {
    const check = SCHEMA[name as keyof Access];
    assert.ok(check, `${name} is no field of the schema`);
    assert.ok(check(value), `${name}: ${JSON.stringify(value)}`);
  }
  assert.deepEqual(Object.keys(line).sort(), [...ALWAYS, ...fields].sort());
}

describe("the line of a request", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ policy: rules() });
  });
  after(() => gateway?.dispose());

  const IDENTIFIED = ["trace_id", "client"] as const;
  const WHERE = ["host", "path"] as const;
  const SENT = ["upstream", "upstream_ms"] as const;

  test("that was forwarded", async () => {
    const before = Date.now();
    const line = await lineOf(gateway, await gateway.fetch("/plain/x?secret=1"));
    assertLine(line, [...IDENTIFIED, ...WHERE, "route", ...SENT, "upstream_status"]);
    assert.ok(Math.abs(Date.parse(line.time) - before) < 5_000);
    assert.deepEqual(
      [line.method, line.path, line.route, line.client, line.verdict, line.status, line.upstream],
      ["GET", "/plain/x", "plain", "192.0.2.1", "forwarded", 200, "app"],
    );
    assert.ok((line.upstream_ms ?? 0) <= line.duration_ms);
  });

  test("with every stage", async () => {
    const line = await lineOf(gateway, await gateway.fetch("/full"));
    assertLine(line, [
      ...IDENTIFIED,
      ...WHERE,
      "route",
      "stages",
      "variant",
      ...SENT,
      "upstream_status",
    ]);
    assert.deepEqual(line.stages, [
      { stage: "ip_filter", verdict: "allow", rule: "office", prefix: "192.0.2.0/24" },
      { stage: "rate_limit", verdict: "allow", rule: "few" },
    ]);
    assert.equal(line.variant, "a");
  });

  test("that the cache answered", async () => {
    const hit = await eventually(
      "a hit",
      () => gateway.fetch("/cached"),
      (response) => response.field("cache-status")?.includes("hit") ?? false,
    );
    const line = await lineOf(gateway, hit);
    assertLine(line, [...IDENTIFIED, ...WHERE, "route", "cache"]);
    assert.deepEqual([line.verdict, line.cache], ["cached", "hit"]);
  });

  test("that was refused", async () => {
    const line = await lineOf(gateway, await gateway.fetch("/guarded?secret=1"));
    assertLine(line, [...IDENTIFIED, ...WHERE, "route", "reason", "stages"]);
    assert.deepEqual([line.verdict, line.reason, line.status], ["refused", "address-denied", 403]);
  });

  test("that failed", async () => {
    const line = await lineOf(gateway, await gateway.fetch("/dead?secret=1"));
    assertLine(line, [...IDENTIFIED, ...WHERE, "route", "reason", ...SENT, "error"]);
    assert.deepEqual(
      [line.verdict, line.reason, line.status],
      ["failed", "upstream-unreachable", 502],
    );
  });

  test("that the gateway answered for itself", async () => {
    const line = await lineOf(gateway, await gateway.fetch("/_weir/health?secret=1"));
    assertLine(line, [...IDENTIFIED, ...WHERE]);
    assert.deepEqual([line.verdict, line.path], ["answered", "/_weir/health"]);
  });

  test("of nobody known, or to nowhere", async () => {
    const nobody = await lineOf(gateway, await gateway.fetch("/plain/x", { client: null }));
    assertLine(nobody, [...WHERE, "reason"]);
    const garbage = await lineOf(gateway, await gateway.fetch("/plain/%2e%2e?secret=1"));
    assertLine(garbage, [...IDENTIFIED, "path", "reason"]);
    assert.equal(garbage.path, "/plain/%2e%2e");
  });

  test("is one line, whatever the path holds", async () => {
    const target = `/plain/"quoted"%0A%0D%22,{}%E2%80%A8${"x".repeat(3_000)}`;
    const response = await gateway.fetch(target);
    const line = await lineOf(gateway, response);
    assert.ok(target.startsWith(line.path ?? "-"));
    assert.ok((line.path?.length ?? 0) <= 1_024, "a client decides how long a line is");
    await assertOneLineEach(gateway, [response]);
  });

  test("is one line each, of many at once", async () => {
    const targets = ["/plain/x", "/guarded", "/dead", "/nowhere", "/full"];
    const all = await Promise.all(
      Array.from({ length: 50 }, (_, nth) => gateway.fetch(targets[nth % 5] ?? "")),
    );
    assert.equal(new Set(all.map((response) => response.field("x-request-id"))).size, 50);
    await assertOneLineEach(gateway, all);
  });

  test("holds no query, no credentials, no cookie and no body", async () => {
    const response = await gateway.fetch("/plain/y?token=hush-query", {
      method: "POST",
      body: "hush-body",
      fields: [
        ["Authorization", "Bearer hush-bearer"],
        ["Cookie", "session=hush-cookie"],
        ["X-Api-Key", "hush-key"],
        ["Referer", "http://gateway.test/?hush-referer"],
      ],
    });
    await lineOf(gateway, response);
    for (const { message } of gateway.log.lines) {
      assert.ok(!message.includes("hush"), message);
      assert.ok(!message.includes("secret"), message);
    }
  });
});

describe("the level", () => {
  /** The verdicts that are logged, of a request of each kind. */
  async function logged(gateway: Gateway): Promise<string[]> {
    const answers: RawResponse[] = [];
    for (const target of ["/plain/x", "/_weir/health", "/guarded", "/nowhere", "/dead"]) {
      answers.push(await gateway.fetch(target));
    }
    // The last one fails, which every level tells; what came before it is there by then.
    await lineOf(gateway, answers.at(-1) as RawResponse);
    return gateway.log.access.map(({ verdict }) => verdict);
  }

  const ALL = ["forwarded", "answered", "refused", "refused", "failed"];
  for (const [level, verdicts] of [
    ["info", ALL],
    ["warn", ["refused", "refused", "failed"]],
    ["error", ["failed"]],
    ["surprise", ALL],
    [undefined, ALL],
  ] as const) {
    test(`${level}`, () =>
      using({ policy: rules(), vars: { LOG_LEVEL: level } }, async (gateway) => {
        assert.deepEqual(await logged(gateway), verdicts);
      }));
  }

  test("of production is warn", () =>
    using({ env: "production", policy: rules() }, async (gateway) => {
      assert.deepEqual(await logged(gateway), ["refused", "refused", "failed"]);
    }));
});

describe("the client's address", () => {
  for (const [setting, v4, v6] of [
    ["address", "198.51.100.77", "2001:db8:1:2::3"],
    ["network", "198.51.100.0/24", "2001:db8:1::/48"],
    ["none", undefined, undefined],
  ] as const) {
    test(`as ${setting}`, () =>
      using(
        { policy: rules({ observe: { log: { client_address: setting } } }) },
        async (gateway) => {
          for (const [client, expected] of [
            ["198.51.100.77", v4],
            ["2001:db8:1:2::3", v6],
          ] as const) {
            for (const target of ["/plain/x", "/guarded"]) {
              const line = await lineOf(gateway, await gateway.fetch(target, { client }));
              assert.equal(line.client, expected);
              if (setting !== "address") assert.ok(!JSON.stringify(line).includes(client));
            }
          }
        },
      ));
  }
});
