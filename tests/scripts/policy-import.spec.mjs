// `npm run policy -- import` and `refresh` against a server that plays the admin API: what is sent, how,
// and what is said to every way in which it can end.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { truncateSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  clean,
  json,
  listFile,
  oneLine,
  problem,
  RESET,
  SILENT,
  standIn,
  TOKEN,
} from "./admin-stand-in.mjs";
import { command, freePorts, scratch } from "./helpers.mjs";

const LIST = "# ours\n192.0.2.0/24\n2001:db8::/32\n";

const IMPORTED = {
  name: "drop",
  generation: 13,
  sequence: 1_764_300_001_000,
  state: "published",
  changed: true,
  read: 1_250,
  prefixes: 1_200,
  v4: 1_100,
  v6: 100,
  before: 1_180,
};

const imported = (more = {}) => ({ "PUT /address-sets/drop": json(200, { ...IMPORTED, ...more }) });
const refreshed = (more = {}) => ({
  "POST /address-sets/drop/refresh": json(200, { ...IMPORTED, ...more }),
});

describe("policy import", () => {
  it("sends the file as it is, and shows what changed", async (test) => {
    const api = await standIn(test, imported());
    const done = clean(await api.run(["import", "drop", listFile(test, LIST)]));
    assert.equal(done.code, 0, done.stderr);
    assert.equal(
      done.stdout,
      "drop  1,180 -> 1,200 prefixes (+20, +1.7 %)\n" +
        "  1,100 IPv4, 100 IPv6; 1,250 in the list; generation 13 published\n",
    );
    assert.equal(done.stderr, "", "plain lines are not guessed");
    const [put] = api.requests;
    assert.deepEqual(api.lines(), ["PUT /address-sets/drop"]);
    assert.equal(put.prefix, "/_weir/admin/v1");
    assert.equal(put.body, LIST);
    assert.deepEqual(put.query, {});
    assert.equal(put.headers.authorization, `Bearer ${TOKEN}`);
    assert.equal(put.headers["content-type"], "application/octet-stream");
    assert.equal(put.headers["content-length"], String(LIST.length));
    assert.equal(put.headers["transfer-encoding"], undefined);
    assert.equal(put.headers.expect, undefined);
    assert.equal(put.headers["cf-connecting-ip"], "127.0.0.1", "nobody else sets it on loopback");
  });

  it("says what kind of change it was", async (test) => {
    for (const [more, first] of [
      [{ before: undefined }, "drop  new, 1,200 prefixes"],
      [{ before: null, prefixes: 1 }, "drop  new, 1 prefix"],
      [{ before: 0 }, "drop  0 -> 1,200 prefixes (+1,200)"],
      [{ before: 2_400 }, "drop  2,400 -> 1,200 prefixes (-1,200, -50.0 %)"],
      [{ before: 1_200 }, "drop  1,200 -> 1,200 prefixes (others)"],
      [{ before: 1_200, changed: false }, "drop  unchanged, 1,200 prefixes"],
    ]) {
      const api = await standIn(test, imported(more));
      const { stdout } = clean(await api.run(["import", "drop", listFile(test, LIST)]));
      assert.equal(stdout.split("\n")[0], first);
    }
    const api = await standIn(test, imported({ state: "pending" }));
    const { stdout } = await api.run(["import", "drop", listFile(test, LIST)]);
    assert.match(stdout, /generation 13 pending; stored, and will be published in a moment$/m);
  });

  it("reads the standard input, and a pipe by name", async (test) => {
    const api = await standIn(test, imported());
    const piped = clean(await api.run(["import", "drop", "-"], { input: LIST }));
    assert.equal(piped.code, 0, piped.stderr);
    const pipe = join(scratch(test), "pipe");
    execFileSync("mkfifo", [pipe]);
    const [named] = await Promise.all([
      api.run(["import", "drop", pipe]),
      // Opening it waits for the reader.
      writeFile(pipe, LIST),
    ]);
    assert.equal(clean(named).code, 0, named.stderr);
    for (const { body, headers } of api.requests) {
      assert.equal(body, LIST);
      assert.equal(headers["content-length"], String(LIST.length));
    }
    assert.equal(api.requests.length, 2);
  });

  it("guesses a format where that is safe, says so, and leaves it to --format", async (test) => {
    const api = await standIn(test, imported());
    const json = listFile(test, '{"cidr":"1.10.16.0/20"}\n');
    const guessed = clean(await api.run(["import", "drop", json]));
    assert.equal(guessed.stderr, "format spamhaus_json, by its first line; --format decides\n");
    await api.run(["import", "drop", "-"], { input: '{"prefixes":[{"ip_prefix":"3.4.12.4/32"}]}' });
    const said = clean(await api.run(["import", "drop", json, "--format", "netset"]));
    assert.equal(said.stderr, "");
    // A column says that it is a CSV, whatever it looks like.
    await api.run(["import", "drop", json, "--column", "ip"]);
    await api.run(["import", "drop", listFile(test, "ip,country\n192.0.2.1,XX\n")]);
    assert.deepEqual(
      api.requests.map(({ query }) => query),
      [{ format: "spamhaus_json" }, { format: "aws" }, { format: "netset" }, { column: "ip" }, {}],
    );
  });

  it("hands its flags on as the API names them", async (test) => {
    const api = await standIn(test, imported());
    const file = listFile(test, LIST);
    await api.run([
      ...["import", "drop", file, "--format", "csv", "--column", "2", "--host-bits", "mask"],
      ...["--max-change", "80%", "--max-prefixes", "2000000", "--allow-private", "-m", "why & so"],
    ]);
    await api.run(["import", "drop", file, "--max-change", "0", "--host-bits", "refuse"]);
    assert.deepEqual(
      api.requests.map(({ query }) => query),
      [
        {
          format: "csv",
          column: "2",
          host_bits: "mask",
          max_change: "80",
          max_prefixes: "2000000",
          allow_private: "true",
          message: "why & so",
        },
        { host_bits: "refuse", max_change: "0" },
      ],
    );
  });

  it("refuses what does not fit together before it sends anything", async (test) => {
    const api = await standIn(test, imported());
    const file = listFile(test, LIST);
    for (const [args, words] of [
      [[], /takes the name of a set and one file/],
      [["drop"], /import NAME FILE, or - for/],
      [["drop", file, file], /one file/],
      [["no name", file], /wants the name of a set.*no name is none/],
      [["a\u001b[1m", file], /a\\u\{1b\}\[1m is none/],
      [["x".repeat(65), file], /1 to 64/],
      [["drop", file, "--format", "json"], /no format json\. Formats: netset spamhaus_drop/],
      [["drop", file, "--format", "csv"], /A csv wants its column/],
      [["drop", file, "--format", "aws", "--column", "1"], /aws has no columns/],
      [["drop", file, "--column", "0"], /--column wants a number from 1 to 1,000/],
      [["drop", file, "--column", "1001"], /--column wants/],
      [["drop", file, "--column", " ip"], /--column wants/],
      [["drop", file, "--column", "x".repeat(129)], /--column wants/],
      [["drop", file, "--host-bits", "clear"], /wants refuse or mask/],
      [
        ["drop", file, "--max-change", "10001"],
        /--max-change wants a whole number from 0 to 10,000/,
      ],
      [["drop", file, "--max-change", "-1"], /max-change/],
      [["drop", file, "--max-change", "1.5"], /--max-change wants/],
      [
        ["drop", file, "--max-prefixes", "0"],
        /--max-prefixes wants a whole number from 1 to 2,000,000/,
      ],
      [["drop", file, "-m", "x".repeat(501)], /longer than 500 bytes/],
      [["drop", file, "--yes"], /Unknown option '--yes'/],
      [["drop", `${file}.none`], /cannot be read: there is no such file/],
      [["drop", scratch(test)], /cannot be read: EISDIR/],
      [["drop", file, "--timeout", "0"], /--timeout wants seconds/],
    ]) {
      const { code, stdout, stderr } = clean(await api.run(["import", ...args]));
      assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, words);
      assert.ok(oneLine(stderr), stderr);
      assert.equal(stdout, "");
    }
    assert.deepEqual(api.requests, []);
  });

  it("refuses what is no list, or too long a one, before it sends anything", async (test) => {
    const api = await standIn(test, imported());
    const large = join(scratch(test), "large");
    writeFileSync(large, "");
    truncateSync(large, (64 << 20) + 1);
    for (const [args, words, input] of [
      [["drop", listFile(test, "")], /list\.txt is empty\.$/m],
      [["drop", "-"], /The standard input is empty\.$/m, ""],
      [["drop", large], /has 64\.0 MiB; at most 64 MiB are taken\. Make several sets/],
      [
        ["drop", "-"],
        /The standard input is larger than 64 MiB/,
        Buffer.alloc((64 << 20) + 1, "1"),
      ],
      [["drop", listFile(test, Buffer.from([0x1f, 0x8b, 8, 0]))], /packed \(gzip\)\. .*gunzip -c/],
      [["drop", "-"], /packed \(zip\)/, Buffer.from("PK\u0003\u0004")],
    ]) {
      const { code, stderr } = clean(await api.run(["import", ...args], { input }));
      assert.equal(code, 1, stderr);
      assert.match(stderr, words);
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("--json is the API's, also where it refuses", async (test) => {
    const body =
      '{"name":"drop", "generation":13,"state":"pending","changed":true,"read":1,"prefixes":1,"v4":1,"v6":0}';
    const api = await standIn(test, { "PUT /address-sets/drop": json(200, body) });
    const done = await api.run(["import", "drop", listFile(test, LIST), "--json"]);
    assert.deepEqual(done, { code: 0, stdout: `${body}\n`, stderr: "" });
    const answer = problem(422, "invalid-list", { list_reason: "empty", detail: "not one prefix" });
    const no = await standIn(test, { "PUT /address-sets/drop": answer });
    const refused = await no.run(["import", "drop", listFile(test, LIST), "--json"]);
    assert.equal(refused.code, 1);
    assert.equal(refused.stdout, `${answer.body}\n`);
  });
});

describe("a list that the gateway refuses", () => {
  const cases = [
    [
      "malformed",
      'line 2: found "x"; expected an address',
      /another format\? --format netset\|.*read as the feed's, or a netset\.$/,
    ],
    ["host-bits", 'line 1: "192.0.2.1/24" has bits set', /To clear those bits: --host-bits mask$/],
    ["oversized", "more than 1000000 prefixes", /--max-prefixes N, at most 2,000,000$/],
    ["oversized", "more than 33554432 bytes", /Make several sets of it\.$/],
    ["empty", "not one prefix", /npm run policy -- remove-set drop$/],
    [
      "shrunk",
      "90 prefixes after 1200: a change by more than 50 %",
      /Is it whole\? .*--max-change 93$/,
    ],
    [
      "grown",
      "3000 prefixes after 1000: a change by more than 50 %",
      /Is it right\? .*--max-change 200$/,
    ],
    ["grown", "2000000 prefixes after 1: more", /--max-change PERCENT$/],
    ["shrunk", "otherwise said", /--max-change PERCENT$/],
    ["short-prefix", "0.0.0.0/0 is shorter than /8", /take it out\.$/],
    ["private", "10.0.0.0/8 reaches into 10.0.0.0/8", /If they belong there: --allow-private$/],
    ["guarded", "192.0.2.0/24 reaches into 192.0.2.7/32", /"guard_list" in the policy\.$/],
    ["of-a-later-version", "who knows", /request id id-1\)\.$/],
  ];
  for (const [reason, detail, mend] of cases) {
    it(`${reason} (${detail}): names the mend`, async (test) => {
      const answer = problem(422, "invalid-list", { list_reason: reason, detail });
      const api = await standIn(test, { "PUT /address-sets/drop": answer });
      const { code, stdout, stderr } = clean(
        await api.run(["import", "drop", listFile(test, LIST)]),
      );
      assert.equal(code, 1);
      assert.equal(stdout, "");
      assert.ok(
        stderr.startsWith(`error: Refused (422 invalid-list, ${reason}: ${detail}; r`),
        stderr,
      );
      assert.match(stderr.trimEnd(), mend);
      assert.ok(oneLine(stderr), stderr);
    });
  }

  it("says as what it was read, where that was guessed", async (test) => {
    const answer = problem(422, "invalid-list", { list_reason: "malformed", detail: "line 2" });
    const api = await standIn(test, { "PUT /address-sets/drop": answer });
    const { stderr } = await api.run(["import", "drop", "-"], { input: '{"cidr":"x"}\n' });
    assert.match(stderr, /it was read as spamhaus_json\.$/m);
  });

  it("what it says cannot reach into the terminal, whatever it is", async (test) => {
    for (const more of [
      { list_reason: "shrunk\u001b[2J", detail: `\u202e\u0007${"y".repeat(5_000)}` },
      { list_reason: { toString: 1 }, detail: ["\u001b[2J"], request_id: { a: 1 } },
      { list_reason: "__proto__", detail: null, title: 7 },
    ]) {
      const api = await standIn(test, { "*": problem(422, "invalid-list", more) });
      const { code, stderr } = clean(await api.run(["import", "drop", listFile(test, LIST)]));
      assert.equal(code, 1);
      assert.match(stderr, /^error: Refused \(422 invalid-list/);
      assert.ok(oneLine(stderr) && stderr.length < 900, stderr);
    }
    const hostile = { name: "drop\u001b[2J", state: "\u009b31m\u202epublished" };
    const api = await standIn(test, imported(hostile));
    const { stdout } = clean(await api.run(["import", "drop", listFile(test, LIST)]));
    assert.match(stdout, /^drop\\u\{1b\}\[2J {2}1,180/);
    assert.match(stdout, /generation 13 \\u\{9b\}31m\\u\{202e\}published/);
  });
});

describe("other ends of an import", () => {
  for (const [status, reason, more, wanted, words] of [
    [401, "unauthenticated", {}, 3, /does not know this token/],
    [403, "forbidden", {}, 3, /may not do that/],
    [
      404,
      "no-such-endpoint",
      {},
      3,
      /has no admin API, or one without this .*needs module 0\.3\.0 there/,
    ],
    [
      412,
      "stale-base",
      { base: "12", active: "13" },
      1,
      /changed the sets at the same time\. Look/,
    ],
    [413, "too-large", {}, 1, /Refused \(413 too-large/],
    [429, "too-many-rejections", {}, 3, /Try again in 17 s/],
    [503, "control-unavailable", {}, 3, /staging cannot answer \(503/],
  ]) {
    it(`${status} ${reason}: exit code ${wanted}`, async (test) => {
      const answer = problem(status, reason, more, { "Retry-After": "17" });
      const api = await standIn(test, { "*": answer });
      const { code, stderr } = clean(await api.run(["import", "drop", listFile(test, LIST)]));
      assert.equal(code, wanted, stderr);
      assert.match(stderr, words);
      const isUnsure = /It is not known whether that was accepted. Look: npm run policy -- sets/;
      assert.equal(isUnsure.test(stderr), status === 503);
    });
  }

  it("a redirect is not followed", async (test) => {
    const elsewhere = await standIn(test);
    const moved = { status: 307, headers: { Location: elsewhere.url }, body: "" };
    const api = await standIn(test, { "*": moved });
    const { code, stderr } = clean(await api.run(["import", "drop", listFile(test, LIST)]));
    assert.equal(code, 3);
    assert.match(stderr, /redirects, and the token is not sent on/);
    assert.deepEqual(elsewhere.requests, []);
  });

  it("another server, that says 200 in JSON to everything", async (test) => {
    for (const body of ["{}", "null", '"x"', JSON.stringify({ ...IMPORTED, prefixes: "1" })]) {
      const api = await standIn(test, { "*": json(200, body) });
      const { code, stdout, stderr } = clean(
        await api.run(["import", "drop", listFile(test, LIST)]),
      );
      assert.equal(code, 3, body);
      assert.match(stderr, /answers 200, but not as the admin API does/);
      assert.equal(stdout, "");
    }
  });

  it("a token that a server repeats is hidden", async (test) => {
    const api = await standIn(test, imported({ seen: TOKEN }));
    const { stdout } = clean(await api.run(["import", "drop", listFile(test, LIST), "--json"]));
    assert.match(stdout, /weir_\[hidden\]/);
  });

  it("nobody there: nothing was sent, and that is certain", async (test) => {
    const api = await standIn(test);
    const [port] = await freePorts(1);
    const env = { ...api.env, EDGEWEIR_STAGING_URL: `http://127.0.0.1:${port}` };
    const args = ["import", "drop", listFile(test, LIST), "--env", "staging"];
    const { code, stderr } = clean(await command("policy", args, env));
    assert.equal(code, 3);
    assert.match(stderr, /cannot be reached: the connection was refused/);
    assert.ok(oneLine(stderr), stderr);
  });

  it("no answer, or a connection that breaks: it may have been made", async (test) => {
    for (const [answer, words] of [
      [SILENT, /did not answer within 0\.4 s/],
      [RESET, /cannot be reached: the connection broke/],
    ]) {
      const api = await standIn(test, { "*": answer });
      const args = ["import", "drop", listFile(test, LIST), "--timeout", "0.4"];
      const { code, stderr } = clean(await api.run(args));
      assert.equal(code, 3);
      assert.match(stderr, words);
      assert.match(stderr, /It is not known whether that was accepted/);
    }
  });
});

describe("policy refresh", () => {
  it("has the feed fetched, and shows what changed", async (test) => {
    const api = await standIn(test, refreshed());
    const { code, stdout, stderr } = clean(await api.run(["refresh", "drop"]));
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^drop {2}1,180 -> 1,200 prefixes \(\+20, \+1\.7 %\)\n {2}1,100 IPv4/);
    assert.deepEqual(api.lines(), ["POST /address-sets/drop/refresh"]);
    assert.equal(api.requests[0].body, "");
    const machine = await api.run(["refresh", "drop", "--json"]);
    assert.deepEqual(JSON.parse(machine.stdout), IMPORTED);
  });

  it("takes one name", async (test) => {
    const api = await standIn(test, refreshed());
    for (const args of [
      [],
      ["drop", "other"],
      ["../policy"],
      ["drop", "--yes"],
      ["drop", "-m", "x"],
    ]) {
      const { code, stderr } = clean(await api.run(["refresh", ...args]));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("a refusal names what the policy has to say, and the way around it", async (test) => {
    for (const [reason, detail, mend] of [
      [
        "shrunk",
        "90 prefixes after 1200: a",
        /Look at it\. .*-- import drop FILE --max-change 93$/,
      ],
      ["grown", "", /-- import drop FILE --max-change PERCENT$/],
      ["host-bits", "x", /"host_bits": "mask" in the feed/],
      ["private", "x", /"allow_private": true in the feed/],
      ["malformed", "x", /"format" of the feed/],
      ["oversized", "more than 9 bytes", /"max_bytes" of the feed/],
      ["oversized", "more than 9 prefixes", /"max_prefixes" of the feed/],
      ["guarded", "x", /"guard_list" in the policy/],
    ]) {
      const answer = problem(422, "invalid-list", { list_reason: reason, detail });
      const api = await standIn(test, { "*": answer });
      const { code, stderr } = clean(await api.run(["refresh", "drop"]));
      assert.equal(code, 1, stderr);
      assert.match(stderr.trimEnd(), mend);
      assert.ok(oneLine(stderr), stderr);
    }
  });

  it("no feed, or one that does not answer, is a no of the gateway", async (test) => {
    for (const [status, reason, words] of [
      [409, "no-feed", /^error: The policy gives drop no feed\. Import a list: npm run policy/],
      [
        502,
        "feed-unavailable",
        /^error: The feed of drop did not .*\(feed-unavailable: 503; request/,
      ],
      [404, "no-such-set", /^error: Refused \(404 no-such-set/],
    ]) {
      const api = await standIn(test, { "*": problem(status, reason, { detail: "503" }) });
      const { code, stderr } = clean(await api.run(["refresh", "drop"]));
      assert.equal(code, 1);
      assert.match(stderr, words);
      assert.ok(oneLine(stderr), stderr);
    }
  });

  it("waits longer than others, and as long as it is told", async (test) => {
    const api = await standIn(test, { "*": SILENT });
    const { code, stderr } = clean(await api.run(["refresh", "drop", "--timeout", "0.3"]));
    assert.equal(code, 3);
    assert.match(stderr, /did not answer within 0\.3 s/);
  });
});
