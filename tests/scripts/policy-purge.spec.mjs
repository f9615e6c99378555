// `npm run policy -- purge` and `purges` against a server that plays the admin API.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clean, json, oneLine, problem, SILENT, standIn } from "./admin-stand-in.mjs";

const HOUR = 3_600_000;
const HOSTILE = "\u001b]0;x\u0007\u202e\r\n\u009b2J";
const time = new Date(Date.now() - 3 * HOUR - 1_000).toISOString();
const shown = time.replace(/\.\d+Z$/, "Z");

const URL_PURGE = {
  sequence: 1_764_300_003_001,
  scope: "url",
  value: "https://www.example.com/x?a=1",
  soft: false,
  time,
  by: "ann",
};
const ALL = {
  sequence: 1_764_300_003_000,
  scope: "all",
  soft: true,
  time,
  by: "control",
  cause: "expired",
};

const acknowledged = (more = {}) =>
  json(200, { sequence: 1_764_300_003_000, state: "published", purged: 3, ...more });

const bodies = (api) => api.requests.map(({ body }) => JSON.parse(body));

describe("policy purge", () => {
  it("purges URLs, prefixes and tags together", async (test) => {
    const api = await standIn(test, { "POST /purge": acknowledged() });
    const args = ["--url", "https://a.example/x?q=1", "--prefix", "https://a.example/blog/"];
    const done = clean(await api.run(["purge", ...args, "--tag", "news", "-m", "a typo"]));
    assert.deepEqual(done, { code: 0, stdout: "3 purges; published\n", stderr: "" });
    await api.run(["purge", "--tag", "a", "--tag", "b", "--soft"]);
    assert.deepEqual(bodies(api), [
      {
        urls: ["https://a.example/x?q=1"],
        prefixes: ["https://a.example/blog/"],
        tags: ["news"],
        all: false,
        soft: false,
        message: "a typo",
      },
      { urls: [], prefixes: [], tags: ["a", "b"], all: false, soft: true },
    ]);
    assert.equal(api.requests[0].headers["content-type"], "application/json");
  });

  it("asks before everything goes, or wants --yes", async (test) => {
    const api = await standIn(test, { "POST /purge": acknowledged({ purged: 1 }) });
    const nobody = clean(await api.run(["purge", "--all"]));
    assert.equal(nobody.code, 2);
    assert.match(nobody.stderr, /There is nobody to ask\. Give --yes/);
    assert.deepEqual(api.requests, []);
    const done = clean(await api.run(["purge", "--all", "--soft", "--yes"]));
    assert.deepEqual(done, { code: 0, stdout: "everything, soft; published\n", stderr: "" });
    assert.deepEqual(bodies(api), [{ urls: [], prefixes: [], tags: [], all: true, soft: true }]);
  });

  it("says that publishing is under way, and when more was purged than asked for", async (test) => {
    const answer = acknowledged({ state: "pending", purged: 1, overflowed: true });
    const api = await standIn(test, { "POST /purge": answer });
    const { stdout, stderr } = clean(await api.run(["purge", "--tag", "a"]));
    assert.equal(stdout, "1 purge; pending; stored, and will be published in a moment\n");
    assert.equal(stderr, "There was no room for more purges, so everything was purged.\n");
    const machine = await api.run(["purge", "--tag", "a", "--json"]);
    assert.deepEqual(machine, { code: 0, stdout: `${answer.body}\n`, stderr: "" });
  });

  it("wants something to purge, and names what was meant", async (test) => {
    const api = await standIn(test, { "POST /purge": acknowledged() });
    for (const [args, words] of [
      [[], /Say what to purge\. npm run policy -- purge --url URL/],
      [["--soft"], /Say what to purge/],
      [["--all", "--tag", "a", "--yes"], /--all is for everything: it takes no others/],
      [["--url", "/x"], /--url wants a URL such as https:\/\/www\.example\.com\/blog\/, not \/x/],
      [["--url", "www.example.com/x"], /--url wants a URL/],
      [["--prefix", "https://www.exam"], /--prefix wants a URL/],
      [["--tag", "a", "-m", "ä".repeat(251)], /longer than 500 bytes/],
      [["https://a.example/"], /purge takes flags only/],
      [["--tags", "a"], /Unknown option '--tags'/],
      [Array(501).fill(["--tag", "a"]).flat(), /At most 500 URLs, prefixes and tags at once/],
    ]) {
      const { code, stdout, stderr } = clean(await api.run(["purge", ...args]));
      assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, words);
      assert.ok(oneLine(stderr), stderr);
      assert.equal(stdout, "");
    }
    assert.deepEqual(api.requests, []);
  });

  it("a refusal names what is wrong", async (test) => {
    const path = "urls[0]";
    const problems = [{ path, value: '"https://a.example/#"', expected: "expected a URL" }];
    const api = await standIn(test, { "POST /purge": problem(400, "invalid-body", { problems }) });
    const wrong = clean(await api.run(["purge", "--url", "https://a.example/#"]));
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /urls\[0\].*expected a URL/);
    for (const [status, reason, code, words] of [
      [403, "forbidden", 3, /This token may not do that/],
      [404, "no-such-endpoint", 3, /needs module 0\.3\.0 there/],
    ]) {
      const other = await standIn(test, { "POST /purge": problem(status, reason) });
      const done = clean(await other.run(["purge", "--tag", "a"]));
      assert.equal(done.code, code, done.stderr);
      assert.match(done.stderr, words);
    }
    const silent = await standIn(test, { "*": SILENT });
    const lost = clean(await silent.run(["purge", "--tag", "a", "--timeout", "0.3"]));
    assert.equal(lost.code, 3);
    assert.match(lost.stderr, /not known whether that was accepted.*policy -- purges/);
  });
});

