// Stages 12 and 14: what becomes of an answer whose time is over. The origin confirms it, replaces it,
// or fails; then it stands in where it may.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Caching, FRESH, isHit, status } from "./caching.ts";
import { eventually, lineOf, sleep } from "./expect.ts";
import { route, type FetchOptions } from "./mf.ts";
import { encoded, type Answer, type Plan } from "./origin.ts";
import type { Fields } from "./raw.ts";

const MODIFIED = "Mon, 01 Jan 2024 00:00:00 GMT";
const BRIEF: Fields = [["Cache-Control", "max-age=2"]];

let caching: Caching;
before(async () => {
  caching = await Caching.start(
    route("strict", "/strict/*", { cache: { stale_if_error: "0s" } }),
    route("unpaced", "/unpaced/*", { cache: { ignore_client_directives: true } }),
  );
});
after(() => caching?.stop());

/** Answers with these fields, and 304 with those to who has it. */
const confirming =
  (fields: Fields, news: Fields, body = "body {n}"): Answer =>
  ({ field }, nth) => {
    const has = (name: string, value?: string): boolean =>
      value !== undefined && field(name)?.includes(value) === true;
    const said = (name: string): string | undefined =>
      fields.find(([known]) => known.toLowerCase() === name)?.[1];
    const known =
      has("if-none-match", said("etag")) || has("if-modified-since", said("last-modified"));
    if (known) return { status: 304, fields: news };
    return { status: 200, fields, body: body.replace("{n}", `${nth}`) };
  };

describe("a stale answer", () => {
  for (const [name, validator, condition] of [
    ["ETag", ["ETag", '"v1"'], "if-none-match"],
    ["Last-Modified", ["Last-Modified", MODIFIED], "if-modified-since"],
  ] as [string, [string, string], string][]) {
    test(`is confirmed by its ${name}, and brought up to date`, async () => {
      const path = caching.answer(
        confirming(
          [...BRIEF, validator, ["X-News", "old"], ["X-Old", "kept"]],
          [...FRESH, validator, ["X-News", "new"]],
        ),
      );
      const first = await caching.untilStale(path);
      const confirmed = await caching.gateway.fetch(path);
      assert.equal(status(confirmed), "edgeweir; fwd=stale; fwd-status=304; stored");
      assert.deepEqual(
        [confirmed.status, confirmed.text, confirmed.field("x-news"), confirmed.field("x-old")],
        [200, first.text, "new", "kept"],
      );
      assert.equal(caching.origin.received(path).at(-1)?.field(condition), validator[1]);
      const line = await lineOf(caching.gateway, confirmed);
      assert.deepEqual(
        [line.verdict, line.cache, line.upstream_status, line.status],
        ["forwarded", "revalidated", 304, 200],
      );
      const hit = await caching.untilHit(path);
      assert.deepEqual([hit.text, hit.field("x-news")], [first.text, "new"]);
      assert.equal(hit.field("content-length"), first.field("content-length"));
    });
  }

  test("is confirmed for a client that has it: 304 to 304", async () => {
    const tag: [string, string] = ["ETag", '"v1"'];
    const path = caching.answer(confirming([...BRIEF, tag], [...FRESH, tag]));
    await caching.untilStale(path);
    const mine = await caching.gateway.fetch(path, { fields: [["If-None-Match", '"v1"']] });
    assert.deepEqual([mine.status, mine.body.length], [304, 0]);
    // What the client has is not what is stored: it gets that, though the origin said 304.
    const other = await caching.untilHit(path, { fields: [["If-None-Match", '"v0"']] });
    assert.equal(other.status, 200);
  });

  test("is replaced by a new one", async () => {
    const path = caching.answer((_, nth) => ({
      fields: [...BRIEF, ["ETag", `"v${nth}"`]],
      body: `body ${nth}`,
    }));
    const first = await caching.untilStale(path);
    const second = await caching.gateway.fetch(path);
    assert.equal(status(second), "edgeweir; fwd=stale; fwd-status=200; stored");
    assert.notEqual(second.text, first.text);
    assert.equal((await caching.untilHit(path)).text, second.text);
  });

  test("is not what a 304 about another one confirms", async () => {
    const path = caching.answer(({ field }, nth) =>
      field("if-none-match") === undefined
        ? { fields: [...BRIEF, ["ETag", '"v1"']], body: `body ${nth}` }
        : { status: 304, fields: [...FRESH, ["ETag", '"other"']] },
    );
    const first = await caching.untilStale(path);
    const second = await caching.gateway.fetch(path);
    assert.deepEqual([second.status, second.text !== first.text], [200, true]);
    assert.equal(status(second), "edgeweir; fwd=stale; fwd-status=200; stored");
  });

  test("without a validator is asked for anew, with the client's own condition", async () => {
    const path = caching.serve({ fields: BRIEF });
    await caching.untilStale(path);
    await caching.gateway.fetch(path, { fields: [["If-None-Match", '"mine"']] });
    assert.equal(caching.origin.received(path).at(-1)?.field("if-none-match"), '"mine"');
  });

  test("stays encoded, byte by byte", async () => {
    const plan: Plan = {
      fields: [...BRIEF, ["ETag", '"z"'], ["Vary", "Accept-Encoding"]],
      body: "a compressible text, ".repeat(200),
      encoding: "gzip",
    };
    const path = caching.answer(({ field }) =>
      field("if-none-match") === undefined
        ? plan
        : { status: 304, fields: [...FRESH, ["ETag", '"z"']] },
    );
    const options: FetchOptions = { fields: [["Accept-Encoding", "gzip"]] };
    await caching.untilStale(path, options);
    const confirmed = await caching.gateway.fetch(path, options);
    const hit = await caching.untilHit(path, options);
    for (const response of [confirmed, hit]) {
      assert.deepEqual(response.body, encoded(plan));
      assert.equal(response.field("content-encoding"), "gzip");
      assert.equal(response.field("content-length"), String(encoded(plan).length));
    }
  });
});

