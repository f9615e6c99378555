// How isolates follow what was published: within which time, and past which faults.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { Admin, bearer, OPERATOR, OWNER, READER, token, tokens, TOKENS } from "./admin.ts";
import { assertNoPolicy, assertProblem, eventually, lineOf, sleep } from "./expect.ts";
import { Gateway, manifest, policy, route, using, VERSION } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { Access } from "./log.ts";
import type { Fields } from "./raw.ts";
import { Store } from "./store.ts";

/** How long a request itself may take on a busy machine. */
const SLACK = 400;

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const CONTROL = { interval: "1s", source: "control" };
const KV = { interval: "1s" };

/** A policy whose one route says which policy it is. */
const document = (name: string, refresh: object = KV): object =>
  policy(origin.url, [route(name, "/*")], { refresh });

const line = async (gateway: Gateway, isolate = 0): Promise<Access> =>
  lineOf(gateway, await gateway.fetch("/x", { isolate }));

interface Health {
  status: string;
  revision: string;
  reason?: string;
}

/** What `/_weir/health` says to whoever shows this. */
const health = async (gateway: Gateway, fields: Fields = [], isolate = 0): Promise<Health> =>
  (await gateway.fetch("/_weir/health", { fields, isolate })).json as Health;

/** Asks until this route acts; the time of the first request that it acted on. */
async function actsOn(gateway: Gateway, name: string, isolate = 0): Promise<number> {
  let at = 0;
  await eventually(
    `isolate ${isolate} to act on ${name}`,
    () => {
      at = Date.now();
      return line(gateway, isolate);
    },
    (found) => found.route === name,
  );
  return at;
}

describe("source control", () => {
  let store: Store;
  let gateway: Gateway;
  let admin: Admin;
  before(async () => {
    store = await Store.start();
    gateway = await Gateway.start({ env: "staging", isolates: 3, store, vars: TOKENS });
    admin = new Admin(gateway);
    await admin.pushed(document("first", CONTROL), "r0");
    for (const isolate of [0, 1, 2]) await actsOn(gateway, "first", isolate);
  });
  after(async () => {
    await gateway?.dispose();
    await store.stop();
  });

  test("every isolate acts on a push within interval + 1 s, busy or idle, whatever the policy store shows", async (context) => {
    // From now on the policy store takes nothing and shows the first revision.
    store.writeMood = () => "throw";
    const took: number[][] = [[], []];
    let acknowledged = 0;
    for (const [base, name] of [
      ["r1", "second"],
      ["r2", "third"],
      ["r3", "fourth"],
    ] as const) {
      await admin.pushed(document(name, CONTROL), base);
      acknowledged = Date.now();
      const busy = [0, 1].map(async (isolate) => {
        const at = (await actsOn(gateway, name, isolate)) - acknowledged;
        took[isolate]?.push(at);
        assert.ok(at <= 2_000 + SLACK, `isolate ${isolate}: ${at} ms`);
      });
      await Promise.all(busy);
    }
    // The third one has had no request since before the first push: its next one has to be right.
    await sleep(Math.max(0, acknowledged + 2_000 - Date.now()));
    const idle = await line(gateway, 2);
    assert.deepEqual([idle.status, idle.route], [200, "fourth"]);
    for (const [isolate, times] of took.entries()) {
      context.diagnostic(`acknowledged to acted on, isolate ${isolate}: ${times.join(", ")} ms`);
    }
    const shown = await eventually(
      "the policy store",
      async () => {
        store.writeMood = () => "work";
        return store.revision;
      },
      (revision) => revision === "r4",
      10_000,
    );
    assert.equal(shown, "r4");
  });

  test("a rollback acts as fast", async () => {
    const back = await admin.rollback("r1", "r4");
    assert.equal(back.status, 201);
    const acknowledged = Date.now();
    for (const isolate of [0, 1]) {
      const at = (await actsOn(gateway, "first", isolate)) - acknowledged;
      assert.ok(at <= 2_000 + SLACK, `isolate ${isolate}: ${at} ms`);
    }
  });

  test("each line of the log names the revision that was acted on", () => {
    const all = gateway.log.access.filter(({ path }) => path === "/x");
    const lines = all.filter(({ reason }) => reason !== "no-policy");
    assert.ok(lines.length > 10);
    for (const found of lines)
      assert.match(found.revision ?? "", /^r[1-5]$/, JSON.stringify(found));
    for (const { route, revision } of lines) {
      if (route === "third") assert.equal(revision, "r3");
    }
  });
});

