// Stages 3 and 5, what rules can say beyond prefixes: where a client is, labels, shares of clients,
// and how a refusal is answered.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertRefused, lineOf, stages } from "./expect.ts";
import { Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { Fields, RawResponse } from "./raw.ts";

interface Place {
  country?: string;
  continent?: string;
  asn?: number;
}

const EVERYBODY = ["0.0.0.0/0", "::/0"];
const deny = (id: string, more: object): object => ({ id, action: "deny", ...more });
const denying = (answer: object): object => ({
  ip_filter: { rules: [deny("all", { prefixes: EVERYBODY, answer })] },
});

let origin: Origin;
let gateway: Gateway;

before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({
    policy: policy(
      origin.url,
      [
        route("place", "/place", {
          ip_filter: {
            rules: [
              deny("sanctioned", { countries: ["KP", "T1"] }),
              deny("network", { asns: [64500], not: { prefixes: ["198.51.100.0/24"] } }),
              {
                id: "abroad",
                action: "deny",
                any: [{ continents: ["AN"] }, { countries: ["FR"], asns: [64501] }],
              },
              { id: "host", action: "allow", prefixes: ["203.0.113.7"] },
            ],
          },
        }),
        route("precedence", "/precedence", {
          ip_filter: {
            default: "deny",
            rules: [
              // Other rules stand first in the list, and prefixes go first all the same.
              { id: "country", action: "allow", countries: ["DE"] },
              deny("wide", { prefixes: ["203.0.113.0/24"] }),
              { id: "narrow", action: "allow", prefixes: ["203.0.113.128/25"] },
              { id: "twin", action: "allow", prefixes: ["203.0.113.0/24"] },
            ],
          },
        }),
        route("labels", "/labels", {
          ip_filter: {
            rules: [
              { id: "mark", action: "tag", tag: "suspect", prefixes: ["198.51.100.0/24"] },
              { id: "ok", action: "allow", prefixes: ["198.51.100.0/25"] },
              { id: "trial", action: "tag", tag: "trial", prefixes: EVERYBODY, mode: "shadow" },
            ],
          },
          rate_limit: {
            rules: [
              { id: "strict", tags: ["suspect"], max: 1, window: "1h", counting: "local" },
              { id: "trial", tags: ["trial"], max: 1, window: "1h", counting: "local" },
            ],
          },
        }),
        route("share", "/share", {
          ip_filter: { rules: [deny("some", { prefixes: EVERYBODY, percent: 25 })] },
        }),
        route("not-found", "/not-found", denying({ status: 404 })),
        route(
          "legal",
          "/legal",
          denying({ status: 451, body: "<p>No</p>", content_type: "text/html" }),
        ),
        route("busy", "/busy", denying({ status: 429, body: "later" })),
        route("silent", "/silent", denying({ status: 403, body: "" })),
        route("stage", "/stage", {
          ip_filter: { default: "deny", answer: { status: 404, body: "" }, rules: [] },
        }),
      ],
      { guard_list: ["203.0.113.250", "2001:db8:feed::/48"] },
    ),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

/** The platform's own metadata; no client can set it at the edge. */
const from = (place: Place): Fields => [["MF-CF-Blob", JSON.stringify(place)]];

const ask = (target: string, client: string, place?: Place): Promise<RawResponse> =>
  gateway.fetch(target, { client, ...(place ? { fields: from(place) } : {}) });

describe("where a client is", () => {
  for (const [client, place, rule] of [
    ["192.0.2.1", { country: "KP" }, "sanctioned"],
    ["192.0.2.1", { country: "T1" }, "sanctioned"],
    ["192.0.2.1", { country: "DE", continent: "EU", asn: 64500 }, "network"],
    ["198.51.100.1", { country: "DE", continent: "EU", asn: 64500 }, undefined],
    ["192.0.2.1", { continent: "AN" }, "abroad"],
    ["192.0.2.1", { country: "FR", asn: 64501 }, "abroad"],
    ["192.0.2.1", { country: "FR", asn: 64502 }, undefined],
    // What is not known is in no list.
    ["192.0.2.1", {}, undefined],
    ["192.0.2.1", undefined, undefined],
    ["192.0.2.1", { country: "kp", asn: -1 }, undefined],
    // A prefix goes before every other rule.
    ["203.0.113.7", { country: "KP" }, undefined],
  ] as const) {
    test(`${client} ${JSON.stringify(place)}: ${rule ?? "may"}`, async () => {
      const response = await ask("/place", client, place);
      if (rule === undefined) return assert.equal(response.status, 200);
      const line = await assertRefused(gateway, response, 403, "address-denied");
      assert.equal(stages(line, "ip_filter")[0]?.rule, rule);
    });
  }

  test("no field of a client says where it is", async () => {
    const fields: Fields = ["CF-IPCountry", "X-Country", "CF-Country", "X-Forwarded-Country"].map(
      (name) => [name, "KP"],
    );
    assert.equal((await gateway.fetch("/place", { fields })).status, 200);
  });
});

describe("one precedence", () => {
  for (const [client, country, status, rule] of [
    ["203.0.113.200", "DE", 200, "narrow"],
    ["203.0.113.1", "DE", 403, "wide"],
    ["192.0.2.1", "DE", 200, "country"],
    ["192.0.2.1", "AT", 403, undefined],
    ["203.0.113.250", "AT", 200, "narrow"],
  ] as const) {
    test(`${client} of ${country}: ${status} by ${rule ?? "default"}`, async () => {
      const response = await ask("/precedence", client, { country });
      assert.equal(response.status, status);
      assert.equal(stages(await lineOf(gateway, response), "ip_filter")[0]?.rule, rule);
    });
  }

  for (const client of ["203.0.113.250", "2001:db8:feed:1::1"]) {
    test(`nothing refuses ${client}, who is guarded`, async () => {
      for (const target of ["/stage", "/legal", "/share"]) {
        const response = await ask(target, client);
        assert.equal(response.status, 200, target);
      }
    });
  }
});

test("a label is a stricter limit for whom it names, and a shadow one is none", async () => {
  const statuses = async (client: string): Promise<number[]> => {
    const three = [1, 2, 3].map(() => ask("/labels", client));
    return (await Promise.all(three)).map(({ status }) => status).sort();
  };
  assert.deepEqual(await statuses("198.51.100.9"), [200, 429, 429]);
  assert.deepEqual(await statuses("192.0.2.77"), [200, 200, 200]);
  const response = await ask("/labels", "198.51.100.200");
  assert.deepEqual((await lineOf(gateway, response)).tags, ["suspect"]);
});

test("a share of the clients is always the same clients", async () => {
  const clients = Array.from({ length: 200 }, (_, index) => `10.1.${index % 5}.${index}`);
  const round = async (): Promise<number[]> =>
    Promise.all(clients.map(async (client) => (await ask("/share", client)).status));
  const [first, second] = [await round(), await round()];
  assert.deepEqual(first, second);
  const refused = first.filter((status) => status === 403).length;
  // 50 of 200 with a standard deviation of six.
  assert.ok(refused > 20 && refused < 80, `${refused} of 200`);
});

describe("what a refused client gets", () => {
  test("a 404 is the one of a path that nobody serves", async () => {
    const refused = await ask("/not-found", "192.0.2.1");
    const nowhere = await ask("/nowhere", "192.0.2.1");
    assert.equal(refused.status, 404);
    const stripped = (response: RawResponse): object => {
      const { request_id: _, ...problem } = response.json as Record<string, unknown>;
      return problem;
    };
    assert.deepEqual(stripped(refused), stripped(nowhere));
    // The log knows better.
    assert.equal((await lineOf(gateway, refused)).reason, "address-denied");
  });

  test("a body of its own, of its own type", async () => {
    const response = await ask("/legal", "192.0.2.1");
    assert.equal(response.status, 451);
    assert.equal(response.text, "<p>No</p>");
    assert.equal(response.field("content-type"), "text/html");
    assert.equal(
      (await ask("/busy", "192.0.2.1")).field("content-type"),
      "text/plain; charset=utf-8",
    );
  });

  for (const target of ["/silent", "/stage"]) {
    test(`no body at all: ${target}`, async () => {
      const response = await ask(target, "192.0.2.1");
      assert.ok([403, 404].includes(response.status));
      assert.equal(response.body.length, 0);
      assert.notEqual(response.field("x-request-id"), undefined);
    });
  }

  test("a HEAD has the head of it", async () => {
    const response = await gateway.fetch("/legal", { method: "HEAD" });
    assert.equal(response.status, 451);
    assert.equal(response.body.length, 0);
  });
});
