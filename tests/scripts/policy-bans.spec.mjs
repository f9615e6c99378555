// `npm run policy -- bans`, `ban`, `unban` and `address` against a server that plays the admin API.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clean, json, oneLine, problem, RESET, SILENT, standIn } from "./admin-stand-in.mjs";

const HOUR = 3_600_000;
const at = (span) => new Date(Date.now() + span).toISOString();
/** That time as it is shown. */
const shown = (text) => text.replace(/\.\d+Z$/, "Z");
const HOSTILE = "\u001b]0;x\u0007\u202e\r\n\u009b2J";

const until = at(26 * HOUR);
const since = at(-3 * HOUR - 1_000);

const BAN = {
  network: "192.0.2.7/32",
  until,
  since,
  reason: "guesses passwords",
  by: "ann",
  count: 2,
};

const WIDE = {
  network: "2001:db8:1:2::/64",
  until,
  since,
  reason: "scans",
  by: "trigger scanner",
  count: 1_100,
};

const acknowledged = (more = {}) =>
  json(200, {
    generation: 41,
    sequence: 1_764_300_003_000,
    state: "published",
    networks: ["192.0.2.7/32"],
    ...more,
  });

describe("policy bans", () => {
  const listed = (more = {}) => ({
    "GET /bans": json(200, { bans: [BAN, WIDE], more: false, total: 2, ...more }),
  });

  it("shows who is banned, until when and why", async (test) => {
    const api = await standIn(test, listed());
    const { code, stdout, stderr } = clean(await api.run(["bans"]));
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.split("\n"), [
      "network            until                          since                           count  by               reason",
      `192.0.2.7/32       ${shown(until)} (in 1 d)  ${shown(since)} (3 h ago)      2  ann              guesses passwords`,
      `2001:db8:1:2::/64  ${shown(until)} (in 1 d)  ${shown(since)} (3 h ago)  1,100  trigger scanner  scans`,
      "",
    ]);
    assert.equal(stderr, "");
    assert.deepEqual(api.requests[0].query, {});
  });

  it("says how to see more, and asks for it", async (test) => {
    const api = await standIn(test, listed({ more: true, total: 1_200 }));
    const { stderr } = clean(await api.run(["bans", "--limit", "2"]));
    assert.equal(stderr, "2 of 1,200; more: --after 2001:db8:1:2::/64\n");
    await api.run(["bans", "--after", "2001:db8:1:2::/64", "--address", "192.0.2.7"]);
    assert.deepEqual(
      api.requests.map(({ query }) => query),
      [{ limit: "2" }, { after: "2001:db8:1:2::/64", address: "192.0.2.7" }],
    );
  });

  it("an empty list is said", async (test) => {
    const api = await standIn(test, listed({ bans: [], total: 0 }));
    const none = clean(await api.run(["bans"]));
    assert.deepEqual(none, { code: 0, stdout: "", stderr: "Nobody is banned.\n" });
    const one = await api.run(["bans", "--address", "192.0.2.7"]);
    assert.equal(one.stderr, "192.0.2.7 is not banned.\n");
  });

  it("--json is the API's", async (test) => {
    const body = '{"bans":[], "more":false,"total":0}';
    const api = await standIn(test, { "GET /bans": json(200, body) });
    const done = await api.run(["bans", "--json"]);
    assert.deepEqual(done, { code: 0, stdout: `${body}\n`, stderr: "" });
  });

  it("refuses what cannot be asked", async (test) => {
    const api = await standIn(test, listed());
    for (const args of [
      ...[["192.0.2.7"], ["--address", "192.0.2.0/24"], ["--address", "fe80::1%eth0"]],
      ...[
        ["--limit", "0"],
        ["--limit", "1001"],
        ["--limit", "x"],
        ["--after", "r7"],
      ],
    ]) {
      const { code, stderr } = clean(await api.run(["bans", ...args]));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("no text of the server reaches into the terminal, and what is no answer is none", async (test) => {
    const bad = Object.fromEntries(
      ["network", "until", "since", "reason", "by"].map((name) => [name, HOSTILE]),
    );
    const api = await standIn(test, listed({ bans: [bad], more: true }));
    const { code, stdout, stderr } = clean(await api.run(["bans"]));
    assert.equal(code, 0);
    for (const text of [stdout, stderr]) {
      assert.doesNotMatch(text.replaceAll("\n", ""), /[\p{Cc}\u202e]/u);
    }
    assert.equal(stdout.trimEnd().split("\n").length, 2);
    assert.ok(oneLine(stderr), stderr);
    for (const wrong of [
      { bans: {} },
      { bans: [null] },
      { bans: [{ ...BAN, by: { toString: 1 } }] },
    ]) {
      const other = await standIn(test, listed(wrong));
      assert.equal(clean(await other.run(["bans"])).code, 3);
    }
    const silent = await standIn(test, { "*": SILENT });
    assert.equal((await silent.run(["bans", "--timeout", "0.3"])).code, 3);
  });
});

describe("policy ban", () => {
  it("bans an address or a prefix, for a time or until one", async (test) => {
    const api = await standIn(test, { "POST /bans": acknowledged() });
    const done = clean(await api.run(["ban", "192.0.2.7", "--for", "1h", "-m", "guesses"]));
    assert.equal(done.code, 0, done.stderr);
    assert.equal(done.stdout, "192.0.2.7/32 banned for 1h; bans 41 published\n");
    assert.equal(done.stderr, "");
    const args = ["--until", "2999-01-01T00:30:00+01:30", "-m", "x"];
    const later = clean(await api.run(["ban", "2001:db8::/32", ...args]));
    assert.match(
      later.stdout,
      /^192\.0\.2\.7\/32 banned until 2998-12-31T23:00:00Z \(in [\d,]+ d\); /,
    );
    assert.deepEqual(api.lines(), ["POST /bans", "POST /bans"]);
    assert.deepEqual(
      api.requests.map(({ body }) => JSON.parse(body)),
      [
        { network: "192.0.2.7", duration: "1h", reason: "guesses" },
        { network: "2001:db8::/32", until: "2998-12-31T23:00:00.000Z", reason: "x" },
      ],
    );
    assert.equal(api.requests[0].headers["content-type"], "application/json");
  });

  it("says that publishing is under way, and --json hands the answer on", async (test) => {
    const answer = acknowledged({ state: "pending", networks: [`a${HOSTILE}`, "b"] });
    const api = await standIn(test, { "POST /bans": answer });
    const args = ["ban", "192.0.2.7", "--for", "1h", "-m", "x"];
    const { stdout } = clean(await api.run(args));
    assert.match(stdout, /^a\\u\{1b\}.*, b banned for 1h; bans 41 pending; stored, and will be/);
    assert.ok(oneLine(stdout), stdout);
    const machine = await api.run([...args, "--json"]);
    assert.deepEqual(machine, { code: 0, stdout: `${answer.body}\n`, stderr: "" });
  });

  it("wants a network, an end and a reason, and names what was meant", async (test) => {
    const api = await standIn(test, { "POST /bans": acknowledged() });
    const good = ["192.0.2.7", "--for", "1h", "-m", "x"];
    const end = ["--for", "1h", "-m", "x"];
    for (const [args, words] of [
      [end, /ban takes one address or prefix\. npm run policy -- ban NETWORK --for 1h -m REASON/],
      [[...good, "192.0.2.8"], /takes one address or prefix/],
      [["example.com", ...end], /wants an address or a prefix such as/],
      [["192.0.2.7/24", ...end], /Give 192\.0\.2\.0\/24 for the network, or 192\.0\.2\.7 for/],
      [["2001:db8::1/32", ...end], /Give 2001:db8::\/32 for the network/],
      [["192.0.2.0/33", ...end], /length of 192\.0\.2\.0\/33 is none from 0 to 32/],
      [["192.0.2.7", "-m", "x"], /Say for how long: --for 1h, or --until/],
      [[...good, "--until", until], /Say for how long/],
      [["192.0.2.7", "--for", "1 hour", "-m", "x"], /--for wants a duration such as 90s/],
      [["192.0.2.7", "--for", "0s", "-m", "x"], /--for wants/],
      [["192.0.2.7", "--until", "tomorrow", "-m", "x"], /--until wants a time such as/],
      [["192.0.2.7", "--until", since, "-m", "x"], /--until \S+ \(3 h ago\) is over\./],
      [["192.0.2.7", "--for", "1h"], /Say why: the ban keeps it/],
      [["192.0.2.7", "--for", "1h", "-m", " "], /Say why/],
      [["192.0.2.7", "--for", "1h", "-m", "ä".repeat(251)], /longer than 500 bytes/],
      [[...good, "--yes"], /Unknown option '--yes'/],
    ]) {
      const { code, stdout, stderr } = clean(await api.run(["ban", ...args]));
      assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, words);
      assert.ok(oneLine(stderr), stderr);
      assert.equal(stdout, "");
    }
    assert.deepEqual(api.requests, []);
  });

  it("a refusal names the mend", async (test) => {
    for (const [status, reason, wanted, words] of [
      [
        409,
        "guarded",
        1,
        /192\.0\.2\.7 cannot be banned: the guard list .*-- address 192\.0\.2\.7$/,
      ],
      [409, "too-many-bans", 1, /no room for another ban \(too-many-bans: .*import NAME FILE$/],
      [400, "bad-request", 1, /Refused \(400 bad-request/],
      [403, "forbidden", 3, /This token may not do that/],
      [404, "no-such-endpoint", 3, /needs module 0\.3\.0 there/],
    ]) {
      const answer = problem(status, reason);
      const api = await standIn(test, { "POST /bans": answer });
      const args = ["ban", "192.0.2.7", "--for", "1h", "-m", "x"];
      const { code, stderr } = clean(await api.run(args));
      assert.equal(code, wanted, stderr);
      assert.match(stderr.trimEnd(), words);
      assert.ok(oneLine(stderr), stderr);
      assert.equal((await api.run([...args, "--json"])).stdout, `${answer.body}\n`);
    }
    const lost = await standIn(test, { "POST /bans": RESET });
    const { code, stderr } = clean(await lost.run(["ban", "::1", "--for", "1h", "-m", "x"]));
    assert.equal(code, 3);
    assert.match(stderr, /It is not known .* Look: npm run policy -- bans$/m);
    const other = await standIn(test, { "POST /bans": acknowledged({ networks: "x" }) });
    assert.equal((await other.run(["ban", "::1", "--for", "1h", "-m", "x"])).code, 3);
  });
});

describe("policy unban", () => {
  it("ends a ban", async (test) => {
    const api = await standIn(test, { "DELETE /bans": acknowledged({ generation: 42 }) });
    const { code, stdout, stderr } = clean(await api.run(["unban", "192.0.2.7", "-m", "a & b"]));
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "192.0.2.7/32 unbanned; bans 42 published\n");
    await api.run(["unban", "2001:db8::/32", "--json"]);
    assert.deepEqual(
      api.requests.map(({ query }) => query),
      [{ network: "192.0.2.7", message: "a & b" }, { network: "2001:db8::/32" }],
    );
  });

  it("says of what no ban was known", async (test) => {
    const answer = acknowledged({ generation: 43, unheard: ["192.0.2.7/32"] });
    const api = await standIn(test, { "DELETE /bans": answer });
    const { code, stdout, stderr } = clean(await api.run(["unban", "192.0.2.7"]));
    assert.deepEqual([code, stdout], [0, "192.0.2.7/32 unbanned; bans 43 published\n"]);
    assert.match(
      stderr,
      /^No ban of 192\.0\.2\.7\/32 was known; what a trigger made .* lifted, too\.$/m,
    );
  });

  it("refuses what is no network, and says where the ban may be", async (test) => {
    const api = await standIn(test, { "DELETE /bans": problem(404, "no-such-ban") });
    for (const args of [
      [],
      ["192.0.2.7", "192.0.2.8"],
      ["192.0.2.7/24"],
      ["x"],
      ["::1", "--for", "1h"],
    ]) {
      const { code, stderr } = clean(await api.run(["unban", ...args]));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
    const { code, stderr } = clean(await api.run(["unban", "192.0.2.0/24"]));
    assert.equal(code, 1);
    assert.match(stderr, /192\.0\.2\.0\/24 is not banned as such\. .*-- address 192\.0\.2\.0$/m);
  });
});

describe("policy address", () => {
  const REPORT = {
    address: "192.0.2.7",
    network: "192.0.2.7/32",
    revision: "r7",
    generation: 12,
    guarded_by: "192.0.2.0/28",
    sets: [
      {
        name: "drop",
        stored: true,
        prefix: "192.0.2.0/24",
        since,
        source: "https://lists.example/drop",
      },
      { name: "office", stored: false, prefix: "192.0.0.0/16" },
    ],
    bans: [{ ...BAN, by: "trigger scanner" }],
    decisions: [
      { stage: "entry.bans", action: "deny", because: "ban", prefix: "192.0.2.7/32" },
      {
        stage: "entry.ip_filter",
        action: "deny",
        because: "rule",
        rule: "listed",
        prefix: "192.0.2.0/24",
        address_set: "drop",
        since,
        source: "https://lists.example/drop",
        tags: ["x", "y"],
      },
      { stage: "ip_filter", route: "admin", action: "allow", because: "default" },
    ],
  };
  const reported = (more = {}) => ({
    "GET /address/192.0.2.7": json(200, { ...REPORT, ...more }),
  });

  it("prints why: guard list, bans, sets, and each stage in order", async (test) => {
    const api = await standIn(test, reported());
    const { code, stdout, stderr } = clean(await api.run(["address", "192.0.2.7"]));
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.split("\n"), [
      "192.0.2.7, counted as 192.0.2.7/32; policy r7, sets of generation 12",
      "guard list          192.0.2.0/28  nothing refuses it",
      `ban                 192.0.2.7/32  until ${shown(until)} (in 1 d), by trigger scanner, since ${shown(since)} (3 h ago): guesses passwords`,
      `set         drop    192.0.2.0/24  since ${shown(since)} (3 h ago), from https://lists.example/drop`,
      "set         office  192.0.0.0/16  in the policy",
      "by stage:",
      "  entry.bans          deny   ban, 192.0.2.7/32",
      "  entry.ip_filter     deny   rule listed, 192.0.2.0/24 of set drop, tags x y",
      "  ip_filter of admin  allow  default",
      "",
    ]);
    assert.equal(stderr, "");
    assert.equal(api.requests[0].headers.accept, "application/json");
  });

  it("tells what is in shadow, what is not there, and what the guard list is for", async (test) => {
    const decisions = [
      { stage: "entry.ip_filter", action: "deny", because: "rule", rule: "a", shadow: true },
      { stage: "ip_filter", route: "x", action: "unavailable", because: "rule", rule: "b" },
      {
        stage: "ip_filter",
        route: "y",
        action: "allow",
        because: "guard_list",
        rule: "listed",
        prefix: "192.0.2.0/28",
        address_set: "drop",
      },
    ];
    const api = await standIn(test, reported({ decisions }));
    const { stdout } = clean(await api.run(["address", "192.0.2.7"]));
    assert.deepEqual(stdout.split("\n").slice(-4), [
      "  entry.ip_filter  deny (shadow)  rule a",
      "  ip_filter of x   unavailable    rule b",
      "  ip_filter of y   allow          guard list, 192.0.2.0/28, not rule listed",
      "",
    ]);
  });

  it("of whom nothing is known it says that", async (test) => {
    const none = {
      guarded_by: undefined,
      sets: [],
      bans: [],
      decisions: [],
      generation: undefined,
    };
    const api = await standIn(test, {
      "GET /address/2001:db8::7": json(200, {
        ...REPORT,
        ...none,
        address: "2001:db8::7",
        network: null,
      }),
    });
    const { code, stdout } = clean(await api.run(["address", "2001:db8::7"]));
    assert.equal(code, 0);
    assert.equal(stdout, "2001:db8::7; policy r7\nin no set, and not banned\n");
  });

  it("--json is the API's", async (test) => {
    const body = JSON.stringify(REPORT, null, 1);
    const api = await standIn(test, { "GET /address/192.0.2.7": json(200, body) });
    const done = await api.run(["address", "192.0.2.7", "--json"]);
    assert.deepEqual(done, { code: 0, stdout: `${body}\n`, stderr: "" });
  });

  it("takes one address", async (test) => {
    const api = await standIn(test, reported());
    for (const args of [
      ...[[], ["192.0.2.7", "192.0.2.8"], ["192.0.2.0/24"], ["host.example"]],
      ...[["fe80::1%eth0"], ["../policy"], ["192.0.2.7", "--client", "x"]],
    ]) {
      const { code, stderr } = clean(await api.run(["address", ...args]));
      assert.equal(code, 2, args.join(" "));
      assert.ok(oneLine(stderr), stderr);
    }
    assert.deepEqual(api.requests, []);
  });

  it("no text of the server reaches into the terminal, and what is no answer is none", async (test) => {
    const bad = (names) => Object.fromEntries(names.map((name) => [name, HOSTILE]));
    const hostile = {
      ...bad(["address", "network", "revision", "guarded_by"]),
      sets: [{ stored: true, ...bad(["name", "prefix", "since", "source"]) }],
      bans: [bad(["network", "until", "since", "reason", "by"])],
      decisions: [
        {
          ...bad(["stage", "action", "because", "prefix", "address_set", "rule", "route"]),
          tags: [HOSTILE],
        },
      ],
    };
    const api = await standIn(test, reported(hostile));
    const { code, stdout } = clean(await api.run(["address", "192.0.2.7"]));
    assert.equal(code, 0);
    assert.doesNotMatch(stdout.replaceAll("\n", ""), /[\p{Cc}\u202e]/u);
    assert.equal(stdout.trimEnd().split("\n").length, 6);
    for (const wrong of [{ sets: {} }, { decisions: [1] }, { bans: 1 }, { revision: 7 }]) {
      const other = await standIn(test, reported(wrong));
      assert.equal(clean(await other.run(["address", "192.0.2.7"])).code, 3, JSON.stringify(wrong));
    }
    const silent = await standIn(test, { "*": SILENT });
    assert.equal((await silent.run(["address", "192.0.2.7", "--timeout", "0.3"])).code, 3);
  });
});
