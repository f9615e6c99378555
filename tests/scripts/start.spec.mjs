// `npm start` as a user meets it: the demo answers as it says, and Ctrl-C leaves nothing behind.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startOrigin } from "../../demo/origin.mjs";
import { demoPolicy } from "../../scripts/lib/gateway.mjs";
import { localRunPath } from "../../scripts/lib/local-run.mjs";
import { script } from "../../scripts/lib/node.mjs";
import { inRoot, root } from "../../scripts/lib/paths.mjs";
import { isFree } from "../../scripts/lib/ports.mjs";
import { policyThings } from "../../scripts/lib/things-to-try.mjs";
import { command, freePorts, scratch } from "./helpers.mjs";

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
  let home;
  let env;

  before(async () => {
    home = mkdtempSync(join(tmpdir(), "edgeweir-test-"));
    env = { XDG_STATE_HOME: home, XDG_CONFIG_HOME: home, NO_COLOR: "" };
    ports = await freePorts(3);
    port = ports[0];
    const args = ["--port", String(port), "--origin-port", String(ports[1])];
    child = spawn(process.execPath, [script("start"), ...args], {
      cwd: root,
      env: { ...process.env, EDGEWEIR_PREPARED: root, ...env },
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
    rmSync(home, { recursive: true, force: true });
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
      "policy",
    ]) {
      assert.match(out, new RegExp(`^${stage}\\b`, "m"));
    }
    assert.ok(
      out.match(/curl .*http:\/\/127\.0\.0\.1:(\d+)/g).every((line) => line.endsWith(`:${port}`)),
    );
    assert.match(out, /npm run policy -- push FILE -m/);
    assert.doesNotMatch(out, /\u001b/);
  });

  it("prints a token of this run, and the admin API takes it and no other", async () => {
    const path = "/_weir/admin/v1/health";
    const token = /Authorization: Bearer (weir_[\w-]{43})' http/.exec(out)[1];
    assert.equal(out.split(token).length, 2, "once");
    const health = await get(port, path, { Authorization: `Bearer ${token}` });
    assert.equal(health.status, 200, health.text);
    const other = { Authorization: `Bearer weir_${"x".repeat(43)}` };
    assert.equal((await get(port, path, other)).status, 401);
  });

  it("npm run policy: a rule acts without a restart, is explained, and is taken back", async (test) => {
    const token = JSON.parse(readFileSync(localRunPath(env), "utf8")).token;
    const policy = async (args, wanted = 0) => {
      const done = await command("policy", args, env);
      assert.equal(done.code, wanted, `${args.join(" ")}\n${done.stdout}${done.stderr}`);
      assert.ok(!`${done.stdout}${done.stderr}`.includes(token));
      return done;
    };
    const status = async (wanted) => {
      const from = { "CF-Connecting-IP": "198.51.100.7" };
      const deadline = Date.now() + 60_000;
      let seen;
      do {
        seen = (await get(port, "/hello", from)).status;
        if (seen !== wanted) await sleep(50);
      } while (seen !== wanted && Date.now() < deadline);
      assert.equal(seen, wanted);
    };
    const folder = scratch(test);
    const file = join(folder, "policy.json");
    const document = JSON.parse(readFileSync(inRoot("policies/demo.json"), "utf8"));
    document.upstreams.app.origin = `http://127.0.0.1:${ports[1]}`;
    document.upstreams.app_next.origin = `http://127.0.0.1:${ports[2]}`;
    // Two changes within a second are published a second apart: whoever looks between them looks again.
    document.refresh = { interval: "1s" };
    const write = () => writeFileSync(file, `${JSON.stringify(document, null, 2)}\n`);

    write();
    await policy(["pull"], 1);
    const first = await policy(["push", file, "-m", "as it was", "--yes"]);
    assert.match(first.stdout, /^r1 (published|pending)/);
    await status(200);

    document.ip_filter.rules.push({ id: "new", action: "deny", prefixes: ["198.51.100.0/24"] });
    write();
    assert.match((await policy(["diff", file, "--exit-code"], 1)).stdout, /ip_filter.*new/);
    await policy(["push", file, "-m", "deny the scanners", "--yes"]);
    await status(403);
    const explained = await policy([
      ...["explain", `http://127.0.0.1:${port}/hello`, "--client", "198.51.100.7"],
    ]);
    assert.match(explained.stdout, /address-denied/);
    assert.match(explained.stdout, /198\.51\.100\.0\/24/);
    const before = await policy([
      ...["explain", `http://127.0.0.1:${port}/hello`, "--client", "198.51.100.7"],
      ...["--revision", "r1", "--json"],
    ]);
    assert.equal(JSON.parse(before.stdout).revision, "r1");

    const line = out.split("\n").findLast((text) => text.includes("address-denied"));
    const log = join(folder, "access.log");
    writeFileSync(log, `${line}\n`);
    const replayed = await policy(["replay", log, "--revision", "r1", "--json"]);
    const { records, changed, undecidable } = JSON.parse(replayed.stdout);
    assert.deepEqual([records, changed + undecidable], [1, 1]);

    const bad = join(folder, "bad.json");
    writeFileSync(bad, '{"version":1,"routes":7}');
    const refused = await policy(["push", bad, "-m", "broken", "--yes"], 1);
    assert.match(refused.stderr, /bad\.json: routes: found 7/);
    const stale = ["push", file, "-m", "late", "--yes", "--base", "r1"];
    assert.match((await policy(stale, 1)).stderr, /The base r1 .* that is r2/);
    assert.match((await policy([...stale.slice(0, 5), "--create"], 1)).stderr, /already: r2/);

    await policy(["rollback", "r1", "-m", "too much", "--yes"]);
    await status(200);
    const pulled = join(folder, "pulled.json");
    await policy(["pull", "--revision", "r2", "-o", pulled]);
    assert.equal(readFileSync(pulled, "utf8"), readFileSync(file, "utf8"));
    assert.equal((await policy(["diff", "r1", "r3", "--exit-code"])).stdout, "no differences\n");
    const { stdout: history } = await policy(["history"]);
    assert.match(
      history,
      /^r3 .*rollback to r1.*too much\nr2 .*deny the scanners\nr1 .*as it was\n$/,
    );
    const { entries } = JSON.parse((await policy(["audit", "--json"])).stdout);
    const seen = entries.map((it) => `${it.outcome} ${it.reason ?? it.revision}`);
    for (const wanted of [
      "accepted r1",
      "accepted r2",
      "accepted r3",
      "refused stale-base",
      "refused invalid-policy",
    ]) {
      assert.ok(seen.includes(wanted), `${wanted} in ${seen.join(", ")}`);
    }
    await policy(["check", file, "--env", "local"]);
    // By this one the gateway wants to be told who is calling, as a CDN does.
    writeFileSync(bad, '{"version":1,"refresh":{"interval":"1s"}}');
    await policy(["push", bad, "-m", "nothing at all", "--yes"]);
    await status(404);
    await policy(["rollback", "r3", "-m", "back", "--yes"]);
    await status(200);
    await policy(["health"]);
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
    assert.equal(existsSync(localRunPath(env)), false, "the token goes with the run");
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

describe("the lines for a policy of one's own", () => {
  const lines = (routes, more = {}) =>
    policyThings({ version: 1, routes, ...more }, "http://127.0.0.1:1").map(([, , line]) => line);

  it("are one for each route, with its host, method, fields and a target", () => {
    const api = {
      id: "api",
      match: {
        hosts: ["*.weir.site", "weir.site"],
        path: "/v1/{id}/*",
        methods: ["DELETE", "GET"],
        headers: { "X-A": "b c" },
      },
    };
    assert.deepEqual(lines([api, { id: "all" }]), [
      "curl -si -X DELETE -H 'Host: www.weir.site' -H 'X-A: b c' http://127.0.0.1:1/v1/x/x",
      "curl -si http://127.0.0.1:1/x",
    ]);
  });

  it("name the stages, those of the defaults too", () => {
    const route = { id: "a", match: { path: "/a" }, cache: {}, ip_filter: {} };
    const policy = { routes: [route], defaults: { rate_limit: {} } };
    assert.deepEqual(policyThings(policy, "http://h")[0].slice(0, 2), [
      "a",
      "ip_filter, rate_limit, cache",
    ]);
  });

  it("hold nothing that a shell would act on, and are few", () => {
    const [line] = lines([{ id: "a", match: { path: "/a';rm $(x)`카" } }]);
    assert.match(line, /^curl -si '[^']*'\\''[^']*'$/);
    assert.match(line, /%EC%B9%B4/);
    assert.equal(lines(Array.from({ length: 40 }, (_, at) => ({ id: `r${at}` }))).length, 12);
    assert.deepEqual(policyThings({}, "http://h"), []);
  });
});

describe("npm start --policy", () => {
  it("checks it first", async (test) => {
    const file = join(scratch(test), "bad.json");
    writeFileSync(file, '{"version":1,"routes":7}');
    const [port, origin] = await freePorts(3);
    const args = ["--policy", file, "--port", String(port), "--origin-port", String(origin)];
    const { code, stdout, stderr } = await command("start", args);
    assert.equal(code, 1);
    assert.match(stderr, /bad\.json: routes: found 7/);
    assert.match(stderr, /^error: .*bad\.json is not a policy\. Its problems are above\.$/m);
    assert.equal(stdout, "");
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
