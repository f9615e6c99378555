// Stages 12 and 14: which of the stored answers is the one for this request, and which part of it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caching, FRESH, isHit, status } from "./caching.ts";
import { eventually, sleep } from "./expect.ts";
import { route, type FetchOptions } from "./mf.ts";
import type { Fields } from "./raw.ts";

let caching: Caching;
before(async () => {
  caching = await Caching.start(
    route("keyed", "/keyed/*", {
      cache: {
        key: { query: { preset: "tracking", sort: true }, headers: ["X-Shop"], cookies: ["sid"] },
        vary: { ignore: ["User-Agent"] },
      },
    }),
    route("own", "/own/*", {
      cache: { targets: ["Weir-Cache-Control", "CDN-Cache-Control"], allow_set_cookie: true },
    }),
  );
});
after(() => caching?.stop());

const speak = (language: string): FetchOptions => ({ fields: [["Accept-Language", language]] });

describe("answers to one target", () => {
  /** Says back in which language it was asked. */
  const spoken = (): string =>
    caching.answer(({ field }, nth) => ({
      fields: [...FRESH, ["Vary", "Accept-Language"]],
      body: `${field("accept-language") ?? "none"} ${nth}`,
    }));

  test("are kept side by side", async () => {
    const path = spoken();
    const seen = new Map<string, string>();
    for (const language of ["ko", "en", "de"]) {
      seen.set(language, (await caching.untilHit(path, speak(language))).text);
    }
    const sent = caching.origin.received(path).length;
    for (const [language, text] of seen) {
      const response = await caching.gateway.fetch(path, speak(language));
      assert.ok(isHit(response), status(response));
      assert.equal(response.text, text);
    }
    assert.equal(caching.origin.received(path).length, sent);
  });

  test("are one for values that mean the same", async () => {
    const path = spoken();
    const first = await caching.untilHit(path, speak("en, de;q=0.5"));
    const same = await caching.gateway.fetch(path, speak("DE;q=0.50 ,en"));
    assert.deepEqual([isHit(same), same.text], [true, first.text]);
  });

  test("are all removed by a change", async () => {
    const path = spoken();
    const before = new Set<string>();
    for (const language of ["ko", "en"]) {
      before.add((await caching.untilHit(path, speak(language))).text);
    }
    await caching.gateway.fetch(path, { method: "POST", body: "new" });
    await sleep(100);
    for (const language of ["ko", "en"]) {
      assert.ok(!before.has((await caching.gateway.fetch(path, speak(language))).text), language);
    }
  });
});

describe("what a route adds to the key", () => {
  test("tells answers apart", async () => {
    const path = caching.origin.serve(
      ({ field }, nth) => ({
        fields: FRESH,
        body: `${field("x-shop") ?? "-"} ${field("cookie") ?? "-"} ${nth}`,
      }),
      "/keyed",
    );
    const asked: Fields[] = [[], [["X-Shop", "1"]], [["Cookie", "sid=a"]], [["Cookie", "sid=b"]]];
    const seen = new Set<string>();
    for (const fields of asked) seen.add((await caching.untilHit(path, { fields })).text);
    assert.equal(seen.size, asked.length);
    // A cookie that is not part of it still is a credential.
    const other = await caching.gateway.fetch(path, { fields: [["Cookie", "sid=a; other=1"]] });
    assert.match(status(other), /fwd=bypass; fwd-status=200; detail=credentials$/);
  });

  test("and what it leaves out does not reach the origin", async () => {
    const path = caching.origin.serve(
      ({ target }) => ({ fields: [...FRESH, ["Vary", "User-Agent"]], body: target }),
      "/keyed",
    );
    const first = await caching.untilHit(`${path}?b=2&utm_source=x&a=1&fbclid=y`, {
      fields: [["User-Agent", "one"]],
    });
    assert.equal(first.text, `${path}?a=1&b=2`);
    const same = await caching.gateway.fetch(`${path}?a=1&b=2&gclid=evil`, {
      fields: [["User-Agent", "other"]],
    });
    assert.deepEqual([isHit(same), same.text], [true, first.text]);
    for (const { field } of caching.origin.received(path)) {
      assert.equal(field("user-agent"), undefined);
    }
    await caching.gateway.fetch(`${path}?b=2&a=1`, { method: "POST", body: "new" });
    await sleep(100);
    assert.ok(!isHit(await caching.gateway.fetch(`${path}?a=1&b=2`)), "a change finds the key");
  });
});

