// What a route says itself (lifetimes, bypass, what selects), parts that grow, and rules about fields
// and time, before a real origin.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caching, FRESH, isHit, status } from "./caching.ts";
import { eventually, sleep } from "./expect.ts";
import { route, type FetchOptions } from "./mf.ts";
import type { Answer, Plan } from "./origin.ts";
import type { Fields, RawResponse } from "./raw.ts";

let caching: Caching;
before(async () => {
  caching = await Caching.start(
    route("lifetimes", "/lifetimes/*", {
      cache: {
        lifetimes: [
          { status: ["404", "410"], lifetime: "2s" },
          { status: ["5xx"], lifetime: "0s" },
          { status: ["203"], lifetime: "1h", force: true },
        ],
      },
    }),
    route("bypass", "/bypass/*", {
      cache: {
        bypass: { headers: ["X-Preview"], cookies: ["editor=1"], query: ["draft"] },
        key: { query: { preset: "tracking" } },
      },
    }),
    route("reduced", "/reduced/*", {
      cache: { vary: { device: true, encoding: true, languages: ["en", "de"] } },
    }),
    route("near", "/near/*", { cache: { tiers: ["memory"] } }),
    route("both", "/both/*", { cache: { tiers: ["memory", "location"] } }),
    route("shown", "/shown/*", { cache: { status_key: true } }),
    route("told", "/told/*", { cache: { status_key: true, key: { cookies: ["id"] } } }),
    route("small", "/small/*", { cache: { max_body: "8B" } }),
  );
});
after(() => caching?.stop());

const ask = (target: string, options: FetchOptions = {}): Promise<RawResponse> =>
  caching.gateway.fetch(target, options);
const serve = (answer: Answer, under: string): string => caching.origin.serve(answer, under);

describe("a part of what has just been sent", () => {
  for (const under of ["/near", "/both", "/c"]) {
    test(`is mostly answered from the cache, below ${under}`, async () => {
      let hits = 0;
      for (let nth = 0; nth < 20; nth += 1) {
        const path = serve({ fields: FRESH, body: "0123456789", ranges: true }, under);
        await ask(path);
        // No moment later: the body is stored when its last byte has come.
        const part = await ask(path, { fields: [["Range", "bytes=2-4"]] });
        assert.deepEqual([part.status, part.text], [206, "234"]);
        if (isHit(part)) hits += 1;
      }
      assert.ok(hits >= 10, `${hits} of 20`);
    });
  }

  test("is not waited for where it is slow", async () => {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    const path = serve(
      (_, nth) => ({ fields: FRESH, body: "0123456789", ranges: true, ...(nth === 1 && { gate }) }),
      "/near",
    );
    const whole = ask(path);
    await eventually(
      "the whole has been asked for",
      async () => caching.origin.received(path).length,
      (count) => count === 1,
    );
    const part = await ask(path, { fields: [["Range", "bytes=2-4"]] });
    open();
    assert.deepEqual([part.status, part.text, isHit(part)], [206, "234", false]);
    assert.equal((await whole).text, "0123456789");
  });
});

describe("lifetimes of the route", () => {
  test("count for their statuses, where the origin says nothing", async () => {
    const path = serve({ status: 404, body: "none" }, "/lifetimes");
    const hit = await caching.untilHit(path);
    assert.equal(hit.status, 404);
    assert.match(status(hit), /ttl=[12]$/);
    await sleep(2_050);
    assert.match(status(await ask(path)), /fwd=stale/);
  });

  test("of zero keep an answer out, whatever the origin says", async () => {
    const path = serve({ status: 500, fields: FRESH }, "/lifetimes");
    const [first] = await caching.neverHit(path);
    assert.match(status(first as RawResponse), /fwd-status=500; detail=lifetime$/);
  });

  test("set no-store aside where they are told to, and never private or a cookie", async () => {
    const plan = (fields: Fields): Plan => ({ status: 203, fields });
    await caching.untilHit(serve(plan([["Cache-Control", "no-store"]]), "/lifetimes"));
    for (const fields of [
      [["Cache-Control", "private, no-store"]],
      [["Set-Cookie", "a=b"]],
    ] satisfies Fields[]) {
      await caching.neverHit(serve(plan(fields), "/lifetimes"));
    }
    await caching.neverHit(serve(plan([]), "/lifetimes"), { fields: [["Authorization", "x"]] });
    await caching.neverHit(
      serve({ status: 404, fields: [["Cache-Control", "no-store"]] }, "/lifetimes"),
    );
  });
});

