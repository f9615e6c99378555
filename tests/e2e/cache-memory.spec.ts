// The tier `memory`: what an isolate keeps itself.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { Caching, FRESH, isHit, status } from "./caching.ts";
import { eventually, sleep } from "./expect.ts";
import { CLIENT, route, type FetchOptions } from "./mf.ts";
import { encoded, type Plan } from "./origin.ts";
import { HOST, noise, sha256, type Fields, type RawResponse } from "./raw.ts";

let caching: Caching;
before(async () => {
  caching = await Caching.start(
    route("near", "/near/*", { cache: { tiers: ["memory"] } }),
    route("both", "/both/*", { cache: { tiers: ["memory", "location"], max_body: "4MiB" } }),
    route("small", "/small/*", {
      cache: { tiers: ["memory", "location"], max_memory_body: "10B" },
    }),
    route("chosen", "/chosen/*", {
      cache: { tiers: ["memory"], allow_set_cookie: true },
      canary: {
        sticky: { cookie: "chosen" },
        variants: [
          { name: "all", upstream: "app", weight: 100 },
          { name: "none", upstream: "app", weight: 0 },
        ],
      },
    }),
  );
});
after(() => caching?.stop());

const fetch = (path: string, options?: FetchOptions): Promise<RawResponse> =>
  caching.gateway.fetch(path, options);
const sent = (path: string): number => caching.origin.received(path).length;

