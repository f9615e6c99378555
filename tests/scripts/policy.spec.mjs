// `npm run policy` against a server that plays the admin API: what is sent, what is shown, and the exit
// code of every way in which it can go.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { push, rollback } from "../../scripts/lib/policy-change.mjs";
import { inRoot } from "../../scripts/lib/paths.mjs";
import { ask, printable } from "../../scripts/lib/term.mjs";
import {
  DOCUMENT,
  json,
  plain,
  problem,
  RESET,
  SILENT,
  standIn,
  TOKEN,
} from "./admin-stand-in.mjs";
import { command, freePorts, scratch } from "./helpers.mjs";

/** A document of its own, as bytes that are not what a JSON writer would make of them. */
function documentFile(test, text = DOCUMENT) {
  const path = join(scratch(test), "edited.json");
  writeFileSync(path, text);
  return path;
}

const clean = (result) => {
  assert.ok(!(result.stdout + result.stderr).includes(TOKEN), "the token was shown");
  assert.doesNotMatch(result.stdout + result.stderr, /\u001b/);
  return result;
};

const oneLine = (text) => text.trim().split("\n").length === 1;

describe("policy push", () => {
  it("asks for the active revision, shows the difference, and pushes on that base", async (test) => {
    const api = await standIn(test);
    const file = documentFile(test);
    const done = clean(await api.run(["push", file, "-m", "why not? & so on", "--yes"]));
    assert.equal(done.code, 0, done.stderr);
    assert.equal(done.stdout, "r8 published\n");
    assert.match(done.stderr, /^added routes\["a"\]: \{\}$/m);
    assert.deepEqual(api.lines(), ["GET /policy", "POST /policy/diff", "PUT /policy"]);
    const [, diff, put] = api.requests;
    assert.deepEqual(diff.query, { base: "r7" });
    assert.equal(diff.headers.accept, "text/plain");
    assert.deepEqual(put.query, { message: "why not? & so on" });
    assert.equal(put.headers["if-match"], '"r7"');
    assert.equal(put.headers["if-none-match"], undefined);
    assert.equal(put.headers["content-type"], "application/json");
    for (const { headers, prefix } of api.requests) {
      assert.equal(headers.authorization, `Bearer ${TOKEN}`);
      assert.equal(prefix, "/_weir/admin/v1");
    }
    for (const { body } of [diff, put]) assert.equal(body, DOCUMENT, "the bytes of the file");
  });

  it("reads the tag also where a CDN has weakened it", async (test) => {
    const api = await standIn(test, { "GET /policy": json(200, DOCUMENT, { ETag: 'W/"r12"' }) });
    const { code } = await api.run(["push", documentFile(test), "-m", "x", "--yes"]);
    assert.equal(code, 0);
    assert.equal(api.requests.at(-1).headers["if-match"], '"r12"');
  });

  it("--base names the revision without asking for the active one", async (test) => {
    const api = await standIn(test);
    await api.run(["push", documentFile(test), "-m", "x", "--yes", "--base", "r5"]);
    assert.deepEqual(api.lines(), ["POST /policy/diff", "PUT /policy"]);
    assert.equal(api.requests[0].query.base, "r5");
    assert.equal(api.requests[1].headers["if-match"], '"r5"');
  });

  it("makes the first revision by itself, and with --create", async (test) => {
    const api = await standIn(test, { "GET /policy": problem(404, "no-such-revision") });
    const first = clean(await api.run(["push", documentFile(test), "-m", "x", "--yes"]));
    assert.equal(first.code, 0);
    assert.match(first.stderr, /first revision of staging/);
    assert.deepEqual(api.lines(), ["GET /policy", "PUT /policy"]);
    assert.equal(api.requests.at(-1).headers["if-none-match"], "*");
    assert.equal(api.requests.at(-1).headers["if-match"], undefined);
    api.requests.length = 0;
    await api.run(["push", documentFile(test), "-m", "x", "--yes", "--create"]);
    assert.deepEqual(api.lines(), ["PUT /policy"]);
    assert.equal(api.requests[0].headers["if-none-match"], "*");
    const late = await standIn(test, {
      "PUT /policy": problem(412, "stale-base", { base: "r0", active: "r2" }),
    });
    const args = ["push", documentFile(test), "-m", "x", "--yes", "--create"];
    const { code, stderr } = clean(await late.run(args));
    assert.equal(code, 1);
    assert.match(stderr, /There is a policy already: r2\. Push without --create\./);
  });

  it("says that publishing is under way, and --json hands the answer on", async (test) => {
    const answer = '{"revision":"r8", "sequence":8,"hash":"00","state":"pending"}';
    const api = await standIn(test, { "PUT /policy": json(201, answer) });
    const told = await api.run(["push", documentFile(test), "-m", "x", "--yes"]);
    assert.match(told.stdout, /^r8 pending; stored, and will be published/);
    const machine = await api.run(["push", documentFile(test), "-m", "x", "--yes", "--json"]);
    assert.equal(machine.stdout, `${answer}\n`);
    assert.equal(machine.stderr, "");
  });

  it("a stale base names both revisions and the way on", async (test) => {
    const stale = problem(412, "stale-base", { base: "r7", active: "r9" });
    const api = await standIn(test, { "PUT /policy": stale });
    const args = ["push", documentFile(test), "-m", "x", "--yes", "--base", "r7"];
    const { code, stderr } = clean(await api.run(args));
    assert.equal(code, 1);
    assert.match(stderr, /^error: The base r7 is not .*: that is r9\. Pull or diff again/m);
    const machine = await api.run([...args, "--json"]);
    assert.equal(machine.code, 1);
    assert.equal(machine.stdout, `${stale.body}\n`);
  });

  it("lists every problem of a document with the file, path, value and expectation", async (test) => {
    const problems = [
      { path: "routes[0].id", value: "7", expected: "expected a name" },
      { path: "", value: "", expected: "no upstream\u001b[31m is used" },
    ];
    const api = await standIn(test, {
      "PUT /policy": problem(422, "invalid-policy", { problems }),
    });
    const file = documentFile(test);
    const { code, stderr } = clean(await api.run(["push", file, "-m", "x", "--yes"]));
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`^${file}: routes\\[0\\]\\.id: found 7; expected a name$`, "m"),
    );
    assert.match(stderr, /: \(document\): no upstream\\u\{1b\}\[31m is used$/m);
    assert.match(stderr, /^error: .*edited\.json cannot be used: 2 problems, above\.$/m);
  });

  it("has a bad document refused, and written down, where --yes agreed to its push", async (test) => {
    const invalid = problem(422, "invalid-policy", {
      problems: [{ path: "a", value: "1", expected: "none" }],
    });
    const api = await standIn(test, { "POST /policy/diff": invalid, "PUT /policy": invalid });
    const args = ["push", documentFile(test), "-m", "x"];
    assert.equal((await api.run([...args, "--yes"])).code, 1);
    assert.deepEqual(api.lines(), ["GET /policy", "POST /policy/diff", "PUT /policy"]);
    api.requests.length = 0;
    const { code, stderr } = await api.run(args);
    assert.equal(code, 1);
    assert.match(stderr, /: a: found 1; none$/m);
    assert.deepEqual(api.lines(), ["GET /policy", "POST /policy/diff"]);
  });

  it("does not go on without a person or --yes", async (test) => {
    const api = await standIn(test);
    const { code, stderr } = clean(await api.run(["push", documentFile(test), "-m", "x"]));
    assert.equal(code, 2);
    assert.match(stderr, /nobody to ask\. Give --yes/);
    assert.ok(!api.lines().includes("PUT /policy"));
  });

  it("wants one file, a message, and one base", async (test) => {
    const api = await standIn(test);
    const file = documentFile(test);
    for (const args of [
      ["push"],
      ["push", file, file, "-m", "x"],
      ["push", file],
      ["push", file, "-m", " "],
      ["push", file, "-m", "x".repeat(501)],
      ["push", file, "-m", "x", "--base", "7"],
      ["push", file, "-m", "x", "--base", "r7", "--create"],
      ["push", join(file, "nowhere"), "-m", "x"],
    ]) {
      const { code, stderr } = clean(await api.run(args));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("sends no document that is too large or not UTF-8", async (test) => {
    const api = await standIn(test);
    for (const [text, words] of [
      [`{"a":"${"x".repeat(1 << 20)}"}`, /is larger than 1 MiB/],
      [Buffer.from([0x7b, 0xff, 0x7d]), /is not UTF-8/],
    ]) {
      const { code, stderr } = await api.run(["push", documentFile(test, text), "-m", "x"]);
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
    assert.deepEqual(api.requests, []);
  });

  it("says where it is not known whether a change was made", async (test) => {
    for (const [answer, unsure] of [
      [RESET, true],
      [problem(503, "control-unavailable"), true],
      [problem(401, "unauthenticated"), false],
    ]) {
      const api = await standIn(test, { "PUT /policy": answer });
      const args = ["push", documentFile(test), "-m", "x", "--yes"];
      const { code, stderr } = clean(await api.run(args));
      assert.equal(code, 3);
      assert.equal(/It is not known whether that was accepted/.test(stderr), unsure, stderr);
    }
  });
});

describe("a change that a person is asked about", () => {
  const target = { name: "staging", url: "http://127.0.0.1:1" };
  const asked = (answer) => {
    const seen = { lines: [], questions: [] };
    const call = async (method, path) => {
      seen.lines.push(`${method} ${path}`);
      return { text: "", json: { revision: "r8", state: "published" }, revision: "r7" };
    };
    const person = { present: true, ask: async (text) => (seen.questions.push(text), answer) };
    return { seen, call, person };
  };

  it("is made when they agree, and not when they do not", async (test) => {
    const file = documentFile(test);
    const writes = ["PUT policy", "POST policy/rollback"];
    for (const answer of [true, false]) {
      const { seen, call, person } = asked(answer);
      const both = [
        () => push(call, target, [file], { message: "x" }, person),
        () => rollback(call, target, ["r3"], { message: "x" }, person),
      ];
      for (const change of both) {
        if (answer) await change();
        else await assert.rejects(change(), { message: "Nothing was changed.", exitCode: 1 });
      }
      assert.match(seen.questions[0], /^Push .*edited\.json to staging .* on r7\?$/);
      assert.match(seen.questions[1], /back from r7 to r3\?$/);
      assert.deepEqual(
        seen.lines.filter((line) => writes.includes(line)),
        answer ? writes : [],
      );
    }
  });

  it("is answered with y or yes; anything else, and the end of the input, is no", async () => {
    for (const [typed, wanted] of [
      ["y\n", true],
      ["YES\n", true],
      ["\n", false],
      ["yep\n", false],
      ["", false],
    ]) {
      const input = Object.assign(new PassThrough(), { isTTY: true });
      input.end(typed);
      assert.equal(await ask("Go on?", input, new PassThrough()), wanted, JSON.stringify(typed));
    }
    assert.equal(await ask("Go on?", new PassThrough(), new PassThrough()), false);
  });
});

describe("policy rollback", () => {
  it("names the active revision, shows the way back, and goes it", async (test) => {
    const api = await standIn(test);
    const done = clean(await api.run(["rollback", "r3", "-m", "r7 was wrong", "-y"]));
    assert.equal(done.code, 0, done.stderr);
    assert.equal(done.stdout, "r8 published\n");
    assert.match(done.stderr, /^removed routes/m);
    assert.deepEqual(api.lines(), ["GET /policy", "GET /policy/diff", "POST /policy/rollback"]);
    assert.deepEqual(api.requests[1].query, { from: "r7", to: "r3" });
    assert.equal(api.requests[2].headers["if-match"], '"r7"');
    assert.deepEqual(JSON.parse(api.requests[2].body), { to: "r3", message: "r7 was wrong" });
  });

  it("refuses what is no revision, and reports one that is not there", async (test) => {
    const api = await standIn(test, { "GET /policy/diff": problem(404, "no-such-revision") });
    for (const args of [["rollback"], ["rollback", "3"], ["rollback", "r1", "r2"]]) {
      assert.equal((await api.run([...args, "-m", "x", "-y"])).code, 2);
    }
    const { code, stderr } = clean(await api.run(["rollback", "r99", "-m", "x", "-y"]));
    assert.equal(code, 1);
    assert.match(stderr, /^error: Refused \(404 no-such-revision: .*request id id-1\)\.$/m);
    assert.ok(!api.lines().includes("POST /policy/rollback"));
  });

  it("has nowhere to go where nothing is stored", async (test) => {
    const api = await standIn(test, { "GET /policy": problem(404, "no-such-revision") });
    const { code, stderr } = await api.run(["rollback", "r3", "-m", "x", "-y"]);
    assert.equal(code, 1);
    assert.match(stderr, /Nothing is stored in staging/);
  });
});

describe("policy diff", () => {
  it("compares a file with the active revision, or with another", async (test) => {
    const api = await standIn(test);
    const file = documentFile(test);
    const { code, stdout } = clean(await api.run(["diff", file]));
    assert.equal(code, 0);
    assert.match(stdout, /^added routes\["a"\]: \{\}\nchanged /);
    await api.run(["diff", file, "--base", "r5"]);
    assert.deepEqual(
      api.requests.map(({ query }) => query),
      [{}, { base: "r5" }],
    );
    assert.equal(api.requests[0].body, DOCUMENT);
  });

  it("compares two revisions", async (test) => {
    const api = await standIn(test);
    assert.equal((await api.run(["diff", "r1", "r2"])).code, 0);
    assert.deepEqual(api.requests[0].query, { from: "r1", to: "r2" });
    assert.equal(api.requests[0].line, "GET /policy/diff");
  });

  it("--exit-code: 1 when something differs, in text and in JSON", async (test) => {
    const changes = '{"base":"r7","changes":[{"kind":"added","path":"x"}]}';
    const differs = await standIn(test, { "POST /policy/diff": json(200, changes) });
    const machine = await differs.run(["diff", documentFile(test), "--json", "--exit-code"]);
    assert.equal(machine.code, 1);
    assert.equal(machine.stdout, `${changes}\n`);
    assert.equal(differs.requests[0].headers.accept, "application/json");
    const text = await standIn(test);
    assert.equal((await text.run(["diff", "r1", "r2", "--exit-code"])).code, 1);
    const same = await standIn(test, { "POST /policy/diff": plain("") });
    const none = await same.run(["diff", documentFile(test), "--exit-code"]);
    assert.equal(none.code, 0);
    assert.equal(none.stdout, "no differences\n");
  });

  it("refuses what cannot be compared", async (test) => {
    const api = await standIn(test);
    const file = documentFile(test);
    for (const args of [[], ["r1"], ["r1", file], [file, file], ["r1", "r2", "--base", "r3"]]) {
      assert.equal((await api.run(["diff", ...args])).code, 2, args.join(" "));
    }
    assert.deepEqual(api.requests, []);
  });
});

describe("policy pull", () => {
  it("writes the document as it was pushed", async (test) => {
    const api = await standIn(test);
    const { code, stdout, stderr } = clean(await api.run(["pull"]));
    assert.equal(code, 0);
    assert.equal(stdout, DOCUMENT);
    assert.equal(stderr, "r7\n");
    await api.run(["pull", "--revision", "r3"]);
    assert.deepEqual(api.requests[1].query, { revision: "r3" });
  });

  it("-o: into a file, whole, and again over it", async (test) => {
    const api = await standIn(test);
    const folder = scratch(test);
    const path = join(folder, "pulled.json");
    for (let times = 0; times < 2; times += 1) {
      const { code, stdout } = clean(await api.run(["pull", "-o", path]));
      assert.equal(code, 0);
      assert.equal(stdout, "");
      assert.equal(readFileSync(path, "utf8"), DOCUMENT);
    }
    assert.deepEqual(readdirSync(folder), ["pulled.json"]);
  });

  it("leaves the file alone when there is nothing to write, and says when it cannot", async (test) => {
    const api = await standIn(test, { "GET /policy": problem(404, "no-such-revision") });
    const path = join(scratch(test), "pulled.json");
    assert.equal((await api.run(["pull", "-o", path])).code, 1);
    assert.equal(existsSync(path), false);
    const well = await standIn(test);
    const { code, stderr } = clean(await well.run(["pull", "-o", join(path, "below", "it")]));
    assert.equal(code, 2);
    assert.match(stderr, /cannot be written: ENOENT/);
  });

  it("is refused a revision by another name", async (test) => {
    const api = await standIn(test);
    assert.equal((await api.run(["pull", "--revision", "7"])).code, 2);
    assert.equal((await api.run(["pull", "r7"])).code, 2);
  });
});

describe("policy history, audit and health", () => {
  const revision = (name, more = {}) => ({
    revision: name,
    sequence: 7,
    hash: "00",
    bytes: 10,
    module: "0.1.0",
    author: "ada",
    role: "owner",
    time: "2026-01-01T00:00:00Z",
    message: `why ${name}`,
    base: "r1",
    ...more,
  });

  it("history: the active one first, what was rolled back, and how to see more", async (test) => {
    const revisions = [
      revision("r10", { rollback_to: "r3", message: "back\u001b[2J" }),
      revision("r9"),
    ];
    const page = json(200, { revisions, more: true });
    const api = await standIn(test, { "GET /policy/history": page });
    const { code, stdout, stderr } = clean(await api.run(["history", "--limit", "2"]));
    assert.equal(code, 0);
    assert.deepEqual(stdout.split("\n"), [
      "r10  2026-01-01T00:00:00Z  ada (owner)  active, rollback to r3, on r1  back\\u{1b}[2J",
      "r9   2026-01-01T00:00:00Z  ada (owner)  on r1                          why r9",
      "",
    ]);
    assert.match(stderr, /--before r9/);
    assert.deepEqual(api.requests[0].query, { limit: "2" });
    await api.run(["history", "--before", "r9"]);
    assert.deepEqual(api.requests[1].query, { before: "r9" });
    assert.equal((await api.run(["history", "--json"])).stdout, `${page.body}\n`);
    for (const wrong of [["--limit", "0"], ["--limit", "101"], ["--before", "9"], ["r9"]]) {
      assert.equal((await api.run(["history", ...wrong])).code, 2, wrong.join(" "));
    }
  });

  it("audit: what was done and what was refused", async (test) => {
    const entry = { time: "2026-01-01T00:00:00Z", author: "ada" };
    const entries = [
      { ...entry, id: 2, role: "operator", action: "push", outcome: "accepted", revision: "r8" },
      { ...entry, id: 1, action: "push", outcome: "refused", reason: "stale-base", base: "r1" },
    ];
    const page = json(200, { entries, more: false });
    const api = await standIn(test, { "GET /audit": page });
    const { code, stdout, stderr } = clean(await api.run(["audit"]));
    assert.equal(code, 0);
    assert.match(stdout, /^2 {2}2026\S+ {2}ada \(operator\) {2}push {2}accepted {2}r8$/m);
    assert.match(stdout, /^1 {2}2026\S+ {2}ada +push {2}refused +stale-base, on r1$/m);
    assert.equal(stderr, "");
    assert.equal((await api.run(["audit", "--json"])).stdout, `${page.body}\n`);
    assert.equal((await api.run(["audit", "--before", "r1"])).code, 2);
  });

  it("empty ones are said", async (test) => {
    const api = await standIn(test, {
      "GET /audit": json(200, { entries: [], more: false }),
      "GET /policy/history": json(200, { revisions: [], more: false }),
    });
    assert.match((await api.run(["audit"])).stderr, /Nothing was attempted/);
    assert.match((await api.run(["history"])).stderr, /No revision is stored/);
  });

  it("health: 0 when ok, 1 when not", async (test) => {
    const control = { active: "r7", sequence: 7, state: "pending", failures: 2 };
    const body = { status: "degraded", version: "0.2.0", revision: "r6", reason: "stale", control };
    const api = await standIn(test, { "GET /health": json(200, body) });
    const { code, stdout } = clean(await api.run(["health"]));
    assert.equal(code, 1);
    assert.match(
      stdout,
      /^degraded {2}r6, module 0\.2\.0\nreason: stale\ncontrol: r7, pending, 2 f/,
    );
    const ok = await standIn(test, { "GET /health": json(200, { ...body, status: "ok" }) });
    assert.equal((await ok.run(["health", "--json"])).code, 0);
    const none = { status: "unavailable", version: "0.2.0" };
    const down = await standIn(test, { "GET /health": json(503, none) });
    const answer = await down.run(["health"]);
    assert.equal(answer.code, 1);
    assert.match(answer.stdout, /^unavailable {2}no policy/);
  });
});

describe("policy explain and replay", () => {
  it("explain: the request as it was described", async (test) => {
    const api = await standIn(test, { "POST /explain": plain("GET https://x/\ndeny 403\u0007\n") });
    const { code, stdout } = clean(
      await api.run([
        ...["explain", "https://x/a?b", "--method", "POST", "--client", "192.0.2.1"],
        ...["-H", "X-A: one: two ", "-H", "x-a:", "--revision", "r3"],
      ]),
    );
    assert.equal(code, 0);
    assert.equal(stdout, "GET https://x/\ndeny 403\\u{7}\n");
    assert.deepEqual(JSON.parse(api.requests[0].body), {
      url: "https://x/a?b",
      method: "POST",
      client: "192.0.2.1",
      headers: [
        ["X-A", "one: two"],
        ["x-a", ""],
      ],
      revision: "r3",
    });
    assert.equal(api.requests[0].headers.accept, "text/plain");
  });

  it("explain: by a document, as it is written", async (test) => {
    const api = await standIn(test, { "POST /explain": json(200, '{"verdict":"deny"}') });
    const text = '{"version":1, "version":2}';
    const file = documentFile(test, text);
    const { code, stdout } = await api.run(["explain", "https://x/", "--document", file, "--json"]);
    assert.equal(code, 0);
    assert.equal(stdout, '{"verdict":"deny"}\n');
    assert.ok(api.requests[0].body.includes(`"document":${text}`), api.requests[0].body);
  });

  it("explain refuses what it cannot ask", async (test) => {
    const api = await standIn(test);
    const bad = documentFile(test, "{");
    for (const [args, wanted] of [
      [["explain"], 2],
      [["explain", "https://x/", "https://y/"], 2],
      [["explain", "https://x/", "-H", "no colon"], 2],
      [["explain", "https://x/", "-H", "a: b\r\nc: d"], 2],
      [["explain", "https://x/", "--document", bad, "--revision", "r3"], 2],
      [["explain", "https://x/", "--document", bad], 1],
    ]) {
      const { code, stderr } = clean(await api.run(args));
      assert.equal(code, wanted, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("replay: a log of a file or of the standard input", async (test) => {
    const api = await standIn(test, { "POST /replay": plain("2 records: 2 same\n") });
    const log = '{"schema":1}\n{"schema":1,"path":"/\\u0000"}\n';
    const file = documentFile(test);
    const piped = clean(await api.run(["replay", "-", "--document", file], { input: log }));
    assert.equal(piped.code, 0, piped.stderr);
    assert.equal(piped.stdout, "2 records: 2 same\n");
    const path = join(scratch(test), "access.log");
    writeFileSync(path, log);
    await api.run(["replay", path]);
    const bodies = api.requests.map(({ body }) => JSON.parse(body));
    assert.deepEqual(bodies, [{ records: log, document: JSON.parse(DOCUMENT) }, { records: log }]);
  });

  it("replay refuses two standard inputs, and a log that is too large", async (test) => {
    const api = await standIn(test);
    assert.equal((await api.run(["replay", "-", "--document", "-"])).code, 2);
    const path = join(scratch(test), "access.log");
    writeFileSync(path, "x".repeat((8 << 20) + 1));
    const { code, stderr } = await api.run(["replay", path]);
    assert.equal(code, 1);
    assert.match(stderr, /is larger than 8 MiB/);
    assert.deepEqual(api.requests, []);
  });

  it("problems of a described request are the command's, not a file's", async (test) => {
    const problems = [{ path: "url", value: '"x"', expected: "expected an absolute URL" }];
    const api = await standIn(test, {
      "POST /explain": problem(400, "invalid-body", { problems }),
    });
    const { code, stderr } = clean(await api.run(["explain", "x"]));
    assert.equal(code, 1);
    assert.match(stderr, /^explain: url: found "x"; expected an absolute URL$/m);
  });
});

describe("policy check", () => {
  it("finds every problem of every file, on this machine", async (test) => {
    const good = documentFile(test, readFileSync(inRoot("policies/demo.json")));
    const bad = documentFile(test, '{"version":1,"routes":[{"id":7}],"more":{}}');
    const { code, stdout, stderr } = await command("policy", ["check", good, bad]);
    assert.equal(code, 1);
    assert.equal(stdout, `${good}: good (module 0.1.0 or newer)\n`);
    assert.match(stderr, new RegExp(`^${bad}: routes\\[0\\]\\.id: found 7; expected`, "m"));
    assert.match(stderr, new RegExp(`^${bad}: more: found`, "m"));
    const machine = await command("policy", ["check", bad, "--json"]);
    assert.equal(machine.code, 1);
    const [{ file, valid, problems }] = JSON.parse(machine.stdout).files;
    assert.equal(file, bad);
    assert.equal(valid, false);
    assert.ok(problems.some(({ path, value }) => path === "routes[0].id" && value === "7"));
  });

  it("looks at policies/ by itself", async () => {
    const { code, stdout } = await command("policy", ["check"]);
    assert.equal(code, 0);
    assert.match(stdout, /^policies\/demo\.json: good/m);
  });

  it("asks the gateway where an environment is named", async (test) => {
    const problems = [{ path: "a", value: "1", expected: "nothing" }];
    const api = await standIn(test, {
      "POST /policy/validate": problem(422, "invalid-policy", { problems }),
    });
    const file = documentFile(test);
    const refused = clean(await api.run(["check", file]));
    assert.equal(refused.code, 1);
    assert.equal(refused.stderr, `${file}: a: found 1; nothing\n`);
    assert.equal(api.requests[0].body, DOCUMENT);
    const well = await standIn(test, {
      "POST /policy/validate": json(200, { valid: true, module: "0.2.0" }),
    });
    assert.equal(
      (await well.run(["check", file])).stdout,
      `${file}: good (module 0.2.0 or newer)\n`,
    );
  });

  it("a file that is too large is a problem of that file, a missing one wrong usage", async (test) => {
    const api = await standIn(test, {
      "POST /policy/validate": json(200, { valid: true, module: "0.1.0" }),
    });
    const large = documentFile(test, "x".repeat((1 << 20) + 1));
    const { code, stdout, stderr } = await api.run(["check", large, documentFile(test)]);
    assert.equal(code, 1);
    assert.match(stderr, /larger than 1 MiB/);
    assert.match(stdout, /good/);
    assert.equal((await api.run(["check", `${large}.none`])).code, 2);
  });
});

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