describe("a bypass", () => {
  const said: [name: string, query: string, fields: Fields][] = [
    ["by a field", "", [["X-Preview", "1"]]],
    ["by a cookie", "", [["Cookie", "a=b; editor=1"]]],
    ["by a parameter", "?draft", []],
    ["by its other spelling", "?a=1&dr%61ft=0", []],
  ];
  for (const [name, query, fields] of said) {
    test(`${name} is not answered and not stored, and is sent as it came`, async () => {
      const path = serve(
        ({ target }, nth) => ({ fields: FRESH, body: `${target} ${nth}` }),
        "/bypass",
      );
      const target = `${path}${query}${query ? "&" : "?"}utm_source=x`;
      const first = await ask(target, { fields });
      assert.equal(status(first), "edgeweir; fwd=bypass; fwd-status=200; detail=request");
      assert.ok(first.text.startsWith(target), first.text);
      await sleep(60);
      assert.match(status(await ask(path)), /fwd=uri-miss/);
      await caching.untilHit(path);
      assert.match(status(await ask(target, { fields })), /fwd=bypass/);
    });
  }

  test("asks for what the condition says, no less", async () => {
    const path = serve({ fields: FRESH }, "/bypass");
    await caching.untilHit(path);
    for (const fields of [[["X-Previews", "1"]]] satisfies Fields[]) {
      assert.ok(isHit(await ask(path, { fields })));
    }
    assert.match(
      status(await ask(path, { fields: [["Cookie", "editor=0"]] })),
      /fwd=bypass; .*credentials/,
    );
  });
});

describe("what is reduced", () => {
  test("reaches the origin reduced, and selects so", async () => {
    const names = ["user-agent", "sec-ch-ua-mobile", "accept-encoding", "accept-language"];
    const path = serve(
      ({ field }) => ({
        fields: [...FRESH, ["Vary", names.join(", ")]],
        body: names.map((name) => field(name)).join("|"),
      }),
      "/reduced",
    );
    const client = (agent: string, encoding: string, language: string): FetchOptions => ({
      fields: [
        ["User-Agent", agent],
        ["Accept-Encoding", encoding],
        ["Accept-Language", language],
      ],
    });
    const mobile = "Mozilla/5.0 (compatible; Edgeweir; Mobile)|?1|gzip, br|de";
    const first = await caching.untilHit(
      path,
      client("x iPhone y", "br, gzip;q=0.1, foo", "fr, de-AT"),
    );
    assert.equal(first.text, mobile);
    const same = await ask(path, client("Android Mobile", "gzip,deflate,br", "de;q=0.1"));
    assert.deepEqual([isHit(same), same.text], [true, mobile]);
    const plain = await ask(path);
    assert.match(status(plain), /fwd=vary-miss/);
    assert.equal(plain.text, "Mozilla/5.0 (compatible; Edgeweir; Desktop)|?0|identity|en");
  });

  test("an encoded answer is for those that take it", async () => {
    const path = serve({ fields: FRESH, encoding: "gzip", body: "text" }, "/reduced");
    const by = (encoding: string): FetchOptions => ({ fields: [["Accept-Encoding", encoding]] });
    await caching.untilHit(path, by("gzip, deflate"));
    assert.ok(isHit(await ask(path, by("deflate, GZIP;q=0.3"))));
    assert.ok(!isHit(await ask(path, by("deflate"))));
  });
});

