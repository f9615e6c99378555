// Stage 13, an origin that lets the gateway down: a clear answer, one line in the log, and the next
// request is served.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { assertOneLineEach, assertProblem, assertRefused, sleep, within } from "./expect.ts";
import { CLIENT, Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import { Connection, head, noise, RawResponse, type Fields } from "./raw.ts";

let origin: Origin;
let gateway: Gateway;

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

before(async () => {
  origin = await Origin.start();
  const nobody = `http://127.0.0.1:${await freePort()}`;
  gateway = await Gateway.start({
    policy: policy(
      origin.url,
      [
        route("app", "/*"),
        route("impatient", "/impatient/*", { upstream: "impatient" }),
        route("nobody", "/nobody/*", { upstream: "nobody" }),
        route("unresolved", "/unresolved/*", { upstream: "unresolved" }),
      ],
      {
        upstreams: {
          impatient: { origin: origin.url, timeouts: { first_byte: "300ms" } },
          nobody: { origin: nobody },
          unresolved: { origin: "http://no-such-host.invalid" },
        },
      },
    ),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

const UPGRADE: Fields = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
  ["Sec-WebSocket-Version", "13"],
  ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
];

describe("an origin that lets the gateway down", () => {
  /** The next request is served, and the one before left one line. */
  async function goesOn(failed: RawResponse): Promise<void> {
    assert.equal((await gateway.fetch(origin.serve({}))).status, 200);
    await assertOneLineEach(gateway, [failed]);
  }

  for (const [name, target] of [
    ["refuses the connection", () => "/nobody/x"],
    ["has no address", () => "/unresolved/x"],
    ["resets before its head", () => origin.serve({ failure: "reset-before-head" })],
    ["speaks no HTTP", () => origin.serve({ raw: "nonsense\r\n\r\n" })],
  ] as [string, () => string][]) {
    for (const method of ["GET", "POST"]) {
      test(`${name}: 502 to ${method}`, async () => {
        const response = await gateway.fetch(target(), {
          method,
          ...(method === "POST" ? { body: "x" } : {}),
        });
        const line = await assertRefused(gateway, response, 502, "upstream-unreachable");
        assert.equal(line.verdict, "failed");
        assert.match(line.error ?? "", /^origin: ./);
        assert.deepEqual([line.upstream_status, typeof line.upstream_ms], [undefined, "number"]);
        assert.doesNotMatch(
          response.text,
          /127\.0\.0\.1|Network|refused|kj/i,
          "the cause is for the log alone",
        );
        await goesOn(response);
      });
    }
  }

  const FINAL = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
  for (const [name, raw] of [
    ["a status below 100", "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nhi"],
    ["a status above 599", "HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\nhi"],
    ["a status far above 599", "HTTP/1.1 999 Higher\r\nContent-Length: 2\r\n\r\nhi"],
    [
      "an upgrade that nobody asked for",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
    // workerd takes an interim response for the final one.
    ["early hints", `HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n${FINAL}`],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!"],
    ["a head of 300 KB", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(300_000)}\r\n\r\n`],
    ["half a head", "HTTP/1.1 200 OK\r\nContent-Le"],
  ] as const) {
    test(`answers with ${name}: 502`, async () => {
      const response = await gateway.fetch(origin.serve({ raw }));
      const line = await assertRefused(gateway, response, 502, "upstream-unreachable");
      assert.equal(line.verdict, "failed");
      await goesOn(response);
    });
  }

  test("stalls before its head: 504 in time, and the origin is let go", async () => {
    const path = origin.serve({ failure: "stall-before-head" }, "/impatient");
    const started = Date.now();
    const response = await gateway.fetch(path);
    const took = Date.now() - started;
    assert.ok(took >= 290 && took < 2_000, `${took} ms`);
    const line = await assertRefused(gateway, response, 504, "upstream-timeout");
    assert.equal(line.upstream, "impatient");
    assert.equal(await within("the end of the exchange", origin.only(path).outcome), "aborted");
    await goesOn(response);
  });

  test("is slow within its time: its answer counts, however long the body takes", async () => {
    const path = origin.serve({ body: "slow body", gate: sleep(500) }, "/impatient");
    assert.equal((await gateway.fetch(path)).text, "slow body");
  });

  test("resets in its body: the client sees that it is not whole", async () => {
    const path = origin.serve({ body: "x".repeat(10_000), failure: "reset-in-body" });
    const connection = await Connection.open(gateway.port);
    await connection.write(head(path, { fields: [["CF-Connecting-IP", CLIENT]] }));
    const { status, fields } = await connection.head();
    assert.equal(status, 200);
    await assert.rejects(connection.exactly(10_000), /early|ECONNRESET/);
    connection.close();
    await goesOn(new RawResponse(status, fields, Buffer.alloc(0)));
  });

  // The origin hears of it only once workerd writes again: it looks at the client then.
  test("stalls in its body: the client has what came, and may leave", async () => {
    const path = origin.serve({ body: "x".repeat(10_000), failure: "stall-in-body" });
    const connection = await Connection.open(gateway.port, 300);
    await connection.write(head(path, { fields: [["CF-Connecting-IP", CLIENT]] }));
    const { status, fields } = await connection.head();
    await connection.exactly(5_000);
    await assert.rejects(connection.read(), /nothing came/);
    connection.close();
    await goesOn(new RawResponse(status, fields, Buffer.alloc(0)));
  });

  test("answers before it has read the request: the answer counts", async () => {
    const path = origin.serve({ status: 413, body: "too large", unread: true });
    const response = await gateway.fetch(path, { method: "POST", body: noise(64 * 1024) });
    assert.deepEqual([response.status, response.text], [413, "too large"]);
    await goesOn(response);
  });

  test("is asked for a WebSocket and refuses the connection: 502", async () => {
    const response = await gateway.fetch("/nobody/socket", { fields: UPGRADE });
    assertProblem(response, 502, "upstream-unreachable");
  });
});
