// `npm run policy -- cache` and `warm` against a server that plays the admin API.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clean, json, listFile, oneLine, problem, standIn } from "./admin-stand-in.mjs";

const HOSTILE = "\u001b]0;x\u0007\u202e\r\n\u009b2J";
const time = new Date(Date.now() - 3 * 3_600_000 - 1_000).toISOString();
const shown = time.replace(/\.\d+Z$/, "Z");

const KEY = "https://cache.edgeweir.invalid/abc";
const ANSWER = {
  serves: "hit",
  status: 200,
  fields: [
    { name: "content-type", value: "text/html" },
    { name: "set-cookie", value: "(redacted, 20 bytes)" },
  ],
  size: 2_048,
  received: time,
  age: 1_800,
  lifetime: 3_600,
  ttl: 1_800,
  tags: ["front", "news"],
  began: 7,
};
const REPORT = {
  url: "https://www.example.com/x",
  method: "GET",
  revision: "r7",
  colo: "ICN",
  isolate: "0123456789abcdef",
  route: "pages",
  tiers: [
    { tier: "memory", upstream: "app", state: "none", key: KEY, unstorable: true },
    {
      tier: "location",
      upstream: "app",
      state: "stored",
      key: KEY,
      selected_by: [{ name: "accept-language", value: "de" }, { name: "cookie:theme" }],
      answer: ANSWER,
    },
  ],
};

describe("policy cache", () => {
  it("shows each tier, and what is stored there", async (test) => {
    const api = await standIn(test, { "GET /cache": json(200, REPORT) });
    const args = ["cache", REPORT.url, "--method", "HEAD", "-H", "Accept-Language: de"];
    const { code, stdout, stderr } = clean(await api.run(args));
    assert.deepEqual([code, stderr], [0, ""]);
    assert.deepEqual(stdout.split("\n"), [
      "GET https://www.example.com/x in location ICN, isolate 0123456789abcdef, policy r7",
      "  route pages",
      "  memory  nothing is stored",
      "    hit-for-miss  the last answer could not be kept",
      `    key           ${KEY}`,
      "  location  stored: 200, 2.0 KiB; such a request: hit",
      "    selected by    accept-language: de; cookie:theme: (none)",
      `    received       ${shown} (3 h ago)`,
      "    age            1,800 s of 3,600 s; ttl 1,800 s",
      "    tags           front news",
      "    began          when purge 7 was the newest",
      "    content-type:  text/html",
      "    set-cookie:    (redacted, 20 bytes)",
      `    key            ${KEY}`,
      "",
    ]);
    assert.deepEqual(api.requests[0].query, {
      url: REPORT.url,
      method: "HEAD",
      header: "Accept-Language: de",
    });
  });

  it("says which purge makes it void, and why the cache is not asked", async (test) => {
    const purged_by = { sequence: 9, scope: "tag", value: "news", soft: true };
    const answer = { ...ANSWER, serves: "stale", purged_by };
    const tiers = [{ tier: "memory", variant: "next", upstream: "b", state: "stored", key: KEY }];
    const report = { ...REPORT, because: "method", tiers: [{ ...tiers[0], answer }] };
    const api = await standIn(test, { "GET /cache": json(200, report) });
    const { stdout } = clean(await api.run(["cache", REPORT.url]));
    assert.match(stdout, /the cache is not asked: method/);
    assert.match(stdout, /memory \(next\) +stored: 200/);
    assert.match(stdout, /purged by +soft tag news, sequence 9/);
  });

  it("--json: what the gateway said; whatever that is, a terminal is safe", async (test) => {
    const api = await standIn(test, { "GET /cache": json(200, REPORT) });
    const machine = await api.run(["cache", REPORT.url, "--json"]);
    assert.deepEqual(machine, { code: 0, stdout: `${JSON.stringify(REPORT)}\n`, stderr: "" });
    const answer = {
      ...ANSWER,
      serves: HOSTILE,
      fields: [{ name: HOSTILE, value: HOSTILE }],
      tags: [HOSTILE],
    };
    const tier = { ...REPORT.tiers[1], tier: HOSTILE, key: HOSTILE, answer };
    const hostile = { ...REPORT, url: HOSTILE, colo: HOSTILE, route: HOSTILE, tiers: [tier] };
    const other = await standIn(test, { "GET /cache": json(200, hostile) });
    const { code, stdout } = await other.run(["cache", REPORT.url]);
    assert.equal(code, 0);
    assert.ok(
      !/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/.test(stdout),
      JSON.stringify(stdout),
    );
  });

  it("wants one URL, and an answer that is one", async (test) => {
    const api = await standIn(test, { "GET /cache": json(200, { tiers: "none" }) });
    for (const args of [[], ["/x"], ["a", "b"], ["ftp://a/"]]) {
      const { code, stdout, stderr } = clean(await api.run(["cache", ...args]));
      assert.equal(code, 2);
      assert.match(stderr, /cache takes one URL/);
      assert.ok(oneLine(stderr) && stdout === "", stderr);
    }
    const wrong = clean(await api.run(["cache", REPORT.url, "-H", "none"]));
    assert.equal(wrong.code, 2);
    assert.equal(clean(await api.run(["cache", REPORT.url])).code, 3);
    const old = await standIn(test, { "GET /cache": problem(404, "no-such-endpoint") });
    assert.match(clean(await old.run(["cache", REPORT.url])).stderr, /needs module 0\.3\.0 there/);
  });
});

