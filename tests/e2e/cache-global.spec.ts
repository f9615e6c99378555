// What all locations share: the tier `global`, in KV. Two gateways stand for two locations: each has a
// Cache API of its own, and both have one store.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Admin, OPERATOR, TOKENS } from "./admin.ts";
import { FRESH, isHit, status } from "./caching.ts";
import { eventually, lineOf, sleep, stages } from "./expect.ts";
import { Gateway, policy, route, type FetchOptions, type GatewayOptions } from "./mf.ts";
import { encoded, Origin, type Plan } from "./origin.ts";
import { HOST, noise, sha256, type RawResponse } from "./raw.ts";
import { Store } from "./store.ts";

const STORED = "edgeweir; fwd=uri-miss; fwd-status=200; stored";

let origin: Origin;
let store: Store;
let here: Gateway;
let there: Gateway;

const start = (more: GatewayOptions = {}): Promise<Gateway> =>
  Gateway.start({
    isolates: 2,
    cacheStore: store,
    policy: policy(origin.url, [
      route("all", "/all/*", { cache: { tiers: ["memory", "location", "global"] } }),
      route("far", "/far/*", { cache: { tiers: ["global"], max_global_body: "64KiB" } }),
    ]),
    ...more,
  });

before(async () => {
  [origin, store] = await Promise.all([Origin.start(), Store.start()]);
  [here, there] = await Promise.all([start(), start()]);
});
after(async () => {
  await Promise.all([here?.dispose(), there?.dispose()]);
  await Promise.all([origin.stop(), store.stop()]);
});

const sent = (path: string): number => origin.received(path).length;
const keyOf = (path: string): string | undefined =>
  store.keys("cache/").find((key) => key.endsWith(path));

/** Has an answer stored by one location, and waits until the store has it. */
async function stored(path: string, options: FetchOptions = {}): Promise<RawResponse> {
  const response = await here.fetch(path, options);
  await eventually(
    `${path} in the store`,
    async () => keyOf(path),
    (key) => key !== undefined,
  );
  return response;
}

/** One that is not there after the time that storing takes. */
async function notStored(path: string): Promise<void> {
  await sleep(150);
  assert.equal(keyOf(path), undefined);
}

describe("an answer that one location has stored", () => {
  for (const under of ["/all", "/far"]) {
    test(`is a hit in another, byte by byte: ${under}`, async () => {
      const body = noise(60_000);
      const fields: Plan["fields"] = [...FRESH, ["ETag", '"a"'], ["X-Two", "1"], ["X-Two", "2"]];
      const path = origin.serve({ fields, body }, under);
      const miss = await stored(path);
      assert.equal(status(miss), STORED);
      const hit = await there.fetch(path);
      assert.ok(isHit(hit), status(hit));
      assert.equal(sha256(hit.body), sha256(body));
      for (const name of ["etag", "content-length", "x-two", "cache-control", "date"])
        assert.equal(hit.field(name), miss.field(name), name);
      assert.match(hit.field("age") ?? "", /^[0-9]$/);
      assert.equal(sent(path), 1);
    });
  }

  test("comes near there: into memory, and into the location for the other isolates", async () => {
    const path = origin.serve({ fields: FRESH, body: noise(10_000) }, "/all");
    const miss = await stored(path);
    const before = store.reads;
    assert.ok(isHit(await there.fetch(path)));
    assert.equal(store.reads, before + 1);
    await sleep(150);
    for (const isolate of [0, 1, 0, 1]) {
      const hit = await there.fetch(path, { isolate });
      assert.deepEqual([isHit(hit), sha256(hit.body)], [true, sha256(miss.body)]);
    }
    assert.equal(store.reads, before + 1);
    assert.equal(sent(path), 1);
  });

  test("stays as it was compressed", async () => {
    const plan: Plan = {
      fields: FRESH,
      body: "a compressible text, ".repeat(500),
      encoding: "gzip",
    };
    for (const under of ["/all", "/far"]) {
      const path = origin.serve(plan, under);
      await stored(path, { fields: [["Accept-Encoding", "gzip"]] });
      const hit = await there.fetch(path, { fields: [["Accept-Encoding", "gzip"]] });
      assert.ok(isHit(hit), status(hit));
      assert.deepEqual(hit.body, encoded(plan));
      assert.equal(hit.field("content-encoding"), "gzip");
      assert.equal(hit.field("content-length"), String(encoded(plan).length));
    }
  });

  test("answers HEAD, conditions and ranges", async () => {
    const body = noise(20_000);
    const path = origin.serve({ fields: [...FRESH, ["ETag", '"a"']], body }, "/far");
    await stored(path);
    const head = await there.fetch(path, { method: "HEAD" });
    assert.deepEqual([head.status, head.body.length, head.field("etag")], [200, 0, '"a"']);
    const same = await there.fetch(path, { fields: [["If-None-Match", '"a"']] });
    assert.deepEqual([same.status, same.body.length], [304, 0]);
    for (const [range, first, last] of [
      ["bytes=0-0", 0, 0],
      ["bytes=10-20", 10, 20],
      ["bytes=-5", 19_995, 19_999],
    ] as [string, number, number][]) {
      const part = await there.fetch(path, { fields: [["Range", range]] });
      assert.deepEqual(
        [part.status, part.field("content-range"), part.field("content-length")],
        [206, `bytes ${first}-${last}/20000`, String(last - first + 1)],
      );
      assert.deepEqual(part.body, body.subarray(first, last + 1));
    }
    assert.equal((await there.fetch(path, { fields: [["Range", "bytes=20000-"]] })).status, 416);
    assert.equal(sent(path), 1);
  });

  test("without a body, or with an empty one", async () => {
    for (const plan of [
      { status: 204, fields: FRESH, body: "" },
      { fields: FRESH, body: "" },
    ]) {
      const path = origin.serve(plan, "/far");
      const miss = await stored(path);
      const hit = await there.fetch(path);
      assert.ok(isHit(hit), status(hit));
      assert.deepEqual(
        [hit.status, hit.body.length, hit.field("content-length")],
        [miss.status, 0, miss.field("content-length")],
      );
    }
  });

  test("under a name longer than the store takes", async () => {
    const path = origin.serve({ fields: FRESH, body: "long" }, `/far/${"x".repeat(600)}`);
    const names = store.keys("cache/#").length;
    await here.fetch(path);
    await eventually(
      "a hashed name",
      async () => store.keys("cache/#").length,
      (count) => count === names + 1,
    );
    assert.ok(isHit(await there.fetch(path)));
  });
});

