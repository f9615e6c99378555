// `npm run policy -- limits` and `reset` against a server that plays the admin API.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { clean, json, problem, standIn } from "./admin-stand-in.mjs";

const COUNTER = "0".repeat(31) + "7";
const report = json(200, {
  counters: [
    {
      route: "api",
      rule: "few",
      counter: COUNTER,
      counting: "exact",
      quota: { max: 100, window_ms: 900_000, burst: 100 },
      key: [{ part: "client", value: "192.0.2.7/32" }],
      state: { remaining: 0, retry_after_ms: 8_200, full_after_ms: 900_000 },
    },
  ],
});

const HEAD = "rule     key                  counting  left      again in  counter";
const ROW = `api/few  client=192.0.2.7/32  exact     0 of 100  9 s       ${COUNTER}`;

describe("policy limits", () => {
  it("shows the counters that are used most", async (test) => {
    const used = {
      counter: COUNTER,
      label: "api/few client=192.0.2.7/32",
      used: 1_200,
      refused: 3,
    };
    const api = await standIn(test, {
      "GET /limits": json(200, { counters: [used], unanswered: 2 }),
    });
    const { code, stdout, stderr } = clean(await api.run(["limits", "--limit", "5"]));
    assert.equal(code, 0, stderr);
    assert.equal(
      stdout,
      `rule and key                  used  refused  counter\napi/few client=192.0.2.7/32  1,200        3  ${COUNTER}\n`,
    );
    assert.match(stderr, /2 objects did not answer/);
    assert.deepEqual(api.requests[0].query, { limit: "5" });
  });

  it("shows what the counters of a client or request say", async (test) => {
    const api = await standIn(test, { "POST /limits/look": report });
    const { code, stdout } = clean(await api.run(["limits", "--client", "192.0.2.7"]));
    assert.equal(code, 0);
    assert.equal(stdout, `${HEAD}\n${ROW}\n`);
    const more = ["--client", "192.0.2.7", "-H", "X-Key: a", "--rule", "api/few"];
    await api.run(["limits", "https://www.example.org/x", ...more]);
    assert.deepEqual(
      api.requests.map(({ body }) => JSON.parse(body)),
      [
        { client: "192.0.2.7" },
        {
          request: {
            url: "https://www.example.org/x",
            client: "192.0.2.7",
            headers: [["X-Key", "a"]],
          },
          rule: "api/few",
        },
      ],
    );
  });

  it("sets a counter back by its name", async (test) => {
    const api = await standIn(test, { "POST /limits/reset": report });
    const args = ["reset", "--counter", COUNTER, "--rule", "api/few"];
    const { code, stdout, stderr } = clean(await api.run(args));
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `${HEAD}\n${ROW}\n`);
    assert.match(stderr, /Set back: 1 counter/);
    assert.deepEqual(JSON.parse(api.requests[0].body), { counter: COUNTER, rule: "api/few" });
  });

  it("names a counter by what its key holds", async (test) => {
    const api = await standIn(test, { "POST /limits/reset": report });
    const args = ["--rule", "api/few", "--client", "192.0.2.7"];
    const keys = ["--key", "header:X-User=a=b", "--key", "country=KR", "--key", "cookie:sid="];
    assert.equal(clean(await api.run(["reset", ...args, ...keys])).code, 0);
    assert.deepEqual(JSON.parse(api.requests[0].body), {
      client: "192.0.2.7",
      rule: "api/few",
      key: [
        { part: { header: "X-User" }, value: "a=b" },
        { part: "country", value: "KR" },
        { part: { cookie: "sid" }, value: "" },
      ],
    });
    for (const wrong of ["client=192.0.2.7", "header=ann", "country:KR=x", "header:X-User"]) {
      const { code, stderr } = clean(await api.run(["reset", ...args, "--key", wrong]));
      assert.equal(code, 2, wrong);
      assert.match(stderr, /--key wants PART=VALUE/);
    }
    assert.equal(api.requests.length, 1);
  });

  it("asks for what is missing, and tells what is not there", async (test) => {
    const api = await standIn(test, {
      "POST /limits/reset": problem(404, "no-such-counter"),
    });
    const wrong = clean(await api.run(["reset"]));
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /--client 192\.0\.2\.7/);
    assert.equal(api.requests.length, 0);
    const refused = clean(await api.run(["reset", "--client", "192.0.2.7"]));
    assert.equal(refused.code, 1);
  });
});
