// Stage 13: what the origin gets, and what the client gets back.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertRefused, lineOf } from "./expect.ts";
import { CLIENT, Gateway, policy, route } from "./mf.ts";
import { encoded, Origin, type Plan } from "./origin.ts";
import { Connection, exchange, head, type Fields } from "./raw.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";

let origin: Origin;
let gateway: Gateway;

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({
    policy: policy(
      origin.url,
      [
        route("app", "/*"),
        { ...route("own-host", "/*"), match: { hosts: [origin.authority] }, upstream: "own_host" },
      ],
      {
        identity: { client_address: { trusted_hops: ["10.0.0.0/8"] } },
        upstreams: {
          own_host: { origin: "request" },
        },
      },
    ),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

describe("the origin gets", () => {
  test("what the client sent, and what the gateway knows, and nothing else", async () => {
    const path = origin.serve({});
    const kept: Fields = [
      ["User-Agent", "curl/8"],
      ["Accept", "text/html, */*;q=0.1"],
      ["Accept-Encoding", "gzip, br"],
      ["Accept-Language", "ko"],
      ["Authorization", "Bearer abc"],
      ["Cookie", "a=1; b=2"],
      ["X-Custom", "one"],
      ["X-Custom", "two"],
      ["If-None-Match", '"tag"'],
      ["Range", "bytes=0-1"],
      ["Referer", "http://gateway.test/"],
      ["Origin", "http://gateway.test"],
    ];
    const dropped: Fields = [
      ["Connection", "keep-alive, X-Hop"],
      ["X-Hop", "1"],
      ["Keep-Alive", "timeout=5"],
      ["Proxy-Connection", "keep-alive"],
      ["Proxy-Authorization", "Basic eA=="],
      ["TE", "trailers"],
      ["Trailer", "X-Sum"],
      ["Upgrade", "h2c"],
      ["X-Original-URL", "/admin"],
      ["X-Rewrite-URL", "/admin"],
      ["X-Real-IP", "203.0.113.1"],
      ["X-Forwarded-For", "203.0.113.1"],
      ["X-Forwarded-Host", "evil.test"],
      ["X-Forwarded-Proto", "https"],
      ["X-Forwarded-Port", "1"],
      ["Forwarded", "for=203.0.113.1"],
      ["X-Request-Id", "chosen"],
    ];
    const response = await gateway.fetch(`${path}?q=1`, { fields: [...kept, ...dropped] });
    const received = origin.only(path);
    assert.deepEqual([received.method, received.target], ["GET", `${path}?q=1`]);
    const seen: Record<string, string | undefined> = {};
    for (const [name] of received.fields) seen[name.toLowerCase()] = received.field(name);
    // The runtime's own.
    delete seen["cf-worker"];
    const expected: Record<string, string> = {};
    for (const [name, value] of kept) {
      const before = expected[name.toLowerCase()];
      expected[name.toLowerCase()] = before === undefined ? value : `${before}, ${value}`;
    }
    const traceparent = seen.traceparent ?? "";
    assert.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    assert.deepEqual(seen, {
      ...expected,
      host: origin.authority,
      "x-forwarded-host": "gateway.test",
      "x-forwarded-proto": "http",
      "x-forwarded-for": CLIENT,
      forwarded: `for=${CLIENT};host="gateway.test";proto=http`,
      "x-request-id": response.field("x-request-id"),
      traceparent,
      "cdn-loop": "edgeweir",
    });
  });

  test("what a bare request brings, and no condition that the client did not set", async () => {
    const path = origin.serve({});
    await gateway.fetch(path);
    const names = origin.only(path).fields.map(([name]) => name.toLowerCase());
    assert.deepEqual(names.filter((name) => name !== "cf-worker").sort(), [
      "cdn-loop",
      "forwarded",
      "host",
      "traceparent",
      "x-forwarded-for",
      "x-forwarded-host",
      "x-forwarded-proto",
      "x-request-id",
    ]);
  });

  test("the client's Cache-Control as it stands", async () => {
    const path = origin.serve({});
    await gateway.fetch(path, { fields: [["Cache-Control", "max-age=60"]] });
    assert.equal(origin.only(path).field("cache-control"), "max-age=60");
    assert.equal(origin.only(path).field("pragma"), undefined);
  });

  test("a trusted hop's fields, continued", async () => {
    const path = origin.serve({});
    await gateway.fetch(path, {
      client: "10.0.0.1",
      fields: [
        ["X-Forwarded-For", "203.0.113.7"],
        ["X-Forwarded-Host", "shop.example.com"],
        ["X-Forwarded-Proto", "https"],
        ["X-Request-Id", "abc-123"],
        ["traceparent", `00-${TRACE}-b7ad6b7169203331-01`],
        ["CDN-Loop", "other; v=1"],
      ],
    });
    const seen = origin.only(path);
    assert.equal(seen.field("x-forwarded-for"), "203.0.113.7, 10.0.0.1");
    assert.equal(seen.field("x-forwarded-host"), "shop.example.com");
    assert.equal(seen.field("x-forwarded-proto"), "https");
    assert.equal(seen.field("x-request-id"), "abc-123");
    assert.match(seen.field("traceparent") ?? "", new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
    assert.equal(seen.field("cdn-loop"), "other; v=1, edgeweir");
  });

  test("fields that a Connection field may not name", async () => {
    const path = origin.serve({});
    await gateway.fetch(path, {
      fields: [
        ["Connection", "X-Forwarded-For, X-Request-Id, CDN-Loop, Cookie, Host, X-Gone"],
        ["Cookie", "a=1"],
        ["X-Gone", "1"],
      ],
    });
    const seen = origin.only(path);
    for (const name of ["x-forwarded-for", "x-request-id", "cdn-loop", "cookie", "host"]) {
      assert.notEqual(seen.field(name), undefined, name);
    }
    assert.equal(seen.field("x-gone"), undefined);
  });

  for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    test(`the method ${method}`, async () => {
      const path = origin.serve({ body: "answer" });
      const withBody = ["POST", "PUT", "PATCH", "DELETE"].includes(method);
      const response = await gateway.fetch(path, {
        method,
        ...(withBody ? { body: "question" } : {}),
      });
      assert.equal(response.text, method === "HEAD" ? "" : "answer");
      const received = origin.only(path);
      assert.equal(received.method, method);
      assert.equal((await received.body).text, withBody ? "question" : "");
    });
  }

  test("its own host, where the policy says so", async () => {
    const path = origin.serve({ body: "own" });
    const response = await gateway.fetch(path, { host: origin.authority });
    assert.equal(response.text, "own");
    const seen = origin.only(path);
    assert.deepEqual(
      [seen.field("host"), seen.field("x-forwarded-host")],
      [origin.authority, origin.authority],
    );
    assert.equal((await lineOf(gateway, response)).upstream, "own_host");
  });

  test("cookies of several lines, none lost", async () => {
    const path = origin.serve({});
    await gateway.fetch(path, {
      fields: [
        ["Cookie", "a=1"],
        ["Cookie", "b=2"],
      ],
    });
    // The runtime joins the lines; a comma cannot stand in a cookie's value.
    assert.match(origin.only(path).field("cookie") ?? "", /^a=1[,;] b=2$/);
  });

  test("text in any language", async () => {
    const path = origin.serve({ body: "잘 지냈어요" });
    const response = await gateway.fetch(path, { method: "POST", body: "안녕하세요" });
    assert.equal((await origin.only(path).body).text, "안녕하세요");
    assert.equal(response.text, "잘 지냈어요");
  });
});

describe("the client gets", () => {
  test("the origin's fields without those of its connection, and the request id", async () => {
    const path = origin.serve({
      status: 203,
      fields: [
        ["Content-Type", "text/plain; charset=utf-8"],
        ["Cache-Control", "max-age=5"],
        ["X-Custom", "1"],
        ["Connection", "X-Secret, keep-alive"],
        ["X-Secret", "1"],
        ["Keep-Alive", "timeout=5"],
        ["Proxy-Authenticate", "Basic"],
        ["Set-Cookie", "a=1"],
        ["Set-Cookie", "b=2; Path=/"],
        ["X-Request-Id", "from-the-origin"],
        ["Link", "<a>; rel=x"],
        ["Link", "<b>; rel=y"],
      ],
      body: "hello",
    });
    const response = await gateway.fetch(path);
    assert.equal(response.status, 203);
    assert.equal(response.text, "hello");
    assert.deepEqual(response.lines("set-cookie"), ["a=1", "b=2; Path=/"]);
    for (const [name, value] of [
      ["content-type", "text/plain; charset=utf-8"],
      ["cache-control", "max-age=5"],
      ["x-custom", "1"],
      ["link", "<a>; rel=x, <b>; rel=y"],
      ["content-length", "5"],
      ["x-secret", undefined],
      ["keep-alive", undefined],
      ["proxy-authenticate", undefined],
      ["cache-status", undefined],
    ] as const) {
      assert.equal(response.field(name), value, name);
    }
    assert.match(response.field("x-request-id") ?? "", /^[0-9a-f]{32}$/);
  });

  for (const status of [
    200, 201, 206, 301, 302, 303, 307, 308, 400, 401, 404, 418, 451, 500, 503, 599,
  ]) {
    test(`the status ${status} as it is, with its body`, async () => {
      const path = origin.serve({
        status,
        fields: [["Location", "/elsewhere"]],
        body: `status ${status}`,
      });
      const response = await gateway.fetch(path);
      assert.deepEqual([response.status, response.text], [status, `status ${status}`]);
      assert.equal(response.field("location"), "/elsewhere");
      assert.equal(origin.received("/elsewhere").length, 0, "a redirect was followed");
      const line = await lineOf(gateway, response);
      assert.deepEqual(
        [line.verdict, line.status, line.upstream_status],
        ["forwarded", status, status],
      );
    });
  }

  for (const status of [204, 205, 304]) {
    test(`the status ${status} without a body`, async () => {
      const path = origin.serve({ status, fields: [["ETag", '"a"']], body: "" });
      const response = await gateway.fetch(path);
      assert.deepEqual(
        [response.status, response.body.length, response.field("etag")],
        [status, 0, '"a"'],
      );
    });
  }

  for (const encoding of ["gzip", "br"] as const) {
    test(`a body in ${encoding} as it came`, async () => {
      const plan: Plan = {
        body: "compressible ".repeat(1_000),
        encoding,
        fields: [["Content-Type", "text/plain"]],
      };
      for (const fields of [[["Accept-Encoding", encoding]], []] as Fields[]) {
        const response = await gateway.fetch(origin.serve(plan), { fields });
        assert.deepEqual(response.body, encoded(plan));
        assert.equal(response.field("content-encoding"), encoding);
        assert.equal(response.field("content-length"), String(encoded(plan).length));
      }
    });
  }

  test("a plain body plain, whatever the client accepts", async () => {
    const path = origin.serve({
      body: "plain ".repeat(1_000),
      fields: [["Content-Type", "text/plain"]],
    });
    const response = await gateway.fetch(path, { fields: [["Accept-Encoding", "gzip, br"]] });
    assert.equal(response.field("content-encoding"), undefined);
    assert.equal(response.field("content-length"), "6000");
  });

  test("the head of a HEAD, with the length that a GET would have", async () => {
    const response = await gateway.fetch(origin.serve({ body: "x".repeat(1234) }), {
      method: "HEAD",
    });
    assert.deepEqual([response.status, response.field("content-length")], [200, "1234"]);
  });

  test("a range", async () => {
    const path = origin.serve({ body: "0123456789", ranges: true });
    const response = await gateway.fetch(path, { fields: [["Range", "bytes=3-5"]] });
    assert.deepEqual([response.status, response.text], [206, "345"]);
    assert.deepEqual(
      [response.field("content-range"), response.field("content-length")],
      ["bytes 3-5/10", "3"],
    );
  });

  test("chunks where the origin sent chunks", async () => {
    const response = await gateway.fetch(origin.serve({ body: "chunked", chunked: true }));
    assert.equal(response.text, "chunked");
    assert.equal(response.field("content-length"), undefined);
  });

  test("the first part before the last one is there", async () => {
    const gate = Promise.withResolvers<void>();
    const path = origin.serve({ body: "firstlast!", gate: gate.promise });
    const connection = await Connection.open(gateway.port);
    await connection.write(head(path, { fields: [["CF-Connecting-IP", CLIENT]] }));
    assert.equal((await connection.head()).status, 200);
    assert.equal((await connection.exactly(5)).toString(), "first");
    gate.resolve();
    assert.equal((await connection.exactly(5)).toString(), "last!");
    connection.close();
  });

  test("several answers on one connection", async () => {
    const path = origin.serve({ body: "again" });
    const connection = await Connection.open(gateway.port);
    for (let nth = 0; nth < 3; nth += 1) {
      await connection.write(head(path, { fields: [["CF-Connecting-IP", CLIENT]] }));
      assert.equal((await connection.response()).text, "again");
    }
    connection.close();
  });
});

describe("a loop", () => {
  for (const seen of ["edgeweir", "other, edgeweir", "other; x=1, EdgeWeir ; v=2"]) {
    test(`is refused: CDN-Loop: ${seen}`, async () => {
      const before = origin.requests.length;
      const response = await gateway.fetch("/loop", { fields: [["CDN-Loop", seen]] });
      await assertRefused(gateway, response, 508, "loop");
      assert.equal(origin.requests.length, before);
    });
  }

  for (const seen of ["other", "edgeweir2", 'other; by="edgeweir"', "not-edgeweir"]) {
    test(`is none: CDN-Loop: ${seen}`, async () => {
      const path = origin.serve({});
      assert.equal((await gateway.fetch(path, { fields: [["CDN-Loop", seen]] })).status, 200);
      assert.equal(origin.only(path).field("cdn-loop"), `${seen}, edgeweir`);
    });
  }

  test("that is real ends after one round", async () => {
    const looping = await Gateway.start({
      policy: {
        version: 1,
        identity: { client_address: { on_missing: { address: "127.0.0.1" } } },
        upstreams: { self: { origin: "request" } },
        routes: [{ id: "self", upstream: "self" }],
      },
    });
    try {
      const response = await looping.fetch("/round", { host: `127.0.0.1:${looping.port}` });
      assert.equal(response.status, 508);
      await lineOf(looping, response);
      assert.deepEqual(looping.log.access.map(({ status, verdict }) => [status, verdict]).sort(), [
        [508, "forwarded"],
        [508, "refused"],
      ]);
    } finally {
      await looping.dispose();
    }
  });
});

test("a head of many and long fields passes", async () => {
  const path = origin.serve({ fields: [["X-Long", "y".repeat(8_000)]] });
  const fields: Fields = Array.from({ length: 100 }, (_, nth) => [
    `X-Field-${nth}`,
    "x".repeat(200),
  ]);
  const response = await gateway.fetch(path, { fields });
  assert.equal(response.status, 200);
  assert.equal(response.field("x-long")?.length, 8_000);
  assert.equal(origin.only(path).field("x-field-99")?.length, 200);
});

test("odd field values reach the origin as they are, or the request is refused", async () => {
  const path = origin.serve({});
  await gateway.fetch(path, {
    fields: [
      ["X-Utf8", "\xc3\xa9"],
      ["X-Latin1", "\xe9"],
      ["X-Empty", ""],
      ["X-Tab", "a\tb"],
    ],
  });
  const seen = origin.only(path);
  assert.equal(seen.field("x-utf8"), "\xc3\xa9");
  assert.equal(seen.field("x-empty"), "");
  assert.equal(seen.field("x-tab"), "a\tb");
  for (const value of ["a\0b", "a\rb"]) {
    const response = await exchange(gateway.port, path, {
      fields: [
        ["CF-Connecting-IP", CLIENT],
        ["X-Bad", value],
      ],
    });
    assert.equal(response.status, 400);
  }
});
