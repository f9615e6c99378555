// Replaying what the gateway has logged against a candidate: what it wrote is what replay reads.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { accepted, Admin, READER, TOKENS } from "./admin.ts";
import { assertOneLineEach, assertProblem, eventually, lineOf } from "./expect.ts";
import { Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

interface Group {
  verdict: "changed" | "undecidable";
  stage: string;
  rule?: string;
  what: string;
  records: number;
  examples: string[];
}

interface Report {
  lines: number;
  skipped: Record<string, number>;
  records: number;
  same: number;
  changed: number;
  undecidable: number;
  groups: Group[];
}

let origin: Origin;
let gateway: Gateway;
let admin: Admin;
/** The log lines of the traffic below, as they were written. */
let records: string;
let responses: RawResponse[];

const document = (routes: object[], more: Record<string, object> = {}): object =>
  policy(origin.url, routes, more);

const active = (): object => document([route("all", "/*"), route("api", "/api/*")]);

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({ env: "staging", vars: TOKENS });
  admin = new Admin(gateway);
  accepted(await admin.push(active(), "r0"));
  await eventually(
    "the policy",
    async () => (await lineOf(gateway, await gateway.fetch("/warm"))).revision,
    (revision) => revision === "r1",
  );
  responses = [];
  for (const [client, target] of [
    ["192.0.2.1", "/one"],
    ["192.0.2.1", "/api/one"],
    ["192.0.2.2", "/api/two"],
    ["203.0.113.5", "/api/three"],
    ["203.0.113.6", "/four"],
    ["192.0.2.1", "/api/four"],
  ] as const) {
    responses.push(await gateway.fetch(target, { client }));
  }
  await assertOneLineEach(gateway, responses);
  const ids = responses.map((response) => response.field("x-request-id"));
  records = gateway.log.lines
    .map(({ message }) => message)
    .filter((message) => ids.some((id) => id !== undefined && message.includes(id)))
    .join("\n");
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

const ask = (body: object): Promise<RawResponse> => admin.post("/replay", body, { token: READER });

const replay = async (body: object): Promise<Report> => {
  const response = await ask(body);
  assert.equal(response.status, 200, response.text);
  return response.json as Report;
};

const counts = ({ records, same, changed, undecidable }: Report): number[] => [
  records,
  same,
  changed,
  undecidable,
];

test("against the policy that acted, everything is the same", async () => {
  for (const body of [{ records }, { records, revision: "r1" }, { records, document: active() }]) {
    const report = await replay(body);
    assert.deepEqual(counts(report), [6, 6, 0, 0]);
    assert.deepEqual(report.groups, []);
  }
});

describe("against a candidate", () => {
  test("that denies a network: those records, grouped by its rule", async () => {
    const rules = [{ id: "bad-net", action: "deny", prefixes: ["203.0.113.0/24"] }];
    const routes = [route("all", "/*"), route("api", "/api/*")];
    const report = await replay({ records, document: document(routes, { ip_filter: { rules } }) });
    assert.deepEqual(counts(report), [6, 4, 2, 0]);
    const [group, ...others] = report.groups;
    assert.deepEqual(others, []);
    assert.deepEqual(
      [group?.verdict, group?.stage, group?.rule, group?.records],
      ["changed", "entry.ip_filter", "bad-net", 2],
    );
    assert.deepEqual(
      group?.examples,
      [3, 4].map((nth) => responses[nth]?.field("x-request-id")),
    );
  });

  test("with a limit: in the log's order, from an empty state", async () => {
    const limited = route("api", "/api/*", {
      rate_limit: { rules: [{ id: "once", max: 1, window: "1h" }] },
    });
    const candidate = document([route("all", "/*"), limited]);
    const first = await replay({ records, document: candidate });
    assert.deepEqual(counts(first), [6, 5, 1, 0]);
    const [group] = first.groups;
    assert.deepEqual([group?.stage, group?.rule], ["rate_limit", "once"]);
    assert.deepEqual(group?.examples, [responses[5]?.field("x-request-id")]);
    // Again from an empty state: no counter was moved by it.
    assert.deepEqual(await replay({ records, document: candidate }), first);
  });

  test("that reads what no record holds: undecidable, and says what", async () => {
    const beta = {
      ...route("beta", "/api/*"),
      match: { path: "/api/*", headers: { "x-beta": "yes" } },
    };
    const routes = [route("all", "/*"), route("api", "/api/*"), beta];
    const report = await replay({ records, document: document(routes) });
    assert.deepEqual(counts(report), [6, 2, 0, 4]);
    const [group] = report.groups;
    assert.deepEqual([group?.verdict, group?.records], ["undecidable", 4]);
    assert.match(group?.what ?? "", /x-beta/);
  });

  test("as a text for people, when they ask for one", async () => {
    const body = { records, document: document([route("api", "/api/*")]) };
    const response = await admin.post("/replay", body, { fields: [["Accept", "text/plain"]] });
    assert.equal(response.field("content-type"), "text/plain; charset=utf-8");
    assert.match(response.text, /^6 records: 4 same, 2 changed, 0 undecidable/);
  });
});

test("lines that are no records are counted, and change nothing", async () => {
  const event = JSON.stringify({ schema: 1, event: "policy", time: "x", message: "y" });
  const strange = ["", "not JSON", "[1]", event, '{"schema": 99}', "x".repeat(200_000)];
  const report = await replay({ records: `${strange.join("\n")}\n${records}\n` });
  assert.deepEqual(counts(report), [6, 6, 0, 0]);
  assert.equal(report.lines, strange.length + 6);
  const skipped = Object.values(report.skipped).reduce((sum, count) => sum + count, 0);
  // The empty line is none.
  assert.ok(skipped >= 5, JSON.stringify(report.skipped));
});

test("ten thousand records, one over the limit of the body, and bodies that are none", async () => {
  const many = Array.from({ length: 1_500 }, () => records).join("\n");
  assert.equal((await replay({ records: many })).records, 9_000);
  // In chunks, so that all of it is read before it is known to be too much.
  const body = JSON.stringify({ records: "x".repeat(12 << 20) });
  const large = await admin.call("POST", "/replay", { body, chunked: 1 << 16 });
  assertProblem(large, 413, "too-large");
  for (const body of [{}, { records: 7 }, { records, documnt: {} }]) {
    assertProblem(await ask(body), 400, "invalid-body");
  }
  const both = { records, revision: "r1", document: active() };
  assertProblem(await ask(both), 400, "invalid-body");
  assertProblem(await ask({ records, revision: "r7" }), 404, "no-such-revision");
  assertProblem(await ask({ records, document: { version: 7 } }), 422, "invalid-policy");
});

test("no origin was asked again, and nothing was audited but what failed to be a change", async () => {
  assert.equal(origin.received("/api/*").length, 4);
  const audit = await admin.audit();
  assert.deepEqual(
    audit.map(({ action, revision }) => [action, revision]),
    [["push", "r1"]],
  );
});