describe("what is written", () => {
  test("is kept for as long as it is worth it", async () => {
    const path = origin.serve({ fields: FRESH, body: "ttl" }, "/all");
    await stored(path);
    const [put] = store.putsOf(keyOf(path) ?? "");
    assert.ok(put?.ttl !== undefined && put.ttl >= 600 && put.ttl <= 600 + 86_400, `${put?.ttl}`);
  });

  test("is neither short-lived nor large nor a part of something", async () => {
    const short = origin.serve({ fields: [["Cache-Control", "max-age=200"]], body: "s" }, "/all");
    const large = origin.serve({ fields: FRESH, body: noise((256 << 10) + 1) }, "/all");
    const chunked = origin.serve({ fields: FRESH, body: noise(65_537), chunked: true }, "/far");
    for (const path of [short, large, chunked]) {
      await here.fetch(path);
      await notStored(path);
    }
    assert.ok(isHit(await here.fetch(large)), "the near tiers keep it");
    const ranged = origin.serve(
      { fields: [...FRESH, ["ETag", '"a"']], body: noise(100), ranges: true },
      "/all",
    );
    assert.equal((await here.fetch(ranged, { fields: [["Range", "bytes=0-9"]] })).status, 206);
    await notStored(ranged);
    const only = origin.serve({ fields: [["Cache-Control", "max-age=200"]], body: "s" }, "/far");
    assert.match(status(await here.fetch(only)), /detail=tier$/);
  });

  test("is whole: a body that breaks off is not", async () => {
    const path = origin.serve(
      (_, nth) =>
        nth === 1
          ? { fields: FRESH, body: "w".repeat(50_000), failure: "reset-in-body" }
          : { fields: FRESH, body: "whole" },
      "/far",
    );
    await here.fetch(path).catch(() => undefined);
    await notStored(path);
    assert.equal((await there.fetch(path)).text, "whole");
  });

  test("holds no answer up, and whether it fails is a line in the log", async () => {
    for (const mood of ["hang", "throw"] as const) {
      const path = origin.serve({ fields: FRESH, body: "at once" }, "/far");
      store.writeMood = () => mood;
      const begun = Date.now();
      assert.equal((await here.fetch(path)).text, "at once");
      assert.ok(Date.now() - begun < 1_000);
      if (mood === "throw") {
        await eventually(
          "the line",
          async () => here.log.lines.filter(({ message }) => message.includes('"event":"store"')),
          (lines) => lines.length > 0,
        );
      }
      store.writeMood = () => "work";
    }
  });
});

