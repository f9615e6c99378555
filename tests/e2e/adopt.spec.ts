// The first set, ban or purge of an environment that never pushed a policy: what it acts on becomes the first
// revision, and what was asked for acts in every isolate.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Admin, TOKENS, type Revision } from "./admin.ts";
import { FRESH, isHit } from "./caching.ts";
import { eventually } from "./expect.ts";
import { policy, route, using, type Gateway, type GatewayOptions } from "./mf.ts";
import { Origin } from "./origin.ts";
import { HOST, type Fields, type RawResponse } from "./raw.ts";

const PLAIN: Fields = [["Content-Type", "text/plain"]];
const LISTED = "198.51.100.9";
const BANNED = "192.0.2.60";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const document = (): object =>
  policy(
    origin.url,
    [route("near", "/n/*", { cache: { tiers: ["memory"] } }), route("all", "/*")],
    {
      refresh: { interval: "1s", source: "control" },
      address_sets: { drop: { stored: true } },
      ip_filter: {
        rules: [{ id: "drop", action: "deny", address_sets: ["drop"], on_failure: "open" }],
      },
    },
  );

interface Changed {
  sequence: number;
  state: string;
}

const statusOf = async (gateway: Gateway, client: string, isolate: number): Promise<number> =>
  (await gateway.fetch("/x", { client, isolate })).status;

const everywhere = async (gateway: Gateway, client: string, status: number): Promise<void> => {
  for (const isolate of [0, 1]) {
    await eventually(
      `${client} to get ${status} at isolate ${isolate}`,
      () => statusOf(gateway, client, isolate),
      (got) => got === status,
      20_000,
    );
  }
};

const revisions = async (admin: Admin): Promise<Revision[]> =>
  ((await admin.get("/policy/history")).json as { revisions: Revision[] }).revisions;

const importDrop = async (admin: Admin): Promise<Changed> => {
  const body = "198.51.100.0/24\n";
  const response = await admin.call("PUT", "/address-sets/drop", { body, fields: PLAIN });
  assert.equal(response.status, 200, response.text);
  return response.json as Changed;
};

const banOne = async (admin: Admin): Promise<Changed> => {
  const response = await admin.post("/bans", { network: BANNED, duration: "1h", reason: "why" });
  assert.equal(response.status, 200, response.text);
  return response.json as Changed;
};

describe("an environment without a revision", () => {
  const kinds: [string, () => GatewayOptions, string][] = [
    [
      "that acts on POLICY",
      () => ({ vars: { ...TOKENS, POLICY: JSON.stringify(document()) } }),
      "the variable policy",
    ],
    [
      "whose manifest a deployment wrote",
      () => ({ env: "staging", vars: TOKENS, policy: document() }),
      "the policy store",
    ],
  ];
  for (const [name, options, from] of kinds) {
    for (const [what, change, client] of [
      ["a set", importDrop, LISTED],
      ["a ban", banOne, BANNED],
    ] as const) {
      test(`${name}: ${what} acts in each isolate`, () =>
        using({ ...options(), isolates: 2 }, async (gateway) => {
          const admin = new Admin(gateway);
          await everywhere(gateway, client, 200);
          const done = await change(admin);
          assert.ok(done.sequence > 0, JSON.stringify(done));
          await everywhere(gateway, client, 403);
          await everywhere(gateway, "192.0.2.1", 200);
          const [first, ...more] = await revisions(admin);
          assert.deepEqual(more, []);
          assert.equal(first?.author, "edgeweir");
          assert.match(first.message, new RegExp(`taken over from ${from}`));
          // What was taken over is a revision as any: the next one is made for it.
          await admin.pushed(document(), "r1");
        }));
    }
  }

  for (const [name, options, from] of kinds) {
    test(`${name}: a purge acts in each isolate`, () =>
      using({ ...options(), isolates: 2 }, async (gateway) => {
        const admin = new Admin(gateway);
        const path = origin.serve((_, nth) => ({ fields: FRESH, body: String(nth) }), "/n");
        const bodyOf = async (isolate: number): Promise<string> =>
          (await gateway.fetch(path, { isolate })).text;
        const kept: string[] = [];
        for (const isolate of [0, 1]) {
          kept.push(await bodyOf(isolate));
          const again = async (): Promise<RawResponse> => gateway.fetch(path, { isolate });
          await eventually("a hit", again, isHit);
        }
        assert.deepEqual(kept, ["1", "2"]);
        const answer = await admin.post("/purge", { urls: [`http://${HOST}${path}`] });
        assert.equal(answer.status, 200, answer.text);
        assert.ok((answer.json as Changed).sequence > 0, answer.text);
        for (const isolate of [0, 1]) {
          await eventually(
            `isolate ${isolate} to ask the origin again`,
            () => bodyOf(isolate),
            (body) => !kept.includes(body),
            20_000,
          );
        }
        const [first, ...more] = await revisions(admin);
        assert.deepEqual(more, []);
        assert.match(first?.message ?? "", new RegExp(`taken over from ${from}`));
      }));
  }

  test("and without a policy has nothing to take over, and keeps what was asked for", () =>
    using({ env: "staging", vars: TOKENS, isolates: 2 }, async (gateway) => {
      const admin = new Admin(gateway);
      assert.deepEqual([(await banOne(admin)).sequence, await revisions(admin)], [0, []]);
      await admin.pushed(document(), "r0");
      await everywhere(gateway, "192.0.2.1", 200);
      await everywhere(gateway, BANNED, 403);
    }));
});
