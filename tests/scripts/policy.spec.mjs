// `npm run policy` against a server that plays the admin API: what is asked and what is shown.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { inRoot } from "../../scripts/lib/paths.mjs";
import {
  clean,
  DOCUMENT,
  documentFile,
  json,
  oneLine,
  plain,
  problem,
  standIn,
} from "./admin-stand-in.mjs";
import { command, scratch } from "./helpers.mjs";

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
    assert.equal(code, 2);
    assert.match(stderr, /^explain: url: found "x"; expected an absolute URL$/m);
    assert.match(stderr, /^error: That is no request to explain; see above\.$/m);
  });
});

describe("policy check", () => {
  it("finds every problem of every file, on this machine", async (test) => {
    const good = documentFile(test, '{"version":1}');
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
