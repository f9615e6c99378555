// How a new policy is followed, and what happens when it is broken or cannot be read.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertNoPolicy, eventually, lineOf, sleep } from "./expect.ts";
import { Gateway, manifest, policy, route, using } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";
import { Store } from "./store.ts";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

/** A policy whose one route says which policy it is; followed as closely as can be. */
const saying = (name: string, refresh: object = { interval: "1s" }): object =>
  policy(origin.url, [route(name, "/*")], { refresh });

const health = (gateway: Gateway): Promise<RawResponse> => gateway.fetch("/_weir/health");
const revision = async (gateway: Gateway): Promise<unknown> =>
  (await health(gateway)).json.revision;

describe("a new one is followed", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ isolates: 2, policy: saying("first") });
    for (const isolate of [0, 1]) await gateway.fetch("/x", { isolate });
  });
  after(() => gateway?.dispose());

  const routeOf = async (isolate = 0): Promise<unknown> =>
    (await lineOf(gateway, await gateway.fetch("/x", { isolate }))).route;
  /** Longer than the interval, and a request that looks. */
  const look = async (): Promise<void> => {
    await sleep(1_050);
    await gateway.fetch("/x");
  };
  const status = async (): Promise<unknown> => (await health(gateway)).json.status;
  const degraded = (): Promise<unknown> =>
    eventually("to be degraded", status, (now) => now === "degraded");

  test("after the interval, by every isolate, without a request waiting", async () => {
    await gateway.publish(saying("second"), 2);
    assert.equal(await routeOf(), "first", "within the interval the old one stands");
    for (const isolate of [0, 1]) {
      await eventually(
        `isolate ${isolate} to follow`,
        () => routeOf(isolate),
        (route) => route === "second",
      );
    }
    assert.equal(await revision(gateway), "r2");
  });

  test("not to a lower sequence, or the same", async () => {
    for (const sequence of [1, 2]) {
      await gateway.publish(saying("older"), sequence, "other");
      await look();
      await sleep(100);
      assert.equal(await routeOf(), "second");
      assert.equal(await revision(gateway), "r2");
    }
  });

  test("not to one that does not compile: the last good stays, health and the log say so", async () => {
    await gateway.publish(
      { ...saying("broken"), routes: [{ id: "broken", upstream: "nobody" }] },
      3,
    );
    await look();
    await degraded();
    const note = await gateway.log.note("r3");
    assert.match(note.message, /routes\[0\]\.upstream/);
    assert.match(note.message, /acting on revision r2/);
    assert.equal(await routeOf(), "second");
    assert.equal(await revision(gateway), "r2");
    const notes = gateway.log.notes.length;
    await look();
    await sleep(100);
    assert.equal(
      gateway.log.notes.filter(({ message }) => message.includes("r3")).length <= 2,
      true,
    );
    assert.ok(gateway.log.notes.length - notes <= 1, "the same reason is told once");
  });

  test("not to one that was damaged on its way", async () => {
    const { value, metadata } = manifest(saying("damaged"), 4);
    await gateway.put(value.replace("damaged", "danaged"), metadata);
    await look();
    await gateway.log.note(/damaged/);
    assert.equal(await routeOf(), "second");
  });

  test("not to nothing", async () => {
    await gateway.unpublish();
    await look();
    await gateway.log.note(/no manifest/);
    assert.equal(await routeOf(), "second");
    assert.equal(await status(), "degraded");
  });

  test("and back to health with the next good one", async () => {
    await gateway.publish(saying("fifth"), 5);
    await look();
    await eventually("to recover", status, (now) => now === "ok");
    assert.equal(await routeOf(), "fifth");
    await gateway.log.note("policy recovered, acting on revision r5");
  });
});

describe("a store that fails", () => {
  let store: Store;
  before(async () => {
    store = await Store.start();
  });
  after(() => store.stop());

  test("on the first read: 503 with the reason in the log, until it works", async () => {
    store.mood = "throw";
    await using({ env: "staging", store, policy: saying("stored") }, async (gateway) => {
      await assertNoPolicy(gateway, await gateway.fetch("/x"), /^policy-store: ./);
      const reads = store.reads;
      await Promise.all(Array.from({ length: 5 }, () => gateway.fetch("/x")));
      assert.ok(store.reads - reads <= 1, "a store that fails is left alone for a while");
      store.mood = "work";
      await eventually(
        "to recover",
        async () => (await gateway.fetch("/x")).status,
        (status) => status === 200,
      );
    });
  });

  test("on the first read, with POLICY_FALLBACK: POLICY answers, and health says so", async () => {
    store.mood = "throw";
    const vars = { POLICY: JSON.stringify(saying("variable")), POLICY_FALLBACK: "variable" };
    await using({ env: "staging", store, vars, policy: saying("stored") }, async (gateway) => {
      assert.equal((await lineOf(gateway, await gateway.fetch("/x"))).route, "variable");
      assert.equal((await health(gateway)).json.status, "degraded");
      await gateway.log.note(/policy-store: .*POLICY is used/);
      store.mood = "work";
      await eventually(
        "the stored policy",
        async () => (await lineOf(gateway, await gateway.fetch("/x"))).route,
        (route) => route === "stored",
      );
      assert.equal((await health(gateway)).json.status, "ok");
    });
  });

  test("later: the last good stays", async () => {
    store.mood = "work";
    await using({ env: "staging", store, policy: saying("stored") }, async (gateway) => {
      assert.equal((await gateway.fetch("/x")).status, 200);
      for (const mood of ["throw", "hang"] as const) {
        store.mood = mood;
        await sleep(1_050);
        const started = Date.now();
        assert.equal((await gateway.fetch("/x")).status, 200);
        assert.ok(Date.now() - started < 150, "a request waited for the refresh");
      }
      await gateway.log.note(/policy degraded, acting on revision r1: policy-store/);
      store.mood = "work";
    });
  });

  test("past max_stale a request waits for it, a short while", async () => {
    store.mood = "work";
    const policy = saying("stored", { interval: "1s", max_stale: "1s" });
    await using({ env: "staging", store, policy }, async (gateway) => {
      assert.equal((await gateway.fetch("/x")).status, 200);
      await gateway.publish(saying("newer", { interval: "1s", max_stale: "1s" }), 2);
      await sleep(1_050);
      assert.equal((await lineOf(gateway, await gateway.fetch("/x"))).route, "newer");
      store.mood = "hang";
      await sleep(1_050);
      const started = Date.now();
      assert.equal((await gateway.fetch("/x")).status, 200);
      const took = Date.now() - started;
      assert.ok(took >= 90 && took < 1_000, `${took} ms`);
      store.mood = "work";
    });
  });

  test("that hangs on the first read holds nobody for ever", async () => {
    store.mood = "hang";
    await using({ env: "staging", store }, async (gateway) => {
      await assertNoPolicy(gateway, await gateway.fetch("/x"), /^policy-store: ./);
      store.mood = "work";
    });
  });
});
