// Publishing under faults: what was acknowledged is never lost, and the policy store gets it in the
// end, at most once a second.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { accepted, Admin, token, TOKENS } from "./admin.ts";
import { assertProblem, eventually, lineOf, sleep, within } from "./expect.ts";
import { Gateway, policy, route, using, type GatewayOptions } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";
import { Store, type Put } from "./store.ts";

let origin: Origin;
/** A push that the Control object does not answer: it goes on beside the other tests. */
let hanging: Promise<{ gateway: Gateway; push: Promise<RawResponse> }>;
before(async () => {
  origin = await Origin.start();
  hanging = (async () => {
    const gateway = await Gateway.start({ env: "staging", vars: TOKENS, control: "relay" });
    await new Admin(gateway).pushed(document("good"), "r0");
    await gateway.relay?.calls();
    await gateway.relay?.fail("hang");
    const push = new Admin(gateway).push(document("bad"), "r1", { timeout: 20_000 });
    push.catch(() => {});
    return { gateway, push };
  })();
});
after(() => origin.stop());

const document = (name: string, refresh: object = { interval: "1s" }): object =>
  policy(origin.url, [route(name, "/*")], { refresh });

const isActive = (key: string): boolean => key === "active";
const isPart = (key: string): boolean => key.startsWith("part:");

interface Plane {
  active: string;
  state: string;
  failures: number;
}

/** What the Control object says about its publication. */
const plane = async (gateway: Gateway): Promise<Plane> =>
  (await gateway.askControl({ action: "status" })).result as unknown as Plane;

const published = async (gateway: Gateway, store: Store, revision: string): Promise<void> => {
  await eventually(
    `${revision} to be published`,
    () => plane(gateway),
    ({ active, state }) => active === revision && state === "published",
  );
  assert.equal(store.revision, revision);
};

describe("the policy store fails", () => {
  let store: Store;
  let gateway: Gateway;
  let admin: Admin;
  let base = "r0";
  before(async () => {
    store = await Store.start();
    gateway = await Gateway.start({ env: "staging", vars: TOKENS, store });
    admin = new Admin(gateway);
  });
  beforeEach(() => {
    store.mood = "work";
    store.writeMood = () => "work";
  });
  after(async () => {
    await gateway?.dispose();
    await store.stop();
  });

  /** Waits until a write may be tried: within a second of another it would not be. */
  const ready = (): Promise<void> => sleep(1_050);

  /** Pushes, and has the store well again only after the acknowledgement. */
  const pushed = async (name: string): Promise<string> => {
    await ready();
    const { revision, state } = await admin.pushed(document(name), base);
    assert.equal(state, "pending");
    base = revision;
    const found = await plane(gateway);
    assert.deepEqual([found.active, found.state], [revision, "pending"]);
    assert.ok(found.failures >= 1);
    store.mood = "work";
    store.writeMood = () => "work";
    return revision;
  };

  test("before the first write: the answer is pending, an alarm finishes", async () => {
    store.mood = "throw";
    store.writeMood = () => "throw";
    const revision = await pushed("first");
    assert.equal(store.get("active"), undefined);
    await published(gateway, store, revision);
    assert.equal((await plane(gateway)).failures, 0);
    await eventually(
      "it to act",
      async () => (await gateway.fetch("/x")).status,
      (status) => status === 200,
    );
  });

  test("at the manifest: the store keeps the one before, and who took the change has the new one", async () => {
    store.writeMood = (key) => (isActive(key) ? "throw" : "work");
    const before = store.revision;
    const revision = await pushed("second");
    assert.equal(store.revision, before);
    await eventually(
      "it to act where it was acknowledged",
      async () => (await lineOf(gateway, await gateway.fetch("/x"))).revision,
      (found) => found === revision,
    );
    await published(gateway, store, revision);
  });

  test("after the manifest, which it took: it is written again, the same", async () => {
    store.writeMood = (key) => (isActive(key) ? "lose" : "work");
    const from = store.putsOf("active").length;
    const revision = await pushed("third");
    await published(gateway, store, revision);
    const written = store.putsOf("active").slice(from);
    assert.ok(written.length >= 2, `${written.length} writes`);
    assert.equal(new Set(written.map(({ value }) => value)).size, 1);
  });

  test("at a part: no manifest is written before all its parts are there", async () => {
    await ready();
    const from = store.puts.length;
    // The second one fails once.
    const parts = (): Put[] => store.puts.slice(from).filter(({ key }) => isPart(key));
    store.writeMood = (key) => (isPart(key) && parts().length === 1 ? "throw" : "work");
    const pushed = await gateway.askControl({
      action: "push",
      base,
      document: JSON.stringify(document("parts")),
      parts: ["the first part", "the second part"],
      author: "olaf",
      role: "operator",
    });
    assert.equal(pushed.result?.state, "pending", JSON.stringify(pushed));
    base = String(pushed.result?.revision);
    await published(gateway, store, base);
    const puts = store.puts.slice(from);
    const manifest = puts.findIndex(({ key }) => isActive(key));
    const good = puts.slice(0, manifest).filter(({ key, mood }) => isPart(key) && mood === "work");
    assert.equal(new Set(good.map(({ key }) => key)).size, 2);
    assert.deepEqual(
      parts().map(({ mood }) => mood),
      ["work", "throw", "work", "work"],
    );
    await eventually(
      "it to act",
      async () => (await lineOf(gateway, await gateway.fetch("/x"))).route,
      (id) => id === "parts",
    );
  });

  test("while the Control object is dropped from memory: nothing is lost", async () => {
    await ready();
    store.writeMood = (key) => (isActive(key) ? "throw" : "work");
    const { revision, state } = await admin.pushed(document("evicted"), base);
    assert.equal(state, "pending");
    base = revision;
    assert.equal(await gateway.evictControl(), true);
    store.writeMood = () => "work";
    // Nobody asks it anything: its alarm alone brings it back.
    await eventually(
      "the alarm",
      async () => store.revision,
      (found) => found === revision,
    );
    await published(gateway, store, revision);
  });

  test("every revision that was acknowledged is there, with its document", async () => {
    const revisions = await admin.history();
    assert.deepEqual(
      revisions.map(({ revision }) => revision),
      ["r5", "r4", "r3", "r2", "r1"],
    );
    const names = ["first", "second", "third", "parts", "evicted"];
    for (const [nth, name] of names.entries()) {
      const response = await admin.get(`/policy?revision=r${nth + 1}`);
      assert.deepEqual(response.json, document(name));
    }
  });
});

