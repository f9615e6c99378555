// `npm run policy` where the answer is no, or there is none: the line and the exit code of every way in
// which it can go.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { printable } from "../../scripts/lib/term.mjs";
import {
  clean,
  DOCUMENT,
  documentFile,
  json,
  oneLine,
  problem,
  RESET,
  SILENT,
  standIn,
  TOKEN,
} from "./admin-stand-in.mjs";
import { command, freePorts, scratch } from "./helpers.mjs";

describe("what the API refuses", () => {
  const cases = [
    [401, "unauthenticated", {}, 3, /does not know this token \(401 unauthenticated/],
    [403, "forbidden", {}, 3, /This token may not do that \(403 forbidden/],
    [
      403,
      "needs-owner",
      { detail: "admin" },
      3,
      /may not do that \(403 needs-owner: admin; request id/,
    ],
    [404, "no-such-endpoint", {}, 3, /has no admin API \(404 no-such-endpoint/],
    [404, "no-such-revision", {}, 1, /Refused \(404 no-such-revision/],
    [404, "of-a-later-version", {}, 1, /Refused \(404 of-a-later-version/],
    [
      409,
      "needs-newer-module",
      { needs: "0.3.0", oldest: "0.2.0" },
      1,
      /needs module 0\.3\.0; 0\.2\.0 was/,
    ],
    [412, "stale-base", { base: "r6", active: "r7" }, 1, /The base r6 .* that is r7/],
    [413, "too-large", {}, 1, /Refused \(413 too-large/],
    [415, "unsupported-media-type", {}, 1, /Refused \(415/],
    [422, "invalid-policy", {}, 1, /Refused \(422 invalid-policy/],
    [428, "precondition-required", {}, 1, /Refused \(428/],
    [429, "too-many-rejections", {}, 3, /rejected attempts .*Try again in 17 s\./],
    [408, "slow-body", {}, 3, /staging did not take the request in time \(408 slow-body/],
    [500, "internal", {}, 3, /staging cannot answer \(500 internal/],
    [503, "control-unavailable", {}, 3, /staging cannot answer \(503 control-unavailable/],
  ];
  for (const [status, reason, more, wanted, words] of cases) {
    it(`${status} ${reason}: exit code ${wanted}, one line, and the JSON as it is`, async (test) => {
      const answer = problem(status, reason, more, { "Retry-After": "17" });
      const api = await standIn(test, { "*": answer });
      const { code, stdout, stderr } = clean(await api.run(["history"]));
      assert.equal(code, wanted);
      assert.match(stderr, words);
      assert.ok(oneLine(stderr), stderr);
      assert.equal(stdout, "");
      assert.equal((await api.run(["history", "--json"])).stdout, `${answer.body}\n`);
    });
  }

  it("what it says cannot reach into the terminal, nor fill it", async (test) => {
    const detail = `\u001b]0;x\u0007\u202e${"y".repeat(2_000)}`;
    const api = await standIn(test, { "*": problem(413, "too-large", { detail }) });
    const { stderr } = clean(await api.run(["history"]));
    assert.match(stderr, /\\u\{1b\}\]0;x\\u\{7\}\\u\{202e\}y/);
    assert.ok(stderr.length < 600);
  });
});

describe("who does not answer", () => {
  const unreachable = async (test, answer, words, more = []) => {
    const api = await standIn(test, { "*": answer });
    const result = clean(await api.run(["history", ...more]));
    assert.equal(result.code, 3);
    assert.match(result.stderr, words);
    assert.ok(oneLine(result.stderr), result.stderr);
    assert.equal(result.stdout, "");
    return api;
  };

  it("a connection that is refused", async (test) => {
    const api = await standIn(test);
    const [port] = await freePorts(1);
    const env = { ...api.env, EDGEWEIR_STAGING_URL: `http://127.0.0.1:${port}` };
    const result = clean(await command("policy", ["health", "--env", "staging"], env));
    assert.equal(result.code, 3);
    assert.match(result.stderr, /cannot be reached: the connection was refused\. Look at its url/);
  });

  it("a connection that breaks", (test) =>
    unreachable(test, RESET, /cannot be reached: the connection broke/));

  it("one that takes too long", (test) =>
    unreachable(test, SILENT, /did not answer within 0\.3 s/, ["--timeout", "0.3"]));

  it("what is no JSON, or no answer of the API", async (test) => {
    const html = { status: 200, headers: { "Content-Type": "text/html" }, body: "<p>hello" };
    await unreachable(test, html, /answers 200, but not as the admin API does/);
    await unreachable(test, { ...html, status: 502 }, /answers 502, but not/);
    await unreachable(test, { ...html, status: 404 }, /has no admin API \(404\)/);
    await unreachable(test, json(200, "{"), /answers 200, but not/);
    await unreachable(test, json(202, {}), /answers 202, but not/);
    await unreachable(test, json(400, { type: "about:blank" }), /answers 400, but not/);
  });

  it("another server, that says 200 in JSON to everything", async (test) => {
    const file = documentFile(test);
    const api = await standIn(test, { "*": json(200, { version: "stable", method: "GET" }) });
    for (const args of [
      ["history"],
      ["audit", "--json"],
      ["health"],
      ["pull"],
      ["check", file],
      ["diff", file, "--json"],
      ["push", file, "-m", "x", "--create", "--yes"],
    ]) {
      const { code, stdout, stderr } = clean(await api.run(args));
      assert.equal(code, 3, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, /answers 200, but not as the admin API does/);
      assert.equal(stdout, "");
    }
    await unreachable(test, json(200, "null"), /answers 200, but not/);
  });

  it("an answer without end", (test) =>
    unreachable(test, json(200, `"${"x".repeat(17 << 20)}"`), /longer than 16 MiB/));

  it("a redirect, which is not followed", async (test) => {
    const elsewhere = await standIn(test);
    const location = `${elsewhere.url}/_weir/admin/v1/policy/history`;
    const moved = { status: 307, headers: { Location: location }, body: "" };
    await unreachable(test, moved, /redirects, and the token is not sent on/);
    assert.deepEqual(elsewhere.requests, []);
  });

  it("a server that repeats the token", async (test) => {
    const echo = json(200, { revisions: [], more: false, seen: `Bearer ${TOKEN}` });
    const api = await standIn(test, { "*": echo });
    const { stdout } = clean(await api.run(["history", "--json"]));
    assert.match(stdout, /Bearer weir_\[hidden\]/);
    const refused = await standIn(test, { "*": problem(413, "too-large", { detail: TOKEN }) });
    clean(await refused.run(["history"]));
  });
});

describe("the command", () => {
  it("names its commands", async () => {
    const none = await command("policy", []);
    assert.equal(none.code, 2);
    assert.match(none.stderr, /^npm run policy -- COMMAND/);
    for (const name of ["pusch", "constructor", "--env"]) {
      const { code, stderr } = await command("policy", [name]);
      assert.equal(code, 2);
      assert.match(stderr, /^error: There is no command \S+\. Commands: check diff push pull/);
    }
    for (const args of [["--help"], ["push", "--help"], ["health", "-h"]]) {
      const { code, stdout } = await command("policy", args);
      assert.equal(code, 0);
      assert.match(stdout, /^npm run policy -- COMMAND/);
    }
  });

  it("has a help that names every command, every flag and the exit codes", async () => {
    const { stderr } = await command("policy", ["none"]);
    const names = /Commands: (.*)$/m.exec(stderr)[1].split(" ");
    assert.ok(names.length > 15);
    const { stdout } = await command("policy", ["--help"]);
    for (const name of names) {
      assert.match(stdout, new RegExp(`^  ${name}[ \\n]`, "m"));
      const flags = await command("policy", [name, "--none"]);
      assert.equal(flags.code, 2);
      for (const flag of /Known flags: (.*)$/m.exec(flags.stderr)[1].split(" ")) {
        const alias = { "--message": "-m ", "--output": "-o ", "--header": "-H " }[flag];
        assert.ok(stdout.includes(alias ?? flag), `${name} ${flag}`);
      }
    }
    assert.match(stdout, /^Exit codes: 0 done; 1 .*; 2 wrong usage; 3 not reachable/m);
    for (const line of stdout.split("\n")) assert.ok(line.length <= 120, line);
  });

  it("refuses flags that a command does not have, and times that are none", async (test) => {
    const api = await standIn(test);
    for (const args of [
      ["health", "--yes"],
      ["pull", "-m", "x"],
      ["history", "--timeout", "0"],
      ["history", "--timeout", "601"],
      ["history", "--timeout", "soon"],
      ["health", "there"],
    ]) {
      const { code, stderr } = clean(await api.run(args));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("finds a file from the folder in which npm was called", async (test) => {
    const api = await standIn(test, { "POST /policy/validate": json(200, { module: "0.1.0" }) });
    const folder = scratch(test);
    writeFileSync(join(folder, "mine.json"), DOCUMENT);
    const env = { ...api.env, npm_lifecycle_event: "policy", INIT_CWD: folder };
    const { code } = await command("policy", ["check", "mine.json", "--env", "staging"], env);
    assert.equal(code, 0);
    assert.equal(api.requests[0].body, DOCUMENT);
  });

  it("shows what others wrote without what moves a terminal", () => {
    assert.equal(
      printable("a\u001b[1m\tb\n\u202ec\u009b 잠시 👩‍💻"),
      "a\\u{1b}[1m\\u{9}b\\u{a}\\u{202e}c\\u{9b} 잠시 👩‍💻",
    );
    assert.equal(printable("a\nb\r", { lines: true }), "a\nb\\u{d}");
  });
});