describe("a range", () => {
  const ask = (range: string, ...more: Fields): FetchOptions => ({
    fields: [["Range", range], ...more],
  });

  test("of a stored answer is cut here", async () => {
    const path = caching.serve({
      fields: [...FRESH, ["ETag", '"a"'], ["X-Any", "1"]],
      body: "0123456789A",
    });
    await caching.untilHit(path);
    const sent = caching.origin.received(path).length;
    for (const [range, text, where] of [
      ["bytes=0-1", "01", "bytes 0-1/11"],
      ["bytes=1-", "123456789A", "bytes 1-10/11"],
      ["bytes=-1", "A", "bytes 10-10/11"],
      ["bytes=9-100", "9A", "bytes 9-10/11"],
    ] as const) {
      const part = await caching.gateway.fetch(path, ask(range));
      assert.ok(isHit(part), status(part));
      assert.deepEqual(
        [part.status, part.text, part.field("content-range"), part.field("content-length")],
        [206, text, where, String(text.length)],
        range,
      );
      assert.deepEqual([part.field("etag"), part.field("x-any")], ['"a"', "1"]);
    }
    const whole = await caching.gateway.fetch(path, ask("bytes=0-1, 3-4"));
    assert.deepEqual([whole.status, whole.text], [200, "0123456789A"]);
    const none = await caching.gateway.fetch(path, ask("bytes=11-"));
    assert.deepEqual(
      [none.status, none.text, none.field("content-range")],
      [416, "", "bytes */11"],
    );
    const held = await caching.gateway.fetch(path, ask("bytes=0-1", ["If-Range", '"a"']));
    const other = await caching.gateway.fetch(path, ask("bytes=0-1", ["If-Range", '"b"']));
    assert.deepEqual([held.status, other.status], [206, 200]);
    const known = await caching.gateway.fetch(path, ask("bytes=0-1", ["If-None-Match", '"a"']));
    assert.equal(known.status, 304);
    assert.equal(caching.origin.received(path).length, sent);
  });

  test("of a large stored answer is exact", async () => {
    const body = Array.from({ length: 5_000 }, (_, line) => `line ${line}\n`).join("");
    const path = caching.answer({ fields: FRESH, body });
    await caching.untilHit(path);
    const part = await caching.gateway.fetch(path, ask("bytes=30000-40000"));
    assert.deepEqual([part.status, part.text], [206, body.slice(30_000, 40_001)]);
  });

  test("that the origin gave answers what lies within it", async () => {
    const path = caching.serve({ fields: FRESH, ranges: true, body: "0123456789" });
    const first = await caching.gateway.fetch(path, ask("bytes=4-8"));
    assert.equal(status(first), "edgeweir; fwd=uri-miss; fwd-status=206; stored");
    const again = await caching.untilHit(path, ask("bytes=4-8"));
    assert.deepEqual([again.status, again.text], [206, "45678"]);
    const inner = await caching.gateway.fetch(path, ask("bytes=6-7"));
    assert.deepEqual(
      [isHit(inner), inner.status, inner.text, inner.field("content-range")],
      [true, 206, "67", "bytes 6-7/10"],
    );
    const outer = await caching.gateway.fetch(path, ask("bytes=3-4"));
    assert.equal(status(outer), "edgeweir; fwd=partial; fwd-status=206; stored");
    // A part is never the whole.
    const whole = await caching.gateway.fetch(path);
    assert.deepEqual([isHit(whole), whole.status, whole.text], [false, 200, "0123456789"]);
  });
});