describe("source kv", () => {
  test("every isolate acts within the interval and its next request; one that sat idle past max_stale waits for it", async (context) => {
    await using({ env: "staging", isolates: 3, vars: TOKENS }, async (gateway) => {
      const admin = new Admin(gateway);
      const refresh = { interval: "1s", max_stale: "2s" };
      await admin.pushed(document("first", refresh), "r0");
      for (const isolate of [0, 1, 2]) await actsOn(gateway, "first", isolate);
      await sleep(1_000);
      const { state } = await admin.pushed(document("second", refresh), "r1");
      const acknowledged = Date.now();
      assert.equal(state, "published");
      const took = [0, 1].map(
        async (isolate) => (await actsOn(gateway, "second", isolate)) - acknowledged,
      );
      for (const at of await Promise.all(took)) assert.ok(at <= 1_000 + SLACK, `${at} ms`);
      context.diagnostic(`acknowledged to acted on: ${(await Promise.all(took)).join(", ")} ms`);
      await sleep(Math.max(0, acknowledged + 2_100 - Date.now()));
      assert.equal((await line(gateway, 2)).route, "second");
    });
  });
});

test("the first push into an environment without any policy acts on the next requests", async (context) => {
  await using({ env: "staging", isolates: 2, vars: TOKENS }, async (gateway) => {
    for (const isolate of [0, 1]) {
      const response = await gateway.fetch("/x", { isolate });
      await assertNoPolicy(gateway, response, /holds no manifest/);
    }
    const { status, revision } = await health(gateway);
    assert.deepEqual([status, revision], ["unavailable", "none"]);
    await new Admin(gateway).pushed(document("first"), "r0");
    const acknowledged = Date.now();
    for (const isolate of [0, 1]) {
      const took = (await actsOn(gateway, "first", isolate)) - acknowledged;
      context.diagnostic(`isolate ${isolate}: ${took} ms`);
      assert.ok(took <= 1_000 + SLACK, `${took} ms`);
    }
    assert.equal((await health(gateway)).status, "ok");
  });
});

