// Concurrent misses of one key over several isolates of a location: the Collapser objects let one of
// them ask the origin, and hold nobody up when they or a leader fail.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { FRESH, isHit, status } from "./caching.ts";
import { eventually, lineOf, sleep, stages } from "./expect.ts";
import { Gateway, policy, route, type FetchOptions, type GatewayOptions } from "./mf.ts";
import { Origin, type Plan } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

const ISOLATES = 4;
const COLLAPSED = "edgeweir; fwd=uri-miss; collapsed";
const STORED = "edgeweir; fwd=uri-miss; fwd-status=200; stored";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const start = (more: GatewayOptions = {}): Promise<Gateway> =>
  Gateway.start({
    isolates: ISOLATES,
    policy: policy(origin.url, [
      route("location", "/location/*", { cache: {} }),
      route("both", "/both/*", { cache: { tiers: ["memory", "location"] } }),
      route("memory", "/memory/*", { cache: { tiers: ["memory"] } }),
    ]),
    ...more,
  });

/** A gate that stays shut until it is opened. */
function gate(): { shut: Promise<unknown>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { shut: promise, open: resolve };
}

/** Every isolate has a policy, and its objects run: a cold start is not under test. */
async function warm(gateway: Gateway): Promise<void> {
  for (let isolate = 0; isolate < ISOLATES; isolate += 1) {
    for (let nth = 0; nth < 3; nth += 1) {
      const path = origin.serve({ fields: FRESH, body: "warm" }, "/location");
      await gateway.fetch(path, { isolate });
    }
  }
}

const sent = (path: string): number => origin.received(path).length;
const arrived = (path: string, count = 1): Promise<number> =>
  eventually(
    `${count} at the origin`,
    async () => sent(path),
    (now) => now >= count,
  );

describe("with objects", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await start();
    await warm(gateway);
  });
  after(() => gateway?.dispose());

  /** So many at once, in turn to each isolate. */
  const many = (count: number, path: string, options?: FetchOptions): Promise<RawResponse[]> =>
    Promise.all(
      Array.from({ length: count }, (_, nth) =>
        gateway.fetch(path, { ...options, isolate: nth % ISOLATES }),
      ),
    );

  for (const under of ["/location", "/both"]) {
    test(`five hundred cold requests cause one: ${under}`, async () => {
      const { shut, open } = gate();
      const body = "0123456789".repeat(2_000);
      const path = origin.serve({ fields: FRESH, body, gate: shut }, under);
      const asked = many(500, path);
      await arrived(path);
      await sleep(500);
      open();
      const responses = await asked;
      const alone = gateway.log.access.flatMap((line) => stages(line, "cache"));
      assert.equal(sent(path), 1, JSON.stringify(alone));
      for (const response of responses)
        assert.deepEqual([response.status, response.text], [200, body]);
      const said = responses.map(status);
      assert.equal(said.filter((text) => text === STORED).length, 1);
      const others = responses.filter(
        (response) => status(response) === COLLAPSED || isHit(response),
      );
      assert.equal(others.length, 499);
      assert.ok(said.filter((text) => text === COLLAPSED).length >= ISOLATES);
    });
  }

  test("an origin that takes its time is asked once", async () => {
    const { shut, open } = gate();
    const path = origin.serve(async () => {
      await shut;
      return { fields: FRESH, body: "slow" };
    }, "/location");
    const asked = many(8, path);
    await arrived(path);
    // Longer than a lease lasts that nobody renews.
    await sleep(3_000);
    open();
    for (const response of await asked) assert.equal(response.text, "slow");
    assert.equal(sent(path), 1);
  });

  test("what has become stale is asked about once", async () => {
    const path = origin.serve(
      ({ field }) =>
        field("if-none-match") === '"v1"'
          ? { status: 304, fields: [...FRESH, ["ETag", '"v1"']] }
          : {
              fields: [
                ["Cache-Control", "max-age=1"],
                ["ETag", '"v1"'],
              ],
              body: "stays",
            },
      "/location",
    );
    await gateway.fetch(path);
    await sleep(2_050);
    for (const response of await many(20, path)) assert.equal(response.text, "stays");
    assert.equal(sent(path), 2);
  });

  test("memory alone collapses for each isolate", async () => {
    const { shut, open } = gate();
    const path = origin.serve({ fields: FRESH, body: "near", gate: shut }, "/memory");
    const asked = many(40, path);
    await arrived(path, ISOLATES);
    await sleep(200);
    open();
    await asked;
    assert.equal(sent(path), ISOLATES);
  });

  test("what cannot be kept holds nobody up, the first time and the next", async () => {
    const path = origin.serve(async (_, nth) => {
      await sleep(100);
      return { fields: [["Cache-Control", "no-store"]], body: `body ${nth}` };
    }, "/location");
    for (const round of [1, 2]) {
      const begun = Date.now();
      const texts = new Set((await many(40, path)).map(({ text }) => text));
      assert.equal(texts.size, 40);
      assert.equal(sent(path), 40 * round);
      // One after the other would take four seconds.
      assert.ok(Date.now() - begun < 3_000, `${Date.now() - begun} ms`);
    }
  });

  test("a body that breaks off releases all", async () => {
    const body = "w".repeat(50_000);
    const path = origin.serve((_, nth): Plan => {
      const plan: Plan = { fields: FRESH, body };
      return nth === 1 ? { ...plan, failure: "reset-in-body" } : plan;
    }, "/location");
    const begun = Date.now();
    const asked = Array.from({ length: 12 }, (_, nth) =>
      gateway.fetch(path, { isolate: nth % ISOLATES }).then(
        (response) => response.text === body,
        () => false,
      ),
    );
    const whole = (await Promise.all(asked)).filter(Boolean);
    assert.ok(whole.length >= 11, `${whole.length} of 12 are whole`);
    assert.ok(Date.now() - begun < 3_000, `${Date.now() - begun} ms`);
  });

  test("a failing origin fails all, and soon", async () => {
    const path = origin.serve({ failure: "reset-before-head" }, "/location");
    const begun = Date.now();
    for (const response of await many(20, path)) assert.equal(response.status, 502);
    assert.ok(Date.now() - begun < 3_000, `${Date.now() - begun} ms`);
  });

  test("who wants an answer of his own waits for nobody", async () => {
    const { shut, open } = gate();
    const path = origin.serve(async (_, nth) => {
      if (nth === 1) await shut;
      return { fields: FRESH, body: `body ${nth}` };
    }, "/location");
    const leader = gateway.fetch(path, { isolate: 0 });
    await arrived(path);
    const own = await gateway.fetch(path, {
      isolate: 1,
      fields: [["Authorization", "Basic YTpi"]],
    });
    assert.equal(own.text, "body 2");
    open();
    assert.equal((await leader).text, "body 1");
  });
});