describe("policy purges", () => {
  const listed = (more = {}) => ({
    "GET /purges": json(200, { purges: [URL_PURGE, ALL], more: false, total: 2, ...more }),
  });

  it("shows what is purged, when and by whom", async (test) => {
    const api = await standIn(test, listed());
    const { code, stdout, stderr } = clean(await api.run(["purges"]));
    assert.equal(code, 0, stderr);
    const when = `${shown} (3 h ago)`;
    assert.deepEqual(stdout.split("\n"), [
      `scope  what                                 when${" ".repeat(when.length - 4)}  by       why`,
      `url    https://www.example.com/x?a=1        ${when}  ann`,
      `all                                   soft  ${when}  control  expired`,
      "",
    ]);
    assert.equal(stderr, "");
    assert.deepEqual(api.requests[0].query, {});
  });

  it("says how to see more, and asks for it", async (test) => {
    const api = await standIn(test, listed({ more: true, total: 900 }));
    const { stderr } = clean(await api.run(["purges", "--limit", "2"]));
    assert.equal(stderr, "2 of 900; older ones: --before 1764300003000\n");
    await api.run(["purges", "--before", "1764300003000"]);
    const queries = api.requests.map(({ query }) => query);
    assert.deepEqual(queries, [{ limit: "2" }, { before: "1764300003000" }]);
  });

  it("an empty list is said, and --json is the API's", async (test) => {
    const body = '{"purges":[], "more":false,"total":0}';
    const api = await standIn(test, { "GET /purges": json(200, body) });
    const none = clean(await api.run(["purges"]));
    assert.deepEqual(none, { code: 0, stdout: "", stderr: "Nothing is purged.\n" });
    assert.equal((await api.run(["purges", "--before", "7"])).stderr, "There are no older ones.\n");
    const machine = await api.run(["purges", "--json"]);
    assert.deepEqual(machine, { code: 0, stdout: `${body}\n`, stderr: "" });
  });

  it("refuses what cannot be asked", async (test) => {
    const api = await standIn(test, listed());
    for (const args of [
      ...[["x"], ["--limit", "0"], ["--limit", "101"]],
      ...[
        ["--before", "r7"],
        ["--before", "-1"],
      ],
    ]) {
      const { code, stderr } = clean(await api.run(["purges", ...args]));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("no text of the server reaches into the terminal, and what is no answer is none", async (test) => {
    const bad = { ...URL_PURGE, scope: HOSTILE, value: HOSTILE, by: HOSTILE, cause: HOSTILE };
    const api = await standIn(test, listed({ purges: [bad], more: true, total: 2 }));
    const { code, stdout, stderr } = clean(await api.run(["purges"]));
    assert.equal(code, 0);
    for (const text of [stdout, stderr]) {
      assert.doesNotMatch(text.replaceAll("\n", ""), /[\p{Cc}\u202e]/u);
    }
    assert.equal(stdout.trimEnd().split("\n").length, 2);
    for (const wrong of [
      { purges: {} },
      { purges: [null] },
      { purges: [{ ...URL_PURGE, sequence: "7" }] },
    ]) {
      const other = await standIn(test, listed(wrong));
      assert.equal(clean(await other.run(["purges"])).code, 3);
    }
  });
});
