// What a warm request costs beside the origin: nothing. Counted by what stands in for KV and the
// objects.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Admin, TOKENS } from "./admin.ts";
import { eventually, lineOf, sleep } from "./expect.ts";
import { policy, route, using, type Gateway } from "./mf.ts";
import { Origin } from "./origin.ts";
import { Store } from "./store.ts";

let origin: Origin;
let store: Store;
before(async () => {
  origin = await Origin.start();
  origin.on("/cached", { fields: [["Cache-Control", "max-age=600"]], body: "kept" });
  store = await Store.start();
});
after(async () => {
  await origin.stop();
  await store.stop();
});

/** Every stage that a request can pass without an exact counter. */
const document = (refresh: object): object =>
  policy(
    origin.url,
    [
      route("all", "/*", {
        cache: {},
        ip_filter: { rules: [{ id: "bad", action: "deny", prefixes: ["203.0.113.0/24"] }] },
        rate_limit: { rules: [{ id: "many", max: 10_000, window: "1h", counting: "local" }] },
      }),
    ],
    { refresh },
  );

interface Calls {
  reads: number;
  control: string[];
  limiter: string[];
}

/** What happens at KV and the objects meanwhile. */
async function counted(gateway: Gateway, body: () => Promise<void>): Promise<Calls> {
  await gateway.relay?.calls();
  await gateway.limiter?.calls();
  const before = store.reads;
  await body();
  // What goes on after a response is over by then.
  await sleep(100);
  return {
    reads: store.reads - before,
    control: (await gateway.relay?.calls()) ?? [],
    limiter: (await gateway.limiter?.calls()) ?? [],
  };
}

/** One of each kind: forwarded, cached, refused, not found, ours. */
async function everyKind(gateway: Gateway, isolate = 0): Promise<number[]> {
  const statuses: number[] = [];
  for (const [target, client] of [
    ["/x", "192.0.2.1"],
    ["/cached", "192.0.2.1"],
    ["/x", "203.0.113.9"],
    ["/_weir/health", "192.0.2.1"],
    ["/_weir/nothing", "192.0.2.1"],
  ] as const) {
    statuses.push((await gateway.fetch(target, { client, isolate })).status);
  }
  return statuses;
}

for (const source of ["kv", "control"]) {
  test(`a warm request reads nothing and calls no object, source ${source}`, async () => {
    const options = { env: "staging", vars: TOKENS, store, isolates: 2 } as const;
    store.delete("active");
    await using({ ...options, control: "relay", limiter: "stand-in" }, async (gateway) => {
      await new Admin(gateway).pushed(document({ interval: "1h", max_stale: "1d", source }), "r0");
      for (const isolate of [0, 1]) {
        await eventually(
          "the policy",
          async () => (await gateway.fetch("/x", { isolate })).status,
          (status) => status === 200,
        );
        // The first report to Control goes out after some response.
        await everyKind(gateway, isolate);
        await sleep(100);
      }
      const calls = await counted(gateway, async () => {
        for (let round = 0; round < 10; round += 1) {
          for (const isolate of [0, 1]) {
            assert.deepEqual(await everyKind(gateway, isolate), [200, 200, 403, 200, 404]);
          }
        }
      });
      assert.deepEqual(calls, { reads: 0, control: [], limiter: [] });
    });
  });
}

test("with the shortest interval, one refresh a second and isolate at most, after a response", async () => {
  const options = { env: "staging", vars: TOKENS, store } as const;
  for (const source of ["kv", "control"]) {
    store.delete("active");
    await using({ ...options, control: "relay" }, async (gateway) => {
      await new Admin(gateway).pushed(document({ interval: "1s", source }), "r0");
      await eventually(
        "the policy",
        async () => (await lineOf(gateway, await gateway.fetch("/x"))).route,
        (id) => id === "all",
      );
      await sleep(100);
      const calls = await counted(gateway, async () => {
        const until = Date.now() + 2_500;
        while (Date.now() < until) {
          await Promise.all(Array.from({ length: 5 }, () => gateway.fetch("/cached")));
          await sleep(5);
        }
      });
      const { reads, control } = calls;
      const refreshes = source === "kv" ? reads : control.length;
      assert.ok(refreshes >= 2 && refreshes <= 3, JSON.stringify({ reads, control }));
      assert.equal(source === "kv" ? control.length : reads, 0);
      assert.ok(control.every((action) => action === "active"));
    });
  }
});

test("an isolate that reads KV tells the Control object once which module it is", async () => {
  const options = { env: "staging", vars: TOKENS, store } as const;
  store.delete("active");
  await using({ ...options, control: "relay" }, async (gateway) => {
    // Written by hand: nobody asked the Control object for it.
    store.put(
      "active",
      JSON.stringify({ format: 1, sequence: 1, policy: document({ interval: "1s" }) }),
    );
    const { control } = await counted(gateway, async () => {
      const until = Date.now() + 2_500;
      while (Date.now() < until) {
        assert.equal((await gateway.fetch("/x")).status, 200);
        await sleep(20);
      }
    });
    assert.deepEqual(control, ["seen"]);
  });
});
