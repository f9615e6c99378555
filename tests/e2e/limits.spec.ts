// Limits that are shared and cheap: leases, windows, what is given back, floods of keys, and the
// admin API's view of counters.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Admin, OPERATOR, TOKENS } from "./admin.ts";
import { assertProblem, lineOf, sleep, stages } from "./expect.ts";
import { Gateway, policy, route, using, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const rule = (id: string, more: object): object => ({ id, max: 100, window: "15m", ...more });
const limited = (id: string, ...rules: object[]): object =>
  route(id, `/${id}/*`, { rate_limit: { rules } });

/** How many of so many requests pass, so many at a time, to the isolates in turn. */
async function admitted(
  gateway: Gateway,
  target: string,
  count: number,
  options: FetchOptions & { atOnce?: number } = {},
): Promise<number> {
  const { atOnce = 16, ...rest } = options;
  let [sent, passed] = [0, 0];
  const worker = async (): Promise<void> => {
    while (sent < count) {
      const isolate = sent++ % gateway.ports.length;
      const { status } = await gateway.fetch(target, { isolate, ...rest });
      if (status === 200) passed += 1;
      else assert.equal(status, 429);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return passed;
}

describe("several isolates share a limit", () => {
  const modes = ["exact", "leased"].flatMap((counting) =>
    ["gcra", "sliding_window", "fixed_window"].map((algorithm) => ({ counting, algorithm })),
  );
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({
      isolates: 3,
      policy: policy(
        origin.url,
        modes.map((mode) => limited(`${mode.counting}-${mode.algorithm}`, rule("l", mode))),
      ),
    });
  });
  after(() => gateway?.dispose());

  for (const { counting, algorithm } of modes) {
    test(`${counting} ${algorithm}: no more than the promise, and hardly less`, async () => {
      const passed = await admitted(gateway, `/${counting}-${algorithm}/x`, 300);
      // Within the seconds that this takes, one token of GCRA may come back.
      const most = algorithm === "gcra" ? 102 : 100;
      assert.ok(passed <= most, `${passed} passed`);
      assert.ok(passed >= (counting === "exact" ? 100 : 96), `only ${passed} passed`);
    });
  }
});

test("a restart in the middle keeps the counts, leases and all", async () => {
  const persist = mkdtempSync(path.join(tmpdir(), "edgeweir-"));
  const kept = limited("kept", rule("l", { counting: "leased", algorithm: "fixed_window" }));
  let passed = 0;
  try {
    for (const count of [30, 30, 100]) {
      await using({ persist, policy: policy(origin.url, [kept]) }, async (gateway) => {
        passed += await admitted(gateway, "/kept/x", count);
      });
    }
    assert.ok(passed <= 100, `${passed} passed`);
    // What was borrowed and not reported when the isolates ended is lost.
    assert.ok(passed >= 60, `only ${passed} passed`);
  } finally {
    rmSync(persist, { recursive: true, force: true });
  }
});

describe("one rule for each", () => {
  let gateway: Gateway;
  before(async () => {
    const costly = rule("costly", { max: 10, counting: "exact", cost_header: "X-Cost" });
    gateway = await Gateway.start({
      isolates: 2,
      policy: policy(origin.url, [
        limited("login", rule("failed", { max: 3, counting: "exact", count_status: [401] })),
        limited("costly", costly),
        limited(
          "both",
          rule("wide", { max: 50, key: ["client"] }),
          rule("narrow", { max: 2, key: [{ header: "X-User" }], counting: "leased" }),
        ),
        limited("page", rule("page", { max: 1, message: "Slow <down>.", x_ratelimit: true })),
      ]),
    });
  });
  after(() => gateway?.dispose());

  test("what does not count is given back after the response", async () => {
    for (let nth = 0; nth < 8; nth += 1) {
      assert.equal((await gateway.fetch("/login/x", { isolate: nth % 2 })).status, 200);
      await sleep(50);
    }
    origin.on("/login/bad", { status: 401 });
    const statuses: number[] = [];
    for (let nth = 0; nth < 5; nth += 1) {
      statuses.push((await gateway.fetch("/login/bad", { isolate: nth % 2 })).status);
    }
    assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
  });

  test("the origin's cost is charged, and the field does not reach the client", async () => {
    origin.on("/costly/x", { fields: [["X-Cost", "9"]] });
    const response = await gateway.fetch("/costly/x");
    assert.deepEqual([response.status, response.field("x-cost")], [200, undefined]);
    // Nine of ten are gone, once the message has arrived.
    await sleep(100);
    const second = await gateway.fetch("/costly/x", { isolate: 1 });
    assert.match(second.field("ratelimit") ?? "", /^"costly";r=0;/);
    await sleep(100);
    assert.equal((await gateway.fetch("/costly/x")).status, 429);
  });

  test("what a rule was charged before a refusal comes back", async () => {
    for (let nth = 0; nth < 20; nth += 1) {
      const user = nth < 10 ? "a" : "b";
      const { status } = await gateway.fetch("/both/x", { fields: [["X-User", user]] });
      assert.equal(status, nth % 10 < 2 ? 200 : 429, `${nth}`);
      await sleep(20);
    }
    const { status } = await gateway.fetch("/both/x", { fields: [["X-User", "c"]] });
    assert.equal(status, 200);
  });

  test("a refusal is a page for people", async () => {
    const first = await gateway.fetch("/page/x");
    assert.equal(first.field("x-ratelimit-limit"), "1");
    const page = await gateway.fetch("/page/x", { fields: [["Accept", "text/html,*/*;q=0.8"]] });
    assert.equal(page.status, 429);
    assert.equal(page.field("content-type"), "text/html; charset=utf-8");
    assert.match(page.text, /Slow &lt;down&gt;\./);
    assertProblem(await gateway.fetch("/page/x"), 429, "rate-limited");
    const [noted] = stages(await lineOf(gateway, page), "rate_limit");
    assert.deepEqual([noted?.rule, noted?.verdict], ["page", "refuse"]);
  });
});

test("an operator sees a counter and sets it back", async () => {
  const limit = limited("api", rule("few", { max: 2, counting: "exact" }));
  await using(
    { vars: TOKENS, isolates: 2, policy: policy(origin.url, [limit]) },
    async (gateway) => {
      const admin = new Admin(gateway, OPERATOR);
      const statuses = async (): Promise<number[]> => [
        (await gateway.fetch("/api/x")).status,
        (await gateway.fetch("/api/x", { isolate: 1 })).status,
        (await gateway.fetch("/api/x")).status,
      ];
      assert.deepEqual(await statuses(), [200, 200, 429]);
      const top = (await admin.get("/limits")).json as {
        counters: { label: string; used: number }[];
      };
      assert.deepEqual(
        top.counters.map(({ label, used }) => [label, used]),
        [["api/few client=192.0.2.1/32", 2]],
      );
      const call = { client: "192.0.2.1", rule: "api/few" };
      const seen = (await admin.post("/limits/look", call)).json as {
        counters: { state: { remaining: number } }[];
      };
      assert.equal(seen.counters[0]?.state.remaining, 0);
      assert.equal((await admin.post("/limits/reset", call)).status, 200);
      assert.deepEqual(await statuses(), [200, 200, 429]);
    },
  );
});

describe("an object and an isolate of different builds", () => {
  const key = "0000000000000000000000000000002a";
  const quota = { key, max: 2, window_ms: 3_600_000, burst: 2 };

  test("the object understands the version before", async () => {
    await using({ policy: policy(origin.url, [route("all", "/*")]) }, async (gateway) => {
      const take = { v: 1, ...quota, cost: 1 };
      const first = (await gateway.askLimiter(42, take)) as { v: number; remaining: number };
      assert.deepEqual([first.v, first.remaining], [1, 1]);
      const ask = { ...quota, algorithm: "gcra", cost: 1, enforced: true };
      const second = (await gateway.askLimiter(42, { v: 2, asks: [ask, ask] })) as {
        results: { allowed: boolean }[];
      };
      // One is left, so both together do not fit, and neither is charged.
      assert.deepEqual(
        second.results.map(({ allowed }) => allowed),
        [true, false],
      );
      const third = (await gateway.askLimiter(42, take)) as { allowed: boolean };
      assert.equal(third.allowed, true);
    });
  });
});
