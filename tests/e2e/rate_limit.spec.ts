// Stages 3 and 7: does it speak too often? Windows are an hour long where nothing is to come back
// during a test.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import {
  assertOneLineEach,
  assertProblem,
  assertRefused,
  lineOf,
  sleep,
  stages,
} from "./expect.ts";
import { Gateway, policy, route, type FetchOptions, type LimiterMood } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

const MESSAGE = "Too many requests. 잠시 후 다시 시도해 주세요.";

const rule = (max: number, more: object = {}): object => ({
  rules: [{ id: "few", max, window: "1h", counting: "local", message: MESSAGE, ...more }],
});
const limited = (id: string, limit: object): object => route(id, `/${id}/*`, { rate_limit: limit });

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

/** The statuses of so many requests, one after the other. */
async function statuses(
  gateway: Gateway,
  target: string,
  count: number,
  options: FetchOptions = {},
) {
  const seen: number[] = [];
  for (let nth = 0; nth < count; nth += 1) seen.push((await gateway.fetch(target, options)).status);
  return seen;
}

/** How many of them passed, all sent at once to the isolates in turn. */
async function allowedAtOnce(gateway: Gateway, target: string, count: number): Promise<number> {
  const isolates = gateway.ports.length;
  const responses = await Promise.all(
    Array.from({ length: count }, (_, nth) => gateway.fetch(target, { isolate: nth % isolates })),
  );
  return responses.filter(({ status }) => status === 200).length;
}