describe("without objects", () => {
  test("each isolate asks once", async () => {
    const gateway = await start({ unbound: ["COLLAPSER"] });
    try {
      await warm(gateway);
      const { shut, open } = gate();
      const path = origin.serve({ fields: FRESH, body: "here", gate: shut }, "/location");
      const asked = Array.from({ length: 80 }, (_, nth) =>
        gateway.fetch(path, { isolate: nth % ISOLATES }),
      );
      await arrived(path, ISOLATES);
      await sleep(200);
      open();
      for (const response of await Promise.all(asked)) assert.equal(response.text, "here");
      assert.equal(sent(path), ISOLATES);
    } finally {
      await gateway.dispose();
    }
  });
});

describe("an object that fails", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await start({ collapser: "relay" });
    await warm(gateway);
  });
  after(() => gateway?.dispose());

  for (const mood of ["throw", "status", "garbage", "hang"] as const) {
    test(`${mood}: everybody goes alone, and the log says so`, async () => {
      await gateway.collapser?.fail(mood);
      // What failed before is forgotten by then.
      await sleep(1_050);
      const path = origin.serve({ fields: FRESH, body: "alone" }, "/location");
      const begun = Date.now();
      const responses = await Promise.all(
        [0, 1, 2].map((isolate) => gateway.fetch(path, { isolate })),
      );
      const took = Date.now() - begun;
      for (const response of responses) assert.equal(response.text, "alone");
      assert.ok(took < 2_000, `${took} ms`);
      const lines = await Promise.all(responses.map((response) => lineOf(gateway, response)));
      const noted = lines.flatMap((line) => stages(line, "cache"));
      assert.ok(noted.length >= 1);
      for (const note of noted) {
        assert.equal(note.verdict, "alone");
        assert.match(note.error ?? "", mood === "hang" ? /^collapser.*time/ : /^collapser/);
      }
    });
  }

  test("a leader that is not heard of again is replaced", async () => {
    await gateway.collapser?.fail("forget");
    await sleep(1_050);
    const { shut, open } = gate();
    const path = origin.serve(async (_, nth) => {
      if (nth === 1) await shut;
      return { fields: FRESH, body: `body ${nth}` };
    }, "/location");
    const dead = gateway.fetch(path, { isolate: 0 });
    await arrived(path);
    const begun = Date.now();
    const others = await Promise.all([1, 2, 3].map((isolate) => gateway.fetch(path, { isolate })));
    const waited = Date.now() - begun;
    assert.ok(waited > 1_000 && waited < 4_500, `${waited} ms`);
    for (const response of others) assert.equal(response.text, "body 2");
    assert.equal(sent(path), 2);
    open();
    assert.equal((await dead).text, "body 1");
    await gateway.collapser?.fail("work");
  });
});