describe("what the policy store shows is not what was published", () => {
  let store: Store;
  let gateway: Gateway;
  let admin: Admin;
  let revision = 0;
  before(async () => {
    store = await Store.start();
    const vars = tokens(READER, OPERATOR, OWNER, token("old", "reader", "2020-01-01T00:00:00Z"));
    gateway = await Gateway.start({
      env: "staging",
      isolates: 3,
      control: "relay",
      store,
      vars,
    });
    admin = new Admin(gateway);
  });
  beforeEach(async () => {
    await gateway.relay?.fail("work");
  });
  after(async () => {
    await gateway?.dispose();
    await store.stop();
  });

  /** A push past the API, with parts. */
  const push = async (name: string, parts: string[] = []): Promise<void> => {
    // So that it is written at once.
    await sleep(1_050);
    const pushed = await gateway.askControl({
      action: "push",
      base: `r${revision}`,
      document: JSON.stringify(document(name)),
      parts,
      author: "olaf",
      role: "operator",
    });
    assert.equal(pushed.result?.state, "published", JSON.stringify(pushed));
    revision += 1;
    assert.equal(store.revision, `r${revision}`);
  };

  const degraded = async (reason: RegExp): Promise<void> => {
    await eventually(
      `to be degraded by ${reason}`,
      async () => {
        await gateway.fetch("/x");
        await sleep(60);
        return health(gateway, bearer(READER));
      },
      (found) => found.status === "degraded" && reason.test(found.reason ?? ""),
    );
  };

  const recovered = async (name: string): Promise<void> => {
    await actsOn(gateway, name);
    await eventually(
      "to recover",
      async () => {
        await gateway.fetch("/x");
        await sleep(60);
        return health(gateway);
      },
      ({ status }) => status === "ok",
    );
  };

  test("nothing, to an isolate that has nothing: the Control object is asked, and acted on", async () => {
    await push("first");
    const active = store.get("active") ?? "";
    store.delete("active");
    await gateway.relay?.calls();
    assert.equal((await line(gateway)).route, "first");
    assert.ok((await gateway.relay?.calls())?.includes("active"));
    assert.equal((await health(gateway)).status, "ok");
    store.put("active", active);
  });

  test("nothing, to an isolate that has a policy: the Control object is asked, and all is well", async () => {
    store.delete("active");
    await sleep(1_050);
    await gateway.relay?.calls();
    await gateway.fetch("/x");
    await eventually(
      "Control to be asked",
      async () => (await gateway.relay?.calls()) ?? [],
      (calls) => calls.includes("active"),
    );
    assert.deepEqual(await health(gateway, bearer(READER)), {
      status: "ok",
      version: VERSION,
      revision: "r1",
    });
  });

  test("nothing, and the Control object fails: the last good policy stays, degraded; the reason is a reader's", async () => {
    await gateway.relay?.fail("throw");
    await degraded(/control/);
    assert.equal((await line(gateway)).route, "first");
    for (const fields of [
      [],
      bearer(token("stranger", "owner")),
      bearer(token("old", "reader")),
      [["Authorization", "Basic cml0YTp4"]],
    ] as Fields[]) {
      assert.deepEqual(await health(gateway, fields), {
        status: "degraded",
        version: VERSION,
        revision: "r1",
      });
    }
    for (const known of [READER, OPERATOR, OWNER]) {
      assert.ok((await health(gateway, bearer(known))).reason);
    }
    const told = (await admin.get("/health")).json as Health;
    assert.deepEqual([told.status, told.revision], ["degraded", "r1"]);
    assert.match(told.reason ?? "", /control/);
    await gateway.relay?.fail("work");
    await recovered("first");
  });

  test("a manifest whose part is missing, truncated or of another hash: not before it is whole", async () => {
    const part = "x".repeat(1_000);
    const missing: [label: string, damage: (key: string) => void][] = [
      ["missing", (key) => store.delete(key)],
      ["truncated", (key) => store.put(key, part.slice(1))],
      ["another", (key) => store.put(key, `y${part.slice(1)}`)],
    ];
    let before = "first";
    for (const [label, damage] of missing) {
      await gateway.relay?.fail("throw");
      await push(`with-${label}`, [`${label} ${part}`, part]);
      for (const key of store.keys("part:")) damage(key);
      await degraded(/part [0-9a-f]{64}/);
      const acting = await line(gateway);
      assert.deepEqual([acting.status, acting.route], [200, before], label);
      // The Control object has it whole.
      await gateway.relay?.calls();
      await gateway.relay?.fail("work");
      await recovered(`with-${label}`);
      assert.ok((await gateway.relay?.calls())?.includes("part"), label);
      before = `with-${label}`;
    }
  });

  test("a torn manifest: the last good one stays; an isolate that has none asks the Control object", async () => {
    const before = await line(gateway);
    await sleep(1_050);
    store.writeMood = (key) => (key === "active" ? "tear" : "work");
    const pushed = await gateway.askControl({
      action: "push",
      base: `r${revision}`,
      document: JSON.stringify(document("torn")),
      author: "olaf",
      role: "operator",
    });
    assert.equal(pushed.result?.state, "published");
    revision += 1;
    store.writeMood = () => "work";
    await degraded(/another hash/);
    assert.equal((await line(gateway)).route, before.route);
    const cold = await line(gateway, 1);
    assert.deepEqual([cold.status, cold.route], [200, "torn"]);
  });

  test("a manifest that needs a newer module: an isolate that has none takes the newest that it can, degraded", async () => {
    const { value } = manifest(document("newer"), Date.now() + 60_000, "r99");
    const newer = value.replace(`"module":"${VERSION}"`, '"module":"9.0.0"');
    const { createHash } = await import("node:crypto");
    store.put("active", newer, {
      sequence: (JSON.parse(newer) as { sequence: number }).sequence,
      hash: createHash("sha256").update(newer).digest("hex"),
    });
    const cold = await line(gateway, 2);
    assert.deepEqual([cold.status, cold.route], [200, "torn"]);
    const found = await health(gateway, bearer(READER), 2);
    assert.equal(found.status, "degraded");
    assert.match(found.reason ?? "", /module "?9\.0\.0"?/);
    await degraded(/module "?9\.0\.0"?/);
    assert.equal((await line(gateway)).status, 200);
  });
});