describe("counted in the isolate", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({
      isolates: 2,
      policy: policy(
        origin.url,
        [
          limited("local", rule(3)),
          limited("burst", rule(3600, { burst: 2 })),
          limited("second", rule(1, { window: "1s" })),
          limited("keyed", rule(1, { key: ["client", { header: "X-Api-Client" }] })),
          limited("header", rule(1, { key: [{ header: "X-Api-Client" }] })),
          limited("shadow", rule(1, { mode: "shadow" })),
          limited("off", rule(1, { mode: "off" })),
          limited("plain", {
            rules: [{ id: "no-message", max: 1, window: "1h", counting: "local" }],
          }),
          limited("several", {
            rules: [
              { id: "wide", max: 100, window: "15m", counting: "local" },
              { id: "narrow", max: 2, window: "1h", counting: "local" },
            ],
          }),
          limited("other", rule(3)),
          route("unlimited", "/unlimited"),
        ],
        {
          rate_limit: {
            rules: [
              {
                id: "entry",
                key: [{ header: "X-Entry" }],
                max: 40,
                window: "1h",
                counting: "local",
              },
            ],
          },
        },
      ),
    });
  });
  after(() => gateway?.dispose());
  // The entry limit counts by this field, so each test has its own count.
  const as = (name: string, more: FetchOptions = {}): FetchOptions => ({
    ...more,
    fields: [["X-Entry", name], ...(more.fields ?? [])],
  });

  test("says what is left, then refuses and says when to come again", async () => {
    const seen: RawResponse[] = [];
    for (let nth = 0; nth < 4; nth += 1) seen.push(await gateway.fetch("/local/x", as("left")));
    const refused = seen.at(-1) as RawResponse;
    assert.deepEqual(
      seen.map(({ status }) => status),
      [200, 200, 200, 429],
    );
    for (const [nth, response] of seen.entries()) {
      assert.equal(response.field("ratelimit-policy"), '"few";q=3;w=3600');
      const state = /^"few";r=(\d+);t=(\d+)$/.exec(response.field("ratelimit") ?? "");
      assert.equal(Number(state?.[1]), Math.max(0, 2 - nth));
      assert.ok(
        // Until one more is there.
        Math.abs(Number(state?.[2]) - 1200) <= 2,
        response.field("ratelimit"),
      );
    }
    const line = await assertRefused(gateway, refused, 429, "rate-limited");
    assert.equal(refused.json.detail, MESSAGE);
    assert.ok(Math.abs(Number(refused.field("retry-after")) - 1200) <= 2);
    assert.deepEqual(
      stages(line, "rate_limit").map(({ verdict, rule }) => [verdict, rule]),
      [["refuse", "few"]],
    );
    assert.equal(origin.received("/local/x").length, 3);
    await assertOneLineEach(gateway, seen);
  });

  test("each client, each route and each isolate has a count of its own", async () => {
    const options = as("own", { client: "192.0.2.20" });
    assert.deepEqual(await statuses(gateway, "/local/y", 4, options), [200, 200, 200, 429]);
    assert.equal(
      (await gateway.fetch("/local/y", as("own", { client: "192.0.2.21" }))).status,
      200,
    );
    assert.equal((await gateway.fetch("/other/y", options)).status, 200);
    assert.equal((await gateway.fetch("/local/y", { ...options, isolate: 1 })).status, 200);
  });

  test("a burst is what may come at once", async () => {
    assert.deepEqual(await statuses(gateway, "/burst/x", 2, as("burst")), [200, 200]);
    const refused = await gateway.fetch("/burst/x", as("burst"));
    // One a second comes back: at least one of the next two is refused at once.
    assert.equal(refused.status, 429);
    assert.equal(refused.field("retry-after"), "1");
    assert.equal(refused.field("ratelimit-policy"), '"few";q=3600;w=3600');
  });

  test("who comes again after Retry-After passes; hammering does not push it away", async () => {
    assert.deepEqual(
      await statuses(gateway, "/second/x", 5, as("again")),
      [200, 429, 429, 429, 429],
    );
    await sleep(1_050);
    assert.deepEqual(await statuses(gateway, "/second/x", 2, as("again")), [200, 429]);
  });

  test("a field that is part of the key, or absent, counts by its value", async () => {
    const by = (value: string) => as("key", { fields: [["X-Api-Client", value]] });
    for (const route of ["keyed", "header"]) {
      assert.deepEqual(await statuses(gateway, `/${route}/x`, 2, by("a")), [200, 429]);
      assert.deepEqual(await statuses(gateway, `/${route}/x`, 2, by("b")), [200, 429]);
      assert.deepEqual(await statuses(gateway, `/${route}/x`, 2, as("key")), [200, 429]);
    }
    const other = { ...by("a"), client: "192.0.2.30" };
    assert.equal((await gateway.fetch("/keyed/x", other)).status, 200);
    assert.equal((await gateway.fetch("/header/x", other)).status, 429);
  });

  test("a shadow rule counts, refuses nothing and says nothing to the client", async () => {
    await gateway.fetch("/shadow/x", as("shadow"));
    const response = await gateway.fetch("/shadow/x", as("shadow"));
    assert.equal(response.status, 200);
    assert.equal(stages(await lineOf(gateway, response), "rate_limit")[0]?.verdict, "refuse");
    assert.equal(stages(await lineOf(gateway, response), "rate_limit")[0]?.shadow, true);
    assert.equal(response.field("ratelimit-policy"), '"entry";q=40;w=3600');
  });

  test("a rule that is off is not there", async () => {
    assert.deepEqual(await statuses(gateway, "/off/x", 3, as("off")), [200, 200, 200]);
  });

  test("of several rules, the one with the least left speaks, and the one that refuses", async () => {
    const first = await gateway.fetch("/several/x", as("several"));
    assert.match(first.field("ratelimit") ?? "", /^"narrow";r=1;t=/);
    await gateway.fetch("/several/x", as("several"));
    const refused = await gateway.fetch("/several/x", as("several"));
    assertProblem(refused, 429, "rate-limited");
    assert.match(refused.field("ratelimit") ?? "", /^"narrow";r=0;t=/);
    const noted = stages(await lineOf(gateway, refused), "rate_limit");
    assert.deepEqual(
      noted.map(({ rule, verdict }) => [rule, verdict]),
      [
        ["wide", "allow"],
        ["narrow", "refuse"],
      ],
    );
  });

  test("without a message the problem says what it is", async () => {
    await gateway.fetch("/plain/x", as("plain"));
    const refused = await gateway.fetch("/plain/x", as("plain"));
    assertProblem(refused, 429, "rate-limited");
    assert.equal("detail" in refused.json, false);
  });

  test("the entry limit counts paths that nobody serves, and garbage", async () => {
    const targets = ["/unlimited", "/nowhere", "/x%00", "/y/%2e%2e"];
    const seen: number[] = [];
    for (let nth = 0; nth < 44; nth += 1) {
      seen.push((await gateway.fetch(targets[nth % 4] ?? "", as("scanner"))).status);
    }
    assert.deepEqual(seen.slice(0, 4), [200, 404, 400, 400]);
    assert.deepEqual(seen.slice(40), [429, 429, 429, 429]);
    assert.equal((await gateway.fetch("/_weir/health", as("scanner"))).status, 200);
  });

  test("a key of a very long field is a key like any other", async () => {
    const long = as("long", { fields: [["X-Api-Client", "x".repeat(8_000)]] });
    assert.deepEqual(await statuses(gateway, "/header/x", 2, long), [200, 429]);
  });
});