describe("no-cache", () => {
  test("of the origin is confirmed every time", async () => {
    const fields: Fields = [
      ["Cache-Control", "no-cache, max-age=600"],
      ["ETag", '"v1"'],
    ];
    const path = caching.answer(confirming(fields, fields));
    const first = await caching.gateway.fetch(path);
    await eventually(
      "a confirmed answer",
      () => caching.gateway.fetch(path),
      (response) =>
        status(response) === "edgeweir; fwd=stale; fwd-status=304; stored" &&
        response.text === first.text,
    );
    assert.ok(!isHit(await caching.gateway.fetch(path)));
  });

  test("of a client has the origin asked, by the stored validator", async () => {
    const fields: Fields = [...FRESH, ["ETag", '"v1"']];
    const path = caching.answer(confirming(fields, fields));
    const first = await caching.untilHit(path);
    // What arrived within the last second is as good as confirmed.
    await sleep(1_010);
    const asked = await caching.gateway.fetch(path, { fields: [["Cache-Control", "no-cache"]] });
    assert.equal(status(asked), "edgeweir; fwd=request; fwd-status=304; stored");
    assert.equal(asked.text, first.text);
  });

  test("of a client means nothing where the route ignores it", async () => {
    const path = caching.serve({ fields: FRESH }, "/unpaced");
    await caching.untilHit(path, { fields: [["Cache-Control", "no-cache, no-store"]] });
  });
});

describe("HEAD", () => {
  const headed = (fields: Fields, news: Fields, code = 200): Answer => {
    return ({ method }, nth) =>
      method === "HEAD"
        ? { status: code, fields: news, body: "as long" }
        : { fields, body: `body ${nth}`.padEnd(7) };
  };

  test("brings the stored answer up to date", async () => {
    const path = caching.answer(
      headed([...BRIEF, ["X-News", "old"]], [...FRESH, ["X-News", "new"]]),
    );
    const first = await caching.untilStale(path);
    const head = await caching.gateway.fetch(path, { method: "HEAD" });
    assert.equal(caching.origin.received(path).at(-1)?.method, "HEAD");
    assert.equal(head.status, 200);
    const hit = await eventually(
      "a fresh answer",
      () => caching.gateway.fetch(path),
      (response) => isHit(response),
    );
    assert.deepEqual([hit.text, hit.field("x-news")], [first.text, "new"]);
    // Nothing has said that the body is still the same, so it grows older.
    assert.ok(Number(hit.field("age")) >= 2, hit.field("age"));
  });

  test("that shows the stored validator makes it younger", async () => {
    const tag: Fields = [["ETag", '"v1"']];
    const path = caching.answer(headed([...BRIEF, ...tag], [...FRESH, ...tag]));
    const first = await caching.untilStale(path);
    await caching.gateway.fetch(path, { method: "HEAD" });
    const hit = await caching.untilHit(path);
    assert.deepEqual([hit.text, Number(hit.field("age")) < 2], [first.text, true]);
  });

  test("that tells of another answer makes the stored one void", async () => {
    const path = caching.answer(headed([...BRIEF, ["ETag", '"v1"']], [...FRESH, ["ETag", '"v2"']]));
    const first = await caching.untilStale(path);
    await caching.gateway.fetch(path, { method: "HEAD" });
    await sleep(100);
    const next = await caching.gateway.fetch(path);
    assert.equal(caching.origin.received(path).at(-1)?.field("if-none-match"), undefined);
    assert.notEqual(next.text, first.text);
  });
});

/** Answers once, then fails so. */
const failing =
  (fields: Fields, failure: Plan): Answer =>
  (_, nth) =>
    nth === 1 ? { fields, body: "good" } : failure;

