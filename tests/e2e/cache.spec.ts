// Stages 12 and 14: do we have the answer, and may we keep it? Above all: never a wrong one.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { assertRefused, eventually, lineOf, sleep } from "./expect.ts";
import { Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { encoded, Origin, type Plan } from "./origin.ts";
import type { Fields, RawResponse } from "./raw.ts";

const FRESH: Fields = [["Cache-Control", "max-age=600"]];

let origin: Origin;
let gateway: Gateway;
let unique = 0;

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({
    isolates: 2,
    policy: policy(origin.url, [
      route("cached", "/c/*", { cache: { max_body: "64KiB" } }),
      { ...route("changed", "/m/*", { cache: {} }), match: { path: "/m/*", methods: ["GET", "HEAD"] } },
      route("changes", "/m/*"),
      route("uncached", "/u/*"),
      route("off", "/off/*", { cache: { mode: "off" } }),
      route("limited", "/limited/*", {
        cache: {},
        rate_limit: { rules: [{ id: "three", max: 3, window: "1h", counting: "local" }] },
      }),
      route("guarded", "/guarded/*", {
        cache: {},
        ip_filter: { rules: [{ id: "out", action: "deny", prefixes: ["203.0.113.0/24"] }] },
      }),
    ]),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

/** A path of its own, answered by this plan; `{n}` in the body is the number of the request. */
function serve(plan: Plan, under = "/c"): string {
  const path = `${under}/${(unique += 1)}`;
  origin.on(path, (_, nth) => ({ ...plan, body: String(plan.body ?? "body {n}").replace("{n}", String(nth)) }));
  return path;
}

const status = (response: RawResponse): string => response.field("cache-status") ?? "";
const isHit = (response: RawResponse): boolean => /^edgeweir; hit; ttl=\d+$/.test(status(response));

/** Asks until the cache answers: storing goes on after the response. */
const untilHit = (target: string, options: FetchOptions = {}): Promise<RawResponse> =>
  eventually(`a hit for ${target}`, () => gateway.fetch(target, options), isHit);

/** Asks several times, with time between for what would be stored; nothing may be a hit. */
async function neverHit(target: string, options: FetchOptions = {}, times = 4): Promise<RawResponse[]> {
  const seen: RawResponse[] = [];
  for (let nth = 0; nth < times; nth += 1) {
    if (nth > 0) await sleep(30);
    const response = await gateway.fetch(target, options);
    assert.ok(!isHit(response), status(response));
    assert.equal(response.field("age"), undefined);
    seen.push(response);
  }
  return seen;
}

describe("a hit", () => {
  test("is the stored answer, and says so", async () => {
    const path = serve({ status: 200, fields: [...FRESH, ["X-Origin", "1"], ["ETag", '"a"'], ["Content-Type", "text/plain"]] });
    const miss = await gateway.fetch(path);
    assert.equal(status(miss), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
    assert.equal(miss.field("age"), undefined);
    const hit = await untilHit(path);
    assert.match(status(hit), /ttl=(599|600)$/);
    assert.match(hit.field("age") ?? "", /^[01]$/);
    assert.deepEqual([hit.status, hit.text], [200, miss.text]);
    for (const name of ["cache-control", "x-origin", "etag", "content-type", "content-length"]) {
      assert.equal(hit.field(name), miss.field(name), name);
    }
    const sent = origin.received(path).length;
    await gateway.fetch(path);
    assert.equal(origin.received(path).length, sent);
    const [forwarded, cached] = [await lineOf(gateway, miss), await lineOf(gateway, hit)];
    assert.deepEqual([forwarded.verdict, forwarded.cache], ["forwarded", "uri-miss"]);
    assert.deepEqual([cached.verdict, cached.cache, cached.upstream, cached.status], ["cached", "hit", undefined, 200]);
  });

  test("has a request id of its own, and not the origin's", async () => {
    const path = serve({ fields: [...FRESH, ["X-Request-Id", "from-the-origin"]] });
    const miss = await gateway.fetch(path);
    const hit = await untilHit(path);
    assert.match(hit.field("x-request-id") ?? "", /^[0-9a-f]{32}$/);
    assert.notEqual(hit.field("x-request-id"), miss.field("x-request-id"));
    assert.equal(hit.lines("x-request-id").length, 1);
  });

  test("grows older", async () => {
    const path = serve({ fields: FRESH });
    const first = await untilHit(path);
    await sleep(1_100);
    const later = await gateway.fetch(path);
    const grown = Number(later.field("age")) - Number(first.field("age"));
    assert.ok(grown >= 1 && grown <= 3, `${grown}`);
    const ttl = (response: RawResponse): number => Number(/ttl=(\d+)/.exec(status(response))?.[1]);
    assert.equal(ttl(first) - ttl(later), grown);
  });

  test("counts on from the origin's Age", async () => {
    const path = serve({ fields: [...FRESH, ["Age", "100"]] });
    const hit = await untilHit(path);
    const age = Number(hit.field("age"));
    assert.ok(age >= 100 && age <= 103, `${age}`);
    assert.equal(hit.lines("age").length, 1);
  });

  test("ends with its lifetime", async () => {
    const path = serve({ fields: [["Cache-Control", "max-age=2"]] });
    const first = await untilHit(path);
    await sleep(2_050);
    const later = await gateway.fetch(path);
    assert.match(status(later), /^edgeweir; fwd=(stale|uri-miss); fwd-status=200; stored$/);
    assert.notEqual(later.text, first.text);
  });

  test("is shared by the isolates of a location", async () => {
    const path = serve({ fields: FRESH });
    const first = await untilHit(path, { isolate: 0 });
    const other = await gateway.fetch(path, { isolate: 1 });
    assert.ok(isHit(other), status(other));
    assert.equal(other.text, first.text);
  });

  test("is kept by s-maxage and Expires too, and for other whole answers", async () => {
    const inAnHour = new Date(Date.now() + 3_600_000).toUTCString();
    for (const plan of [
      { fields: [["Cache-Control", "max-age=0, s-maxage=600"]] },
      { fields: [["Expires", inAnHour]] },
      { fields: [["Cache-Control", "public, max-age=600"], ["Date", new Date().toUTCString()]] },
      { status: 404, fields: FRESH },
      { status: 301, fields: [...FRESH, ["Location", "/elsewhere"]] },
    ] satisfies Plan[]) {
      const hit = await untilHit(serve(plan as Plan));
      assert.equal(hit.status, "status" in plan ? plan.status : 200);
    }
  });

  test("of a bodiless answer has no body", async () => {
    const path = serve({ status: 204, fields: FRESH, body: "" });
    const hit = await untilHit(path);
    assert.deepEqual([hit.status, hit.body.length, hit.field("content-length")], [204, 0, undefined]);
    const empty = await untilHit(serve({ fields: FRESH, body: "" }).concat(""));
    assert.deepEqual([empty.status, empty.field("content-length")], [200, "0"]);
  });

  test("of a chunked answer is whole", async () => {
    const body = "0123456789".repeat(4_000);
    const hit = await untilHit(serve({ fields: FRESH, body, chunked: true }));
    assert.equal(hit.text, body);
  });

  test("keeps text in any language, in fields and body", async () => {
    const path = serve({ fields: [...FRESH, ["X-Title", "caf\u00e9"]], body: "안녕하세요 {n}" });
    const miss = await gateway.fetch(path);
    const hit = await untilHit(path);
    assert.equal(hit.field("x-title"), miss.field("x-title"));
    assert.match(hit.text, /^안녕하세요 \d$/);
  });
});

describe("a compressed answer", () => {
  const body = "a compressible text, ".repeat(500);
  for (const encoding of ["gzip", "br"] as const) {
    test(`is stored as it came: ${encoding}`, async () => {
      const plan: Plan = { fields: [...FRESH, ["Vary", "Accept-Encoding"]], body, encoding };
      const path = serve(plan);
      const options: FetchOptions = { fields: [["Accept-Encoding", encoding]] };
      const miss = await gateway.fetch(path, options);
      const hit = await untilHit(path, options);
      for (const response of [miss, hit]) {
        assert.deepEqual(response.body, encoded(plan));
        assert.equal(response.field("content-encoding"), encoding);
        assert.equal(response.field("content-length"), String(encoded(plan).length));
        assert.equal(response.field("transfer-encoding"), undefined);
      }
    });
  }

  test("is not served to who asked for another coding", async () => {
    const path = serve({ fields: [...FRESH, ["Vary", "Accept-Encoding"]], body, encoding: "gzip" });
    await untilHit(path, { fields: [["Accept-Encoding", "gzip"]] });
    assert.equal(status(await gateway.fetch(path)), "edgeweir; fwd=vary-miss; fwd-status=200; stored");
  });

  test("that does not vary is not stored", async () => {
    const path = serve({ fields: FRESH, body, encoding: "gzip" });
    const [first] = await neverHit(path, { fields: [["Accept-Encoding", "gzip"]] });
    assert.match(status(first as RawResponse), /; detail=vary$/);
  });
});

describe("what is not stored", () => {
  const cases: [name: string, plan: Plan, detail: string][] = [
    ["a cookie", { fields: [...FRESH, ["Set-Cookie", "session=1"]] }, "set-cookie"],
    ["private", { fields: [["Cache-Control", "private, max-age=600"]] }, "directive"],
    ["private fields", { fields: [["Cache-Control", 'private="X-User", max-age=600']] }, "directive"],
    ["no-store", { fields: [["Cache-Control", "no-store, max-age=600"]] }, "directive"],
    ["no-cache", { fields: [["Cache-Control", "no-cache, max-age=600"]] }, "directive"],
    ["two lines, one of them no-store", { fields: [...FRESH, ["Cache-Control", "no-store"]] }, "directive"],
    ["two lifetimes", { fields: [...FRESH, ["Cache-Control", "max-age=0"]] }, "directive"],
    ["a lifetime that is no number", { fields: [["Cache-Control", "max-age=-1"]] }, "directive"],
    ["no lifetime", { fields: [["Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"]] }, "no-freshness"],
    ["a lifetime of nothing", { fields: [["Cache-Control", "max-age=0"]] }, "no-freshness"],
    ["a lifetime that is over", { fields: [...FRESH, ["Age", "600"]] }, "no-freshness"],
    ["a date that is none", { fields: [["Expires", "0"]] }, "no-freshness"],
    ["Vary: *", { fields: [...FRESH, ["Vary", "*"]] }, "vary"],
    ["a status of no known list", { status: 202, fields: FRESH }, "status"],
    ["a temporary redirect", { status: 302, fields: [...FRESH, ["Location", "/"]] }, "status"],
    ["a failure", { status: 500, fields: FRESH }, "status"],
    ["a part", { fields: [...FRESH, ["Content-Range", "bytes 0-5/100"]] }, "partial"],
    ["too large a body", { fields: FRESH, body: "x".repeat(64 * 1024 + 1) }, "size"],
  ];
  for (const [name, plan, detail] of cases) {
    test(name, async () => {
      const path = serve(plan);
      const seen = await neverHit(path);
      assert.equal(status(seen[0] as RawResponse), `edgeweir; fwd=uri-miss; fwd-status=${plan.status ?? 200}; detail=${detail}`);
      assert.equal(origin.received(path).length, seen.length);
    });
  }

  test("a large body of unknown length, which passes whole all the same", async () => {
    const body = "x".repeat(64 * 1024 + 1);
    for (const response of await neverHit(serve({ fields: FRESH, body, chunked: true }))) {
      assert.equal(response.text, body);
    }
  });

  test("a body of exactly the limit is stored", async () => {
    const body = "x".repeat(64 * 1024);
    assert.equal((await untilHit(serve({ fields: FRESH, body }))).text, body);
    assert.equal((await untilHit(serve({ fields: FRESH, body, chunked: true }))).text, body);
  });

  for (const chunked of [false, true]) {
    test(`a body that breaks off is never served as whole${chunked ? ", of unknown length" : ""}`, async () => {
      const path = `/c/${(unique += 1)}`;
      const body = "whole ".repeat(1_000);
      origin.on(path, (_, nth) => ({ fields: FRESH, body, chunked, ...(nth === 1 ? { failure: "reset-in-body" } : {}) }));
      await assert.rejects(gateway.fetch(path), /ended|ECONNRESET/);
      await sleep(100);
      const second = await gateway.fetch(path);
      assert.ok(!isHit(second), status(second));
      assert.equal(second.text, body);
      assert.equal((await untilHit(path)).text, body);
    });
  }

  test("what a client that went away left half read is stored whole or not at all", async () => {
    const body = "y".repeat(60 * 1024);
    const path = serve({ fields: FRESH, body, gate: sleep(300) });
    await assert.rejects(gateway.fetch(path, { timeout: 100 }), /nothing came/);
    await sleep(400);
    assert.equal((await gateway.fetch(path)).text, body);
  });
});

describe("who is not answered from the cache", () => {
  const cases: [name: string, fields: Fields, forward: string][] = [
    ["who shows a cookie", [["Cookie", "session=1"]], "bypass"],
    ["who shows credentials", [["Authorization", "Bearer x"]], "bypass"],
    ["who asks for a range", [["Range", "bytes=0-3"]], "bypass"],
    ["who sets a condition for a change", [["If-Match", '"a"']], "bypass"],
    ["who sets a condition on a range", [["If-Range", '"a"']], "bypass"],
    ["who asks for no-cache", [["Cache-Control", "no-cache"]], "request"],
    ["who asks for no-store", [["Cache-Control", "no-store"]], "request"],
    ["who asks for less age than there is", [["Cache-Control", "max-age=0"]], "request"],
    ["who asks for more freshness than there is", [["Cache-Control", "min-fresh=601"]], "request"],
    ["who asks by Pragma", [["Pragma", "no-cache"]], "request"],
  ];
  for (const [name, fields, forward] of cases) {
    test(name, async () => {
      const path = serve({ fields: FRESH, ranges: true });
      const stored = await untilHit(path);
      await sleep(1_010 * Number(name.includes("less age")));
      const sent = origin.received(path).length;
      const response = await gateway.fetch(path, { fields });
      assert.match(status(response), new RegExp(`^edgeweir; fwd=${forward}; fwd-status=20[06]; (stored|detail=request)$`));
      assert.equal(origin.received(path).length, sent + 1);
      // The others still get what was stored, or what is newer and as plain.
      const after = await gateway.fetch(path);
      assert.ok(isHit(after), status(after));
      assert.ok([stored.text, forward === "request" ? response.text : stored.text].includes(after.text));
    });
  }

  for (const [name, fields] of [
    ["a cookie", [["Cookie", "session=1"]]],
    ["credentials", [["Authorization", "Bearer x"]]],
    ["a range", [["Range", "bytes=0-3"]]],
    ["no-store", [["Cache-Control", "no-store"]]],
  ] as [string, Fields][]) {
    test(`an answer to ${name} is kept for nobody`, async () => {
      const path = serve({ fields: FRESH, ranges: true });
      await neverHit(path, { fields });
      const plain = await gateway.fetch(path);
      assert.equal(status(plain), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
      assert.equal(plain.text, `body ${origin.received(path).length}`);
    });
  }

  test("a range of a stored answer comes from the origin, as the origin cuts it", async () => {
    const path = serve({ fields: FRESH, ranges: true, body: "0123456789" });
    await untilHit(path);
    const part = await gateway.fetch(path, { fields: [["Range", "bytes=2-4"]] });
    assert.deepEqual([part.status, part.text, part.field("content-range")], [206, "234", "bytes 2-4/10"]);
  });

  test("a GET with a body", async () => {
    const path = serve({ fields: FRESH });
    await untilHit(path);
    const response = await gateway.fetch(path, { body: "question" });
    assert.equal(status(response), "edgeweir; fwd=bypass; fwd-status=200; detail=request");
  });

  test("only-if-cached: the origin is not asked", async () => {
    const path = serve({ fields: FRESH });
    const options: FetchOptions = { fields: [["Cache-Control", "only-if-cached"]] };
    await assertRefused(gateway, await gateway.fetch(path, options), 504, "not-cached");
    assert.equal(origin.received(path).length, 0);
    await untilHit(path);
    assert.ok(isHit(await gateway.fetch(path, options)));
  });
});

describe("what is not mixed up", () => {
  test("answers that vary", async () => {
    const path = `/c/${(unique += 1)}`;
    origin.on(path, ({ fields }) => ({
      fields: [...FRESH, ["Vary", "Accept-Language, X-Mood"]],
      body: fields.find(([name]) => name.toLowerCase() === "accept-language")?.[1] ?? "none",
    }));
    const speak = (language: string): FetchOptions => ({ fields: [["Accept-Language", language]] });
    assert.equal((await untilHit(path, speak("ko"))).text, "ko");
    const english = await gateway.fetch(path, speak("en"));
    assert.deepEqual([english.text, status(english)], ["en", "edgeweir; fwd=vary-miss; fwd-status=200; stored"]);
    assert.equal((await gateway.fetch(path)).text, "none");
    const moody = await gateway.fetch(path, { fields: [["Accept-Language", "ko"], ["X-Mood", "1"]] });
    assert.ok(!isHit(moody));
    assert.equal((await gateway.fetch(path, speak("ko"))).text, "ko");
  });

  test("hosts, queries and spellings", async () => {
    const path = serve({ fields: FRESH });
    const spellings: [string, FetchOptions][] = [
      [path, {}],
      [path, { host: "other.test" }],
      [path, { host: "gateway.test:8080" }],
      [`${path}?`, {}],
      [`${path}?a=1&b=2`, {}],
      [`${path}?b=2&a=1`, {}],
    ];
    const bodies = new Set<string>();
    for (const [target, options] of spellings) bodies.add((await untilHit(target, options)).text);
    assert.equal(bodies.size, spellings.length);
  });

  test("refusals of earlier stages", async () => {
    const guarded = serve({ fields: FRESH }, "/guarded");
    await untilHit(guarded);
    const banned = await gateway.fetch(guarded, { client: "203.0.113.9" });
    assert.equal(banned.status, 403);
    assert.equal(banned.field("cache-status"), undefined);
    const limited = serve({ fields: FRESH }, "/limited");
    const seen: number[] = [];
    for (let nth = 0; nth < 5; nth += 1) seen.push((await gateway.fetch(limited)).status);
    assert.deepEqual(seen, [200, 200, 200, 429, 429]);
  });

  test("routes without a cache", async () => {
    for (const under of ["/u", "/off"]) {
      const path = serve({ fields: FRESH }, under);
      for (const response of await neverHit(path)) assert.equal(response.field("cache-status"), undefined);
      assert.equal(origin.received(path).length, 4);
    }
  });
});

describe("HEAD", () => {
  test("is answered from a stored GET, without its body", async () => {
    const path = serve({ fields: [...FRESH, ["ETag", '"a"']] });
    const get = await untilHit(path);
    const sent = origin.received(path).length;
    const head = await gateway.fetch(path, { method: "HEAD" });
    assert.ok(isHit(head), status(head));
    assert.deepEqual([head.status, head.body.length, head.field("etag")], [200, 0, '"a"']);
    // RFC 9110, 8.6: a Content-Length there is the one of the GET.
    assert.ok([undefined, get.field("content-length")].includes(head.field("content-length")));
    assert.equal(origin.received(path).length, sent);
  });

  test("is never stored as the answer to a GET", async () => {
    const path = serve({ fields: FRESH });
    const head = await gateway.fetch(path, { method: "HEAD" });
    assert.equal(status(head), "edgeweir; fwd=uri-miss; fwd-status=200; detail=request");
    assert.equal(origin.only(path).method, "HEAD");
    await sleep(50);
    const get = await gateway.fetch(path);
    assert.equal(status(get), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
    assert.equal(get.text, "body 2");
  });
});

describe("304", () => {
  const modified = "Mon, 01 Jan 2024 00:00:00 GMT";
  test("is made from a stored answer for who has it already", async () => {
    const path = serve({ fields: [...FRESH, ["ETag", '"a"'], ["Last-Modified", modified], ["Content-Type", "text/plain"]] });
    await untilHit(path);
    const sent = origin.received(path).length;
    for (const condition of [
      ["If-None-Match", '"a"'],
      ["If-None-Match", 'W/"a"'],
      ["If-None-Match", '"x", "a"'],
      ["If-None-Match", "*"],
      ["If-Modified-Since", modified],
      ["If-Modified-Since", "Tue, 02 Jan 2024 00:00:00 GMT"],
    ] satisfies Fields) {
      const response = await gateway.fetch(path, { fields: [condition as [string, string]] });
      assert.equal(response.status, 304, condition.join(": "));
      assert.ok(isHit(response));
      assert.deepEqual([response.field("etag"), response.field("content-length")], ['"a"', undefined]);
    }
    for (const conditions of [
      [["If-None-Match", '"b"']],
      [["If-Modified-Since", "Sun, 31 Dec 2023 00:00:00 GMT"]],
      // RFC 9110, 13.1.3: the entity tag goes before the date.
      [["If-None-Match", '"b"'], ["If-Modified-Since", modified]],
      [["If-Modified-Since", "nonsense"]],
    ] as Fields[]) {
      const response = await gateway.fetch(path, { fields: conditions });
      assert.deepEqual([response.status, isHit(response)], [200, true], JSON.stringify(conditions));
    }
    assert.equal(origin.received(path).length, sent);
  });

  test("of the origin passes and is not stored", async () => {
    const path = `/c/${(unique += 1)}`;
    origin.on(path, ({ fields }) =>
      fields.some(([name]) => name.toLowerCase() === "if-none-match")
        ? { status: 304, fields: [...FRESH, ["ETag", '"a"']] }
        : { fields: [...FRESH, ["ETag", '"a"']], body: "whole" },
    );
    const first = await gateway.fetch(path, { fields: [["If-None-Match", '"a"']] });
    assert.deepEqual([first.status, first.body.length], [304, 0]);
    assert.match(status(first), /fwd-status=304; detail=status$/);
    assert.equal((await gateway.fetch(path)).text, "whole");
  });
});

describe("a change", () => {
  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    test(`by ${method} removes what is stored`, async () => {
      const path = serve({ fields: FRESH });
      const stored = await untilHit(path);
      const change = await gateway.fetch(path, { method, body: "new" });
      assert.match(status(change), /^edgeweir; fwd=method; fwd-status=200; detail=request$/);
      const after = await eventually(`${method} to remove`, () => gateway.fetch(path), (response) => response.text !== stored.text);
      assert.notEqual(after.text, stored.text);
    });
  }

  test("that failed removes nothing", async () => {
    const path = `/c/${(unique += 1)}`;
    origin.on(path, ({ method }, nth) => ({ status: method === "POST" ? 500 : 200, fields: FRESH, body: `${nth}` }));
    const stored = await untilHit(path);
    await gateway.fetch(path, { method: "POST", body: "new" });
    await sleep(50);
    assert.equal((await gateway.fetch(path)).text, stored.text);
  });

  test("by a method that another route takes removes it all the same", async () => {
    const path = serve({ fields: FRESH }, "/m");
    const stored = await untilHit(path);
    assert.equal((await lineOf(gateway, await gateway.fetch(path, { method: "POST", body: "" }))).route, "changes");
    await eventually("POST to remove", () => gateway.fetch(path), (response) => response.text !== stored.text);
  });

  test("of one path leaves the others", async () => {
    const [one, other] = [serve({ fields: FRESH }), serve({ fields: FRESH })];
    await untilHit(one);
    const stored = await untilHit(other);
    await gateway.fetch(one, { method: "POST", body: "" });
    await sleep(50);
    assert.equal((await gateway.fetch(other)).text, stored.text);
  });
});

test("an answer that could not be kept and now can is kept", async () => {
  const path = `/c/${(unique += 1)}`;
  origin.on(path, (_, nth) => ({ fields: nth <= 2 ? [["Cache-Control", "no-store"]] : FRESH, body: `${nth}` }));
  await gateway.fetch(path);
  await gateway.fetch(path);
  assert.equal((await untilHit(path)).text, "3");
});

test("a stored body is byte-exact", async () => {
  const body = Buffer.from(Array.from({ length: 50_000 }, (_, at) => (at * 31 + (at >> 8)) & 255));
  const path = `/c/${(unique += 1)}`;
  origin.on(path, { fields: FRESH, body });
  const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
  const hit = await untilHit(path);
  assert.equal(sha(hit.body), sha(body));
  assert.equal(hit.field("content-length"), "50000");
});
