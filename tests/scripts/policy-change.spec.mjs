// `npm run policy -- push` and `rollback` against a server that plays the admin API: what is sent, on
// which base, and who is asked.
import assert from "node:assert/strict";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { push, rollback } from "../../scripts/lib/policy-change.mjs";
import { ask } from "../../scripts/lib/term.mjs";
import {
  clean,
  DOCUMENT,
  documentFile,
  json,
  oneLine,
  problem,
  RESET,
  standIn,
  TOKEN,
} from "./admin-stand-in.mjs";

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

  it("names the stored sets that are still to be imported", async (test) => {
    const answer = { revision: "r8", state: "published", missing_sets: ["drop\u001b[2J", "tor"] };
    const api = await standIn(test, { "PUT /policy": json(201, answer) });
    const args = ["push", documentFile(test), "-m", "x", "--yes", "--create"];
    const { code, stdout, stderr } = clean(await api.run(args));
    assert.equal(code, 0);
    assert.equal(stdout, "r8 published\n");
    assert.match(stderr, /^The set drop\\u\{1b\}\[2J is still to be imported; until then rules/m);
    assert.match(stderr, /^The set tor is still to be imported/m);
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