const urls = (count) => Array.from({ length: count }, (_, at) => `https://www.example.com/${at}`);
const warmed = (...results) => json(200, { colo: "ICN", isolate: "0123456789abcdef", results });
const bodies = (api) => api.requests.map(({ body }) => JSON.parse(body));

describe("policy warm", () => {
  it("asks for the URLs of files and of the command line, twenty a call", async (test) => {
    const results = [
      { url: "https://www.example.com/0", outcome: "stored", status: 200 },
      { url: "https://www.example.com/1", outcome: "hit", status: 200 },
    ];
    const api = await standIn(test, { "POST /cache/warm": warmed(...results) });
    const file = listFile(test, `# pages\n${urls(40).join("\r\n")}\n\n`);
    const args = ["warm", "https://a.example/first", file, "-H", "Accept-Encoding: gzip"];
    const { code, stdout, stderr } = clean(await api.run(args));
    assert.deepEqual([code, stdout], [0, "3 stored, 3 there already\n"]);
    assert.equal(
      stderr,
      "Warmed was location ICN, isolate 0123456789abcdef. Other locations are not.\n",
    );
    const sent = bodies(api);
    assert.deepEqual(
      sent.map(({ urls }) => urls.length),
      [20, 20, 1],
    );
    assert.deepEqual(
      sent.flatMap(({ urls }) => urls),
      ["https://a.example/first", ...urls(40)],
    );
    assert.deepEqual(sent[0].headers, [["Accept-Encoding", "gzip"]]);
  });

  it("reads the standard input, and names what is not stored", async (test) => {
    const results = [
      { url: "https://www.example.com/0", outcome: "not-stored", status: 200, why: "set-cookie" },
      { url: "https://www.example.com/1", variant: "next", outcome: "not-stored", why: "deadline" },
      { url: "https://www.example.com/2", outcome: "stored", status: 200 },
    ];
    const api = await standIn(test, { "POST /cache/warm": warmed(...results) });
    const { code, stdout } = clean(await api.run(["warm", "-"], { input: urls(3).join("\n") }));
    assert.equal(code, 1);
    assert.deepEqual(stdout.split("\n"), [
      "not stored  https://www.example.com/0: set-cookie, 200",
      "not stored  https://www.example.com/1 (next): deadline",
      "1 stored, 0 there already, 2 not stored",
      "",
    ]);
    const machine = await api.run(["warm", ...urls(21), "--json"]);
    assert.equal(machine.code, 1);
    const lines = machine.stdout.trimEnd().split("\n");
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).results.length),
      [3, 3],
    );
  });

  it("sends nothing where something is no URL", async (test) => {
    const api = await standIn(test, { "POST /cache/warm": warmed() });
    const file = listFile(test, "https://a.example/\n/x\n");
    for (const [args, words] of [
      [[], /Say what to warm/],
      [[file], /line 2 of .* is no URL: \/x/],
      [["no-such-file"], /no-such-file cannot be read/],
      [["-", "-"], /one standard input/],
      [[listFile(test, "# nothing\n", "empty.txt")], /no URL in it/],
      [["https://a.example/", "-H", "none"], /-H wants/],
    ]) {
      const { code, stdout, stderr } = clean(await api.run(["warm", ...args], { input: "" }));
      assert.equal(code, 2, stderr);
      assert.match(stderr, words);
      assert.equal(stdout, "");
    }
    assert.deepEqual(api.requests, []);
  });
});