describe("parts under one strong tag", () => {
  const BODY = Array.from({ length: 3_000 }, (_, nth) => `${nth}\n`).join("");
  const plan = (tag: string): Plan => ({
    fields: [...FRESH, ["ETag", tag], ["X-Any", "1"]],
    ranges: true,
    body: BODY,
  });
  const ranged = (path: string, first: number, last: number): Promise<RawResponse> =>
    ask(path, { fields: [["Range", `bytes=${first}-${last}`]] });
  const stored = (path: string, first: number, last: number): Promise<RawResponse> =>
    eventually(`${first}-${last} to be stored`, () => ranged(path, first, last), isHit);

  for (const under of ["/c", "/near", "/both"]) {
    test(`grow together, and become the whole: ${under}`, async () => {
      const path = serve(plan('"a"'), under);
      const last = BODY.length - 1;
      await stored(path, 5_000, 9_000);
      await stored(path, 9_001, 12_000);
      const sent = () => caching.origin.received(path).length;
      let before = sent();
      const inner = await ranged(path, 8_000, 10_000);
      assert.deepEqual(
        [isHit(inner), inner.status, inner.text],
        [true, 206, BODY.slice(8_000, 10_001)],
      );
      assert.equal(inner.field("content-range"), `bytes 8000-10000/${BODY.length}`);
      assert.equal(sent(), before);
      await stored(path, 0, 6_000);
      await stored(path, 11_000, last);
      const whole = await caching.untilHit(path);
      assert.deepEqual([whole.status, whole.text === BODY], [200, true]);
      assert.deepEqual(
        ["content-length", "content-range", "etag", "x-any"].map((name) => whole.field(name)),
        [String(BODY.length), undefined, '"a"', "1"],
      );
      before = sent();
      assert.equal((await ranged(path, 0, 4)).text, BODY.slice(0, 5));
      assert.equal(sent(), before);
    });
  }

  test("do not under another, a weak one or none", async () => {
    for (const tags of [
      ['"a"', '"b"'],
      ['W/"a"', 'W/"a"'],
      ["", ""],
    ]) {
      const path = serve((_, nth) => plan(tags[Math.min(nth, 2) - 1] ?? ""), "/c");
      await ranged(path, 0, 99);
      await sleep(60);
      await ranged(path, 100, 199);
      await sleep(60);
      assert.match(status(await ranged(path, 50, 149)), /fwd=partial/, tags.join());
    }
  });

  test("of another answer than the stored whole remove that one", async () => {
    const path = serve(
      ({ field }, nth) =>
        nth > 3
          ? { failure: "reset-before-head" }
          : {
              ...plan(nth === 1 ? '"a"' : '"b"'),
              fields: [
                ["Cache-Control", nth === 1 ? "max-age=1" : "max-age=600"],
                ["ETag", nth === 1 ? '"a"' : '"b"'],
                ["X-Asked", field("if-none-match") ?? "no"],
              ],
            },
      "/both",
    );
    await ask(path);
    await sleep(1_150);
    const first = await ranged(path, 0, 99);
    assert.deepEqual([first.status, first.field("x-asked")], [206, '"a"']);
    assert.match(status(first), /fwd=stale; fwd-status=206; detail=changed$/);
    const next = await ranged(path, 0, 99);
    assert.equal(next.field("x-asked"), "no");
    assert.match(status(next), /fwd=uri-miss; fwd-status=206; stored/);
    // The old whole stands in for nobody.
    assert.equal((await ask(path)).status, 502);
  });

  test("stay apart where they are too large together", async () => {
    const path = serve({ ...plan('"a"'), body: "0123456789ABCDEF" }, "/small");
    await stored(path, 0, 5);
    await stored(path, 6, 11);
    assert.match(status(await ranged(path, 5, 6)), /fwd=partial/);
  });

  test("one that breaks off leaves what is there", async () => {
    const path = serve(
      (_, nth) => ({ ...plan('"a"'), ...(nth === 2 ? { failure: "reset-in-body" } : {}) }) as Plan,
      "/c",
    );
    await stored(path, 0, 99);
    await ranged(path, 100, 9_999).catch(() => {});
    await sleep(100);
    const kept = await ranged(path, 0, 99);
    assert.deepEqual([isHit(kept), kept.text], [true, BODY.slice(0, 100)]);
    assert.ok(!isHit(await ranged(path, 100, 199)));
  });

  test("a change removes what they have become", async () => {
    const path = serve(plan('"a"'), "/both");
    await stored(path, 0, 99);
    await stored(path, 100, 199);
    await ask(path, { method: "DELETE" });
    await sleep(60);
    assert.match(status(await ranged(path, 50, 149)), /fwd=uri-miss/);
  });
});