describe("a store", () => {
  test("that fails or hangs is a miss", async () => {
    for (const mood of ["throw", "hang"] as const) {
      const path = origin.serve({ fields: FRESH, body: "origin" }, "/all");
      store.mood = mood;
      const begun = Date.now();
      const response = await there.fetch(path);
      const took = Date.now() - begun;
      store.mood = "work";
      assert.deepEqual([response.status, response.text], [200, "origin"]);
      assert.equal(status(response), STORED);
      assert.ok(took < 2_000, `${took} ms`);
      const [note] = stages(await lineOf(there, response), "cache");
      assert.equal(note?.verdict, "miss");
      assert.match(note?.error ?? "", /^global-store/);
    }
  });

  test("that has lost half of a value is a miss", async () => {
    const path = origin.serve({ fields: FRESH, body: noise(5_000) }, "/far");
    await stored(path);
    store.tear(keyOf(path) ?? "");
    assert.equal(status(await there.fetch(path)), STORED);
    const garbage = origin.serve({ fields: FRESH, body: "again" }, "/far");
    await stored(garbage);
    for (const value of ["", "x", "not an entry at all"]) {
      store.put(keyOf(garbage) ?? "", value);
      const miss = await there.fetch(garbage);
      assert.deepEqual([status(miss), miss.text], [STORED, "again"]);
      await sleep(100);
    }
  });

  test("that still shows what was removed does not bring it back", async () => {
    const path = origin.serve((_, nth) => ({ fields: FRESH, body: `body ${nth}` }), "/all");
    await stored(path);
    const key = keyOf(path) ?? "";
    await store.bringBack(key, async () => {
      await here.fetch(path, { method: "POST", body: "new" });
      await eventually(
        "the removal",
        async () => store.deletions.includes(key),
        (done) => done,
      );
    });
    const after = await here.fetch(path);
    assert.deepEqual([isHit(after), after.text], [false, "body 3"]);
  });

  test("that is not bound is left out, and that is told", async () => {
    const gateway = await start({ unbound: ["CACHE"] });
    try {
      const path = origin.serve({ fields: FRESH, body: "near" }, "/all");
      assert.equal(status(await gateway.fetch(path)), STORED);
      await eventually("a hit", () => gateway.fetch(path), isHit);
      await notStored(path);
      const only = origin.serve({ fields: FRESH, body: "nowhere" }, "/far");
      assert.match(status(await gateway.fetch(only)), /detail=tier$/);
      const told = gateway.log.lines.filter(({ message }) =>
        message.includes("binding CACHE is missing"),
      );
      assert.equal(told.length, 1);
    } finally {
      await gateway.dispose();
    }
  });
});

test("what a purge has made void in one location is found anew in the store", async () => {
  const [near, far] = await Promise.all([start({ vars: TOKENS }), start({ vars: TOKENS })]);
  try {
    const path = origin.serve((_, nth) => ({ fields: FRESH, body: `body ${nth}` }), "/all");
    await near.fetch(path);
    await eventually("a hit", () => near.fetch(path), isHit);
    for (const gateway of [near, far]) {
      const purged = await new Admin(gateway, OPERATOR).post("/purge", {
        urls: [`http://${HOST}${path}`],
      });
      assert.equal(purged.status, 200, purged.text);
    }
    const writes = (): number => store.puts.filter(({ key }) => key.endsWith(path)).length;
    const before = writes();
    const fresh = await far.fetch(path);
    assert.deepEqual([status(fresh), fresh.text], [STORED, "body 2"]);
    await eventually(
      "it to be in the store",
      async () => writes(),
      (count) => count > before,
    );
    // Its memory and its location have what is void.
    const hit = await near.fetch(path);
    assert.deepEqual([isHit(hit), hit.text], [true, "body 2"], status(hit));
    await sleep(150);
    const reads = store.reads;
    const again = await near.fetch(path);
    assert.deepEqual([isHit(again), again.text, store.reads], [true, "body 2", reads]);
    assert.equal(sent(path), 2);
  } finally {
    await Promise.all([near.dispose(), far.dispose()]);
  }
});
