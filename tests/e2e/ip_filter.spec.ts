// Stages 3 and 5: may this address speak?

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertOneLineEach, assertRefused, lineOf, stages } from "./expect.ts";
import { Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";

const NESTED = {
  default: "deny",
  rules: [
    { id: "country", action: "allow", prefixes: ["198.51.0.0/16", "2001:db8::/32"] },
    { id: "network", action: "deny", prefixes: ["198.51.100.0/24", "2001:db8:1::/48"] },
    { id: "host", action: "allow", prefixes: ["198.51.100.7", "2001:db8:1::7/128"] },
    { id: "office", action: "allow", address_sets: ["office"] },
    { id: "twin", action: "deny", prefixes: ["192.0.2.0/24"] },
  ],
};

const SHADOWED = {
  default: "allow",
  rules: [
    { id: "trial", action: "deny", prefixes: ["198.51.100.0/24"], mode: "shadow" },
    { id: "wide", action: "allow", prefixes: ["198.51.0.0/16"] },
    { id: "real", action: "deny", prefixes: ["203.0.113.0/24"] },
    { id: "pardon", action: "allow", prefixes: ["203.0.113.7"], mode: "shadow" },
    { id: "unused", action: "deny", prefixes: ["192.0.2.0/24"], mode: "off" },
  ],
};

const DENY_ALL = { default: "deny", rules: [] };

let origin: Origin;
let gateway: Gateway;

before(async () => {
  origin = await Origin.start();
  const limit = { rules: [{ id: "one", max: 1, window: "1h", counting: "local" }] };
  gateway = await Gateway.start({
    policy: policy(
      origin.url,
      [
        route("nested", "/nested"),
        route("plain", "/plain"),
        route("shadowed", "/shadowed", { ip_filter: SHADOWED }),
        route("shadow-stage", "/shadow-stage", { ip_filter: { mode: "shadow", ...DENY_ALL } }),
        route("off-stage", "/off-stage", { ip_filter: { mode: "off", ...DENY_ALL } }),
        route("limited", "/limited", { ip_filter: { ...DENY_ALL }, rate_limit: limit }),
        route("own-rules", "/own-rules", { ip_filter: { default: "allow", rules: [] } }),
      ],
      {
        address_sets: { office: { prefixes: ["192.0.2.0/24", "2001:db8:ffff::/48"] } },
        ip_filter: {
          rules: [
            { id: "banned", action: "deny", prefixes: ["203.0.113.200/29", "2001:db8:bad::/48"] },
          ],
        },
        defaults: { ip_filter: NESTED },
      },
    ),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

describe("the longest prefix decides", () => {
  for (const [client, verdict, rule, prefix] of [
    ["198.51.7.1", "allow", "country", "198.51.0.0/16"],
    ["198.51.100.1", "deny", "network", "198.51.100.0/24"],
    ["198.51.100.7", "allow", "host", "198.51.100.7/32"],
    ["2001:db8:7::1", "allow", "country", "2001:db8::/32"],
    ["2001:db8:1::1", "deny", "network", "2001:db8:1::/48"],
    ["2001:db8:1::7", "allow", "host", "2001:db8:1::7/128"],
    // Of equally long ones, the first.
    ["192.0.2.1", "allow", "office", "192.0.2.0/24"],
    ["2001:db8:ffff::1", "allow", "office", "2001:db8:ffff::/48"],
    ["::ffff:198.51.100.1", "deny", "network", "198.51.100.0/24"],
    ["100.64.0.1", "deny", undefined, undefined],
    ["2001:db9::1", "deny", undefined, undefined],
  ] as const) {
    test(`${client}: ${verdict} by ${rule ?? "default"}`, async () => {
      const before = origin.requests.length;
      const response = await gateway.fetch("/nested", { client });
      const line =
        verdict === "deny"
          ? await assertRefused(gateway, response, 403, "address-denied")
          : await lineOf(gateway, response);
      assert.equal(response.status, verdict === "deny" ? 403 : 200);
      assert.equal(origin.requests.length - before, verdict === "deny" ? 0 : 1);
      const [noted] = stages(line, "ip_filter");
      assert.deepEqual([noted?.verdict, noted?.rule, noted?.prefix], [verdict, rule, prefix]);
    });
  }

  test("lists of a route replace those of defaults", async () => {
    assert.equal((await gateway.fetch("/own-rules", { client: "198.51.100.1" })).status, 200);
  });
});

describe("the entry rules hold for every request", () => {
  for (const client of ["203.0.113.200", "203.0.113.207", "2001:db8:bad::1"]) {
    for (const target of ["/own-rules", "/nowhere", "/own-rules/%2e%2e/x", "/%00"]) {
      test(`${client} may not ask for ${target}`, async () => {
        const response = await gateway.fetch(target, { client });
        const line = await assertRefused(gateway, response, 403, "address-denied");
        assert.equal(line.route, undefined);
        assert.equal(stages(line, "entry.ip_filter")[0]?.rule, "banned");
      });
    }
  }

  test("but an operator is not locked out of /_weir", async () => {
    assert.equal((await gateway.fetch("/_weir/health", { client: "203.0.113.200" })).status, 200);
  });

  test("the neighbour is not banned", async () => {
    assert.equal((await gateway.fetch("/own-rules", { client: "203.0.113.208" })).status, 200);
  });
});

describe("shadow rules", () => {
  test("one that would refuse is noted and lets pass", async () => {
    const response = await gateway.fetch("/shadowed", { client: "198.51.100.1" });
    assert.equal(response.status, 200);
    const [shadow, real] = stages(await lineOf(gateway, response), "ip_filter");
    assert.deepEqual([shadow?.verdict, shadow?.rule, shadow?.shadow], ["deny", "trial", true]);
    assert.deepEqual([real?.verdict, real?.rule, real?.shadow], ["allow", "wide", undefined]);
  });

  test("one that would pardon is noted and does not", async () => {
    const response = await gateway.fetch("/shadowed", { client: "203.0.113.7" });
    const line = await assertRefused(gateway, response, 403, "address-denied");
    const [shadow, real] = stages(line, "ip_filter");
    assert.deepEqual([shadow?.verdict, shadow?.rule, shadow?.shadow], ["allow", "pardon", true]);
    assert.deepEqual([real?.verdict, real?.rule], ["deny", "real"]);
  });

  test("one that changes nothing is not noted, one that is off is not asked", async () => {
    const response = await gateway.fetch("/shadowed", { client: "192.0.2.1" });
    assert.equal(response.status, 200);
    assert.equal(stages(await lineOf(gateway, response), "ip_filter").length, 1);
  });

  test("a whole stage in shadow is noted and lets pass", async () => {
    const response = await gateway.fetch("/shadow-stage");
    assert.equal(response.status, 200);
    const [noted] = stages(await lineOf(gateway, response), "ip_filter");
    assert.deepEqual([noted?.verdict, noted?.shadow], ["deny", true]);
  });

  test("a whole stage that is off is silent", async () => {
    const response = await gateway.fetch("/off-stage");
    assert.equal(response.status, 200);
    assert.deepEqual(stages(await lineOf(gateway, response), "ip_filter"), []);
  });
});

test("who is refused uses up nobody's quota and leaves one line", async () => {
  const refused = [await gateway.fetch("/limited"), await gateway.fetch("/limited")];
  for (const response of refused) {
    assert.equal(response.status, 403);
    assert.equal(response.field("ratelimit"), undefined);
  }
  await assertOneLineEach(gateway, refused);
});
