// Explaining a request to the edge that would get it: the verdict of every stage, and no trace of
// having asked.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { accepted, Admin, READER, TOKENS } from "./admin.ts";
import { assertProblem, eventually, lineOf } from "./expect.ts";
import { Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

interface Stage {
  stage: string;
  verdict: string;
  rule?: string;
  prefix?: string;
  address_set?: string;
  reason?: string;
  rules?: { rule: string; state?: { remaining?: number } }[];
  identity?: Record<string, unknown>;
  canary?: Record<string, unknown>;
  cache?: Record<string, unknown>;
  upstream?: Record<string, unknown>;
}

interface Explanation {
  verdict: string;
  status?: number;
  reason?: string;
  uncertain: boolean;
  revision: string;
  route?: string;
  variant?: string;
  upstream?: string;
  stages: Stage[];
}

/** The stages in the order of the journey, as the design lists them. */
const JOURNEY = [
  "identity",
  "control",
  "entry.bans",
  "entry.ip_filter",
  "entry.rate_limit",
  "route",
  "ip_filter",
  "rate_limit",
  "canary",
  "cache",
  "upstream",
];

let origin: Origin;
let gateway: Gateway;
let admin: Admin;

const document = (): object =>
  policy(
    origin.url,
    [
      route("open", "/open/*", { cache: {} }),
      route("limited", "/limited/*", {
        rate_limit: {
          rules: [
            { id: "exact", max: 3, window: "1h" },
            { id: "local", max: 5, window: "1h", counting: "local" },
          ],
        },
      }),
      route("office", "/office/*", {
        ip_filter: {
          default: "deny",
          rules: [{ id: "office", action: "allow", address_sets: ["office"] }],
        },
      }),
      route("split", "/split/*", {
        canary: {
          variants: [
            { name: "stable", upstream: "app", weight: 0 },
            { name: "next", upstream: "next", weight: 100 },
          ],
        },
      }),
    ],
    {
      upstreams: { next: { origin: origin.url } },
      ip_filter: { rules: [{ id: "scanners", action: "deny", address_sets: ["scanners"] }] },
      address_sets: {
        scanners: { prefixes: ["198.51.100.0/24", "2001:db8:bad::/48"] },
        office: { prefixes: ["192.0.2.0/29"] },
      },
    },
  );

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({ env: "staging", vars: TOKENS });
  admin = new Admin(gateway);
  accepted(await admin.push(document(), "r0"));
  await eventually(
    "the policy",
    async () => (await lineOf(gateway, await gateway.fetch("/nowhere"))).revision,
    (revision) => revision === "r1",
  );
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

const ask = (body: object): Promise<RawResponse> => admin.post("/explain", body, { token: READER });

const explain = async (path: string, more: object = {}): Promise<Explanation> => {
  const response = await ask({ url: `https://gateway.test${path}`, client: "192.0.2.1", ...more });
  assert.equal(response.status, 200, response.text);
  return response.json as Explanation;
};

const stage = (explanation: Explanation, name: string): Stage => {
  const found = explanation.stages.find(({ stage }) => stage === name);
  assert.ok(found, `no stage ${name} in ${JSON.stringify(explanation.stages)}`);
  return found;
};

describe("a request that would be refused", () => {
  for (const [client, prefix] of [
    ["198.51.100.77", "198.51.100.0/24"],
    ["2001:db8:bad:1::1", "2001:db8:bad::/48"],
  ] as const) {
    test(`by the entry filter, down to ${prefix} and its set`, async () => {
      const explanation = await explain("/open/x", { client });
      assert.deepEqual(
        [explanation.verdict, explanation.status, explanation.reason, explanation.revision],
        ["refused", 403, "address-denied", "r1"],
      );
      const filter = stage(explanation, "entry.ip_filter");
      assert.deepEqual(
        [filter.verdict, filter.rule, filter.prefix, filter.address_set],
        ["deny", "scanners", prefix, "scanners"],
      );
      assert.equal(stage(explanation, "upstream").verdict, "not-reached");
      // What is explained is what happens.
      const real = await gateway.fetch("/open/x", { client });
      const { reason, stages } = await lineOf(gateway, real);
      assert.equal(reason, explanation.reason);
      const [logged] = stages ?? [];
      assert.deepEqual([logged?.rule, logged?.prefix], [filter.rule, filter.prefix]);
    });
  }

  test("by a route that only one set may use", async () => {
    const inside = await explain("/office/x");
    assert.equal(inside.verdict, "forwarded");
    assert.deepEqual(
      [stage(inside, "ip_filter").rule, stage(inside, "ip_filter").address_set],
      ["office", "office"],
    );
    const outside = await explain("/office/x", { client: "192.0.2.9" });
    assert.deepEqual([outside.verdict, outside.route], ["refused", "office"]);
    assert.equal(stage(outside, "ip_filter").verdict, "deny");
  });

  test("because nothing serves it", async () => {
    const explanation = await explain("/nowhere");
    assert.deepEqual(
      [explanation.verdict, explanation.status, explanation.reason],
      ["refused", 404, "no-route"],
    );
  });
});

describe("a request that would pass", () => {
  test("names every stage in the journey's order, the cache key and the upstream", async () => {
    const explanation = await explain("/open/page?b=2&a=1");
    assert.deepEqual(
      explanation.stages.map(({ stage }) => stage),
      JOURNEY,
    );
    assert.deepEqual(
      [explanation.verdict, explanation.route, explanation.upstream],
      ["cached-possible", "open", "app"],
    );
    assert.match(JSON.stringify(stage(explanation, "cache").cache), /gateway\.test/);
    assert.match(JSON.stringify(stage(explanation, "upstream").upstream), /127\.0\.0\.1/);
  });

  test("names the variant, and why", async () => {
    const explanation = await explain("/split/x");
    assert.deepEqual([explanation.upstream, explanation.variant], ["next", "next"]);
    assert.ok(stage(explanation, "canary").canary);
  });

  test("tells the state of each quota, and moves none", async () => {
    const remaining = async (): Promise<(number | undefined)[]> => {
      const { rules } = stage(await explain("/limited/x"), "rate_limit");
      return (rules ?? []).map(({ state }) => state?.remaining);
    };
    assert.deepEqual(await remaining(), [3, 5]);
    for (let nth = 0; nth < 20; nth += 1) await explain("/limited/x");
    assert.deepEqual(await remaining(), [3, 5]);
    assert.equal((await gateway.fetch("/limited/x")).status, 200);
    assert.deepEqual(await remaining(), [2, 4]);
    for (const status of [200, 200, 429]) {
      assert.equal((await gateway.fetch("/limited/x")).status, status);
    }
    const refused = await explain("/limited/x");
    assert.deepEqual(
      [refused.verdict, refused.status, refused.reason],
      ["refused", 429, "rate-limited"],
    );
    const other = await explain("/limited/x", { client: "192.0.2.2" });
    assert.equal(other.verdict, "forwarded");
  });
});

test("a document that is not active, and an earlier revision", async () => {
  const closed = { ...document(), routes: [] };
  const candidate = await explain("/open/x", { document: closed });
  assert.deepEqual([candidate.verdict, candidate.revision], ["refused", "candidate"]);
  const first = await explain("/open/x", { revision: "r1" });
  assert.deepEqual([first.verdict, first.revision], ["cached-possible", "r1"]);
  assertProblem(await ask({ url: "https://a.test/", revision: "r9" }), 404, "no-such-revision");
  const both = { url: "https://a.test/", revision: "r1", document: closed };
  assertProblem(await ask(both), 400, "invalid-body");
  const broken = { url: "https://a.test/", document: { version: 1, routes: 7 } };
  assertProblem(await ask(broken), 422, "invalid-policy");
});

test("what the platform would say of a request is taken, checked and shown", async () => {
  const said = {
    country: "DE",
    continent: "EU",
    asn: 64_496,
    tls_version: "TLSv1.3",
    tls_cipher: "AEAD-AES128-GCM-SHA256",
    bot_score: 7,
    verified_bot: true,
    verified_bot_category: "Search Engine Crawler",
  };
  const explanation = await explain("/open/x", said);
  assert.deepEqual(stage(explanation, "identity").identity?.platform, said);
  assert.equal(stage(await explain("/open/x"), "identity").identity?.platform, undefined);
  for (const wrong of [{ tls_version: "SSLv3" }, { bot_score: 100 }, { verified_bot: "yes" }])
    assertProblem(await ask({ url: "https://a.test/", ...wrong }), 400, "invalid-body");
});

test("as a text for people, when they ask for one", async () => {
  const body = { url: "https://gateway.test/open/x", client: "198.51.100.77" };
  const response = await admin.post("/explain", body, { fields: [["Accept", "text/plain"]] });
  assert.equal(response.field("content-type"), "text/plain; charset=utf-8");
  for (const part of ["entry.ip_filter", "scanners", "198.51.100.0/24", "address-denied"]) {
    assert.ok(response.text.includes(part), `${part} is missing in:\n${response.text}`);
  }
});

test("what is no request is refused, with paths", async () => {
  for (const [body, path] of [
    [{}, ""],
    [{ url: 7 }, "url"],
    [{ url: "/relative" }, "url"],
    [{ url: "https://a.test/", client: "somebody" }, "client"],
    [{ url: "https://a.test/", method: "NO SPACE" }, "method"],
    [{ url: "https://a.test/", headers: { "x y": "z" } }, undefined],
    [{ url: "https://a.test/", header: {} }, "header"],
    [{ url: "https://a.test/", revision: 7 }, "revision"],
  ] as const) {
    const response = await ask(body);
    assertProblem(response, 400, "invalid-body");
    const { problems } = response.json as { problems: { path: string }[] };
    assert.ok(problems.length > 0, JSON.stringify(body));
    if (path !== undefined) assert.equal(problems[0]?.path, path);
  }
});

test("no origin has heard of any of it", () => {
  // Those that were sent: the ones to /limited that were let through.
  assert.deepEqual(
    origin.requests.map(({ target }) => target),
    ["/limited/x", "/limited/x", "/limited/x"],
  );
});