describe("past max_stale, when nothing can be read", () => {
  for (const source of ["kv", "control"]) {
    test(`source ${source}, on_failure closed: nothing is answered, until something can be read`, async () => {
      const store = await Store.start();
      try {
        const vars = TOKENS;
        await using({ env: "staging", control: "relay", store, vars }, async (gateway) => {
          const refresh = { interval: "1s", max_stale: "2s", source, on_failure: "closed" };
          const closed = { ...document("closed", refresh), admin: { hosts: ["gateway.test"] } };
          const admin = new Admin(gateway, OWNER);
          await admin.pushed(closed, "r0");
          await actsOn(gateway, "closed");
          await gateway.relay?.fail("throw");
          store.mood = "throw";
          const failed = Date.now();
          // Up to then the last good one acts.
          assert.equal((await gateway.fetch("/x")).status, 200);
          await sleep(failed + 2_050 - Date.now());
          const response = await gateway.fetch("/x");
          await assertNoPolicy(gateway, response, /policy-store|control/);
          const { status } = await health(gateway);
          assert.equal(status, "unavailable");
          // An administrator is not locked out, and still finds the API on its own host only.
          assert.equal((await admin.get("/health")).status, 200);
          assertProblem(await admin.get("/health", { host: "www.test" }), 404, "no-such-endpoint");
          store.mood = "work";
          await gateway.relay?.fail("work");
          await actsOn(gateway, "closed");
          assert.equal((await health(gateway)).status, "ok");
        });
      } finally {
        await store.stop();
      }
    });
  }

  test("on_failure last_good: it goes on, degraded", async () => {
    const store = await Store.start();
    try {
      const vars = TOKENS;
      await using({ env: "staging", control: "relay", store, vars }, async (gateway) => {
        const refresh = { interval: "1s", max_stale: "1s", source: "control" };
        await new Admin(gateway).pushed(document("open", refresh), "r0");
        await actsOn(gateway, "open");
        await gateway.relay?.fail("garbage");
        store.mood = "throw";
        await sleep(1_100);
        for (let nth = 0; nth < 3; nth += 1) {
          const { status, route } = await line(gateway);
          assert.deepEqual([status, route], [200, "open"]);
        }
        assert.equal((await health(gateway)).status, "degraded");
      });
    } finally {
      await store.stop();
    }
  });
});

test("locally, the demo does not come back because the Control object fails", async () => {
  await using({ control: "relay", vars: TOKENS }, async (gateway) => {
    await gateway.relay?.fail("throw");
    const response = await gateway.fetch("/x");
    assertProblem(response, 503, "no-policy");
    await gateway.relay?.fail("work");
    await eventually(
      "the demo",
      () => health(gateway),
      ({ revision }) => revision === "demo",
    );
  });
});
