// Stage 3, bans: by triggers and by people, in the isolate that made them, with the next exact count
// and with the manifest.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Admin, OPERATOR, READER, TOKENS } from "./admin.ts";
import { assertProblem, assertRefused, eventually, lineOf, sleep, stages } from "./expect.ts";
import { Gateway, policy, route, using, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

/** How long a ban may take to the manifest and from there to an isolate that asks every second. */
const MANIFEST = 20_000;

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const scanner = (more: object = {}): object => ({
  id: "scanner",
  statuses: [404],
  threshold: 4,
  window: "1m",
  duration: "10m",
  ...more,
});

/** A route with an exact limit, and one with none; what is not routed is an offence. */
const document = (more: Record<string, object> = {}): object =>
  policy(
    origin.url,
    [
      route("plain", "/plain/*"),
      route("counted", "/counted/*", {
        rate_limit: { rules: [{ id: "many", max: 1_000, window: "1h" }] },
      }),
    ],
    {
      refresh: { interval: "1s", source: "control" },
      bans: { triggers: [scanner()] },
      guard_list: ["198.51.100.0/28"],
      ...more,
    } as Record<string, object>,
  );

interface Ban {
  network: string;
  until: string;
  since: string;
  reason: string;
  by: string;
  count?: number;
}

const listed = async (admin: Admin, query = ""): Promise<Ban[]> =>
  ((await admin.get(`/bans${query}`)).json as { bans: Ban[] }).bans;

/** Sends so many requests that are offences; gives their statuses. */
async function offend(gateway: Gateway, count: number, options: FetchOptions): Promise<number[]> {
  const seen: number[] = [];
  for (let nth = 0; nth < count; nth += 1) {
    seen.push((await gateway.fetch(`/nowhere/${nth}`, options)).status);
  }
  return seen;
}

const refusedAt = (
  gateway: Gateway,
  target: string,
  options: FetchOptions,
  milliseconds = MANIFEST,
): Promise<RawResponse> =>
  eventually(
    `${options.client} to be banned at isolate ${options.isolate}`,
    () => gateway.fetch(target, options),
    ({ status }) => status === 403,
    milliseconds,
  );

const servedAt = (gateway: Gateway, target: string, options: FetchOptions): Promise<RawResponse> =>
  eventually(
    `${options.client} to be served at isolate ${options.isolate}`,
    () => gateway.fetch(target, options),
    ({ status }) => status === 200,
    MANIFEST,
  );

describe("several isolates on the same objects", () => {
  let gateway: Gateway;
  let admin: Admin;
  before(async () => {
    gateway = await Gateway.start({ env: "staging", vars: TOKENS, isolates: 3 });
    admin = new Admin(gateway);
    await admin.pushed(document(), "r0");
    for (const isolate of [0, 1, 2]) {
      await servedAt(gateway, "/plain/x", { client: "192.0.2.250", isolate });
    }
  });
  after(() => gateway?.dispose());

  test("a trigger bans at once where it is reached, and says when it is over", async () => {
    const client = "192.0.2.10";
    assert.deepEqual(await offend(gateway, 4, { client }), [404, 404, 404, 404]);
    const refused = await gateway.fetch("/plain/x", { client });
    const line = await assertRefused(gateway, refused, 403, "banned");
    const left = Number(refused.field("retry-after"));
    assert.ok(left > 590 && left <= 600, `${left}`);
    assert.deepEqual(stages(line, "entry.bans"), [
      { stage: "entry.bans", verdict: "deny", rule: "scanner", prefix: `${client}/32` },
    ]);
    assert.equal((await gateway.fetch("/plain/x", { client: "192.0.2.11" })).status, 200);
    // What is ours is past bans.
    assert.equal((await gateway.fetch("/_weir/health", { client })).status, 200);
    const explained = await admin.post("/explain", { url: "http://gateway.test/plain/x", client });
    const { reason, stages: explainedStages } = explained.json as {
      reason: string;
      stages: { stage: string; verdict: string; rule?: string }[];
    };
    assert.equal(reason, "banned");
    const explainedBan = explainedStages.find(({ stage }) => stage === "entry.bans");
    assert.deepEqual([explainedBan?.verdict, explainedBan?.rule], ["deny", "scanner"]);
  });

  test("it acts with the next exact count elsewhere, and everywhere with the manifest", async () => {
    const client = "192.0.2.20";
    await offend(gateway, 4, { client });
    // Elsewhere nobody has heard of it; the report takes a moment.
    const counted = await refusedAt(gateway, "/counted/x", { client, isolate: 1 }, 5_000);
    const line = await assertRefused(gateway, counted, 403, "banned");
    assert.equal(stages(line, "entry.bans")[0]?.rule, "scanner");
    // That isolate knows from now on, and asks nobody.
    assert.equal((await gateway.fetch("/plain/x", { client, isolate: 1 })).status, 403);
    await refusedAt(gateway, "/plain/x", { client, isolate: 2 });
    const [ban] = await listed(admin, `?address=${client}`);
    assert.deepEqual([ban?.network, ban?.by, ban?.count], [`${client}/32`, "trigger scanner", 1]);
  });

  test("offences in several isolates are one sum", async () => {
    const client = "192.0.2.30";
    for (const isolate of [0, 1]) {
      assert.deepEqual(await offend(gateway, 2, { client, isolate }), [404, 404]);
    }
    await refusedAt(gateway, "/counted/x", { client, isolate: 2 }, 10_000);
    for (const isolate of [0, 1]) await refusedAt(gateway, "/plain/x", { client, isolate });
  });

  test("nobody is banned by what a stranger writes into a header", async () => {
    const victim = "192.0.2.40";
    for (let nth = 0; nth < 8; nth += 1) {
      await gateway.fetch("/nowhere", {
        client: `203.0.113.${nth}`,
        fields: [
          ["X-Forwarded-For", victim],
          ["Forwarded", `for=${victim}`],
          ["X-Real-IP", victim],
        ],
      });
    }
    await sleep(1_500);
    assert.equal((await gateway.fetch("/counted/x", { client: victim })).status, 200);
    assert.deepEqual(await listed(admin, `?address=${victim}`), []);
  });

  test("an IPv6 client is its network", async () => {
    for (let nth = 1; nth <= 4; nth += 1) {
      await gateway.fetch("/nowhere", { client: `2001:db8:5:6::${nth}` });
    }
    const refused = await gateway.fetch("/plain/x", { client: "2001:db8:5:6:ffff::1" });
    const line = await assertRefused(gateway, refused, 403, "banned");
    assert.equal(stages(line, "entry.bans")[0]?.prefix, "2001:db8:5:6::/64");
    assert.equal((await gateway.fetch("/plain/x", { client: "2001:db8:5:7::1" })).status, 200);
  });

  test("what the guard list holds is never banned", async () => {
    const client = "198.51.100.7";
    assert.deepEqual(await offend(gateway, 8, { client }), Array(8).fill(404));
    assert.equal((await gateway.fetch("/counted/x", { client })).status, 200);
    for (const network of [client, "198.51.100.0/24"]) {
      const refused = await admin.post("/bans", { network, duration: "1h", reason: "no" });
      assertProblem(refused, 409, "guarded");
    }
    const [entry] = await admin.audit(1);
    assert.deepEqual([entry?.outcome, entry?.reason], ["refused", "guarded"]);
  });

  test("a person bans: at once, with the next count, with the manifest; and lifts it", async () => {
    const client = "192.0.2.50";
    const told = await admin.post("/bans", {
      bans: [
        { network: client, duration: "1h", reason: "a nuisance" },
        { network: "192.0.2.128/26", until: new Date(Date.now() + 3_600_000).toISOString() },
      ],
    });
    assert.equal(told.status, 200, told.text);
    const { networks, state, sequence } = told.json as {
      networks: string[];
      state: string;
      sequence: number;
    };
    assert.deepEqual(networks, [`${client}/32`, "192.0.2.128/26"]);
    assert.ok(["published", "pending"].includes(state) && sequence > 0);
    assert.equal((await gateway.fetch("/plain/x", { client })).status, 403);
    // No manifest has come there yet, or it has: the count knows in any case.
    assert.equal((await gateway.fetch("/counted/x", { client, isolate: 1 })).status, 403);
    assert.equal(
      (await gateway.fetch("/counted/x", { client: "192.0.2.130", isolate: 1 })).status,
      403,
    );
    await refusedAt(gateway, "/plain/x", { client: "192.0.2.131", isolate: 2 });
    const [ban] = await listed(admin, `?address=${client}`);
    assert.deepEqual([ban?.by, ban?.reason, ban?.count], ["olaf", "a nuisance", undefined]);
    assertProblem(
      await admin.post("/bans", { network: client, duration: "1h" }, { token: READER }),
      403,
      "forbidden",
    );

    const lifted = await admin.call(
      "DELETE",
      `/bans?network=${client}&network=192.0.2.128/26&message=sorry`,
    );
    assert.equal(lifted.status, 200, lifted.text);
    for (const isolate of [0, 1, 2]) {
      await servedAt(gateway, "/counted/x", { client, isolate });
      await servedAt(gateway, "/plain/x", { client: "192.0.2.131", isolate });
    }
    assertProblem(await admin.call("DELETE", "/bans?network=192.0.2.128/26"), 404, "no-such-ban");
    const written = (await admin.audit(10)).filter(({ outcome }) => outcome === "accepted");
    const actions = written.slice(0, 4).map(({ action }) => action);
    assert.deepEqual(actions, ["unban", "unban", "ban", "ban"]);
  });

  test("a ban ends by itself: nothing is written or published for it", async () => {
    const client = "192.0.2.60";
    assert.equal(
      (await admin.post("/bans", { network: client, duration: "4s", reason: "short" })).status,
      200,
    );
    await refusedAt(gateway, "/plain/x", { client, isolate: 1 });
    const sequence = async (): Promise<number> =>
      ((await gateway.askControl({ action: "status" })).result as { sequence: number }).sequence;
    // What triggers did before is collected by now.
    const before = await eventually("the sequence to rest", sequence, () => true);
    const refused = await gateway.fetch("/plain/x", { client });
    assert.ok(Number(refused.field("retry-after")) <= 4);
    for (const isolate of [0, 1]) await servedAt(gateway, "/plain/x", { client, isolate });
    assert.deepEqual(await listed(admin, `?address=${client}`), []);
    assert.equal(await sequence(), before);
  });

  test("an object that is dropped from memory forgets no ban", async () => {
    const client = "192.0.2.70";
    await offend(gateway, 4, { client });
    await refusedAt(gateway, "/counted/x", { client, isolate: 1 }, 5_000);
    assert.ok((await gateway.evictLimiters()) > 0);
    await gateway.evictControl();
    assert.equal((await gateway.fetch("/counted/x", { client, isolate: 2 })).status, 403);
    await eventually(
      "the ban to be listed",
      () => listed(admin, `?address=${client}`),
      (bans) => bans.length === 1,
      MANIFEST,
    );
  });

  test("taking the trigger away undoes what it did", async () => {
    const client = "192.0.2.80";
    await offend(gateway, 4, { client });
    assert.equal((await gateway.fetch("/plain/x", { client })).status, 403);
    const without = document({ bans: { triggers: [scanner({ mode: "shadow" })] } });
    await admin.pushed(without, "r1");
    await servedAt(gateway, "/plain/x", { client, isolate: 0 });
    const line = await lineOf(gateway, await gateway.fetch("/plain/x", { client }));
    const [noted] = stages(line, "entry.bans");
    assert.deepEqual([noted?.verdict, noted?.rule, noted?.shadow], ["deny", "scanner", true]);
  });
});

test("a restart forgets no ban, and lifts none", async () => {
  const persist = await mkdtemp(path.join(tmpdir(), "edgeweir-bans-"));
  const [banned, manual, lifted] = ["192.0.2.10", "192.0.2.20", "192.0.2.30"] as const;
  try {
    await using({ env: "staging", vars: TOKENS, persist }, async (gateway) => {
      const admin = new Admin(gateway);
      await admin.pushed(document(), "r0");
      await servedAt(gateway, "/plain/x", { client: "192.0.2.250" });
      await offend(gateway, 4, { client: banned });
      for (const network of [manual, lifted]) {
        assert.equal((await admin.post("/bans", { network, duration: "1h" })).status, 200);
      }
      assert.equal((await admin.call("DELETE", `/bans?network=${lifted}`)).status, 200);
      // The object has it; whether Control heard of it before the end is left open.
      await eventually(
        "the object to know the ban",
        async () => (await gateway.fetch("/counted/x", { client: banned })).status,
        (status) => status === 403,
      );
      await sleep(1_500);
    });
    await using({ env: "staging", vars: TOKENS, persist, isolates: 2 }, async (gateway) => {
      const admin = new Admin(gateway);
      await servedAt(gateway, "/plain/x", { client: "192.0.2.250" });
      assert.equal((await gateway.fetch("/counted/x", { client: banned })).status, 403);
      assert.equal((await gateway.fetch("/plain/x", { client: manual })).status, 403);
      assert.equal((await gateway.fetch("/counted/x", { client: lifted })).status, 200);
      await eventually(
        "both to be listed",
        () => listed(admin),
        (bans) => bans.length === 2,
        MANIFEST,
      );
      await refusedAt(gateway, "/plain/x", { client: banned, isolate: 1 });
    });
  } finally {
    await rm(persist, { recursive: true, force: true });
  }
});

describe("without the objects", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ limiter: "stand-in", policy: document() });
    await gateway.failLimiter("throw");
  });
  after(() => gateway?.dispose());

  test("the isolate counts alone, and says in the log that nobody heard", async () => {
    const client = "192.0.2.10";
    await offend(gateway, 4, { client });
    assert.equal((await gateway.fetch("/plain/x", { client })).status, 403);
    assert.equal((await gateway.fetch("/plain/x", { client: "192.0.2.11" })).status, 200);
  });

  test("an operator's token is of no use without a Control object to ask", async () => {
    const admin = new Admin(gateway, OPERATOR);
    assert.equal((await admin.get("/bans")).status, 404);
  });
});
