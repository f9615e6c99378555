// `npm run policy -- sets`, `remove-set` and `rollback-sets` against a server that plays the admin API.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { removeSet, rollbackSets } from "../../scripts/lib/policy-sets.mjs";
import { clean, json, oneLine, problem, RESET, SILENT, standIn } from "./admin-stand-in.mjs";

const HOUR = 3_600_000;
const ago = (span) => new Date(Date.now() - span).toISOString();
/** That time as it is shown. */
const shown = (text) => text.replace(/\.\d+Z$/, "Z");

const since = ago(3 * HOUR + 1_000);
const long = ago(77 * HOUR);

const FEED = {
  url: "https://lists.example/drop.json",
  format: "spamhaus_json",
  interval: "1h",
  checked: ago(200_000),
  changed: since,
};

const SET = {
  name: "drop",
  prefixes: 1_200,
  v4: 1_100,
  v6: 100,
  since,
  source: "https://lists.example/drop.json",
  in_use: true,
};

const CLOUD = {
  name: "cloud",
  prefixes: 1_233_367,
  v4: 1_233_367,
  v6: 0,
  since: long,
  source: "import",
  in_use: false,
};

const EARLIER = [
  { generation: 11, replaced: since, sets: ["drop", "cloud"], author: "ann", message: "why" },
  { generation: 9, replaced: long, sets: [], author: "feeds" },
];

const ALL = {
  generation: 12,
  sequence: 1_764_300_000_000,
  state: "published",
  prefixes: 1_234_567,
  bytes: 4_932_100,
  sets: [{ ...SET, feed: FEED }, CLOUD],
  earlier: EARLIER,
};

const listed = (more = {}) => ({ "GET /address-sets": json(200, { ...ALL, ...more }) });

const acknowledged = (state = "published") =>
  json(200, { generation: 14, sequence: 1_764_300_002_000, state });

describe("policy sets", () => {
  it("shows sets, feeds and earlier generations in columns", async (test) => {
    const api = await standIn(test, listed());
    const { code, stdout, stderr } = clean(await api.run(["sets"]));
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.split("\n"), [
      "generation 12 published: 2 sets, 1,234,567 prefixes, 4.7 MiB",
      "",
      "name    prefixes       IPv4  IPv6  in use  since                           source",
      `drop       1,200      1,100   100  yes     ${shown(since)} (3 h ago)  https://lists.example/drop.json`,
      `cloud  1,233,367  1,233,367     0  no      ${shown(long)} (3 d ago)  import`,
      "",
      "feed of  format         every  checked    changed  from",
      "drop     spamhaus_json  1h     3 min ago  3 h ago  https://lists.example/drop.json",
      "",
      "earlier  replaced                        by     with         message",
      `     11  ${shown(since)} (3 h ago)  ann    drop, cloud  why`,
      `      9  ${shown(long)} (3 d ago)  feeds  no sets`,
      "",
    ]);
    assert.equal(stderr, "to go back: npm run policy -- rollback-sets GENERATION\n");
    assert.deepEqual(api.lines(), ["GET /address-sets"]);
  });

  it("says what is wrong with a feed, and since when", async (test) => {
    const detail = "90 prefixes after 1200: a change by more than 50 %";
    const failure = { reason: "shrunk", detail, since, attempts: 3 };
    const never = {
      ...FEED,
      checked: undefined,
      changed: null,
      failure: { reason: "unreachable", attempts: 1 },
    };
    const more = [
      { ...SET, feed: { ...FEED, failure } },
      { ...CLOUD, feed: never },
    ];
    const api = await standIn(test, listed({ sets: more }));
    const { stdout } = clean(await api.run(["sets"]));
    const line = `drop: shrunk since ${shown(since)} (3 h ago), 3 attempts: ${detail}`;
    assert.ok(stdout.includes(`\n${line}\n`), stdout);
    assert.match(stdout, /^cloud: unreachable, 1 attempt$/m);
    assert.match(stdout, /^cloud {4}spamhaus_json {2}1h {5}never {6}never {4}https/m);
  });

  it("lists a feed that has never given a list, with what is wrong", async (test) => {
    const failure = {
      reason: "feed-status",
      detail: "the server answered with status 404",
      attempts: 2,
    };
    const source = "https://lists.example/new.json";
    const none = { ...SET, name: "new", prefixes: 0, v4: 0, v6: 0, since: undefined, source };
    const feed = { ...FEED, url: source, changed: undefined, failure };
    const sets = [SET, { ...none, feed }];
    const api = await standIn(test, listed({ sets }));
    const { stdout } = clean(await api.run(["sets"]));
    assert.match(stdout, /^generation 12 published: 1 set, /);
    assert.match(
      stdout,
      /^new {10}0 {6}0 {5}0  yes     never {27}.*https:\/\/lists\.example\/new\.json$/m,
    );
    assert.match(stdout, /^new: feed-status, 2 attempts: the server answered with status 404$/m);
    // There is nothing to remove.
    const removed = clean(await api.run(["remove-set", "new"]));
    assert.equal(removed.code, 1);
    assert.match(removed.stderr, /There is no stored set new\.[^]*Stored sets: drop/);
  });

  it("an empty store is said, with the way to fill it", async (test) => {
    const none = { generation: 0, state: "pending", prefixes: 0, bytes: 0, sets: [], earlier: [] };
    const api = await standIn(test, listed(none));
    const { code, stdout, stderr } = clean(await api.run(["sets"]));
    assert.equal(code, 0);
    assert.equal(stdout, "generation 0 pending: 0 sets, 0 prefixes, 0 B\n");
    assert.equal(stderr, "To store one: npm run policy -- import NAME FILE\n");
  });

  it("--json is the API's, and it takes flags only", async (test) => {
    const body = `{"generation":1, "state":"published","prefixes":0,"bytes":0,"sets":[],"earlier":[],"x":1}`;
    const api = await standIn(test, { "GET /address-sets": json(200, body) });
    const done = await api.run(["sets", "--json"]);
    assert.deepEqual(done, { code: 0, stdout: `${body}\n`, stderr: "" });
    for (const args of [["drop"], ["--yes"], ["--limit", "1"]]) {
      assert.equal((await api.run(["sets", ...args])).code, 2);
    }
    assert.equal(api.requests.length, 1);
  });

  it("no text of the server reaches into the terminal", async (test) => {
    const bad = "\u001b]0;x\u0007\u202e\r\n\u009b2J";
    const feed = {
      url: bad,
      format: bad,
      interval: bad,
      checked: bad,
      changed: bad,
      failure: { reason: bad, detail: bad, since: bad, attempts: 2 },
    };
    const set = { ...SET, name: bad, since: bad, source: bad, feed };
    const old = { generation: 1, replaced: bad, sets: [bad], author: bad, message: bad };
    const api = await standIn(test, listed({ state: bad, sets: [set], earlier: [old] }));
    const { code, stdout } = clean(await api.run(["sets"]));
    assert.equal(code, 0);
    // Line feeds of the table are all that is left.
    assert.doesNotMatch(stdout.replaceAll("\n", ""), /[\p{Cc}\u202e]/u);
    assert.equal(stdout.trimEnd().split("\n").length, 11);
  });

  it("what is no answer of the API is none", async (test) => {
    for (const wrong of [
      ...[{ sets: [null] }, { sets: {} }, { earlier: undefined }, { generation: "12" }],
      ...[{ sets: [{ ...SET, prefixes: "1" }] }, { sets: [{ ...SET, feed: { url: 1 } }] }],
    ]) {
      const api = await standIn(test, listed(wrong));
      const { code, stdout, stderr } = clean(await api.run(["sets"]));
      assert.equal(code, 3, JSON.stringify(wrong));
      assert.match(stderr, /not as the admin API does/);
      assert.equal(stdout, "");
    }
    const old = await standIn(test);
    const { code, stderr } = clean(await old.run(["sets"]));
    assert.equal(code, 3);
    assert.match(stderr, /or one without this .*This command needs module 0\.3\.0 there\.$/m);
    const silent = await standIn(test, { "*": SILENT });
    assert.equal((await silent.run(["sets", "--timeout", "0.3"])).code, 3);
  });
});

