// Where the policy comes from, and what happens when it is broken.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertNoPolicy, assertProblem, eventually, lineOf } from "./expect.ts";
import { Gateway, manifest, policy, route, using, VERSION } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

/** A policy whose one route says which policy it is. */
const saying = (name: string): object => policy(origin.url, [route(name, "/*")]);

const health = (gateway: Gateway): Promise<RawResponse> => gateway.fetch("/_weir/health");
const revision = async (gateway: Gateway): Promise<unknown> =>
  (await health(gateway)).json.revision;

describe("where it comes from", () => {
  test("locally, without any: the built-in demo", () =>
    using({}, async (gateway) => {
      assert.equal(await revision(gateway), "demo");
      // One of its rules; nothing is forwarded.
      assertProblem(await gateway.fetch("/", { client: "203.0.113.9" }), 403, "address-denied");
    }));

  test("locally: POLICY goes before the demo", () =>
    using({ vars: { POLICY: JSON.stringify(saying("variable")) } }, async (gateway) => {
      const response = await gateway.fetch("/x");
      assert.equal(response.status, 200);
      const line = await lineOf(gateway, response);
      assert.deepEqual([line.route, line.revision], ["variable", "variable"]);
    }));

  test("where no environment is named: POLICY, and no demo", async () => {
    const unnamed = { ENVIRONMENT: undefined };
    await using(
      { vars: { ...unnamed, POLICY: JSON.stringify(saying("variable")) } },
      async (gateway) => {
        assert.equal(await revision(gateway), "variable");
      },
    );
    await using({ vars: unnamed }, async (gateway) => {
      await assertNoPolicy(gateway, await gateway.fetch("/x"), /holds no manifest/);
    });
  });

  for (const env of ["staging", "production"] as const) {
    test(`in ${env}, without any: 503, and health says so`, () =>
      using({ env }, async (gateway) => {
        await assertNoPolicy(gateway, await gateway.fetch("/x?secret"), /holds no manifest/);
        const answer = await health(gateway);
        assert.equal(answer.status, 503);
        assert.deepEqual(answer.json, {
          status: "unavailable",
          version: VERSION,
          revision: "none",
        });
        assert.ok(answer.field("x-request-id"), "the answer has no request id");
        // Still, ever again: no request brings the gateway down.
        await assertNoPolicy(
          gateway,
          await gateway.fetch("/x%00", { host: "x" }),
          /holds no manifest/,
        );
      }));

    test(`in ${env}: POLICY only where POLICY_FALLBACK says so`, async () => {
      const POLICY = JSON.stringify(saying("variable"));
      await using({ env, vars: { POLICY } }, async (gateway) => {
        await assertNoPolicy(gateway, await gateway.fetch("/x"), /holds no manifest/);
      });
      await using({ env, vars: { POLICY, POLICY_FALLBACK: "variable" } }, async (gateway) => {
        assert.equal((await gateway.fetch("/x")).status, 200);
        assert.deepEqual((await health(gateway)).json, {
          status: "ok",
          version: VERSION,
          revision: "variable",
        });
      });
    });
  }

  test("the manifest goes before POLICY", () =>
    using(
      {
        env: "staging",
        policy: saying("manifest"),
        vars: { POLICY: JSON.stringify(saying("variable")), POLICY_FALLBACK: "variable" },
      },
      async (gateway) => {
        const line = await lineOf(gateway, await gateway.fetch("/x"));
        assert.deepEqual([line.route, line.revision], ["manifest", "r1"]);
      },
    ));

  test("a manifest written by hand needs neither metadata nor revision", () =>
    using({ env: "staging" }, async (gateway) => {
      await gateway.put(JSON.stringify({ format: 1, sequence: 42, policy: saying("by-hand") }));
      assert.equal(await revision(gateway), "s42");
    }));

  test("a cold isolate that is asked many things at once answers them all", () =>
    using({ policy: saying("cold") }, async (gateway) => {
      const answers = await Promise.all(Array.from({ length: 30 }, () => gateway.fetch("/x")));
      assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
    }));

  test("text in any language passes from the policy to the client", async () => {
    const rate_limit = {
      rules: [
        {
          id: "none",
          max: 1,
          window: "1h",
          counting: "local",
          message: "잠시 후 다시 시도해 주세요 — “천천히” 🙏",
        },
      ],
    };
    const korean = policy(origin.url, [route("limited", "/*", { rate_limit })]);
    for (const options of [{ policy: korean }, { vars: { POLICY: JSON.stringify(korean) } }]) {
      await using(options, async (gateway) => {
        await gateway.fetch("/x");
        const refused = await gateway.fetch("/x");
        assertProblem(refused, 429, "rate-limited");
        assert.equal(refused.json.detail, "잠시 후 다시 시도해 주세요 — “천천히” 🙏");
      });
    }
  });
});

