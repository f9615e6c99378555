// The published attacks on shared caches, before an origin that falls for all of them: it reflects
// whatever reaches it, lets everything be stored, and resolves every spelling of a path.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { FRESH, isHit, status } from "./caching.ts";
import { eventually, sleep } from "./expect.ts";
import { Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { Origin, type Plan } from "./origin.ts";
import { fieldOf, type Fields, type RawResponse } from "./raw.ts";

let origin: Origin;
let gateway: Gateway;
let served = 0;

before(async () => {
  origin = await Origin.start();
  // What reaches it decides what it says; all of it may be stored.
  origin.on("*", ({ method, target, fields }) => reflection(method, target, fields));
  gateway = await Gateway.start({
    verbatim: true,
    policy: policy(origin.url, [
      route("open", "/open/*", { cache: {} }),
      route("tracked", "/tracked/*", {
        cache: { key: { query: { preset: "tracking", sort: true } } },
      }),
      // The boldest there is: everything under it is static, it says.
      route("assets", "/assets/*", {
        cache: { lifetimes: [{ status: ["2xx"], lifetime: "1h", force: true }] },
      }),
      route("reduced", "/reduced/*", {
        cache: { vary: { device: true, encoding: true, languages: ["en", "de"] } },
      }),
      route("account", "/account/*", { cache: {} }),
      route("worded", "/worded/*", {
        cache: { key: { cookies: ["lang"] }, credentials: { cookies: ["session"] } },
      }),
    ]),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

function reflection(method: string, target: string, fields: Fields): Plan {
  const shown = fields.filter(([, value]) => /evil|secret/.test(value));
  const length = fieldOf(fields, "content-length") ?? null;
  return { fields: FRESH, body: JSON.stringify({ method, target, length, shown }) };
}

/** A target that nobody has asked for yet. */
const fresh = (under: string): string => `${under}/new-${(served += 1)}`;
const ask = (target: string, options: FetchOptions = {}): Promise<RawResponse> =>
  gateway.fetch(target, options);
const untilHit = (target: string, options: FetchOptions = {}): Promise<RawResponse> =>
  eventually(`a hit for ${target}`, () => ask(target, options), isHit);

/** What an attacker leaves behind: his request, time to store, and then a victim's. */
async function afterwards(
  target: string,
  options: FetchOptions,
  victim = target,
): Promise<RawResponse> {
  await ask(target, options);
  await sleep(60);
  return ask(victim);
}

describe("poisoning by unkeyed input", () => {
  for (const [name, value] of [
    ["X-Forwarded-Host", "evil.test"],
    ["X-Forwarded-Scheme", "evil"],
    ["X-Forwarded-Proto", "evil"],
    ["X-Forwarded-Port", "evil"],
    ["X-Forwarded-Prefix", "/evil"],
    ["X-Forwarded-Server", "evil.test"],
    ["X-Forwarded-For", "evil"],
    ["X-Forwarded", "evil"],
    ["X-Forwarded-Uri", "/evil"],
    ["X_Forwarded_Host", "evil.test"],
    ["Forwarded", "for=1.1.1.1;host=evil.test"],
    ["X-Host", "evil.test"],
    ["X-Original-Host", "evil.test"],
    ["X-Original-URL", "/evil"],
    ["X-Original-Uri", "/evil"],
    ["X-Rewrite-URL", "/evil"],
    ["X-HTTP-Method-Override", "evil"],
    ["X-HTTP-Method", "evil"],
    ["X-Method-Override", "evil"],
    ["X-Real-IP", "evil"],
    ["True-Client-IP", "evil"],
    ["X-Client-IP", "evil"],
    ["X-Cluster-Client-IP", "evil"],
    ["Proxy", "http://evil.test/"],
    ["Proxy-Authorization", "evil"],
    ["Proxy-Status", "evil"],
    ["TE", "evil"],
    ["X-Request-Id", "evil"],
  ] as const) {
    test(`by ${name}`, async () => {
      const target = fresh("/open");
      const victim = await afterwards(target, { fields: [[name, value]] });
      assert.ok(!/evil/.test(victim.text), victim.text);
      // It reached nobody, so the answer is good for all.
      for (const { fields } of origin.received(target)) {
        assert.deepEqual(
          fields.filter(([, said]) => said.includes("evil")),
          [],
        );
      }
    });
  }

  test("by a Connection field that takes others away", async () => {
    const target = fresh("/open");
    await afterwards(target, {
      fields: [
        ["Connection", "X-Shop, X-Forwarded-Host"],
        ["X-Shop", "1"],
      ],
    });
    assert.ok(!isHit(await ask(target)) || origin.received(target).length > 1);
  });

  test("by a field that selects a class: what selects is what is sent", async () => {
    const target = fresh("/reduced");
    const said: Fields = [
      ["User-Agent", "evil Mobile"],
      ["Accept-Encoding", "gzip, evil"],
      ["Accept-Language", "de, evil;q=0.1"],
    ];
    await untilHit(target, { fields: said });
    const same = await ask(target, {
      fields: [
        ["User-Agent", "Mozilla/5.0 (Android 14; Mobile)"],
        ["Accept-Encoding", "gzip"],
        ["Accept-Language", "de-AT"],
      ],
    });
    assert.ok(isHit(same) && !/evil/.test(same.text), same.text);
    const [got] = origin.received(target);
    assert.deepEqual(
      ["user-agent", "accept-encoding", "accept-language"].map((name) => got?.field(name)),
      ["Mozilla/5.0 (compatible; Edgeweir; Mobile)", "gzip", "de"],
    );
  });

  test("by the body of a GET (fat GET)", async () => {
    const target = fresh("/open");
    const evil = await ask(target, { body: "evil" });
    assert.match(status(evil), /fwd=bypass/);
    await sleep(60);
    const victim = await ask(target);
    assert.deepEqual([isHit(victim), JSON.parse(victim.text).length], [false, null]);
  });

  test("by a parameter that is not part of the key, or hides in one (cloaking)", async () => {
    for (const [asked, victim] of [
      ["?utm_content=evil", ""],
      ["?a=1&utm_content=x;a=evil", "?a=1"],
      ["?a=1&utm_content=x%26a=evil", "?a=1"],
      ["?a=1&UTM%5Fcontent=x&utm%5Fcontent=evil", "?UTM_content=x&a=1"],
      ["?a=1;utm_content=evil", "?a=1"],
      ["?a=1%26a=evil", "?a=1"],
      ["?a=1&a=evil", "?a=1"],
    ] as const) {
      const target = fresh("/tracked");
      const seen = await afterwards(`${target}${asked}`, {}, `${target}${victim}`);
      assert.ok(!/evil/.test(seen.text), `${asked}: ${seen.text}`);
    }
  });

  test("by another Host, port or spelling of it", async () => {
    const target = fresh("/open");
    const shown = (response: RawResponse) => JSON.parse(response.text).shown as Fields;
    for (const host of ["evil.test", "edge.test:1234", "secret.test"]) {
      await untilHit(target, { host });
      assert.deepEqual(shown(await ask(target)), []);
    }
    const sent = origin.received(target).length;
    const dotted = await ask(target, { host: "EVIL.test.:80" });
    assert.ok(isHit(dotted), status(dotted));
    assert.equal(origin.received(target).length, sent);
    for (const host of [
      "edge.test@evil.test",
      "edge.test/evil",
      "edge.test?evil",
      "edge.test, evil",
    ]) {
      assert.equal((await ask(target, { host })).status, 400, host);
    }
  });

  test("by a cookie that not all origins read where the gateway does", async () => {
    for (const evil of [
      "x=evil, lang=de",
      'x="evil; lang=de; y="',
      "lang =de; x=evil",
      "LANG=evil",
    ]) {
      const target = fresh("/worded");
      const own = await ask(target, { fields: [["Cookie", evil]] });
      assert.match(status(own), /detail=vary$/, evil);
      await sleep(60);
      for (const cookie of ["lang=de", "lang=evil", "x=1"]) {
        const victim = await ask(target, { fields: [["Cookie", cookie]] });
        assert.ok(!isHit(victim), `${evil} for ${cookie}`);
      }
    }
    const target = fresh("/worded");
    await untilHit(target, { fields: [["Cookie", "x=1; lang=de"]] });
    for (const session of ["SESSION=secret", "x=1, session=secret", 'x="; session=secret; y="']) {
      const own = await ask(fresh("/worded"), { fields: [["Cookie", session]] });
      assert.match(status(own), /detail=credentials$/, session);
    }
  });

  test("by a field that CGI takes for the one that selects", async () => {
    const target = origin.serve(
      ({ field }) => ({
        fields: [...FRESH, ["Vary", "Accept-Language"]],
        body: field("accept_language") ?? field("accept-language") ?? "none",
      }),
      "/open",
    );
    const victim = await afterwards(target, { fields: [["Accept_Language", "evil"]] });
    assert.equal(victim.text, "none");
  });

  test("by HEAD, whose answer has no body", async () => {
    const target = fresh("/open");
    const victim = await afterwards(target, { method: "HEAD" });
    assert.equal(JSON.parse(victim.text).method, "GET");
  });

  test("by an unsafe method, a fragment or an unknown one", async () => {
    for (const method of ["POST", "PUT", "PURGE", "OPTIONS"]) {
      const target = fresh("/open");
      const victim = await afterwards(target, { method, body: "evil" });
      assert.equal(JSON.parse(victim.text).method, "GET", method);
    }
  });

  test("by a query that is written as a path, and the other way round", async () => {
    const target = fresh("/open");
    await untilHit(`${target}?x=1`);
    for (const other of ["%3Fx=1", ";x=1", "/?x=1", "%20?x=1", "%23?x=1"]) {
      const seen = await ask(`${target}${other}`);
      assert.ok(!isHit(seen), other);
    }
  });
});

describe("poisoned denial of service", () => {
  /** A path that answers so where the request has that field, and well otherwise. */
  const breaks = (name: string, plan: Plan): string =>
    origin.serve(({ field }) => (field(name) === undefined ? { fields: FRESH } : plan), "/open");
  const MODIFIED: Fields = [
    ["Cache-Control", "public"],
    ["Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"],
  ];

  test("by an oversized header (HHO)", async () => {
    for (const code of [400, 413, 431]) {
      const target = breaks("x-oversized", { status: code, fields: MODIFIED });
      const field: Fields = [["X-Oversized", "x".repeat(12_000)]];
      assert.equal((await ask(target, { fields: field })).status, code);
      await sleep(60);
      assert.equal((await ask(target)).status, 200, String(code));
    }
  });

  test("by an oversized header with no-cache, or with HEAD: what is stored stays", async () => {
    for (const code of [400, 403, 405, 431]) {
      const target = breaks("x-oversized", { status: code, fields: FRESH });
      await untilHit(target);
      await sleep(1_050);
      const asked: Fields = [
        ["X-Oversized", "x".repeat(12_000)],
        ["Cache-Control", "no-cache"],
      ];
      for (const method of ["GET", "HEAD"]) {
        const refused = await ask(target, { method, fields: asked });
        assert.equal(status(refused), `edgeweir; fwd=request; fwd-status=${code}; detail=request`);
        await sleep(1_050);
        assert.ok(isHit(await ask(target)), `${method} ${code}`);
      }
    }
  });

  test("by meta characters in a header (HMC)", async () => {
    const target = breaks("x-meta", { status: 400, fields: MODIFIED });
    for (const value of ["\\n", "\\a\\b", "\x80\xff", "a\tb", "%0d%0a"]) {
      const seen = await afterwards(target, { fields: [["X-Meta", value]] });
      assert.equal(seen.status, 200, value);
    }
  });

  test("by a method override (HMO)", async () => {
    const target = breaks("x-http-method-override", { status: 405, fields: FRESH });
    const victim = await afterwards(target, { fields: [["X-HTTP-Method-Override", "DELETE"]] });
    assert.deepEqual([victim.status, isHit(victim)], [200, true]);
  });

  test("by a range: its errors and parts are no answer to the whole", async () => {
    for (const [code, range] of [
      [416, "bytes=9999-"],
      [400, "bytes=cow"],
      [403, "bytes=0-0,1-1,2-2"],
      [500, "bytes=-1"],
    ] as const) {
      const target = breaks("range", { status: code, fields: FRESH });
      const victim = await afterwards(target, { fields: [["Range", range]] });
      assert.equal(victim.status, 200, range);
    }
    const target = origin.serve(
      { fields: [...FRESH, ["ETag", '"a"']], ranges: true, body: "0123" },
      "/open",
    );
    const victim = await afterwards(target, { fields: [["Range", "bytes=0-1"]] });
    assert.deepEqual([victim.status, victim.text], [200, "0123"]);
  });

  test("by a condition, an expectation, an upgrade or a coding of the request", async () => {
    for (const [name, value, code] of [
      ["If-None-Match", '"a"', 412],
      ["If-None-Match", '"a"', 304],
      ["If-Match", '"a"', 412],
      ["If-Unmodified-Since", "Mon, 01 Jan 2024 00:00:00 GMT", 412],
      ["Upgrade", "h2c", 400],
    ] as const) {
      const target = breaks(name, { status: code, fields: FRESH });
      const victim = await afterwards(target, { fields: [[name, value]] });
      assert.equal(victim.status, 200, name);
    }
  });
});

describe("deception: a private page under a name that looks static", () => {
  const who: Fields = [["Cookie", "session=secret"]];

  for (const trick of [
    "/account/me/x.css",
    "/account/me;x.css",
    "/account/me%0Ax.css",
    "/account/me%3Fx.css",
    "/account/me%3fx.css",
    "/account/me?x.css",
    "/account/me%23x.css",
    "/account/me/.css",
    "/account/me.css",
    "/account/me%20.css",
    "/account/me%09.css",
    "/account/me%25%32%46x.css",
    "/assets/..account/me.css",
    "/assets/account;/me.css",
  ]) {
    test(`${trick} is not stored for a stranger`, async () => {
      const own = await ask(trick, { fields: who });
      assert.match(own.text, /secret/);
      await sleep(60);
      const stranger = await ask(trick);
      assert.ok(!/secret/.test(stranger.text), stranger.text);
    });
  }

  for (const trick of [
    "/assets/../account/me",
    "/assets/%2e%2e/account/me",
    "/assets/%2E%2e/account/me",
    "/assets/.%2e/account/me",
    "/assets/..%2faccount/me",
    "/assets/%2e%2e%2Faccount%2fme",
    "/assets/..;/account/me",
    "/assets/..;a=b/account/me",
    "/assets/..%5caccount%5cme",
    "/assets/..\\account\\me",
    "/assets/x%00/../account",
    "/account%2fme.css",
    "/account/me%2fx.css",
    "/account/me%00.css",
    "/account/me#x.css",
    "/account/me\x00.css",
    "/account/%2e%2e/assets/x.css",
  ]) {
    test(`${JSON.stringify(trick)} reaches no origin`, async () => {
      const before = origin.requests.length;
      const refused = await ask(trick, { fields: who });
      assert.equal(refused.status, 400);
      assert.equal(origin.requests.length, before);
    });
  }

  test("credentials that the route counts are never stored, whatever its lifetimes say", async () => {
    for (const field of [
      ["Authorization", "Bearer secret"],
      ["Cookie", "secret=1"],
    ] as const) {
      const target = fresh("/assets");
      const own = await ask(target, { fields: [[field[0], field[1]]] });
      assert.match(status(own), /detail=credentials$/);
      await sleep(60);
      const stranger = await ask(target);
      assert.ok(!/secret/.test(stranger.text), field[0]);
    }
  });

  test("spellings of one path share one answer, and the origin sees one of them", async () => {
    const target = fresh("/open");
    await untilHit(`${target}/%7Ea%2d%c3%a9`);
    for (const spelling of ["/~a-%C3%A9", "/%7ea-%c3%A9", "/~%61%2D%C3%a9"]) {
      const seen = await ask(`${target}${spelling}`);
      assert.ok(isHit(seen), spelling);
    }
    const targets = origin.received(`${target}/*`).map((received) => received.target);
    assert.deepEqual(new Set(targets), new Set([`${target}/~a-%C3%A9`]));
  });
});
