// What limits keep to when things break: objects that are evicted while leases and reservations are
// out, restarts under traffic, floods of keys, and isolates that nobody asks any more.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Admin, OPERATOR, TOKENS } from "./admin.ts";
import { sleep } from "./expect.ts";
import { Gateway, policy, route, using, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

// A counter that fails must not admit: what is counted here is what the counters admit.
const rule = (id: string, more: object): object => ({
  id,
  max: 100,
  window: "1h",
  algorithm: "fixed_window",
  on_failure: "closed",
  deadline: "5s",
  ...more,
});
const limited = (id: string, ...rules: object[]): object =>
  route(id, `/${id}/*`, { rate_limit: { rules } });

/** A window of the clock must not end in the middle. */
async function wholeWindow(): Promise<void> {
  const left = 3_600_000 - (Date.now() % 3_600_000);
  if (left < 60_000) await sleep(left + 100);
}
before(wholeWindow);

/** Sends to the isolates in turn, so many at a time, until told to stop; gives the statuses. */
async function send(
  gateway: Gateway,
  target: string,
  until: (sent: number) => boolean,
  options: (nth: number) => FetchOptions = () => ({}),
): Promise<Map<number, number>> {
  const seen = new Map<number, number>();
  let sent = 0;
  const worker = async (): Promise<void> => {
    while (!until(sent)) {
      const nth = sent++;
      const isolate = nth % gateway.ports.length;
      const asked = gateway.fetch(target, { isolate, ...options(nth) });
      // One that finds nobody, in the middle of a restart, is none.
      const status = await asked.then(
        (response) => response.status,
        () => 0,
      );
      seen.set(status, (seen.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return seen;
}

/** What is left of a client's counter. */
async function left(gateway: Gateway, name: string): Promise<number | undefined> {
  const call = { client: "192.0.2.1", rule: name };
  const { json } = await new Admin(gateway, OPERATOR).post("/limits/look", call);
  return (json as { counters: { state: { remaining: number } }[] }).counters[0]?.state.remaining;
}

describe("objects are evicted in the middle", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({
      isolates: 3,
      vars: TOKENS,
      policy: policy(origin.url, [
        limited("leased", rule("l", { counting: "leased" })),
        limited("exact", rule("l", { counting: "exact" })),
        limited("idle", rule("l", { counting: "leased" })),
        limited("failed", rule("l", { max: 3, counting: "exact", count_status: [401] })),
      ]),
    });
  });
  after(() => gateway?.dispose());

  for (const counting of ["leased", "exact"]) {
    test(`${counting}: no more than the promise, and leases live on`, async () => {
      let evicted = 0;
      const sending = send(gateway, `/${counting}/x`, (sent) => sent >= 40);
      evicted += await gateway.evictLimiters();
      let passed = (await sending).get(200) ?? 0;
      // What is lent by now is spent after the objects have forgotten everything but their storage.
      evicted += await gateway.evictLimiters();
      let over = false;
      const evicting = (async () => {
        while (!over) {
          evicted += await gateway.evictLimiters();
          await sleep(50);
        }
      })();
      passed += (await send(gateway, `/${counting}/x`, (sent) => sent >= 400)).get(200) ?? 0;
      over = true;
      await evicting;
      assert.ok(evicted > 2, `${evicted} evictions`);
      assert.ok(passed <= 100, `${passed} passed`);
      assert.equal(origin.received(`/${counting}/x`).length, passed);
      // An eviction may break a call off whose charge stands, and what was lent in its answer.
      assert.ok(passed >= 70, `only ${passed} passed`);
      await sleep(2_500);
      assert.ok(passed + Number(await left(gateway, `${counting}/l`)) <= 100);
    });
  }

  test("a reservation outlives its object, and is given back by its id", async () => {
    const release = Promise.withResolvers<void>();
    origin.on("/failed/slow", async () => {
      await release.promise;
      return { status: 200 };
    });
    const slow = [0, 1, 2].map((isolate) => gateway.fetch("/failed/slow", { isolate }));
    while (origin.received("/failed/slow").length < 3) await sleep(10);
    assert.ok((await gateway.evictLimiters()) > 0);
    // Three are charged, whatever will come of them.
    assert.equal((await gateway.fetch("/failed/x")).status, 429);
    release.resolve();
    assert.deepEqual(
      (await Promise.all(slow)).map(({ status }) => status),
      [200, 200, 200],
    );
    await sleep(300);
    origin.on("/failed/bad", { status: 401 });
    const statuses: number[] = [];
    for (let nth = 0; nth < 4; nth += 1) {
      statuses.push((await gateway.fetch("/failed/bad", { isolate: nth % 3 })).status);
      if (nth === 1) assert.ok((await gateway.evictLimiters()) > 0);
    }
    assert.deepEqual(statuses, [401, 401, 401, 429]);
  });

  test("what an isolate holds goes back though nobody asks it again", async () => {
    const seen = await send(gateway, "/idle/x", (sent) => sent >= 36);
    assert.equal(seen.get(200), 36);
    await sleep(3_000);
    assert.equal(await left(gateway, "idle/l"), 64);
  });
});

test("restarts under traffic keep the counts", async () => {
  const persist = mkdtempSync(path.join(tmpdir(), "edgeweir-"));
  const routes = ["exact", "leased"].map((counting) =>
    limited(`restart-${counting}`, rule("l", { counting })),
  );
  try {
    for (const round of [1, 2, 3]) {
      const options = { isolates: 3, persist, policy: policy(origin.url, routes) } as const;
      await using(options, async (gateway) => {
        const enough = (counting: string) => (sent: number) =>
          round < 3 ? origin.received(`/restart-${counting}/x`).length >= 30 * round : sent >= 200;
        await Promise.all(
          ["exact", "leased"].map((counting) =>
            send(gateway, `/restart-${counting}/x`, enough(counting)),
          ),
        );
      });
    }
    const [exact = 0, leased = 0] = ["exact", "leased"].map(
      (counting) => origin.received(`/restart-${counting}/x`).length,
    );
    assert.equal(exact, 100);
    // What was borrowed when the isolates ended is lost, and nothing more.
    assert.ok(leased <= 100 && leased >= 75, `${leased} passed`);
  } finally {
    rmSync(persist, { recursive: true, force: true });
  }
});

describe("counted by the runtime's own limiter", () => {
  let gateway: Gateway;
  before(async () => {
    const soft = {
      counting: "platform",
      binding: "SOFT",
      max: 3,
      window: "60s",
      algorithm: "gcra",
    };
    gateway = await Gateway.start({
      ratelimits: { SOFT: { namespace_id: "1", simple: { limit: 3, period: 60 } } },
      policy: policy(origin.url, [
        limited("soft", rule("soft", { ...soft, key: ["client", { header: "X-Key" }] })),
        limited("unbound", rule("soft", { ...soft, binding: "NOT_THERE" })),
        limited("open", rule("soft", { ...soft, binding: "NOT_THERE", on_failure: "open" })),
      ]),
    });
  });
  after(() => gateway?.dispose());

  test("it refuses what is over, by key, and says no more than that", async () => {
    const as = (key: string): FetchOptions => ({ fields: [["X-Key", key]] });
    const seen = [];
    // Its window is one of the clock: one border may lie in between.
    for (let nth = 0; nth < 7; nth += 1) seen.push(await gateway.fetch("/soft/x", as("a")));
    const passed = seen.filter(({ status }) => status === 200);
    const [refused] = seen.filter(({ status }) => status === 429);
    assert.ok(passed.length >= 3 && passed.length <= 6, `${passed.length} passed`);
    assert.ok(passed.every((response) => response.field("ratelimit") === undefined));
    assert.equal(refused?.field("retry-after"), "60");
    assert.equal(refused?.field("ratelimit"), '"soft";r=0;t=60');
    assert.equal(refused?.field("ratelimit-policy"), '"soft";q=3;w=60');
    assert.equal((await gateway.fetch("/soft/x", as("b"))).status, 200);
  });

  test("a binding that is not there is a counter that fails", async () => {
    assert.equal((await gateway.fetch("/unbound/x")).status, 503);
    assert.equal((await gateway.fetch("/open/x")).status, 200);
  });
});
