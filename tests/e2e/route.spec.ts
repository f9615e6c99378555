// Stage 4: which rules apply, by the target that will be sent. URLs reach the Worker verbatim here.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertProblem } from "./expect.ts";
import type { Access } from "./log.ts";
import { Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";
import { Connection, exchange, type RawResponse } from "./raw.ts";

const to = (id: string, match: object, more: object = {}): object => ({
  id,
  match,
  upstream: "app",
  ...more,
});

const ROUTES = [
  to("exact-host", { hosts: ["api.test"] }),
  to("port", { hosts: ["api.test:8443"] }),
  to("suffix", { hosts: ["*.api.test"] }),
  to("longer-suffix", { hosts: ["*.eu.api.test"] }),
  to("ipv6", { hosts: ["[2001:db8::1]"] }),
  route("wildcard", "/shop/*"),
  route("parameter", "/shop/{item}"),
  route("literal", "/shop/basket"),
  route("deep", "/shop/{item}/reviews"),
  to("method", { path: "/shop/basket", methods: ["POST", "PUT"] }),
  to("header", { path: "/shop/basket", headers: { "X-Beta": "1" } }),
  route("low", "/priority/special"),
  route("high", "/priority/*", { priority: 1 }),
  route("admin", "/admin/*", { ip_filter: { default: "deny" } }),
  route("escaped", "/caf\u00e9/%7Efile"),
  to("slash", { path: "/files/{name}", allow_encoded: ["%2F"] }),
  to("backslash", { path: "/windows/{name}", allow_encoded: ["%5C", "%00"] }),
  route("open", "/open/*"),
];

let origin: Origin;
let gateway: Gateway;

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({ policy: policy(origin.url, ROUTES), verbatim: true });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

async function send(
  target: string,
  options: FetchOptions = {},
): Promise<{ response: RawResponse; line: Access; sent: string | undefined }> {
  const before = origin.requests.length;
  const response = await gateway.fetch(target, options);
  const line = await gateway.log.line(response.field("x-request-id"));
  const arrived = origin.requests.slice(before);
  assert.ok(arrived.length <= 1);
  return { response, line, sent: arrived[0]?.target };
}

async function refused(
  target: string,
  options: FetchOptions,
  status: number,
  label: string,
): Promise<Access> {
  const { response, line, sent } = await send(target, options);
  assertProblem(response, status, label);
  assert.equal(line.reason, label);
  assert.equal(line.verdict, "refused");
  assert.equal(sent, undefined);
  return line;
}

describe("the most specific route wins", () => {
  const cases: [target: string, options: FetchOptions, route: string][] = [
    ["/anything", { host: "api.test" }, "exact-host"],
    ["/anything", { host: "API.Test." }, "exact-host"],
    ["/anything", { host: "api.test:80" }, "exact-host"],
    ["/anything", { host: "api.test:" }, "exact-host"],
    ["/anything", { host: "api.test:9000" }, "exact-host"],
    ["/anything", { host: "api.test:8443" }, "port"],
    ["/anything", { host: "a.api.test" }, "suffix"],
    ["/anything", { host: "a.b.api.test" }, "suffix"],
    ["/anything", { host: "a.eu.api.test" }, "longer-suffix"],
    ["/anything", { host: "[2001:DB8:0::1]" }, "ipv6"],
    ["/shop/basket", { host: "api.test" }, "exact-host"],
    ["/shop/basket", {}, "literal"],
    ["/shop/basket/", {}, "literal"],
    ["/shop//basket?x=/shop/other", {}, "literal"],
    ["/shop/basket", { method: "POST", body: "" }, "method"],
    ["/shop/basket", { method: "DELETE" }, "literal"],
    ["/shop/basket", { fields: [["X-Beta", "1"]] }, "header"],
    ["/shop/basket", { fields: [["X-Beta", "2"]] }, "literal"],
    ["/shop/hat", {}, "parameter"],
    ["/shop/hat/reviews", {}, "deep"],
    ["/shop/hat/size", {}, "wildcard"],
    ["/shop", {}, "wildcard"],
    ["/shop/", {}, "wildcard"],
    ["/priority/special", {}, "high"],
    ["/caf%C3%A9/~file", {}, "escaped"],
    ["/caf%c3%a9/%7efile", {}, "escaped"],
  ];
  for (const [target, options, id] of cases) {
    const asked = `${options.method ?? "GET"} ${options.host ?? ""}${target}`;
    test(`${asked}${options.fields ? ` with ${options.fields.join(": ")}` : ""} takes ${id}`, async () => {
      const { line, sent } = await send(target, options);
      assert.equal(line.route, id);
      assert.equal(sent, target);
    });
  }

  for (const [target, options] of [
    ["/", {}],
    ["/Shop/basket", {}],
    ["/shopping", {}],
    ["/anything", { host: "notapi.test" }],
    ["/anything", { host: "api.test.evil.test" }],
  ] as const) {
    test(`nothing is served at ${"host" in options ? options.host : ""}${target}`, async () => {
      const line = await refused(target, options, 404, "no-route");
      assert.equal(line.route, undefined);
    });
  }
});

describe("what is judged is what is sent", () => {
  // Each would reach /admin, or what an origin takes for it.
  for (const target of [
    "/admin",
    "//admin",
    "/admin/",
    "/%61dmin",
    "/%61%64%6D%69%6e",
    "///admin//x",
    "/admin?x",
    "/admin/%2e%2e%2e/x",
  ]) {
    test(`${target} does not dodge the rule for /admin`, async () => {
      const line = await refused(target, {}, 403, "address-denied");
      assert.equal(line.route, "admin");
    });
  }

  for (const target of [
    "/open/../admin",
    "/open/%2e%2e/admin",
    "/open/%2E./admin",
    "/open/.%2e/admin",
    "/open/./x",
    "/open/%2e/x",
    "/open/..",
    "/open/%2e",
    "/..",
    "/.",
    "/open\\..\\admin",
    "/open\\x",
    "/open/x\\",
    "/open/\xc3\xa9",
    "/open?\xe9",
    "/open/x#y",
    "/open?x#y",
    "/open/a%2Fb",
    "/open/a%2fb",
    "/open/a%5Cb",
    "/open/a%5cb",
    "/open/a%00b",
    "/%2Fadmin",
    "/unrouted/%2F",
    `/open/${"x".repeat(16 * 1024)}`,
  ]) {
    test(`would be rewritten, or is read in two ways: ${target.slice(0, 30)}`, async () => {
      await refused(target, {}, 400, "invalid-target");
    });
  }

  // Not rewritten, and nothing to worry about.
  for (const target of [
    "/open",
    "/open/",
    "/open//a///b",
    "/open/...",
    "/open/..a/.b",
    "/open/%41%20%7E",
    "/open/%zz",
    "/open/100%",
    "/open/a;b=c,d@e:f!$&'()*+",
    "/open?",
    "/open?a=/../%2e%2e/&b=%2F%5C%00",
    "/open?a\\b",
    `/open/${"x".repeat(8_000)}`,
  ]) {
    test(`reaches the origin as it came: ${target.slice(0, 40)}`, async () => {
      const { response, line, sent } = await send(target);
      assert.equal(response.status, 200);
      assert.equal(line.route, "open");
      assert.equal(sent, target);
    });
  }

  test("characters that fetch escapes are matched as what is sent", async () => {
    const open = await send('/open/"<{|}>^`');
    assert.equal(open.line.route, "open");
    assert.match(open.sent ?? "", /^\/open\/%22%3C%7B(\||%7C)%7D%3E(\^|%5E)(`|%60)$/);
  });

  test("an escape that origins read in two ways needs leave", async () => {
    const slash = await send("/files/a%2Fb");
    assert.deepEqual([slash.line.route, slash.sent], ["slash", "/files/a%2Fb"]);
    const back = await send("/windows/a%5Cb%00");
    assert.deepEqual([back.line.route, back.sent], ["backslash", "/windows/a%5Cb%00"]);
    await refused("/files/a%5Cb", {}, 400, "invalid-target");
    await refused("/windows/a%2Fb", {}, 400, "invalid-target");
  });

  test("an asterisk is no target here", async () => {
    await refused("*", { method: "OPTIONS" }, 400, "invalid-target");
  });
});

describe("Host is host[:port]", () => {
  for (const host of [
    "u:p@api.test",
    "api.test@evil.test",
    "a@b/..",
    "api.test/admin",
    "api.test/..",
    "api.test?x",
    "api.test#x",
    "api.test\\x",
    "a.test, b.test",
    "api.test:0",
    "api.test:65536",
    "api.test:http",
    "api.test:80:80",
    "api..test",
    ".api.test",
    "%61pi.test",
    "\xe9.test",
    "[2001:db8::1",
    "[::g]",
    "2001:db8::1",
    "0x7f.1",
    "127.1",
    "1.2.3.4.5",
    "256.1.1.1",
    `${"a".repeat(64)}.test`,
  ]) {
    test(`refused: ${host.slice(0, 30)}`, async () => {
      await refused("/open", { host }, 400, "invalid-host");
    });
  }

  for (const [host, logged] of [
    ["API.Test", "api.test"],
    ["api.test.:80", "api.test"],
    ["api.test:8080", "api.test:8080"],
    ["under_score.test", "under_score.test"],
    ["192.0.2.1:81", "192.0.2.1:81"],
    ["[2001:DB8::1]:80", "[2001:db8::1]"],
  ] as const) {
    test(`normalised: ${host}`, async () => {
      const { response, line } = await send("/open", { host });
      assert.equal(response.status, 200);
      assert.equal(line.host, logged);
      assert.equal(origin.requests.at(-1)?.field("x-forwarded-host"), logged);
    });
  }

  test("a URL of one host under another in the Host field is refused", async () => {
    const fields: [string, string][] = [["CF-Connecting-IP", "192.0.2.1"]];
    for (const [url, label] of [
      ["http://other.test/open", "invalid-host"],
      ["http://gateway.tes/open", "invalid-host"],
      ["http://gateway.test@evil.test/open", "invalid-target"],
      ["http://gateway.test.evil.test/open", "invalid-target"],
    ] as const) {
      const response = await exchange(gateway.port, url, { host: "gateway.test", fields });
      assertProblem(response, 400, label);
    }
  });

  test("the scheme decides what the default port is", async () => {
    const https = await send("/open", { host: "api.test:443", scheme: "https" });
    assert.equal(https.line.host, "api.test");
    assert.equal(origin.requests.at(-1)?.field("x-forwarded-proto"), "https");
    const http = await send("/open", { host: "api.test:443" });
    assert.equal(http.line.host, "api.test:443");
  });
});

describe("where workerd makes the URL from Host and target", () => {
  let plain: Gateway;
  before(async () => {
    plain = await Gateway.start({ policy: policy(origin.url, ROUTES) });
  });
  after(() => plain?.dispose());

  test("what it resolves is judged as resolved", async () => {
    assertProblem(await plain.fetch("/open/../admin"), 403, "address-denied");
    assertProblem(await plain.fetch("/open/%2e%2e/admin"), 400, "invalid-target");
    assert.equal((await plain.fetch("/admin/../open/x")).status, 200);
    assert.equal(origin.requests.at(-1)?.target, "/open/x");
  });

  test("it refuses what is no request, and the next one is served", async () => {
    for (const [bytes, status] of [
      ["GET /open HTTP/1.1\r\n\r\n", 400],
      ["GET /open HTTP/1.1\r\nHost : a.test\r\n\r\n", 400],
      ["GET /open\r\n\r\n", 400],
      ["FETCH /open HTTP/1.1\r\nHost: a.test\r\n\r\n", 501],
      [`GET /open HTTP/1.1\r\nHost: a.test\r\nX: ${"x".repeat(200_000)}\r\n\r\n`, 431],
    ] as const) {
      const connection = await Connection.open(plain.port);
      await connection.write(bytes);
      const { status: seen } = await connection.head();
      connection.close();
      assert.equal(seen, status, bytes.slice(0, 60));
    }
    assert.equal((await plain.fetch("/open")).status, 200);
  });
});

test("every request has left one line", async () => {
  await send("/open");
  const ids = gateway.log.access.map((line) => line.request_id);
  assert.equal(new Set(ids).size, ids.length);
});