describe("counted in one object for all isolates", () => {
  const routes = ["serial", "parallel", "evicted", "quick", "fields"].map((id) =>
    limited(
      id,
      rule(5, { counting: "exact", ...(id === "quick" ? { window: "1s", max: 1 } : {}) }),
    ),
  );
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ isolates: 3, policy: policy(origin.url, routes) });
  });
  after(() => gateway?.dispose());

  test("three isolates spend one quota", async () => {
    const seen: number[] = [];
    for (let nth = 0; nth < 8; nth += 1) {
      seen.push((await gateway.fetch("/serial/x", { isolate: nth % 3 })).status);
    }
    assert.deepEqual(seen, [200, 200, 200, 200, 200, 429, 429, 429]);
  });

  test("requests at once never spend one token twice", async () => {
    assert.equal(await allowedAtOnce(gateway, "/parallel/x", 30), 5);
    assert.equal(origin.received("/parallel/x").length, 5);
  });

  test("the fields say what is left everywhere", async () => {
    const first = await gateway.fetch("/fields/x", { isolate: 0 });
    const second = await gateway.fetch("/fields/x", { isolate: 1 });
    assert.match(first.field("ratelimit") ?? "", /^"few";r=4;t=7(19|20)$/);
    assert.match(second.field("ratelimit") ?? "", /^"few";r=3;t=7(19|20)$/);
    const line = await lineOf(gateway, second);
    assert.deepEqual(stages(line, "rate_limit"), [
      { stage: "rate_limit", verdict: "allow", rule: "few" },
    ]);
  });

  test("a count survives the eviction of its object", async () => {
    assert.deepEqual(await statuses(gateway, "/evicted/x", 4), [200, 200, 200, 200]);
    assert.ok((await gateway.evictLimiters()) > 0);
    assert.deepEqual(await statuses(gateway, "/evicted/x", 2, { isolate: 2 }), [200, 429]);
    assert.ok((await gateway.evictLimiters()) > 0);
    assert.deepEqual(await statuses(gateway, "/evicted/x", 1, { isolate: 1 }), [429]);
  });

  test("quota comes back with time", async () => {
    assert.deepEqual(await statuses(gateway, "/quick/x", 2), [200, 429]);
    await sleep(1_050);
    assert.deepEqual(await statuses(gateway, "/quick/x", 2, { isolate: 1 }), [200, 429]);
  });
});

test("a count survives a restart", async () => {
  const persist = mkdtempSync(path.join(tmpdir(), "edgeweir-"));
  const options = {
    persist,
    policy: policy(origin.url, [limited("kept", rule(3, { counting: "exact" }))]),
  };
  try {
    for (const expected of [
      [200, 200],
      [200, 429],
      [429, 429],
    ]) {
      const gateway = await Gateway.start(options);
      try {
        assert.deepEqual(await statuses(gateway, "/kept/x", 2), expected);
      } finally {
        await gateway.dispose();
      }
    }
  } finally {
    rmSync(persist, { recursive: true, force: true });
  }
});