describe("policy remove-set", () => {
  const answers = (answer) => ({ ...listed(), "DELETE /address-sets/cloud": answer });

  it("removes without a question where --yes agreed", async (test) => {
    const api = await standIn(test, answers(acknowledged()));
    const { code, stdout, stderr } = clean(
      await api.run(["remove-set", "cloud", "-y", "-m", "a & b"]),
    );
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "cloud removed; generation 14 published\n");
    assert.equal(stderr, "");
    assert.deepEqual(api.lines(), ["DELETE /address-sets/cloud"]);
    assert.deepEqual(api.requests[0].query, { message: "a & b" });
    const machine = await api.run(["remove-set", "cloud", "--yes", "--json"]);
    assert.equal(machine.stdout, `${acknowledged().body}\n`);
    assert.deepEqual(api.requests[1].query, {});
  });

  it("shows what would be gone, and does not go on without a person", async (test) => {
    const api = await standIn(test, answers(acknowledged()));
    const { code, stdout, stderr } = clean(await api.run(["remove-set", "cloud"]));
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.match(stderr, /^cloud has 1,233,367 prefixes since \S+ \(3 d ago\)\.$/m);
    assert.match(stderr, /nobody to ask\. Give --yes/);
    assert.match(
      (await api.run(["remove-set", "drop"])).stderr,
      /, in use by the active policy\.$/m,
    );
    assert.deepEqual(api.lines(), ["GET /address-sets", "GET /address-sets"]);
  });

  it("a set that is not there, or in use, is not removed", async (test) => {
    const api = await standIn(test, answers(acknowledged()));
    const none = clean(await api.run(["remove-set", "dorp"]));
    assert.equal(none.code, 1);
    assert.equal(none.stderr, "error: There is no stored set dorp. Stored sets: drop cloud\n");
    for (const [status, reason, words] of [
      [409, "set-in-use", /The active policy names cloud\. Push one that does not, then/],
      [404, "no-such-set", /There is no stored set cloud\. npm run policy -- sets lists/],
      [412, "stale-base", /changed the sets at the same time/],
    ]) {
      const no = await standIn(test, answers(problem(status, reason)));
      const { code, stderr } = clean(await no.run(["remove-set", "cloud", "-y"]));
      assert.equal(code, 1);
      assert.match(stderr, words);
      assert.ok(oneLine(stderr), stderr);
    }
  });

  it("takes one name, and says where the end is not known", async (test) => {
    const api = await standIn(test, answers(RESET));
    for (const args of [[], ["a", "b"], ["a/b"], ["a", "-m", "x".repeat(501)]]) {
      const { code, stderr } = clean(await api.run(["remove-set", ...args, "-y"]));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
    const { code, stderr } = clean(await api.run(["remove-set", "cloud", "-y"]));
    assert.equal(code, 3);
    assert.match(stderr, /It is not known .* Look: npm run policy -- sets$/m);
  });
});

