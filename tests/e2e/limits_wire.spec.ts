// What rules charge and what clients are told, on the wire.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { sleep } from "./expect.ts";
import { Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

const rule = (id: string, more: object): object => ({ id, max: 10, window: "1h", ...more });
const limited = (id: string, ...rules: object[]): object =>
  route(id, `/${id}/*`, { rate_limit: { rules } });

const FORMS = ["local", "exact", "leased"].flatMap((counting) =>
  ["gcra", "sliding_window", "fixed_window"].map((algorithm) => ({ counting, algorithm })),
);

let origin: Origin;
let gateway: Gateway;
before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({
    policy: policy(
      origin.url,
      [
        ...FORMS.map((form) =>
          limited(`${form.counting}-${form.algorithm}`, rule("a-b_c", { max: 2, ...form })),
        ),
        limited("penalty", rule("p", { max: 1, window: "10m", penalty: 1, max_debt: 3 })),
        limited("plain", rule("p", { max: 1, window: "10m" })),
        limited(
          "costs",
          rule("c", { cost: { methods: { POST: 4 }, header: "X-Size", min: 2, max: 6 } }),
        ),
        limited("debt", rule("d", { cost_header: "X-Cost", max_debt: 20 })),
        limited("status", rule("s", { max: 1, status: 503, message: "Full.", x_ratelimit: true })),
        limited("exempt", rule("e", { max: 1, exempt_tags: ["partner"] })),
        limited("wide", rule("w", { max: 2, ipv6_prefix: 48 })),
        limited("missing", rule("m", { key: [{ cookie: "sid" }], on_missing: "refuse" })),
      ],
      {
        ip_filter: {
          rules: [{ id: "t", action: "tag", tag: "partner", prefixes: ["198.51.100.0/24"] }],
        },
      },
    ),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin.stop();
});

async function answers(
  target: string,
  count: number,
  options: FetchOptions = {},
): Promise<RawResponse[]> {
  const seen: RawResponse[] = [];
  for (let nth = 0; nth < count; nth += 1) seen.push(await gateway.fetch(target, options));
  return seen;
}

const statuses = async (...asked: Parameters<typeof answers>): Promise<number[]> =>
  (await answers(...asked)).map(({ status }) => status);

/** What is left, by the field. */
const remaining = (response: RawResponse | undefined): number =>
  Number(/;r=(\d+)/.exec(response?.field("ratelimit") ?? "")?.[1]);

const seconds = (response: RawResponse | undefined): number =>
  Number(response?.field("retry-after"));

describe("the fields of draft-ietf-httpapi-ratelimit-headers-11", () => {
  // One item of a List: a String, then parameters that are Integers (RFC 9651, 3.1 to 3.3).
  const policyField = /^"([ !#-[\]-~]+)";q=(\d{1,15});w=([1-9]\d{0,14})$/;
  const stateField = /^"([ !#-[\]-~]+)";r=(\d{1,15});t=(\d{1,15})$/;

  for (const { counting, algorithm } of FORMS) {
    test(`${counting} ${algorithm}`, async () => {
      const seen = await answers(`/${counting}-${algorithm}/x`, 3);
      assert.deepEqual(
        seen.map(({ status }) => status),
        [200, 200, 429],
      );
      assert.deepEqual(seen.map(remaining), [1, 0, 0]);
      for (const response of seen) {
        const stated = policyField.exec(response.field("ratelimit-policy") ?? "");
        const state = stateField.exec(response.field("ratelimit") ?? "");
        // The policy stays the same (3), and the state names it (4.1).
        assert.deepEqual(stated?.slice(1), ["a-b_c", "2", "3600"]);
        assert.equal(state?.[1], "a-b_c");
        assert.ok(Number(state?.[3]) > 0 && Number(state?.[3]) <= 7_200, state?.[3]);
        // No partition key: it would be the client's address.
        assert.doesNotMatch(JSON.stringify(response.fields), /pk=|192\.0\.2\.1/);
      }
      // Not earlier than the end of the effective window (6).
      const [, , t] = stateField.exec(seen[2]?.field("ratelimit") ?? "")?.slice(1) ?? [];
      assert.ok(seconds(seen[2]) >= Number(t), `${seconds(seen[2])} and ${t}`);
    });
  }
});

test("refusals push no recovery away, unless the rule says penalty", async () => {
  const plain = (await answers("/plain/x", 4)).slice(1).map(seconds);
  assert.ok(
    plain.every((wait) => wait <= 600 && wait > 590),
    `${plain}`,
  );
  const punished = (await answers("/penalty/x", 6)).slice(1).map(seconds);
  // One more each time, this one's in it, up to the most that may be owed.
  const expected = [1_200, 1_800, 2_400, 2_400, 2_400];
  assert.ok(
    punished.every((wait, nth) => Math.abs(wait - (expected[nth] ?? 0)) <= 10),
    `${punished}`,
  );
});

test("a request costs what its method or a field says, within bounds", async () => {
  const left = async (options: FetchOptions): Promise<number> =>
    remaining(await gateway.fetch("/costs/x", options));
  const sized = (value: string): FetchOptions => ({
    client: "192.0.2.2",
    fields: [["X-Size", value]],
  });
  assert.equal(await left({}), 9);
  assert.equal(await left({ method: "POST" }), 5);
  assert.equal(await left({ method: "POST" }), 1);
  // What does not fit is refused, and what does passes.
  assert.equal((await gateway.fetch("/costs/x", { method: "POST" })).status, 429);
  assert.equal(await left({}), 0);
  assert.equal(await left(sized("0")), 8);
  assert.equal(await left(sized("3")), 5);
  // What is no number is not cheaper than any.
  assert.equal((await gateway.fetch("/costs/x", sized("lots"))).status, 429);
  assert.equal(await left(sized("5")), 0);
});

test("what the origin says above the charge becomes a debt", async () => {
  origin.on("/debt/dear", { fields: [["X-Cost", "25"]] });
  const first = await gateway.fetch("/debt/dear");
  assert.deepEqual([first.status, first.field("x-cost")], [200, undefined]);
  await sleep(200);
  const refused = await gateway.fetch("/debt/x");
  assert.deepEqual([refused.status, remaining(refused)], [429, 0]);
  // Fifteen more than it had, and one to come: at six minutes each.
  assert.ok(Math.abs(seconds(refused) - 16 * 360) <= 10, refused.field("retry-after"));
});

test("a refusal has the rule's own status and message, and the older fields", async () => {
  const [first, refused] = await answers("/status/x", 2);
  const older = (response: RawResponse | undefined) =>
    ["limit", "remaining", "reset"].map((name) => response?.field(`x-ratelimit-${name}`));
  assert.deepEqual([first?.status, refused?.status], [200, 503]);
  for (const response of [first, refused]) {
    const [limit, rest, reset] = older(response);
    assert.deepEqual([limit, rest], ["1", "0"]);
    assert.ok(Math.abs(Number(reset) - 3_600) <= 10, reset);
  }
  const accepting = (accept: string) =>
    gateway.fetch("/status/x", { fields: [["Accept", accept]] });
  const forms = await Promise.all(
    ["text/html", "application/json", "application/problem+json", "*/*"].map(accepting),
  );
  assert.deepEqual(
    forms.map((response) => response.field("content-type")),
    ["text/html; charset=utf-8", ...Array.from({ length: 3 }, () => "application/problem+json")],
  );
  assert.ok(forms.every(({ text }) => text.includes("Full.")));
});

test("labels exempt, and a wide network is one client where the rule says so", async () => {
  assert.deepEqual(await statuses("/exempt/x", 2), [200, 429]);
  assert.deepEqual(await statuses("/exempt/x", 3, { client: "198.51.100.9" }), [200, 200, 200]);
  const from = async (client: string): Promise<number> =>
    (await gateway.fetch("/wide/x", { client })).status;
  assert.deepEqual(
    [
      await from("2001:db8:1:1::1"),
      await from("2001:db8:1:2::1"),
      await from("2001:db8:1:3::1"),
      await from("2001:db8:2::1"),
    ],
    [200, 200, 429, 200],
  );
});

test("a request without a part of the key is refused where the rule says so", async () => {
  assert.equal((await gateway.fetch("/missing/x")).status, 400);
  const fields: FetchOptions["fields"] = [["Cookie", "sid=7"]];
  assert.equal((await gateway.fetch("/missing/x", { fields })).status, 200);
});