describe("fields", () => {
  test("of caches before this one stand in front of ours, on what they did now", async () => {
    const path = serve({ fields: [...FRESH, ["Cache-Status", "mid; hit; ttl=3"]] }, "/shown");
    const miss = await ask(path);
    assert.match(
      status(miss),
      /^mid; hit; ttl=3, edgeweir; fwd=uri-miss; .*; stored; key="[0-9a-f]{32}"$/,
    );
    const hit = await eventually(
      "a hit",
      () => ask(path),
      (seen) => /; hit/.test(status(seen)),
    );
    const key = (seen: RawResponse): string => status(seen).split("key=")[1] ?? "";
    await sleep(60);
    const again = await ask(path);
    assert.match(status(again), /^edgeweir; hit; ttl=\d+; key="[0-9a-f]{32}"$/);
    assert.deepEqual([key(miss), key(again)], [key(again), key(again)]);
    assert.ok(hit.text === miss.text);
    const other = await ask(serve({ fields: FRESH }, "/shown"));
    assert.notEqual(key(other), key(again));
  });

  test("and the key that ours names tells nothing of the cookie that selects an answer", async () => {
    const path = serve({ fields: FRESH }, "/told");
    const keys = new Set<string>();
    for (const id of ["1", "2"]) {
      const fields: Fields = [["Cookie", `id=${id}`]];
      const miss = await ask(path, { fields });
      assert.match(status(miss), /fwd=(uri|vary)-miss/);
      const hit = await eventually(
        "a hit",
        () => ask(path, { fields }),
        (seen) => /; hit/.test(status(seen)),
      );
      for (const seen of [miss, hit]) keys.add(status(seen).split("key=")[1] ?? "");
    }
    assert.deepEqual([keys.size, [...keys][0]?.length], [1, 34]);
  });

  test("of proxies and of connections end here, on a miss and on a hit", async () => {
    const gone: Fields = [
      ["Proxy-Authenticate", "Basic"],
      ["Proxy-Authentication-Info", "a=b"],
      ["Proxy-Authorization", "x"],
      ["Proxy-Connection", "close"],
      ["Proxy-Status", "mid"],
      ["Keep-Alive", "timeout=5"],
    ];
    const path = serve({ fields: [...FRESH, ...gone] }, "/c");
    const miss = await ask(path);
    const hit = await caching.untilHit(path);
    for (const [name] of gone) {
      assert.deepEqual([miss.field(name), hit.field(name)], [undefined, undefined], name);
    }
  });

  test("that are repeated or unknown survive, and so do Date and Expires", async () => {
    const date = new Date(Date.now() - 5_000).toUTCString();
    const expires = new Date(Date.now() + 600_000).toUTCString();
    const kept: Fields = [
      ["Link", "</a>; rel=preload"],
      ["Link", "</b>; rel=preload"],
      ["X-Unknown", "1"],
      ["X-Unknown", "2"],
      ["Date", date],
      ["Expires", expires],
      ["Cache-Control", "no-transform"],
    ];
    const path = serve({ fields: kept }, "/c");
    const hit = await caching.untilHit(path);
    for (const [name] of kept) {
      const values = kept.filter(([other]) => other === name).map(([, value]) => value);
      assert.equal(hit.lines(name).join(", "), values.join(", "), name);
    }
    assert.ok(Number(hit.field("age")) >= 5);
  });

  test("an Age of the origin's is passed on, and counts", async () => {
    for (const under of ["/c", "/near", "/both"]) {
      const path = serve({ fields: [...FRESH, ["Age", "100"]] }, under);
      assert.equal((await ask(path)).field("age"), "100");
      assert.match((await caching.untilHit(path)).field("age") ?? "", /^10[01]$/, under);
    }
  });
});

describe("RFC 9110, 6.6.1: an answer says when it was made", () => {
  const isDate = (text: string | undefined): boolean =>
    text !== undefined && new Date(text).toUTCString() === text;

  test("one of an origin that does not, says when it came, from the cache too", async () => {
    const raw = ["HTTP/1.1 200 OK", "Cache-Control: max-age=600", "Content-Length: 2"];
    for (const under of ["/near", "/c", "/u"]) {
      const path = serve({ raw: `${[...raw, "Connection: close"].join("\r\n")}\r\n\r\nhi` }, under);
      const answer = await ask(path);
      assert.ok(isDate(answer.field("date")), under);
      if (under !== "/u") {
        await sleep(1_100);
        const hit = await caching.untilHit(path);
        assert.equal(hit.field("date"), answer.field("date"));
        assert.equal((await ask(path, { method: "HEAD" })).field("date"), answer.field("date"));
      }
    }
  });

  test("one of ours does", async () => {
    assert.ok(isDate((await ask("/nowhere")).field("date")));
    assert.ok(isDate((await ask("/_weir/health")).field("date")));
  });
});