describe("a hit", () => {
  for (const under of ["/near", "/both"]) {
    test(`is the stored answer: ${under}`, async () => {
      const path = caching.serve(
        {
          fields: [
            ...FRESH,
            ["ETag", '"a"'],
            ["Content-Type", "text/plain"],
            ["X-Two", "1"],
            ["X-Two", "2"],
          ],
        },
        under,
      );
      const miss = await fetch(path);
      assert.equal(status(miss), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
      const hit = await caching.untilHit(path);
      assert.match(hit.field("age") ?? "", /^[01]$/);
      assert.deepEqual([hit.status, hit.text], [200, miss.text]);
      for (const name of ["cache-control", "etag", "content-type", "content-length", "x-two"])
        assert.equal(hit.field(name), miss.field(name), name);
      const before = sent(path);
      for (let nth = 0; nth < 5; nth += 1) assert.ok(isHit(await fetch(path)));
      assert.equal(sent(path), before);
    });
  }

  test("leaves nothing of its head in the next one", async () => {
    const path = caching.serve({ fields: FRESH }, "/chosen");
    const first = await caching.untilHit(path);
    const cookie = first.field("set-cookie")?.split(";")[0] ?? "";
    assert.match(cookie, /^chosen=/);
    const ids = new Set<string | undefined>();
    // In turn by clients that are given a cookie and those that bring it.
    for (let nth = 0; nth < 12; nth += 1) {
      const brings = nth % 4 < 2;
      const hit = await fetch(path, brings ? { fields: [["Cookie", cookie]] } : {});
      assert.ok(isHit(hit));
      assert.equal(hit.lines("set-cookie").length, brings ? 0 : 1);
      assert.equal(hit.lines("x-request-id").length, 1);
      ids.add(hit.field("x-request-id"));
    }
    assert.equal(ids.size, 12);
  });

  test("has the head that it asked for, whatever the one before got", async () => {
    const body = gzipSync(noise(2_000));
    const fields: Fields = [
      ["ETag", '"a"'],
      ["Content-Encoding", "gzip"],
      ["Set-Cookie", "one=1"],
      ["Set-Cookie", "two=2"],
      // The names of fields that are ours to say.
      ["X-Request-Id", "origin"],
      ["Cache-Status", "Origin; hit"],
    ];
    const path = caching.origin.serve({ fields: [...FRESH, ...fields], body }, "/chosen");
    const accept: [string, string] = ["Accept-Encoding", "gzip"];
    const first = await caching.untilHit(path, { fields: [accept] });
    const cookie = first.lines("set-cookie").find((line) => line.startsWith("chosen=")) ?? "";
    const kinds: [number, number, string | undefined, FetchOptions][] = [
      [200, body.length, `${body.length}`, {}],
      [200, 0, `${body.length}`, { method: "HEAD" }],
      [206, 10, "10", { fields: [["Range", "bytes=10-19"]] }],
      [304, 0, undefined, { fields: [["If-None-Match", '"a"']] }],
      [416, 0, "0", { fields: [["Range", "bytes=1000000-"]] }],
    ];
    const ask = async (nth: number): Promise<void> => {
      const [code, size, length, options] = kinds[(nth * 3 + (nth >> 3)) % kinds.length] ?? [
        0,
        0,
        "",
        {},
      ];
      const own: Fields = nth % 3 === 0 ? [["Cookie", cookie.split(";")[0] ?? ""]] : [];
      const hit = await fetch(path, {
        ...options,
        fields: [accept, ...own, ...(options.fields ?? [])],
      });
      const cookies = hit.lines("set-cookie").map((line) => line.split("=")[0]);
      assert.deepEqual(
        [isHit(hit), hit.status, hit.body.length, hit.field("content-length")],
        [true, code, size, length],
      );
      assert.deepEqual(
        [hit.lines("x-request-id").length, hit.field("x-request-id") === "origin", cookies],
        [
          1,
          false,
          [...(code === 416 ? [] : ["one", "two"]), ...(own.length === 0 ? ["chosen"] : [])],
        ],
      );
      const coding = code === 304 || code === 416 ? undefined : "gzip";
      assert.equal(hit.field("content-encoding"), coding);
    };
    for (let nth = 0; nth < 60; nth += 1) await ask(nth);
    await Promise.all(Array.from({ length: 60 }, (_, nth) => ask(nth)));
  });

  test("of memory alone is the isolate's own", async () => {
    const path = caching.serve({ fields: FRESH }, "/near");
    const first = await caching.untilHit(path, { isolate: 0 });
    const other = await fetch(path, { isolate: 1 });
    assert.equal(status(other), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
    assert.notEqual(other.text, first.text);
  });

  test("in the location fills memory, which then does not ask the location", async () => {
    const path = caching.serve({ fields: FRESH }, "/both");
    const first = await caching.untilHit(path, { isolate: 0 });
    const other = await fetch(path, { isolate: 1 });
    assert.deepEqual([isHit(other), other.text], [true, first.text]);
    await sleep(100);
    // A change that another isolate handles empties the location, and not this one's memory.
    await fetch(path, { isolate: 0, method: "POST", body: "new" });
    await eventually(
      "the location to forget it",
      () => fetch(path, { isolate: 0 }),
      (response) => response.text !== first.text,
    );
    const near = await fetch(path, { isolate: 1 });
    assert.deepEqual([isHit(near), near.text], [true, first.text]);
  });

  test("of a chunked answer is whole and has a length", async () => {
    const body = "0123456789".repeat(4_000);
    const hit = await caching.untilHit(
      caching.serve({ fields: FRESH, body, chunked: true }, "/near"),
    );
    assert.deepEqual([hit.text, hit.field("content-length")], [body, "40000"]);
  });

  test("of a bodiless or empty answer", async () => {
    const none = await caching.untilHit(
      caching.serve({ status: 204, fields: FRESH, body: "" }, "/near"),
    );
    assert.deepEqual(
      [none.status, none.body.length, none.field("content-length")],
      [204, 0, undefined],
    );
    const empty = await caching.untilHit(caching.serve({ fields: FRESH, body: "" }, "/near"));
    assert.deepEqual([empty.status, empty.field("content-length")], [200, "0"]);
  });

  test("of other statuses", async () => {
    for (const code of [404, 301, 410]) {
      const path = caching.serve({ status: code, fields: [...FRESH, ["Location", "/x"]] }, "/near");
      assert.equal((await caching.untilHit(path)).status, code);
    }
  });
});

describe("a body", () => {
  for (const under of ["/near", "/both"]) {
    test(`of 1 MiB is byte-exact, many at once: ${under}`, async () => {
      const body = noise(1 << 20);
      const path = caching.origin.serve({ fields: FRESH, body }, under);
      const hit = await caching.untilHit(path);
      assert.deepEqual(
        [sha256(hit.body), hit.field("content-length")],
        [sha256(body), String(1 << 20)],
      );
      const many = await Promise.all(Array.from({ length: 8 }, () => fetch(path)));
      for (const each of many)
        assert.deepEqual([isHit(each), sha256(each.body)], [true, sha256(body)]);
    });
  }

  test("that is larger than memory keeps is kept by the location alone", async () => {
    const path = caching.serve({ fields: FRESH, body: "more than ten bytes" }, "/small");
    const first = await caching.untilHit(path, { isolate: 0 });
    await fetch(path, { isolate: 1, method: "POST", body: "" });
    // Were it in memory, it would still be there.
    const after = await eventually(
      "the location to forget it",
      () => fetch(path, { isolate: 0 }),
      (response) => !isHit(response),
    );
    assert.equal(after.text, first.text);
  });

  test("that is larger than memory alone keeps is not stored", async () => {
    const path = caching.origin.serve({ fields: FRESH, body: noise((1 << 20) + 1) }, "/near");
    const first = await fetch(path);
    assert.match(status(first), /detail=size$/);
    assert.equal(first.body.length, (1 << 20) + 1);
    const chunked = caching.origin.serve(
      { fields: FRESH, body: noise((1 << 20) + 1), chunked: true },
      "/near",
    );
    await fetch(chunked);
    await sleep(50);
    assert.ok(!isHit(await fetch(chunked)));
  });

  test("that is compressed is byte-exact", async () => {
    for (const encoding of ["gzip", "br"] as const) {
      const plan: Plan = {
        fields: [...FRESH, ["Vary", "Accept-Encoding"]],
        body: "a compressible text, ".repeat(500),
        encoding,
      };
      const path = caching.serve(plan, "/near");
      const options: FetchOptions = { fields: [["Accept-Encoding", encoding]] };
      const hit = await caching.untilHit(path, options);
      assert.deepEqual(hit.body, encoded(plan));
      assert.equal(hit.field("content-encoding"), encoding);
      assert.equal(hit.field("content-length"), String(encoded(plan).length));
      assert.equal(hit.field("transfer-encoding"), undefined);
      assert.match(status(await fetch(path)), /fwd=vary-miss/);
    }
  });

  test("that breaks off is never stored", async () => {
    const whole = "w".repeat(50_000);
    const near = caching.origin.serve(
      (_, nth) =>
        nth === 1
          ? { fields: FRESH, body: whole, failure: "reset-in-body" }
          : { fields: FRESH, body: whole },
      "/near",
    );
    await fetch(near).catch(() => undefined);
    await sleep(100);
    const second = await fetch(near);
    assert.equal(status(second), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
    assert.equal((await caching.untilHit(near)).text, whole);
  });
});

describe("from memory", () => {
  test("HEAD and 304 have no body, and leave it as it is", async () => {
    const path = caching.serve({ fields: [...FRESH, ["ETag", '"a"']] }, "/near");
    const get = await caching.untilHit(path);
    const before = sent(path);
    const head = await fetch(path, { method: "HEAD" });
    assert.deepEqual(
      [isHit(head), head.status, head.body.length, head.field("etag")],
      [true, 200, 0, '"a"'],
    );
    const same = await fetch(path, { fields: [["If-None-Match", '"a"']] });
    assert.deepEqual(
      [same.status, same.body.length, same.field("content-length")],
      [304, 0, undefined],
    );
    assert.equal((await fetch(path)).text, get.text);
    assert.equal(sent(path), before);
  });

  test("ranges are cut out of what is stored", async () => {
    const body = noise(100_000);
    const path = caching.origin.serve({ fields: [...FRESH, ["ETag", '"a"']], body }, "/near");
    await caching.untilHit(path);
    const before = sent(path);
    for (const [range, first, last] of [
      ["bytes=0-0", 0, 0],
      ["bytes=10-20", 10, 20],
      ["bytes=99990-", 99_990, 99_999],
      ["bytes=-5", 99_995, 99_999],
    ] as [string, number, number][]) {
      const part = await fetch(path, { fields: [["Range", range]] });
      assert.deepEqual(
        [part.status, part.field("content-range"), part.field("content-length")],
        [206, `bytes ${first}-${last}/100000`, String(last - first + 1)],
      );
      assert.deepEqual(part.body, body.subarray(first, last + 1));
    }
    assert.equal((await fetch(path, { fields: [["Range", "bytes=100000-"]] })).status, 416);
    assert.equal(sha256((await fetch(path)).body), sha256(body));
    assert.equal(sent(path), before);
  });

  test("a change removes it at once", async () => {
    for (const under of ["/near", "/both"]) {
      const path = caching.serve({ fields: FRESH }, under);
      const stored = await caching.untilHit(path);
      await fetch(path, { method: "POST", body: "new" });
      const after = await fetch(path);
      assert.deepEqual([isHit(after), after.text !== stored.text], [false, true], under);
      assert.notEqual((await caching.untilHit(path)).text, stored.text);
    }
  });

  test("an answer that was asked for before a change does not come in", async () => {
    let open: (value?: unknown) => void = () => {};
    const gate = new Promise((resolve) => (open = resolve));
    const path = caching.origin.serve(
      ({ method }, nth) => ({
        fields: FRESH,
        body: `body ${method} ${nth} `.repeat(100),
        ...(nth === 1 ? { gate } : {}),
      }),
      "/near",
    );
    const slow = fetch(path);
    await eventually(
      "the first to arrive",
      async () => sent(path),
      (count) => count === 1,
    );
    await sleep(50);
    await fetch(path, { method: "POST", body: "new" });
    open();
    assert.match((await slow).text, /^body GET 1 /);
    await sleep(50);
    const after = await fetch(path);
    assert.deepEqual([isHit(after), /^body GET 3 /.test(after.text)], [false, true]);
  });

  test("a stale answer is confirmed, and its body stays", async () => {
    for (const under of ["/near", "/both"]) {
      const path = caching.origin.serve(
        ({ field }, nth) =>
          field("if-none-match") === '"v1"'
            ? { status: 304, fields: [...FRESH, ["ETag", '"v1"'], ["X-News", "new"]] }
            : {
                fields: [
                  ["Cache-Control", "max-age=2"],
                  ["ETag", '"v1"'],
                ],
                body: `body ${nth}`,
              },
        under,
      );
      const first = await caching.untilStale(path);
      const confirmed = await fetch(path);
      assert.equal(status(confirmed), "edgeweir; fwd=stale; fwd-status=304; stored");
      assert.equal(confirmed.text, first.text);
      const hit = await fetch(path);
      assert.deepEqual([isHit(hit), hit.text, hit.field("x-news")], [true, first.text, "new"]);
      if (under === "/both") {
        const other = await caching.untilHit(path, { isolate: 1 });
        assert.deepEqual([other.text, other.field("x-news")], [first.text, "new"]);
      }
    }
  });

  test("no more is kept than fits, and what is asked for is always right", async () => {
    const bodies = Array.from({ length: 24 }, () => noise(1 << 20));
    const paths = bodies.map((body) => caching.origin.serve({ fields: FRESH, body }, "/near"));
    for (const path of paths) await fetch(path);
    await sleep(100);
    let hits = 0;
    for (const [nth, path] of paths.entries()) {
      const response = await fetch(path);
      assert.equal(sha256(response.body), sha256(bodies[nth] ?? Buffer.alloc(0)));
      if (isHit(response)) hits += 1;
    }
    assert.ok(hits >= 1 && hits <= 16, `${hits}`);
  });
});

describe("concurrent misses", () => {
  const many = (count: number, path: string, options?: FetchOptions): Promise<RawResponse[]> =>
    Promise.all(Array.from({ length: count }, () => fetch(path, options)));

  test("of one key cause one request", async () => {
    let open: (value?: unknown) => void = () => {};
    const gate = new Promise((resolve) => (open = resolve));
    const body = noise(100_000);
    const path = caching.origin.serve({ fields: FRESH, body, gate }, "/near");
    const asked = many(500, path);
    await eventually(
      "the first to arrive",
      async () => sent(path),
      (count) => count === 1,
    );
    await sleep(300);
    open();
    const responses = await asked;
    assert.equal(sent(path), 1);
    for (const response of responses)
      assert.deepEqual([response.status, sha256(response.body)], [200, sha256(body)]);
    const collapsed = responses.filter(
      (response) => status(response) === "edgeweir; fwd=uri-miss; collapsed",
    );
    const hits = responses.filter(isHit);
    assert.equal(collapsed.length + hits.length, 499);
    assert.ok(collapsed.length >= 1);
  });

  test("of what cannot be kept all go by themselves, and then do not queue", async () => {
    const path = caching.serve({ fields: [["Cache-Control", "no-store"]] }, "/near");
    const texts = new Set((await many(20, path)).map(({ text }) => text));
    assert.equal(texts.size, 20);
    const again = new Set((await many(20, path)).map(({ text }) => text));
    assert.deepEqual([again.size, sent(path)], [20, 40]);
  });

  test("whose leader's client goes away are answered", async () => {
    let open: (value?: unknown) => void = () => {};
    const gate = new Promise((resolve) => (open = resolve));
    const path = caching.origin.serve(
      (_, nth) => ({
        fields: FRESH,
        body: `body ${nth} `.repeat(100),
        ...(nth === 1 ? { gate } : {}),
      }),
      "/near",
    );
    const leader = connect(caching.gateway.ports[0] ?? 0, "127.0.0.1");
    leader.on("error", () => {});
    leader.write(`GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\nCF-Connecting-IP: ${CLIENT}\r\n\r\n`);
    await eventually(
      "the first to arrive",
      async () => sent(path),
      (count) => count === 1,
    );
    const others = many(5, path);
    await sleep(100);
    leader.destroy();
    await sleep(100);
    open();
    for (const response of await others) {
      assert.equal(response.status, 200);
      assert.match(response.text, /^(body \d ){100}$/);
    }
  });

  test("do not wait for an origin that is too slow for ever", async () => {
    const path = caching.origin.serve(
      (_, nth) => ({
        fields: FRESH,
        body: "slow ".repeat(1_000),
        ...(nth === 1 ? { failure: "stall-in-body" as const } : {}),
      }),
      "/near",
    );
    const leader = fetch(path).catch(() => undefined);
    await eventually(
      "the first to arrive",
      async () => sent(path),
      (count) => count === 1,
    );
    const begun = Date.now();
    const other = await fetch(path);
    const waited = Date.now() - begun;
    assert.equal(other.status, 200);
    assert.ok(waited > 4_000 && waited < 9_000, `${waited}`);
    void leader;
  });
});