describe("policy rollback-sets", () => {
  const answers = (answer) => ({ ...listed(), "POST /address-sets/rollback": answer });

  it("goes back without a question where --yes agreed", async (test) => {
    const api = await standIn(test, answers(acknowledged("pending")));
    const { code, stdout } = clean(await api.run(["rollback-sets", "11", "-y", "-m", "too much"]));
    assert.equal(code, 0);
    assert.equal(
      stdout,
      "sets as in generation 11; generation 14 pending; stored, and will be published in a moment\n",
    );
    assert.deepEqual(api.lines(), ["POST /address-sets/rollback"]);
    assert.deepEqual(JSON.parse(api.requests[0].body), { to: 11, message: "too much" });
    assert.equal(api.requests[0].headers["content-type"], "application/json");
    const machine = await api.run(["rollback-sets", "11", "--yes", "--json"]);
    assert.equal(machine.stdout, `${acknowledged("pending").body}\n`);
    assert.deepEqual(JSON.parse(api.requests[1].body), { to: 11 });
  });

  it("shows both generations before it asks", async (test) => {
    const api = await standIn(test, answers(acknowledged()));
    const { code, stderr } = clean(await api.run(["rollback-sets", "11"]));
    assert.equal(code, 2);
    assert.match(stderr, /^present: generation 12 with drop, cloud$/m);
    assert.match(
      stderr,
      /^wanted: {2}generation 11 with drop, cloud, by ann, replaced \S+ \(3 h ago\)$/m,
    );
    assert.match(stderr, /^ +why$/m);
    const older = await api.run(["rollback-sets", "9"]);
    assert.match(older.stderr, /^wanted: {2}generation 9 with no sets, by feeds/m);
    assert.doesNotMatch(older.stderr, /undefined/);
    assert.ok(!api.lines().includes("POST /address-sets/rollback"));
  });

  it("is refused what is none, or not kept any more", async (test) => {
    const api = await standIn(test, answers(problem(404, "no-such-generation")));
    for (const args of [[], ["r11"], ["-1"], ["1.5"], ["11", "12"], ["11", "--base", "12"]]) {
      const { code, stderr } = clean(await api.run(["rollback-sets", ...args, "-y"]));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
    const { code, stderr } = clean(await api.run(["rollback-sets", "3", "-y"]));
    assert.equal(code, 1);
    assert.match(stderr, /There is no generation 3 to go back to\. They are kept for 24 hours/);
    const detail = 'the active policy names the set "x"';
    const used = await standIn(test, answers(problem(409, "set-in-use", { detail })));
    const no = clean(await used.run(["rollback-sets", "9", "-y"]));
    assert.equal(no.code, 1);
    assert.match(no.stderr, /Generation 9 lacks a set that the active policy names .*the set "x"/);
  });
});

describe("a change of the sets that a person is asked about", () => {
  const target = { name: "staging", url: "http://127.0.0.1:1" };

  it("is made when they agree, and not when they do not", async () => {
    for (const answer of [true, false]) {
      const seen = { lines: [], questions: [] };
      const call = async (method, path) => {
        seen.lines.push(`${method} ${path}`);
        const value = method === "GET" ? ALL : { generation: 14, state: "published" };
        return { text: "", json: value };
      };
      const person = { present: true, ask: async (text) => (seen.questions.push(text), answer) };
      for (const change of [
        () => removeSet(call, target, ["cloud"], {}, person),
        () => rollbackSets(call, target, ["11"], {}, person),
      ]) {
        if (answer) await change();
        else await assert.rejects(change(), { message: "Nothing was changed.", exitCode: 1 });
      }
      assert.deepEqual(seen.questions, [
        "Remove cloud from staging (http://127.0.0.1:1)?",
        "Roll the sets of staging (http://127.0.0.1:1) back to generation 11?",
      ]);
      const writes = seen.lines.filter((line) => !line.startsWith("GET"));
      const wanted = ["DELETE address-sets/cloud", "POST address-sets/rollback"];
      assert.deepEqual(writes, answer ? wanted : []);
    }
  });
});