describe("section 4.2: what is fresh", () => {
  const now = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toUTCString();
  const in_ = (text: (date: string) => string): string => text(now(600));
  const cases: [name: string, fields: Fields, stored: boolean][] = [
    ["directives in any case", [["Cache-Control", "MAX-AGE=600"]], true],
    ["a quoted value is not looked into", [["Cache-Control", 'x="max-age=600"']], false],
    ["nor is what it hides", [["Cache-Control", 'x="no-store", max-age=600']], true],
    ["a negative number", [["Cache-Control", "max-age=-600"]], false],
    ["single quotes", [["Cache-Control", "max-age='600'"]], false],
    ["leading zeros", [["Cache-Control", "max-age=000600"]], true],
    ["a huge number", [["Cache-Control", "max-age=99999999999999999999"]], true],
    ["the strictest of two", [["Cache-Control", "max-age=600, max-age=0"]], false],
    ["s-maxage before max-age", [["Cache-Control", "max-age=0, s-maxage=600"]], true],
    [
      "max-age before Expires",
      [
        ["Cache-Control", "max-age=600"],
        ["Expires", now(-600)],
      ],
      true,
    ],
    [
      "Expires after Date",
      [
        ["Expires", now(600)],
        ["Date", now(0)],
      ],
      true,
    ],
    [
      "Expires before Date",
      [
        ["Expires", now(600)],
        ["Date", now(700)],
      ],
      false,
    ],
    ["Expires in capitals", [["Expires", in_((date) => date.toUpperCase())]], true],
    [
      "Expires on a wrong day of the week",
      [["Expires", in_((date) => date.replace(/^\w+/, date.startsWith("Mon") ? "Tue" : "Mon"))]],
      true,
    ],
    ["Expires in UTC", [["Expires", in_((date) => date.replace("GMT", "UTC"))]], false],
    ["Expires in AEST", [["Expires", in_((date) => date.replace("GMT", "AEST"))]], false],
    ["Expires without its comma", [["Expires", in_((date) => date.replace(",", ""))]], false],
    [
      "Expires with doubled spaces",
      [["Expires", in_((date) => date.replaceAll(" ", "  "))]],
      false,
    ],
    [
      "Expires with two digits of the year",
      [["Expires", in_((date) => date.replace(/ 20(\d\d) /, " $1 "))]],
      false,
    ],
    [
      "two lines of Expires",
      [
        ["Expires", now(600)],
        ["Expires", now(600)],
      ],
      false,
    ],
    ["the first Age of a list", [...FRESH, ["Age", "0, 7200"]], true],
    ["an Age that is none", [...FRESH, ["Age", "7200.0"]], true],
    [
      "an Age of 2^31",
      [
        ["Cache-Control", "max-age=99999999999"],
        ["Age", "2147483648"],
      ],
      false,
    ],
    ["a Date long ago", [...FRESH, ["Date", now(-700)]], false],
    [
      "must-understand over no-store",
      [["Cache-Control", "max-age=600, no-store, must-understand"]],
      true,
    ],
    [
      "CDN-Cache-Control over no-store",
      [
        ["Cache-Control", "no-store"],
        ["CDN-Cache-Control", "max-age=600"],
      ],
      true,
    ],
    [
      "CDN-Cache-Control that is none",
      [
        ["Cache-Control", "no-store"],
        ["CDN-Cache-Control", "max-age=600;"],
      ],
      false,
    ],
    ["CDN-Cache-Control that forbids", [...FRESH, ["CDN-Cache-Control", "no-store"]], false],
    ["Vary with a star in it", [...FRESH, ["Vary", "Accept, *"]], false],
    [
      "Vary over several lines",
      [...FRESH, ["Vary", " Accept ,"], ["Vary", "accept-language"]],
      true,
    ],
  ];
  for (const [name, fields, stored] of cases) {
    test(`${name}: ${stored ? "stored" : "not stored"}`, async () => {
      const path = serve({ fields }, "/c");
      if (stored) await caching.untilHit(path);
      else await caching.neverHit(path);
    });
  }

  test("a head with bytes that are no UTF-8: passed on, and not stored", async () => {
    const raw = [
      "HTTP/1.1 200 OK",
      "Cache-Control: max-age=600",
      'ETag: "caf\xe9"',
      "Content-Length: 2",
      "Connection: close",
    ];
    const path = serve({ raw: `${raw.join("\r\n")}\r\n\r\nhi` }, "/both");
    const answer = await ask(path);
    assert.deepEqual([answer.status, answer.text], [200, "hi"]);
    assert.match(status(answer), /; detail=head$/);
    await caching.neverHit(path);
    // In UTF-8 it is a field like any other.
    const read = serve({ fields: [...FRESH, ["X-Name", "caf\xc3\xa9"]] }, "/both");
    assert.equal((await caching.untilHit(read)).field("x-name"), "café");
  });

  test("any final status, 299, 499 and 599 included", async () => {
    for (const code of [299, 400, 418, 499, 502, 599]) {
      assert.equal(
        (await caching.untilHit(serve({ status: code, fields: FRESH }, "/c"))).status,
        code,
      );
    }
  });
});