describe("what the origin says about time", () => {
  test("counts by CDN-Cache-Control before Cache-Control", async () => {
    const path = caching.serve({
      fields: [
        ["Cache-Control", "no-store"],
        ["CDN-Cache-Control", "max-age=600"],
      ],
    });
    const hit = await caching.untilHit(path);
    assert.deepEqual(
      [hit.field("cache-control"), hit.field("cdn-cache-control")],
      ["no-store", "max-age=600"],
    );
    const invalid = caching.serve({ fields: [...FRESH, ["CDN-Cache-Control", "max-age=0, &&"]] });
    await caching.untilHit(invalid);
  });

  test("in a field of the gateway's own reaches nobody", async () => {
    const path = caching.serve(
      {
        fields: [
          ["Weir-Cache-Control", "max-age=600"],
          ["Set-Cookie", "a=b"],
        ],
      },
      "/own",
    );
    const miss = await caching.gateway.fetch(path);
    const hit = await caching.untilHit(path);
    for (const response of [miss, hit]) {
      assert.equal(response.field("weir-cache-control"), undefined);
      assert.equal(response.field("set-cookie"), "a=b");
    }
  });

  test("is guessed from Last-Modified", async () => {
    const yesterday = new Date(Date.now() - 86_400_000).toUTCString();
    const hit = await caching.untilHit(caching.serve({ fields: [["Last-Modified", yesterday]] }));
    assert.match(status(hit), /ttl=86[34]\d$/);
  });

  test("leaves out the fields that it names", async () => {
    const path = caching.serve({
      fields: [
        ["Cache-Control", 'max-age=600, no-cache="X-A", private="x-b"'],
        ["X-A", "1"],
        ["X-B", "2"],
        ["X-C", "3"],
      ],
    });
    const hit = await caching.untilHit(path);
    assert.deepEqual(
      ["x-a", "x-b", "x-c"].map((name) => hit.field(name)),
      [undefined, undefined, "3"],
    );
  });

  test("holds for any final status", async () => {
    for (const code of [201, 302, 404, 429, 500, 599]) {
      assert.equal(
        (await caching.untilHit(caching.serve({ status: code, fields: FRESH }))).status,
        code,
      );
    }
  });
});

test("who shows credentials gets what is shared, and shares only that", async () => {
  const who: Fields = [["Authorization", "Bearer x"]];
  for (const control of ["public, max-age=600", "s-maxage=600", "max-age=600, must-revalidate"]) {
    const path = caching.serve({ fields: [["Cache-Control", control]] });
    const stored = await caching.untilHit(path, { fields: who });
    assert.equal((await caching.gateway.fetch(path)).text, stored.text, control);
  }
});

test("a change removes what Location and Content-Location name, here alone", async () => {
  const [one, two, three] = [0, 1, 2].map(() => caching.serve({ fields: FRESH })) as [
    string,
    string,
    string,
  ];
  const before = new Map<string, string>();
  for (const path of [one, two, three]) before.set(path, (await caching.untilHit(path)).text);
  const changing = caching.answer({
    status: 201,
    fields: [
      ["Location", one],
      ["Content-Location", `..${two}`],
    ],
  });
  await caching.gateway.fetch(changing, { method: "POST", body: "new" });
  const foreign = caching.answer({ fields: [["Location", `http://other.test${three}`]] });
  await caching.gateway.fetch(foreign, { method: "POST", body: "new" });
  for (const path of [one, two]) {
    await eventually(
      `${path} to be removed`,
      () => caching.gateway.fetch(path),
      (response) => response.text !== before.get(path),
    );
  }
  assert.equal((await caching.gateway.fetch(three)).text, before.get(three));
});

test("the answer to a POST that stands for its URI answers later GETs", async () => {
  const path = caching.answer(({ method, target }, nth) => ({
    fields: [...FRESH, ["Content-Location", target]],
    body: `${method} ${nth}`,
  }));
  await caching.untilHit(path);
  const posted = await caching.gateway.fetch(path, { method: "POST", body: "new" });
  assert.equal(status(posted), "edgeweir; fwd=method; fwd-status=200; stored");
  const hit = await eventually(
    "the posted answer",
    () => caching.gateway.fetch(path),
    (response) => isHit(response),
  );
  assert.equal(hit.text, posted.text);
});