describe("when the counter fails, the rule says what happens", () => {
  const failing = (id: string, more: object): object =>
    limited(id, rule(2, { counting: "exact", deadline: "200ms", ...more }));
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({
      limiter: "stand-in",
      policy: policy(origin.url, [
        failing("local", { on_failure: "local" }),
        failing("default", {}),
        failing("open", { on_failure: "open" }),
        failing("closed", { on_failure: "closed" }),
        failing("quiet", { on_failure: "closed", mode: "shadow" }),
        limited("stage", {
          ...rule(2, { counting: "exact", deadline: "200ms" }),
          on_failure: "closed",
        }),
      ]),
    });
  });
  after(() => gateway?.dispose());

  let client = 0;
  for (const mood of ["throw", "hang", "garbage", "status"] satisfies LimiterMood[]) {
    describe(`it was told to ${mood}`, () => {
      const options: FetchOptions = {};
      let asked = false;
      before(async () => {
        await gateway.failLimiter(mood);
        options.client = `192.0.2.${(client += 1)}`;
      });

      /** Bounded by the deadline, with room for a busy machine. */
      async function timed(target: string): Promise<RawResponse> {
        const started = Date.now();
        const response = await gateway.fetch(target, options);
        const took = Date.now() - started;
        // After three failures in a row the object is not asked for a second.
        if (mood === "hang" && !asked) assert.ok(took >= 190, `it waited ${took} ms only`);
        asked = true;
        assert.ok(took < 1_500, `it took ${took} ms`);
        return response;
      }

      for (const id of ["local", "default"]) {
        test(`${id}: the isolate counts by the same quota, and the log says why`, async () => {
          const seen = [await timed(`/${id}/x`), await timed(`/${id}/x`), await timed(`/${id}/x`)];
          assert.deepEqual(
            seen.map(({ status }) => status),
            [200, 200, 429],
          );
          assert.match(seen[0]?.field("ratelimit") ?? "", /^"few";r=1;/);
          for (const response of seen) {
            const [noted] = stages(await lineOf(gateway, response), "rate_limit");
            assert.match(noted?.error ?? "", /^counter: /);
          }
        });
      }

      test("open: it passes uncounted, and the log says why", async () => {
        const seen = [await timed("/open/x"), await timed("/open/x"), await timed("/open/x")];
        for (const response of seen) {
          assert.equal(response.status, 200);
          assert.equal(response.field("ratelimit"), undefined);
          const [noted] = stages(await lineOf(gateway, response), "rate_limit");
          assert.equal(noted?.verdict, "open");
          assert.match(noted?.error ?? "", /^counter: /);
        }
      });

      for (const id of ["closed", "stage"]) {
        test(`${id}: it is refused, and the log says why`, async () => {
          const before = origin.requests.length;
          const response = await timed(`/${id}/x`);
          const line = await assertRefused(gateway, response, 503, "counter-unavailable");
          assert.equal(line.verdict, "failed");
          assert.match(line.error ?? "", /^counter: /);
          assert.ok(Number(response.field("retry-after")) >= 1);
          assert.ok(!response.text.includes("told to fail"), "the cause is for the log alone");
          assert.equal(origin.requests.length, before);
        });
      }

      test("a shadow rule that fails closed refuses nothing", async () => {
        const response = await timed("/quiet/x");
        assert.equal(response.status, 200);
        const [noted] = stages(await lineOf(gateway, response), "rate_limit");
        assert.deepEqual([noted?.verdict, noted?.shadow], ["closed", true]);
      });
    });
  }
});

describe("looked at without counting", () => {
  const key = "0000000000000000000000000000002a";
  const quota = { max: 2, window_ms: 3_600_000, burst: 2 };
  const take = { v: 1, key, ...quota, cost: 1 };
  const peek = { v: 1, peek: { key, ...quota } };
  type Decision = { allowed: boolean; remaining: number; retry_ms: number };

  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ policy: policy(origin.url, [route("all", "/*")]) });
  });
  after(() => gateway.dispose());

  const look = async () => (await gateway.askLimiter(42, peek)) as Decision;
  const count = async () => (await gateway.askLimiter(42, take)) as Decision;

  test("a peek says what the next take would be told, and moves nothing", async () => {
    for (const remaining of [2, 1]) {
      for (let nth = 0; nth < 5; nth += 1) {
        const { allowed, remaining: left, retry_ms } = await look();
        assert.deepEqual(
          { allowed, left, retry_ms },
          { allowed: true, left: remaining, retry_ms: 0 },
        );
      }
      assert.equal((await count()).allowed, true);
    }
    const { allowed, remaining, retry_ms } = await look();
    assert.deepEqual({ allowed, remaining }, { allowed: false, remaining: 0 });
    assert.ok(retry_ms > 1_700_000 && retry_ms <= 1_800_000, `${retry_ms}`);
    assert.equal((await count()).allowed, false);
  });

  test("another form is refused, not counted", async () => {
    assert.equal(await gateway.askLimiter(42, { ...peek, v: 2 }), 400);
    assert.equal(await gateway.askLimiter(42, { v: 1, peek: {} }), 400);
  });
});
