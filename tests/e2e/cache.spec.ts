// Stages 12 and 14: do we have the answer? What is stored, and what a hit looks like.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caching, FRESH, isHit, status } from "./caching.ts";
import { eventually, lineOf, sleep } from "./expect.ts";
import type { FetchOptions } from "./mf.ts";
import { encoded, type Plan } from "./origin.ts";
import { noise, sha256, type Fields, type RawResponse } from "./raw.ts";

let caching: Caching;
before(async () => {
  caching = await Caching.start();
});
after(() => caching?.stop());

describe("a hit", () => {
  test("is the stored answer, and says so", async () => {
    const path = caching.serve({
      status: 200,
      fields: [...FRESH, ["X-Origin", "1"], ["ETag", '"a"'], ["Content-Type", "text/plain"]],
    });
    const miss = await caching.gateway.fetch(path);
    assert.equal(status(miss), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
    assert.match(miss.field("cache-status") ?? "", /; stored; ttl=(600|599)$/);
    assert.equal(miss.field("age"), undefined);
    const hit = await caching.untilHit(path);
    assert.match(status(hit), /ttl=(599|600)$/);
    assert.match(hit.field("age") ?? "", /^[01]$/);
    assert.deepEqual([hit.status, hit.text], [200, miss.text]);
    for (const name of ["cache-control", "x-origin", "etag", "content-type", "content-length"]) {
      assert.equal(hit.field(name), miss.field(name), name);
    }
    const sent = caching.origin.received(path).length;
    await caching.gateway.fetch(path);
    assert.equal(caching.origin.received(path).length, sent);
    const [forwarded, cached] = [
      await lineOf(caching.gateway, miss),
      await lineOf(caching.gateway, hit),
    ];
    assert.deepEqual([forwarded.verdict, forwarded.cache], ["forwarded", "uri-miss"]);
    assert.deepEqual(
      [cached.verdict, cached.cache, cached.upstream, cached.status],
      ["cached", "hit", undefined, 200],
    );
  });

  test("has a request id of its own, and not the origin's", async () => {
    const path = caching.serve({ fields: [...FRESH, ["X-Request-Id", "from-the-origin"]] });
    const miss = await caching.gateway.fetch(path);
    const hit = await caching.untilHit(path);
    assert.match(hit.field("x-request-id") ?? "", /^[0-9a-f]{32}$/);
    assert.notEqual(hit.field("x-request-id"), miss.field("x-request-id"));
    assert.equal(hit.lines("x-request-id").length, 1);
  });

  test("grows older", async () => {
    const path = caching.serve({ fields: FRESH });
    const first = await caching.untilHit(path);
    await sleep(1_100);
    const later = await caching.gateway.fetch(path);
    const grown = Number(later.field("age")) - Number(first.field("age"));
    assert.ok(grown >= 1 && grown <= 3, `${grown}`);
    const ttl = (response: RawResponse): number => Number(/ttl=(\d+)/.exec(status(response))?.[1]);
    assert.equal(ttl(first) - ttl(later), grown);
  });

  test("counts on from the origin's Age", async () => {
    const path = caching.serve({ fields: [...FRESH, ["Age", "100"]] });
    const hit = await caching.untilHit(path);
    const age = Number(hit.field("age"));
    assert.ok(age >= 100 && age <= 103, `${age}`);
    assert.equal(hit.lines("age").length, 1);
  });

  test("ends with its lifetime", async () => {
    const path = caching.serve({ fields: [["Cache-Control", "max-age=2"]] });
    const first = await caching.untilHit(path);
    await sleep(2_050);
    const later = await caching.gateway.fetch(path);
    assert.match(status(later), /^edgeweir; fwd=(stale|uri-miss); fwd-status=200; stored$/);
    assert.notEqual(later.text, first.text);
  });

  test("lasts for a second where that is its lifetime", async () => {
    const path = caching.serve({ fields: [["Cache-Control", "max-age=1"]] });
    const hit = await caching.untilHit(path);
    assert.equal(hit.field("age"), "0");
    assert.equal(status(hit), "edgeweir; hit; ttl=1");
  });

  test("is shared by the isolates of a location", async () => {
    const path = caching.serve({ fields: FRESH });
    const first = await caching.untilHit(path, { isolate: 0 });
    const other = await caching.gateway.fetch(path, { isolate: 1 });
    assert.ok(isHit(other), status(other));
    assert.equal(other.text, first.text);
  });

  test("is kept by s-maxage and Expires too, and for other whole answers", async () => {
    const inAnHour = new Date(Date.now() + 3_600_000).toUTCString();
    for (const plan of [
      { fields: [["Cache-Control", "max-age=0, s-maxage=600"]] },
      { fields: [["Expires", inAnHour]] },
      {
        fields: [
          ["Cache-Control", "public, max-age=600"],
          ["Date", new Date().toUTCString()],
        ],
      },
      { status: 404, fields: FRESH },
      { status: 301, fields: [...FRESH, ["Location", "/elsewhere"]] },
    ] satisfies Plan[]) {
      const hit = await caching.untilHit(caching.serve(plan as Plan));
      assert.equal(hit.status, "status" in plan ? plan.status : 200);
    }
  });

  test("of a bodiless answer has no body", async () => {
    const path = caching.serve({ status: 204, fields: FRESH, body: "" });
    const hit = await caching.untilHit(path);
    assert.deepEqual(
      [hit.status, hit.body.length, hit.field("content-length")],
      [204, 0, undefined],
    );
    const empty = await caching.untilHit(caching.serve({ fields: FRESH, body: "" }).concat(""));
    assert.deepEqual([empty.status, empty.field("content-length")], [200, "0"]);
  });

  test("of a chunked answer is whole", async () => {
    const body = "0123456789".repeat(4_000);
    const hit = await caching.untilHit(caching.serve({ fields: FRESH, body, chunked: true }));
    assert.equal(hit.text, body);
  });

  test("keeps text in any language, in fields and body", async () => {
    const path = caching.serve({
      // As Node writes a field, each character is a byte: this is UTF-8.
      fields: [...FRESH, ["X-Title", "caf\xc3\xa9"]],
      body: "안녕하세요 {n}",
    });
    const miss = await caching.gateway.fetch(path);
    const hit = await caching.untilHit(path);
    assert.deepEqual([miss.field("x-title"), hit.field("x-title")], ["café", "café"]);
    assert.match(hit.text, /^안녕하세요 \d$/);
  });
});

describe("a compressed answer", () => {
  const body = "a compressible text, ".repeat(500);
  for (const encoding of ["gzip", "br"] as const) {
    test(`is stored as it came: ${encoding}`, async () => {
      const plan: Plan = { fields: [...FRESH, ["Vary", "Accept-Encoding"]], body, encoding };
      const path = caching.serve(plan);
      const options: FetchOptions = { fields: [["Accept-Encoding", encoding]] };
      const miss = await caching.gateway.fetch(path, options);
      const hit = await caching.untilHit(path, options);
      for (const response of [miss, hit]) {
        assert.deepEqual(response.body, encoded(plan));
        assert.equal(response.field("content-encoding"), encoding);
        assert.equal(response.field("content-length"), String(encoded(plan).length));
        assert.equal(response.field("transfer-encoding"), undefined);
      }
    });
  }

  test("is not served to who asked for another coding", async () => {
    const path = caching.serve({
      fields: [...FRESH, ["Vary", "Accept-Encoding"]],
      body,
      encoding: "gzip",
    });
    await caching.untilHit(path, { fields: [["Accept-Encoding", "gzip"]] });
    assert.equal(
      status(await caching.gateway.fetch(path)),
      "edgeweir; fwd=vary-miss; fwd-status=200; stored",
    );
  });

  test("that does not say what it varies by is for who asked for that coding", async () => {
    const path = caching.answer(({ field }) => {
      const coding = field("accept-encoding") === "gzip" ? "gzip" : undefined;
      return { fields: FRESH, body, ...(coding === undefined ? {} : { encoding: coding }) };
    });
    const gzip: FetchOptions = { fields: [["Accept-Encoding", "gzip"]] };
    await caching.untilHit(path, gzip);
    const plain = await caching.untilHit(path);
    assert.deepEqual([plain.field("content-encoding"), plain.text], [undefined, body]);
    const again = await caching.gateway.fetch(path, gzip);
    assert.deepEqual([isHit(again), again.field("content-encoding")], [true, "gzip"]);
  });
});

describe("HEAD", () => {
  test("is answered from a stored GET, without its body", async () => {
    const path = caching.serve({ fields: [...FRESH, ["ETag", '"a"']] });
    const get = await caching.untilHit(path);
    const sent = caching.origin.received(path).length;
    const head = await caching.gateway.fetch(path, { method: "HEAD" });
    assert.ok(isHit(head), status(head));
    assert.deepEqual([head.status, head.body.length, head.field("etag")], [200, 0, '"a"']);
    // RFC 9110, 8.6: a Content-Length there is the one of the GET.
    assert.ok([undefined, get.field("content-length")].includes(head.field("content-length")));
    assert.equal(caching.origin.received(path).length, sent);
  });

  test("is never stored as the answer to a GET", async () => {
    const path = caching.serve({ fields: FRESH });
    const head = await caching.gateway.fetch(path, { method: "HEAD" });
    assert.equal(status(head), "edgeweir; fwd=uri-miss; fwd-status=200; detail=request");
    assert.equal(caching.origin.only(path).method, "HEAD");
    await sleep(50);
    const get = await caching.gateway.fetch(path);
    assert.equal(status(get), "edgeweir; fwd=uri-miss; fwd-status=200; stored");
    assert.equal(get.text, "body 2");
  });
});

describe("304", () => {
  const modified = "Mon, 01 Jan 2024 00:00:00 GMT";
  test("is made from a stored answer for who has it already", async () => {
    const path = caching.serve({
      fields: [
        ...FRESH,
        ["ETag", '"a"'],
        ["Last-Modified", modified],
        ["Content-Type", "text/plain"],
      ],
    });
    await caching.untilHit(path);
    const sent = caching.origin.received(path).length;
    for (const condition of [
      ["If-None-Match", '"a"'],
      ["If-None-Match", 'W/"a"'],
      ["If-None-Match", '"x", "a"'],
      ["If-None-Match", "*"],
      ["If-Modified-Since", modified],
      ["If-Modified-Since", "Tue, 02 Jan 2024 00:00:00 GMT"],
    ] satisfies Fields) {
      const response = await caching.gateway.fetch(path, {
        fields: [condition as [string, string]],
      });
      assert.equal(response.status, 304, condition.join(": "));
      assert.ok(isHit(response));
      assert.deepEqual(
        [response.field("etag"), response.field("content-length")],
        ['"a"', undefined],
      );
    }
    for (const conditions of [
      [["If-None-Match", '"b"']],
      [["If-Modified-Since", "Sun, 31 Dec 2023 00:00:00 GMT"]],
      // RFC 9110, 13.1.3: the entity tag goes before the date.
      [
        ["If-None-Match", '"b"'],
        ["If-Modified-Since", modified],
      ],
      [["If-Modified-Since", "nonsense"]],
    ] as Fields[]) {
      const response = await caching.gateway.fetch(path, { fields: conditions });
      assert.deepEqual([response.status, isHit(response)], [200, true], JSON.stringify(conditions));
    }
    assert.equal(caching.origin.received(path).length, sent);
  });

  test("of the origin passes and is not stored", async () => {
    const path = caching.answer(({ fields }) =>
      fields.some(([name]) => name.toLowerCase() === "if-none-match")
        ? { status: 304, fields: [...FRESH, ["ETag", '"a"']] }
        : { fields: [...FRESH, ["ETag", '"a"']], body: "whole" },
    );
    const first = await caching.gateway.fetch(path, { fields: [["If-None-Match", '"a"']] });
    assert.deepEqual([first.status, first.body.length], [304, 0]);
    assert.match(status(first), /fwd-status=304; detail=status$/);
    assert.equal((await caching.gateway.fetch(path)).text, "whole");
  });
});

describe("a change", () => {
  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    test(`by ${method} removes what is stored`, async () => {
      const path = caching.serve({ fields: FRESH });
      const stored = await caching.untilHit(path);
      const change = await caching.gateway.fetch(path, { method, body: "new" });
      assert.match(status(change), /^edgeweir; fwd=method; fwd-status=200; detail=request$/);
      const after = await eventually(
        `${method} to remove`,
        () => caching.gateway.fetch(path),
        (response) => response.text !== stored.text,
      );
      assert.notEqual(after.text, stored.text);
    });
  }

  test("that failed removes nothing", async () => {
    const path = caching.answer(({ method }, nth) => ({
      status: method === "POST" ? 500 : 200,
      fields: FRESH,
      body: `${nth}`,
    }));
    const stored = await caching.untilHit(path);
    await caching.gateway.fetch(path, { method: "POST", body: "new" });
    await sleep(50);
    assert.equal((await caching.gateway.fetch(path)).text, stored.text);
  });

  test("by a method that another route takes removes it all the same", async () => {
    const path = caching.serve({ fields: FRESH }, "/m");
    const stored = await caching.untilHit(path);
    assert.equal(
      (
        await lineOf(
          caching.gateway,
          await caching.gateway.fetch(path, { method: "POST", body: "" }),
        )
      ).route,
      "changes",
    );
    await eventually(
      "POST to remove",
      () => caching.gateway.fetch(path),
      (response) => response.text !== stored.text,
    );
  });

  test("of one path leaves the others", async () => {
    const [one, other] = [caching.serve({ fields: FRESH }), caching.serve({ fields: FRESH })];
    await caching.untilHit(one);
    const stored = await caching.untilHit(other);
    await caching.gateway.fetch(one, { method: "POST", body: "" });
    await sleep(50);
    assert.equal((await caching.gateway.fetch(other)).text, stored.text);
  });
});

test("an answer that could not be kept and now can is kept", async () => {
  const path = caching.answer((_, nth) => ({
    fields: nth <= 2 ? [["Cache-Control", "no-store"]] : FRESH,
    body: `${nth}`,
  }));
  await caching.gateway.fetch(path);
  await caching.gateway.fetch(path);
  assert.equal((await caching.untilHit(path)).text, "3");
});

test("a stored body is byte-exact", async () => {
  const body = noise(50_000);
  const hit = await caching.untilHit(caching.answer({ fields: FRESH, body }));
  assert.equal(sha256(hit.body), sha256(body));
  assert.equal(hit.field("content-length"), "50000");
});
