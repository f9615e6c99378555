// Stage 2: what lies under /_weir is ours, however it is spelt, and never an origin's.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertOneLineEach, assertProblem, lineOf } from "./expect.ts";
import { Gateway, policy, route, VERSION } from "./mf.ts";
import { Origin } from "./origin.ts";

let origin: Origin;
let gateway: Gateway;

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({
    verbatim: true,
    policy: policy(origin.url, [route("all", "/*", { cache: {} })], {
      ip_filter: {
        rules: [
          { id: "all", action: "deny", prefixes: ["0.0.0.0/0", "::/0"] },
          { id: "one", action: "allow", prefixes: ["192.0.2.1"] },
        ],
      },
      rate_limit: { rules: [{ id: "one", max: 1, window: "1h", counting: "local" }] },
    }),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

describe("health", () => {
  for (const target of [
    "/_weir/health",
    "//_weir/health",
    "/_weir//health",
    "/%5Fweir/health",
    "/%5fweir/%68ealth",
    "/_weir/health/",
    "/_weir/health?x=1",
  ]) {
    test(`answers at ${target}, to whoever asks`, async () => {
      for (const client of ["192.0.2.1", "203.0.113.9", "2001:db8::1"]) {
        const response = await gateway.fetch(target, { client, host: "any.test" });
        assert.equal(response.status, 200);
        assert.equal(response.field("content-type"), "application/json");
        assert.equal(response.field("cache-control"), "no-store");
        assert.ok(response.field("x-request-id"));
        assert.deepEqual(response.json, { status: "ok", version: VERSION, revision: "r1" });
        assert.equal((await lineOf(gateway, response)).verdict, "answered");
      }
    });
  }

  test("answers HEAD without a body, and no other method", async () => {
    const head = await gateway.fetch("/_weir/health", { method: "HEAD" });
    assert.deepEqual([head.status, head.body.length], [200, 0]);
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      assertProblem(await gateway.fetch("/_weir/health", { method }), 404, "no-such-endpoint");
    }
  });

  test("says nothing about who asks, and takes no body to heart", async () => {
    const response = await gateway.fetch("/_weir/health", { body: "x".repeat(100_000) });
    assert.equal(response.status, 200);
    assert.ok(!response.text.includes("192.0.2"));
  });
});

for (const target of [
  "/_weir",
  "/_weir/",
  "/_weir/x",
  "/_weir/admin/v1/policy",
  "//_weir//",
  "/%5Fweir",
  "/_%77eir/x",
  "/_weir/health/x",
  "/_weir/%2F",
]) {
  test(`${target} is ours, and there is nothing`, async () => {
    assertProblem(await gateway.fetch(target), 404, "no-such-endpoint");
  });
}

test("what only looks like it is not ours", async () => {
  // The entry rules refuse it: it went past this stage.
  for (const target of ["/_weird", "/x/_weir/health", "/_Weir/health", "/_weir.html"]) {
    assertProblem(await gateway.fetch(target, { client: "203.0.113.9" }), 403, "address-denied");
  }
});

test("nothing of it has reached the origin or the cache", async () => {
  assert.equal(origin.requests.length, 0);
  const again = await gateway.fetch("/_weir/health");
  assert.equal(again.field("cache-status"), undefined);
  assert.equal(again.field("ratelimit"), undefined);
  await assertOneLineEach(gateway, [again]);
});

test("a flood of one client meets a limit, which is nobody else's", async () => {
  const flood = "192.0.2.77";
  const statuses: number[] = [];
  for (let round = 0; round < 6; round += 1) {
    const batch = Array.from({ length: 20 }, () =>
      gateway.fetch("/_weir/health", { client: flood }),
    );
    const responses = await Promise.all(batch);
    for (const response of responses)
      if (response.status !== 200) assertProblem(response, 429, "rate-limited");
    statuses.push(...responses.map(({ status }) => status));
  }
  assert.ok(statuses.slice(0, 60).every((status) => status === 200));
  assert.ok(statuses.includes(429));
  assert.equal((await gateway.fetch("/_weir/health", { client: "192.0.2.78" })).status, 200);
});