describe("everything is restarted", () => {
  let store: Store;
  let persist: string;
  before(async () => {
    store = await Store.start();
    persist = await mkdtemp(path.join(tmpdir(), "edgeweir-publish-"));
  });
  after(async () => {
    await store.stop();
    await rm(persist, { recursive: true, force: true });
  });

  test("with a change that was only acknowledged: the alarm publishes it, unasked", async () => {
    const options: GatewayOptions = { env: "staging", vars: TOKENS, store, persist };
    await using(options, async (gateway) => {
      const admin = new Admin(gateway);
      await admin.pushed(document("one"), "r0");
      store.writeMood = () => "throw";
      const { state } = await admin.pushed(document("two"), "r1");
      assert.equal(state, "pending");
    });
    store.writeMood = () => "work";
    assert.equal(store.revision, "r1");
    await using(options, async (gateway) => {
      await eventually(
        "the alarm",
        async () => store.revision,
        (revision) => revision === "r2",
      );
      const admin = new Admin(gateway);
      assert.deepEqual(
        (await admin.history()).map(({ revision }) => revision),
        ["r2", "r1"],
      );
      assert.equal((await admin.audit()).length, 2);
      assert.equal((await lineOf(gateway, await gateway.fetch("/x"))).route, "two");
      await admin.pushed(document("three"), "r2");
      await published(gateway, store, "r3");
    });
  });

  test("while a write hangs: the change is there, though nobody was told, and is published", async () => {
    const options: GatewayOptions = { env: "staging", vars: TOKENS, store, persist };
    await using(options, async (gateway) => {
      store.writeMood = (key) => (isActive(key) ? "hang" : "work");
      const from = store.putsOf("active").length;
      const answer = new Admin(gateway).push(document("four"), "r3");
      answer.catch(() => {});
      await eventually(
        "the write",
        async () => store.putsOf("active").length,
        (count) => count > from,
      );
    });
    store.writeMood = () => "work";
    assert.equal(store.revision, "r3");
    await using(options, async (gateway) => {
      await eventually(
        "the alarm",
        async () => store.revision,
        (revision) => revision === "r4",
        10_000,
      );
      const admin = new Admin(gateway);
      assert.equal((await admin.history())[0]?.revision, "r4");
      const [entry] = await admin.audit(1);
      assert.deepEqual([entry?.outcome, entry?.revision], ["accepted", "r4"]);
      assert.deepEqual((await admin.get("/policy")).json, document("four"));
    });
  });
});

