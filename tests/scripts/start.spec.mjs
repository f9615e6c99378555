// `npm start` as a user meets it: the demo answers as it says, and Ctrl-C leaves nothing behind.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startOrigin } from "../../demo/origin.mjs";
import { demoPolicy } from "../../scripts/lib/gateway.mjs";
import { script } from "../../scripts/lib/node.mjs";
import { inRoot, root } from "../../scripts/lib/paths.mjs";
import { isFree } from "../../scripts/lib/ports.mjs";
import { freePorts } from "./helpers.mjs";

/** One request with its target as it is written. */
function get(port, path, headers = {}) {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, headers, agent: false }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const text = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode, headers: response.headers, text });
      });
    });
    sent.once("error", reject);
    sent.end();
  });
}

describe("npm start", () => {
  let child;
  let port;
  let ports;
  let out = "";
  let ended;

  before(async () => {
    ports = await freePorts(3);
    port = ports[0];
    const args = ["--port", String(port), "--origin-port", String(ports[1])];
    child = spawn(process.execPath, [script("start"), ...args], {
      cwd: root,
      env: { ...process.env, EDGEWEIR_PREPARED: root },
      stdio: ["ignore", "pipe", "pipe"],
    });
    ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
    child.stdout.on("data", (chunk) => (out += chunk));
    let errors = "";
    child.stderr.on("data", (chunk) => (errors += chunk));
    const deadline = Date.now() + 240_000;
    while (!out.includes("Ctrl-C ends everything")) {
      assert.equal(child.exitCode, null, errors);
      assert.ok(Date.now() < deadline, `not up in time:\n${errors}`);
      await sleep(100);
    }
  });

  after(async () => {
    if (child.exitCode === null) child.kill("SIGKILL");
    await ended;
  });

  it("prints a curl line for each stage, with the ports of this run", () => {
    for (const stage of [
      "identity",
      "route",
      "ip_filter",
      "rate_limit",
      "canary",
      "cache",
      "upstream",
      "health",
    ]) {
      assert.match(out, new RegExp(`^${stage}\\b`, "m"));
    }
    assert.ok(
      out.match(/curl .*http:\/\/127\.0\.0\.1:(\d+)/g).every((line) => line.endsWith(`:${port}`)),
    );
    assert.doesNotMatch(out, /\u001b/);
  });

  it("identity: the origin gets the address and the ids", async () => {
    const { status, headers, text } = await get(port, "/hello?q=1");
    assert.equal(status, 200);
    const seen = JSON.parse(text);
    assert.equal(seen.target, "/hello?q=1");
    assert.equal(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(seen.headers["x-request-id"], headers["x-request-id"]);
    assert.match(seen.headers.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
    assert.equal(seen.headers.host, `127.0.0.1:${seen.version === "next" ? ports[2] : ports[1]}`);
  });

  it("route: a target that would be rewritten is refused", async () => {
    assert.equal((await get(port, "/a/%2e%2e/b")).status, 400);
  });

  it("ip_filter: an address of the denied range", async () => {
    assert.equal((await get(port, "/", { "CF-Connecting-IP": "203.0.113.66" })).status, 403);
  });

  it("rate_limit: the sixth in ten seconds", async () => {
    const statuses = [];
    for (let index = 0; index < 6; index += 1)
      statuses.push((await get(port, "/limited/x")).status);
    assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429]);
  });

  it("canary: both versions answer, and the cookie keeps one", async () => {
    const cookies = new Map();
    for (let client = 1; client < 200 && cookies.size < 2; client += 1) {
      const { headers } = await get(port, "/", { "CF-Connecting-IP": `192.0.2.${client}` });
      cookies.set(headers["x-origin-version"], headers["set-cookie"][0].split(";")[0]);
    }
    assert.deepEqual([...cookies.keys()].sort(), ["next", "stable"]);
    for (const [version, cookie] of cookies) {
      assert.match(cookie, /^weir_variant=/);
      for (let visit = 0; visit < 3; visit += 1) {
        const from = { "CF-Connecting-IP": `198.51.100.${visit}` };
        const { headers } = await get(port, "/", { Cookie: cookie, ...from });
        assert.equal(headers["x-origin-version"], version);
      }
    }
  });

  it("cache: a miss, then a hit with its age", async () => {
    const first = await get(port, "/static/logo");
    assert.match(first.headers["cache-status"], /fwd=uri-miss/);
    let second;
    for (let tries = 0; tries < 20; tries += 1) {
      second = await get(port, "/static/logo");
      if (/; hit/.test(second.headers["cache-status"])) break;
      await sleep(100);
    }
    assert.match(second.headers["cache-status"], /^edgeweir; hit/);
    assert.match(second.headers.age, /^\d+$/);
    assert.equal(second.text, first.text);
  });

  it("upstream: a broken connection", async () => {
    assert.equal((await get(port, "/reset")).status, 502);
  });

  it("health, and a line for each request", async () => {
    const health = await get(port, "/_weir/health");
    assert.equal(JSON.parse(health.text).status, "ok");
    await get(port, "/seen-in-the-log");
    const deadline = Date.now() + 5_000;
    while (!out.includes("/seen-in-the-log") && Date.now() < deadline) await sleep(50);
    const line = out.split("\n").find((text) => text.includes("/seen-in-the-log"));
    assert.equal(JSON.parse(line).path, "/seen-in-the-log");
  });

  it("Ctrl-C ends everything, with exit code 0", async () => {
    child.kill("SIGINT");
    assert.equal(await Promise.race([ended, sleep(15_000, "still there")]), 0);
    for (const each of ports) assert.equal(await isFree(each), true, `port ${each}`);
  });
});

describe("the demo policy", () => {
  const text = readFileSync(inRoot("policies/demo.json"), "utf8");

  it("is the built-in one on the usual ports, and gets other origins on others", () => {
    assert.equal(demoPolicy(text, { app: 8788, app_next: 8789 }), undefined);
    const moved = JSON.parse(demoPolicy(text, { app: 9001, app_next: 9002 }));
    const wanted = JSON.parse(text);
    wanted.upstreams.app.origin = "http://127.0.0.1:9001";
    wanted.upstreams.app_next.origin = "http://127.0.0.1:9002";
    assert.deepEqual(moved, wanted);
  });
});

describe("the demo origin", () => {
  it("tells what it received, and revalidates what is cacheable", async (test) => {
    const origin = await startOrigin({ name: "stable", port: 0 });
    test.after(() => origin.close());
    const echo = JSON.parse((await get(origin.port, "/a?b=c", { "X-Test": "1" })).text);
    assert.deepEqual(
      [echo.version, echo.method, echo.target, echo.headers["x-test"]],
      ["stable", "GET", "/a?b=c", "1"],
    );
    const first = await get(origin.port, "/static/x");
    assert.equal(first.headers["cache-control"], "max-age=30");
    const again = await get(origin.port, "/static/x", { "If-None-Match": first.headers.etag });
    assert.deepEqual([again.status, again.text], [304, ""]);
    assert.equal((await get(origin.port, "/error?status=503")).status, 503);
    assert.equal(
      (await get(origin.port, "/stream?chunks=2")).text,
      "stable: 1 of 2\nstable: 2 of 2\n",
    );
    await assert.rejects(get(origin.port, "/reset"));
  });
});