describe("a broken one answers 503 and tells the log why", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ env: "staging" });
    // Each test waits until the isolate looks again: a second after it last did.
  });
  after(() => gateway?.dispose());

  const good = (): object => saying("good");
  const cases: [name: string, value: () => [string, unknown?], reason: RegExp][] = [
    ["not JSON", () => ["not JSON at all"], /manifest does not parse/],
    ["empty", () => [""], /manifest does not parse/],
    ["half of it", () => [manifest(good()).value.slice(0, -40)], /manifest does not parse/],
    [
      "another format",
      () => [JSON.stringify({ format: 2, sequence: 1, policy: good() })],
      /format 2/,
    ],
    [
      "for a newer module",
      () => [JSON.stringify({ format: 1, sequence: 1, module: "9.0.0", policy: good() })],
      /needs module "9\.0\.0"/,
    ],
    [
      "metadata of another value",
      () => [manifest(good()).value, { sequence: 1, hash: "0".repeat(64) }],
      /hash/,
    ],
    ["metadata of another sequence", () => [manifest(good()).value, { sequence: 2 }], /sequence/],
    [
      "several things wrong",
      () => [
        manifest({
          ...good(),
          surprise: true,
          upstreams: { app: { origin: "ftp://x" } },
          rate_limit: { rules: [{ id: "r", max: 0, window: "soon" }] },
          ip_filter: { rules: [{ id: "f", action: "deny", prefixes: ["300.0.0.0/8"] }] },
        }).value,
      ],
      /surprise[^]*ftp:\/\/x|ftp:\/\/x[^]*surprise/,
    ],
    ["reserved and not built", () => [manifest({ ...good(), bans: [] }).value], /bans/],
  ];
  for (const [name, value, reason] of cases) {
    test(name, async () => {
      const [text, metadata] = value();
      await gateway.put(text, metadata);
      const response = await eventually(
        "the isolate to look again",
        async () => {
          const answer = await gateway.fetch("/x");
          return { answer, error: (await lineOf(gateway, answer)).error ?? "" };
        },
        ({ error }) => reason.test(error),
      );
      const line = await assertNoPolicy(gateway, response.answer, reason);
      if (name === "several things wrong") {
        for (const path of [
          "surprise",
          "upstreams.app.origin",
          "rate_limit.rules[0].window",
          "ip_filter.rules[0].prefixes[0]",
        ]) {
          assert.ok(line.error?.includes(path), `${path} is missing in ${line.error}`);
        }
      }
    });
  }

  test("and the next good one is served", async () => {
    await gateway.publish(good(), 1);
    await eventually(
      "a good policy",
      async () => (await gateway.fetch("/x")).status,
      (status) => status === 200,
    );
  });

  test("a POLICY that is broken is no policy", () =>
    using({ vars: { POLICY: "{" } }, async (local) => {
      await assertNoPolicy(local, await local.fetch("/x"), /variable policy does not compile/);
    }));
});