test("twenty pushes make at most one write a second, and the last one is the one that stays", async () => {
  const store = await Store.start();
  try {
    await using({ env: "staging", vars: TOKENS, store }, async (gateway) => {
      const admin = new Admin(gateway);
      let base = "r0";
      const states: string[] = [];
      for (let nth = 0; nth < 20; nth += 1) {
        const { revision, state } = await admin.pushed(document(`push-${nth}`), base);
        states.push(state);
        base = revision;
        await sleep(100);
      }
      assert.equal(states[0], "published");
      assert.ok(states.includes("pending"));
      await published(gateway, store, "r20");
      const writes = store.putsOf("active");
      const gaps = writes.slice(1).map(({ at }, nth) => at - (writes[nth] as Put).at);
      // Both ends of a gap are taken where the write arrives.
      assert.ok(
        gaps.every((gap) => gap >= 950),
        `gaps of ${gaps.join(", ")} ms`,
      );
      const sequences = writes.map(
        ({ value }) => (JSON.parse(value) as { sequence: number }).sequence,
      );
      assert.ok(
        sequences.every((sequence, nth) => nth === 0 || sequence > (sequences[nth - 1] ?? 0)),
      );
      assert.equal((await admin.history()).length, 20);
    });
  } finally {
    await store.stop();
  }
});

describe("the Control object fails", () => {
  let gateway: Gateway;
  let admin: Admin;
  before(async () => {
    gateway = await Gateway.start({ env: "staging", vars: TOKENS, control: "relay" });
    admin = new Admin(gateway);
    await admin.pushed(document("good"), "r0");
  });
  after(() => gateway?.dispose());

  const traffic = async (): Promise<void> => {
    const line = await lineOf(gateway, await gateway.fetch("/x"));
    assert.deepEqual([line.status, line.route], [200, "good"]);
  };

  test("every call is 503, nothing is changed, and traffic goes on by the last good policy", async () => {
    await traffic();
    for (const mood of ["throw", "status", "garbage", "nothing"] as const) {
      await gateway.relay?.fail(mood);
      for (const response of [
        await admin.push(document("bad"), "r1"),
        await admin.rollback("r1", "r1"),
        await admin.get("/policy"),
        await admin.get("/policy/history"),
        await admin.get("/audit"),
        await admin.get("/policy/diff?from=r1"),
        await admin.post("/policy/diff", document("other")),
        await admin.post("/explain", { url: "https://gateway.test/", revision: "r1" }),
      ]) {
        assertProblem(response, 503, "control-unavailable");
        assert.ok(Number(response.field("retry-after")) >= 1, mood);
        assert.doesNotMatch(response.text, /told to fail/);
      }
      await traffic();
      // What needs no revision works on.
      const health = (await admin.get("/health")).json as Record<string, unknown>;
      assert.deepEqual([health.revision, health.control], ["r1", undefined]);
      assert.equal((await admin.post("/policy/validate", document("x"))).status, 200);
      const explained = await admin.post("/explain", { url: "https://gateway.test/" });
      assert.equal(explained.status, 200);
      // A stranger stays one, though nobody can write him down.
      const stranger = await admin.get("/policy", {
        token: token("stranger", "owner"),
        client: "203.0.113.1",
      });
      assertProblem(stranger, 401, "unauthenticated");
    }
    await gateway.relay?.fail("work");
    assert.equal((await admin.history()).length, 1);
  });

  test("a change whose answer is lost was made: the history says so, and it is not made twice", async () => {
    await gateway.relay?.fail("forget");
    const response = await admin.push(document("good"), "r1");
    assertProblem(response, 503, "control-unavailable");
    assert.match((response.json as { detail: string }).detail, /history/);
    await gateway.relay?.fail("work");
    assert.equal((await admin.history())[0]?.revision, "r2");
    const again = await admin.push(document("good"), "r1");
    assertProblem(again, 412, "stale-base");
    assert.equal((again.json as { active: string }).active, "r2");
  });
});

describe("the Control object hangs", () => {
  let gateway: Gateway;
  let push: Promise<RawResponse>;
  before(async () => {
    ({ gateway, push } = await hanging);
  });
  after(() => gateway?.dispose());

  test("no request is held, whatever else waits for it", async () => {
    await eventually(
      "the call",
      async () => (await gateway.relay?.calls()) ?? [],
      (calls) => calls.includes("push"),
    );
    for (let nth = 0; nth < 5; nth += 1) {
      const response = await within("traffic", gateway.fetch("/x"), 1_000);
      assert.equal((await lineOf(gateway, response)).route, "good");
    }
  });

  test("a stranger waits at most 2 s for his refusal", async () => {
    const stranger = token("stranger", "owner");
    const begun = Date.now();
    const response = await new Admin(gateway, stranger).get("/policy");
    assertProblem(response, 401, "unauthenticated");
    assert.ok(Date.now() - begun < 4_000);
  });

  test("an operator waits 15 s, and knows that nothing is known", async () => {
    await gateway.relay?.fail("work");
    const admin = new Admin(gateway);
    assert.equal(accepted(await admin.push(document("good"), "r1")).revision, "r2");
    assertProblem(await push, 503, "control-unavailable");
    assert.equal((await admin.history()).length, 2);
  });
});
