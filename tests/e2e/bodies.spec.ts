// Stage 13, bodies: large ones, both ways, on open connections and broken ones.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, sleep, within } from "./expect.ts";
import { CLIENT, Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import { Connection, fieldOf, head, noise, sha256, type Fields } from "./raw.ts";
import { BINARY, CLOSE, decode, encode, TEXT, type Frame } from "./websocket.ts";

const MIB = 1 << 20;

let origin: Origin;
let gateway: Gateway;

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({
    policy: policy(origin.url, [route("app", "/*"), route("cached", "/cached/*", { cache: {} })]),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

describe("a large body", () => {
  const body = noise(16 * MIB);
  const digest = sha256(body);

  test("comes down whole, with its Content-Length", async () => {
    const response = await gateway.fetch(origin.serve({ body }), { timeout: 20_000 });
    assert.equal(response.field("content-length"), String(body.length));
    assert.equal(sha256(response.body), digest);
  });

  test("comes down whole in chunks", async () => {
    const response = await gateway.fetch(origin.serve({ body, chunked: true }), {
      timeout: 20_000,
    });
    assert.equal(response.field("content-length"), undefined);
    assert.equal(sha256(response.body), digest);
  });

  test("goes up whole, with its Content-Length", async () => {
    const path = origin.serve({ body: "thanks" });
    const response = await gateway.fetch(path, { method: "PUT", body, timeout: 20_000 });
    assert.equal(response.text, "thanks");
    const received = origin.only(path);
    assert.deepEqual(
      [(await received.body).length, (await received.body).sha256],
      [body.length, digest],
    );
    assert.equal(received.field("content-length"), String(body.length));
    assert.equal(received.field("transfer-encoding"), undefined);
  });

  test("goes up whole in chunks", async () => {
    const path = origin.serve({ body: "thanks" });
    const response = await gateway.fetch(path, {
      method: "POST",
      body,
      chunked: 100_000,
      timeout: 20_000,
    });
    assert.equal(response.text, "thanks");
    const received = origin.only(path);
    assert.deepEqual(
      [(await received.body).length, (await received.body).sha256],
      [body.length, digest],
    );
    assert.equal(received.field("transfer-encoding"), "chunked");
    assert.equal(received.field("content-length"), undefined);
  });

  // curl asks so for what is over 1 MiB. workerd answers no 100, and takes an origin's for the final
  // response; the client does not wait for ever (RFC 9110, 10.1.1).
  test("goes up whole from a client that waits for 100 (Continue)", async () => {
    const path = origin.serve({ body: "thanks" });
    const connection = await Connection.open(gateway.port, 20_000);
    const fields: Fields = [
      ["CF-Connecting-IP", CLIENT],
      ["Content-Length", String(body.length)],
      ["Expect", "100-continue"],
    ];
    await connection.write(head(path, { method: "POST", fields }));
    await sleep(200);
    await connection.write(body);
    const response = await connection.response();
    connection.close();
    assert.deepEqual([response.status, response.text], [200, "thanks"]);
    assert.equal((await origin.only(path).body).sha256, digest);
    assert.equal(origin.only(path).field("expect"), undefined);
  });

  test("passes a route with a cache that is too small for it", async () => {
    const path = origin.serve({ body, fields: [["Cache-Control", "max-age=600"]] }, "/cached");
    const response = await gateway.fetch(path, { timeout: 20_000 });
    assert.equal(response.field("content-length"), String(body.length));
    assert.equal(sha256(response.body), digest);
  });

  test("waits for a client that reads late", async () => {
    const path = origin.serve({ body });
    const connection = await Connection.open(gateway.port);
    connection.pause();
    await connection.write(head(path, { fields: [["CF-Connecting-IP", CLIENT]] }));
    await sleep(300);
    connection.resume();
    assert.equal(sha256((await connection.response()).body), digest);
    connection.close();
  });

  test("waits for an origin that reads late", async () => {
    const path = origin.serve({ body: "thanks", readAfter: sleep(300) });
    const response = await gateway.fetch(path, { method: "PUT", body, timeout: 20_000 });
    assert.equal(response.text, "thanks");
    assert.equal((await origin.only(path).body).sha256, digest);
  });
});

describe("a WebSocket", () => {
  const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
  const MASK = Buffer.from([7, 11, 13, 17]);
  const upgrade: Fields = [
    ["CF-Connecting-IP", CLIENT],
    ["Connection", "keep-alive, Upgrade"],
    ["Upgrade", "websocket"],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", KEY],
    ["Sec-WebSocket-Protocol", "chat"],
  ];

  test("passes both ways, text, bytes and the closing code", async () => {
    const connection = await Connection.open(gateway.port);
    await connection.write(head("/socket?room=1", { fields: upgrade }));
    const { status, fields } = await connection.head();
    assert.equal(status, 101);
    assert.equal(fieldOf(fields, "upgrade")?.toLowerCase(), "websocket");
    assert.equal(fieldOf(fields, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert.equal(fieldOf(fields, "sec-websocket-protocol"), "chat");
    const received = origin.only("/socket");
    assert.equal(received.field("upgrade")?.toLowerCase(), "websocket");
    assert.equal(received.field("x-forwarded-for"), CLIENT);
    for (const frame of [
      { opcode: TEXT, payload: Buffer.from("안녕, origin") },
      { opcode: BINARY, payload: noise(1_000) },
      { opcode: TEXT, payload: Buffer.alloc(0) },
    ] satisfies Frame[]) {
      await connection.write(encode(frame, MASK));
      assert.deepEqual(await decode((length) => connection.exactly(length)), frame);
    }
    const goodbye: Frame = { opcode: CLOSE, payload: Buffer.from([4001 >> 8, 4001 & 255]) };
    await connection.write(encode(goodbye, MASK));
    assert.deepEqual(await decode((length) => connection.exactly(length)), goodbye);
    connection.close();
    assert.deepEqual(origin.closes, [4001]);
    const line = await gateway.log.find("the line of the WebSocket", () =>
      gateway.log.access.find(({ path }) => path === "/socket"),
    );
    assert.deepEqual([line.status, line.upstream_status, line.verdict], [101, 101, "forwarded"]);
    assert.equal(line.request_id, received.field("x-request-id"));
  });

  test("that the origin declines is an answer like any other", async () => {
    const path = origin.serve({ status: 403, body: "no" });
    const connection = await Connection.open(gateway.port);
    await connection.write(
      head(`${path}`, { fields: upgrade.filter(([name]) => name !== "Upgrade") }),
    );
    assert.deepEqual(
      ((response) => [response.status, response.text])(await connection.response()),
      [403, "no"],
    );
    connection.close();
  });
});

describe("a client that goes away", () => {
  for (const [name, leave] of [
    ["closes", (connection: Connection) => connection.close()],
    ["resets", (connection: Connection) => connection.reset()],
  ] as const) {
    test(`${name} in the middle of a download: the origin hears of it, and the next request is served`, async () => {
      const path = origin.serve({ body: noise(4 * MIB), gate: new Promise(() => {}) });
      const connection = await Connection.open(gateway.port);
      await connection.write(head(path, { fields: [["CF-Connecting-IP", CLIENT]] }));
      await connection.head();
      await connection.exactly(100_000);
      leave(connection);
      assert.equal(await within("the end of the exchange", origin.only(path).outcome), "aborted");
      assert.equal((await gateway.fetch(origin.serve({ body: "next" }))).text, "next");
    });

    test(`${name} in the middle of an upload: the origin hears of it, and the next request is served`, async () => {
      const path = origin.serve({});
      const connection = await Connection.open(gateway.port);
      const fields: Fields = [
        ["CF-Connecting-IP", CLIENT],
        ["Content-Length", "1000000"],
      ];
      await connection.write(head(path, { method: "POST", fields }));
      await connection.write(noise(100_000));
      await eventually(
        "the upload to begin",
        async () => origin.received(path).length,
        (count) => count > 0,
      );
      leave(connection);
      await assert.rejects(
        within("the end of the upload", origin.only(path).body),
        /cut short|aborted/,
      );
      assert.equal((await gateway.fetch(origin.serve({ body: "next" }))).text, "next");
    });
  }
});