describe("an origin that fails", () => {
  for (const [name, failure] of [
    ["503", { status: 503, body: "down" }],
    ["500", { status: 500, body: "down" }],
    ["502", { status: 502, body: "down" }],
    ["504", { status: 504, body: "down" }],
    ["a reset", { failure: "reset-before-head" }],
  ] as [string, Plan][]) {
    test(`by ${name} is stood in for`, async () => {
      const path = caching.answer(failing(BRIEF, failure));
      await caching.untilStale(path);
      const response = await caching.gateway.fetch(path);
      assert.deepEqual([response.status, response.text], [200, "good"]);
      const code = failure.status === undefined ? "" : `; fwd-status=${failure.status}`;
      assert.equal(status(response), `edgeweir; fwd=stale${code}; detail=stale-if-error`);
      assert.ok(Number(response.field("age")) >= 2, response.field("age"));
      const line = await lineOf(caching.gateway, response);
      assert.deepEqual([line.verdict, line.cache, line.status], ["cached", "hit-stale", 200]);
      assert.equal(typeof line.error, failure.status === undefined ? "string" : "undefined");
    });
  }

  for (const directive of ["must-revalidate", "proxy-revalidate", "s-maxage=2", "no-cache"]) {
    test(`is not stood in for past ${directive}`, async () => {
      const fields: Fields = [
        ["Cache-Control", `max-age=2, stale-if-error=600, ${directive}`],
        ["ETag", '"v1"'],
      ];
      const path = caching.answer(failing(fields, { status: 503, body: "down" }));
      await caching.gateway.fetch(path);
      await sleep(2_200);
      const response = await caching.gateway.fetch(path);
      assert.deepEqual([response.status, response.text], [503, "down"]);
    });
  }

  test("is not stood in for where the route forbids it", async () => {
    const path = caching.origin.serve(failing(BRIEF, { status: 503, body: "down" }), "/strict");
    await caching.untilStale(path);
    assert.equal((await caching.gateway.fetch(path)).status, 503);
  });

  test("by any other status has answered", async () => {
    const path = caching.answer(failing(BRIEF, { status: 404, body: "gone" }));
    await caching.untilStale(path);
    assert.equal((await caching.gateway.fetch(path)).status, 404);
  });
});

describe("stale-while-revalidate", () => {
  test("asks for all: a condition of the client that was served removes nothing", async () => {
    const path = caching.answer(({ field }, nth) =>
      field("if-none-match") === undefined
        ? {
            fields: [["Cache-Control", "max-age=2, stale-while-revalidate=600"]],
            body: `body ${nth}`,
          }
        : { status: 304, fields: [["Cache-Control", "max-age=2"]] },
    );
    const first = await caching.untilStale(path);
    const fields: Fields = [["If-None-Match", '"theirs"']];
    const stale = await caching.gateway.fetch(path, { fields });
    assert.match(status(stale), /; hit; ttl=(-\d+|0); detail=stale-while-revalidate$/);
    const next = await caching.untilHit(path);
    assert.notEqual(next.text, first.text);
    assert.equal(caching.origin.received(path).at(-1)?.field("if-none-match"), undefined);
  });

  test("answers at once, and asks behind the answer", async () => {
    const path = caching.answer((_, nth) => ({
      fields: [["Cache-Control", "max-age=2, stale-while-revalidate=600"]],
      body: `body ${nth}`,
    }));
    const first = await caching.untilStale(path);
    const stale = await caching.gateway.fetch(path);
    assert.equal(stale.text, first.text);
    assert.match(status(stale), /^edgeweir; hit; ttl=(-\d+|0); detail=stale-while-revalidate$/);
    assert.equal((await lineOf(caching.gateway, stale)).cache, "hit-stale");
    await eventually(
      "a new answer",
      () => caching.gateway.fetch(path),
      (response) => isHit(response) && response.text !== first.text,
    );
  });

  test("keeps what the origin confirms", async () => {
    const fields: Fields = [
      ["Cache-Control", "max-age=2, stale-while-revalidate=600"],
      ["ETag", '"v1"'],
    ];
    const path = caching.answer(confirming(fields, fields));
    const first = await caching.untilStale(path);
    await caching.gateway.fetch(path);
    const fresh = await eventually(
      "a confirmed answer",
      () => caching.gateway.fetch(path),
      (response) => isHit(response),
    );
    assert.equal(fresh.text, first.text);
    assert.ok(caching.origin.received(path).some(({ field }) => field("if-none-match") === '"v1"'));
  });

  test("asks once, however many are answered", async () => {
    let gate = (): void => {};
    const opened = new Promise<void>((resolve) => {
      gate = resolve;
    });
    const path = caching.answer(async (_, nth) => {
      if (nth > 1) await opened;
      return {
        fields: [["Cache-Control", "max-age=2, stale-while-revalidate=600"]],
        body: `body ${nth}`,
      };
    });
    await caching.untilStale(path, { isolate: 0 });
    for (let nth = 0; nth < 5; nth += 1) {
      const response = await caching.gateway.fetch(path, { isolate: 0 });
      assert.equal(response.text, "body 1");
    }
    gate();
    await sleep(50);
    assert.equal(caching.origin.received(path).length, 2);
  });
});
