// Stage 1: who is calling? What stands in the log and what the origin is told must be the same.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertOneLineEach, assertRefused, lineOf, stages } from "./expect.ts";
import { Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { Fields } from "./raw.ts";
import {
  LENIENT,
  ATTACKS,
  CLAIMED,
  CONFIGURATIONS,
  PROXY,
  STRANGER,
  TRUSTED,
  XFF,
  type Attack,
} from "./strangers.ts";

let origin: Origin;
let unique = 0;

before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

/** Sends a request and gives the answer, its log line, and the fields that the origin got. */
async function send(gateway: Gateway, client: string | null, fields: Fields = []) {
  const path = `/identity/${(unique += 1)}`;
  const response = await gateway.fetch(path, { client, fields });
  const line = await lineOf(gateway, response);
  const [received] = origin.received(path);
  return { response, line, at: received };
}

describe("behind X-Forwarded-For", () => {
  let gateway: Gateway;
  before(async () => {
    const client_address = { trusted_hops: ["10.0.0.0/8", "2001:db8:aaaa::/48"] };
    const limit = { rules: [{ id: "one", max: 1, window: "1h", counting: "local" }] };
    gateway = await Gateway.start({
      policy: policy(
        origin.url,
        [route("all", "/*"), route("limited", "/limited", { rate_limit: limit })],
        {
          identity: { client_address },
        },
      ),
    });
  });
  after(() => gateway?.dispose());

  test("a stranger's chain is not read and not passed on", async () => {
    const { line, at } = await send(gateway, "192.0.2.7", [
      ["X-Forwarded-For", "198.51.100.1"],
      ["Forwarded", "for=198.51.100.2"],
    ]);
    assert.equal(line.client, "192.0.2.7");
    assert.equal(at?.field("x-forwarded-for"), "192.0.2.7");
    assert.equal(at?.field("forwarded"), 'for=192.0.2.7;host="gateway.test";proto=http');
  });

  const chains: [name: string, chain: string[], client: string][] = [
    ["no chain: the hop itself", [], PROXY],
    ["one entry", ["203.0.113.7"], "203.0.113.7"],
    ["over our own hops", ["203.0.113.7, 10.9.9.9, 2001:db8:aaaa::1"], "203.0.113.7"],
    ["not past the first stranger", ["10.3.3.3, 203.0.113.7, 10.9.9.9"], "203.0.113.7"],
    ["what stands left of it may be anything", ["<script>, 203.0.113.7"], "203.0.113.7"],
    ["our own hops only: the first of them", ["10.3.3.3, 10.9.9.9"], "10.3.3.3"],
    ["with a port", ["203.0.113.7:4711"], "203.0.113.7"],
    ["IPv6 in brackets with a port", ["[2001:db8::7]:443"], "2001:db8::7"],
    ["IPv4-mapped", ["::ffff:203.0.113.7"], "203.0.113.7"],
    ["several lines are one list", ["203.0.113.7", "10.9.9.9"], "203.0.113.7"],
  ];
  for (const [name, chain, client] of chains) {
    test(`a trusted hop's chain: ${name}`, async () => {
      const fields: Fields = chain.map((value) => ["X-Forwarded-For", value]);
      const { line, at } = await send(gateway, PROXY, fields);
      assert.equal(line.client, client);
      assert.equal(at?.field("x-forwarded-for"), [...chain, PROXY].join(", "));
    });
  }

  for (const chain of [
    "203.0.113.7, nonsense",
    "unknown",
    "203.0.113.7, 10.0.0.300",
    "[2001:db8::7",
  ]) {
    test(`a trusted hop's garbled chain is refused: ${chain}`, async () => {
      const { response, at } = await send(gateway, PROXY, [["X-Forwarded-For", chain]]);
      await assertRefused(gateway, response, 400, "client-address");
      assert.equal(at, undefined);
      await assertOneLineEach(gateway, [response]);
    });
  }

  for (const address of [
    null,
    "",
    "192.0.2",
    "192.0.2.1, 192.0.2.2",
    "localhost",
    "192.0.2.1:80",
    "::1%eth0",
  ]) {
    test(`without a usable address the request is refused: ${JSON.stringify(address)}`, async () => {
      const { response, at } = await send(gateway, address);
      const line = await assertRefused(gateway, response, 400, "client-address");
      assert.equal(line.client, undefined);
      assert.equal(at, undefined);
    });
  }

  test("an IPv4-mapped peer is an IPv4 address, and trusted as one", async () => {
    const stranger = await send(gateway, "::ffff:192.0.2.9");
    assert.equal(stranger.line.client, "192.0.2.9");
    assert.equal(stranger.at?.field("x-forwarded-for"), "192.0.2.9");
    const hop = await send(gateway, "::ffff:10.0.0.1", [["X-Forwarded-For", "203.0.113.7"]]);
    assert.equal(hop.line.client, "203.0.113.7");
  });

  test("an IPv6 peer stands quoted and in brackets in Forwarded", async () => {
    const { line, at } = await send(gateway, "2001:DB8:0:0::5");
    assert.equal(line.client, "2001:db8::5");
    assert.equal(at?.field("x-forwarded-for"), "2001:db8::5");
    assert.equal(at?.field("forwarded"), 'for="[2001:db8::5]";host="gateway.test";proto=http');
  });

  test("IPv6 clients are counted by /64", async () => {
    const status = async (client: string) => (await gateway.fetch("/limited", { client })).status;
    assert.equal(await status("2001:db8:1:1::1"), 200);
    assert.equal(await status("2001:db8:1:1:ffff::2"), 429);
    assert.equal(await status("2001:db8:1:2::1"), 200);
  });

  test("a trusted hop says what the first hop was asked", async () => {
    const fields: Fields = [
      ["X-Forwarded-For", "203.0.113.7"],
      ["X-Forwarded-Host", "shop.example.com"],
      ["X-Forwarded-Proto", "https"],
    ];
    const hop = await send(gateway, PROXY, fields);
    assert.equal(hop.at?.field("x-forwarded-host"), "shop.example.com");
    assert.equal(hop.at?.field("x-forwarded-proto"), "https");
    const stranger = await send(gateway, "192.0.2.7", fields);
    assert.equal(stranger.at?.field("x-forwarded-host"), "gateway.test");
    assert.equal(stranger.at?.field("x-forwarded-proto"), "http");
  });

  test("a request id is kept from a trusted hop, when it is well formed", async () => {
    for (const id of ["a", "abc_DEF-123", "x".repeat(128)]) {
      const { response, line, at } = await send(gateway, PROXY, [["X-Request-Id", id]]);
      assert.equal(response.field("x-request-id"), id);
      assert.equal(line.request_id, id);
      assert.equal(at?.field("x-request-id"), id);
    }
    for (const id of ["", "a b", "a.b", "x".repeat(129), "a\u00e9"]) {
      const { response, at } = await send(gateway, PROXY, [["X-Request-Id", id]]);
      assert.match(response.field("x-request-id") ?? "", /^[0-9a-f]{32}$/);
      assert.equal(at?.field("x-request-id"), response.field("x-request-id"));
    }
  });

  test("a stranger's request id is replaced, each time by another", async () => {
    const made = new Set<string | undefined>();
    for (let nth = 0; nth < 5; nth += 1) {
      const { response, line, at } = await send(gateway, "192.0.2.7", [["X-Request-Id", "chosen"]]);
      const id = response.field("x-request-id");
      assert.match(id ?? "", /^[0-9a-f]{32}$/);
      assert.deepEqual([line.request_id, at?.field("x-request-id")], [id, id]);
      made.add(id);
    }
    assert.equal(made.size, 5);
  });

  test("a trace is continued with a new parent", async () => {
    const trace = "0af7651916cd43dd8448eb211c80319c";
    const { line, at } = await send(gateway, "192.0.2.7", [
      ["traceparent", `00-${trace}-b7ad6b7169203331-01`],
      ["tracestate", "vendor=value"],
    ]);
    assert.equal(line.trace_id, trace);
    const [version, id, parent, flags] = at?.field("traceparent")?.split("-") ?? [];
    assert.deepEqual([version, id, flags], ["00", trace, "01"]);
    assert.match(parent ?? "", /^[0-9a-f]{16}$/);
    assert.notEqual(parent, "b7ad6b7169203331");
    assert.equal(at?.field("tracestate"), "vendor=value");
  });

  const malformed = [
    undefined,
    "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
    "nonsense",
  ];
  for (const traceparent of malformed) {
    test(`a trace is begun where there is none: ${traceparent}`, async () => {
      const fields: Fields = traceparent === undefined ? [] : [["traceparent", traceparent]];
      const { line, at } = await send(gateway, "192.0.2.7", [
        ...fields,
        ["tracestate", "vendor=value"],
      ]);
      const [version, id] = at?.field("traceparent")?.split("-") ?? [];
      assert.equal(version, "00");
      assert.match(id ?? "", /^[0-9a-f]{32}$/);
      assert.equal(line.trace_id, id);
      assert.ok(!traceparent?.includes(id ?? ""));
      assert.equal(at?.field("tracestate"), undefined);
    });
  }
});

describe("behind Forwarded, without a platform", () => {
  let gateway: Gateway;
  before(async () => {
    const client_address = {
      header: "X-Edge-Address",
      trusted_hops: ["10.0.0.0/8", "127.0.0.1/32"],
      chain: "Forwarded",
      on_missing: { address: "127.0.0.1" },
    };
    const identity = { client_address, ipv6_prefix: 56, request_id: { header: "X-Trace" } };
    const limit = { rules: [{ id: "one", max: 1, window: "1h", counting: "local" }] };
    gateway = await Gateway.start({
      policy: policy(
        origin.url,
        [route("all", "/*"), route("limited", "/limited", { rate_limit: limit })],
        {
          identity,
        },
      ),
    });
  });
  after(() => gateway?.dispose());

  const forwarded = async (value: string) => {
    const path = `/forwarded/${(unique += 1)}`;
    const response = await gateway.fetch(path, { client: null, fields: [["Forwarded", value]] });
    return { response, path };
  };
  const lastLine = async (path: string) =>
    gateway.log.find(`a line for ${path}`, () =>
      gateway.log.access.find((line) => line.path === path),
    );

  // What stands left of the client's element was written by strangers: it is
  // not passed on.
  for (const [value, client, passed] of [
    ["for=203.0.113.7", "203.0.113.7", "for=203.0.113.7"],
    [
      'for=203.0.113.7;proto=https, For="[2001:db8:aaaa::1]:4711"',
      "2001:db8:aaaa::1",
      'For="[2001:db8:aaaa::1]:4711"',
    ],
    [
      "for=203.0.113.7, for=10.0.0.9;by=10.0.0.1",
      "203.0.113.7",
      "for=203.0.113.7, for=10.0.0.9;by=10.0.0.1",
    ],
    ["for=_hidden, for=203.0.113.8", "203.0.113.8", "for=203.0.113.8"],
  ] as const) {
    test(`the assumed address is a trusted hop: ${value}`, async () => {
      const { path } = await forwarded(value);
      assert.equal((await lastLine(path)).client, client);
      const at = origin.only(path);
      assert.equal(
        at.field("forwarded"),
        `${passed}, for=127.0.0.1;host="gateway.test";proto=http`,
      );
      assert.equal(at.field("x-forwarded-for"), "127.0.0.1");
      assert.match(at.field("x-trace") ?? "", /^[0-9a-f]{32}$/);
    });
  }

  for (const value of [
    "for=unknown",
    "for=_hidden",
    "proto=https",
    'for="203.0.113.7',
    "for=a;for=b",
    "=",
    "for",
  ]) {
    test(`an element without a usable address is refused: ${value}`, async () => {
      const { response, path } = await forwarded(value);
      assert.equal(response.status, 400);
      assert.equal((await lastLine(path)).reason, "client-address");
    });
  }

  test("the field that the policy names counts, and CF-Connecting-IP does not", async () => {
    const response = await gateway.fetch("/x", {
      client: "192.0.2.50",
      fields: [["X-Edge-Address", "192.0.2.60"]],
    });
    const id = response.field("x-trace");
    assert.equal((await gateway.log.line(id)).client, "192.0.2.60");
  });

  test("a garbled address is refused even where a missing one is assumed", async () => {
    const response = await gateway.fetch("/x", {
      client: null,
      fields: [["X-Edge-Address", "nonsense"]],
    });
    assert.equal(response.status, 400);
  });

  test("the IPv6 prefix is the policy's", async () => {
    const status = async (address: string) =>
      (await gateway.fetch("/limited", { client: null, fields: [["X-Edge-Address", address]] }))
        .status;
    assert.equal(await status("2001:db8:1:100::1"), 200);
    assert.equal(await status("2001:db8:1:1ff::1"), 429);
    assert.equal(await status("2001:db8:1:200::1"), 200);
  });
});

/** A gateway with this identity, and a route with a filter that lets hops in and nobody else. */
async function startWith(client_address: object): Promise<Gateway> {
  const inside = { id: "inside", action: "allow", prefixes: ["10.0.0.0/8"] };
  const limit = { rules: [{ id: "one", max: 1, window: "1h", counting: "local" }] };
  const routes = [
    route("all", "/*"),
    route("inside", "/inside", { ip_filter: { default: "deny", rules: [inside] } }),
    route("limited", "/limited", { rate_limit: limit }),
  ];
  return Gateway.start({ policy: policy(origin.url, routes, { identity: { client_address } }) });
}

describe("a stranger", () => {
  for (const [name, address, arrival, expected = STRANGER] of CONFIGURATIONS) {
    test(`cannot choose its address: ${name}`, async () => {
      const gateway = await startWith(address);
      try {
        const attempt = async ({ name, fields }: Attack, merged: boolean) => {
          const arrived = arrival(fields, merged);
          const { response, line } = await send(gateway, arrived.client, arrived.fields);
          assert.equal(response.status, 200, name);
          assert.equal(line.client, expected, `${name}${merged ? ", merged" : ""}`);
          assert.equal((await gateway.fetch("/inside", arrived)).status, 403, name);
        };
        for (const attack of ATTACKS)
          await Promise.all([attempt(attack, false), attempt(attack, true)]);
      } finally {
        await gateway.dispose();
      }
    });
  }

  test("cannot send the platform's field beside the platform", async () => {
    const gateway = await startWith(TRUSTED);
    try {
      for (const name of ["CF-Connecting-IP", "cf-connecting-ip", "CF-CONNECTING-IP"]) {
        for (const value of [CLAIMED, STRANGER, "", "unknown"]) {
          const { response } = await send(gateway, STRANGER, [[name, value]]);
          await assertRefused(gateway, response, 400, "client-address");
        }
      }
    } finally {
      await gateway.dispose();
    }
  });
});

describe("hops by their number", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await startWith({ trusted_depth: 2 });
  });
  after(() => gateway?.dispose());
  const chain = (value: string): Fields => [
    [XFF, value],
    ["X-Request-Id", "chosen"],
    ["X-Forwarded-Proto", "https"],
  ];

  test("the origin hears of every hop, and the hops' word stands", async () => {
    const { response, line, at } = await send(
      gateway,
      PROXY,
      chain("6.6.6.6, 203.0.113.7, 10.9.9.9"),
    );
    assert.equal(line.client, "203.0.113.7");
    assert.equal(at?.field("x-forwarded-for"), "6.6.6.6, 203.0.113.7, 10.9.9.9, 10.0.0.1");
    assert.equal(at?.field("x-forwarded-proto"), "https");
    assert.equal(response.field("x-request-id"), "chosen");
  });

  for (const value of [
    "",
    ",",
    "203.0.113.7",
    "203.0.113.7,,",
    "unknown, 10.9.9.9",
    "x, 10.9.9.9",
  ]) {
    test(`a chain that does not reach as far is refused: ${JSON.stringify(value)}`, async () => {
      const { response, at } = await send(gateway, PROXY, chain(value));
      await assertRefused(gateway, response, 400, "client-address");
      assert.equal(at, undefined);
    });
  }

  // What docs/policy.md warns of: nothing shows that a request came over the hops.
  test("a client that comes past the hops chooses its address", async () => {
    const { line } = await send(gateway, STRANGER, [[XFF, "198.51.100.9, 198.51.100.10"]]);
    assert.equal(line.client, "198.51.100.9");
  });
});

describe("a chain that does not say who the client is", () => {
  const outcomes: [name: string, address: object, chain: string | null, outcome: string][] = [
    ["hops, absent", TRUSTED, null, "short"],
    ["hops, absent, refused", { ...TRUSTED, on_short_chain: "reject" }, null, "refused"],
    ["hops, empty", { ...TRUSTED, on_short_chain: "peer" }, " , ,", "short"],
    ["hops, garbled", TRUSTED, "unknown", "refused"],
    ["hops, garbled, the peer", { ...TRUSTED, on_garbled_chain: "peer" }, "6.6.6.6, x", "garbled"],
    ["hops, too many", { ...TRUSTED, ...LENIENT }, "10.0.0.9,".repeat(40), "garbled"],
    ["depth, absent", { trusted_depth: 1 }, null, "refused"],
    ["depth, absent, the peer", { trusted_depth: 1, on_short_chain: "peer" }, null, "short"],
    ["depth, short, the peer", { trusted_depth: 2, on_short_chain: "peer" }, "6.6.6.6", "short"],
    ["depth, garbled", { trusted_depth: 1, on_short_chain: "peer" }, "unknown", "refused"],
    ["depth, garbled, the peer", { trusted_depth: 1, ...LENIENT }, "6.6.6.6, unknown", "garbled"],
  ];
  for (const [name, address, chain, outcome] of outcomes) {
    test(name, async () => {
      const gateway = await startWith(address);
      try {
        const { response, line, at } = await send(
          gateway,
          PROXY,
          chain === null ? [] : [[XFF, chain]],
        );
        if (outcome === "refused") {
          await assertRefused(gateway, response, 400, "client-address");
          assert.equal(line.client, undefined);
          return;
        }
        assert.equal(response.status, 200);
        assert.equal(line.client, PROXY);
        assert.deepEqual(stages(line, "identity"), [{ stage: "identity", verdict: outcome }]);
        // What could not be read is not passed on.
        assert.equal(at?.field("x-forwarded-for"), PROXY);
      } finally {
        await gateway.dispose();
      }
    });
  }
});

describe("the forms of an address", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await startWith({ trusted_hops: ["10.0.0.0/8", "192.0.2.0/28"] });
  });
  after(() => gateway?.dispose());

  for (const [written, seen] of [
    ["::ffff:198.51.100.7", "198.51.100.7"],
    ["2002:c633:6407:1::1", "198.51.100.7"],
    ["64:ff9b::198.51.100.7", "198.51.100.7"],
    ["::198.51.100.7", "::c633:6407"],
    ["2001:0:c633:6407::1", "2001:0:c633:6407::1"],
    ["2002:a00:1::1", "2002:a00:1::1"],
    ["64:ff9b::10.0.0.1", "64:ff9b::a00:1"],
  ] as const) {
    test(`${written} is ${seen}, alone and in a chain`, async () => {
      const alone = await send(gateway, written, [[XFF, CLAIMED]]);
      assert.equal(alone.line.client, seen);
      assert.equal(alone.at?.field("x-forwarded-for"), seen);
      const inChain = await send(gateway, PROXY, [[XFF, `${CLAIMED}, [${written}]:4711`]]);
      assert.equal(inChain.line.client, seen);
      assert.equal((await gateway.fetch("/inside", { client: written })).status, 403);
    });
  }

  test("an embedded address is nobody's hop", async () => {
    for (const peer of ["2002:c000:201::1", "64:ff9b::192.0.2.1"]) {
      const { line } = await send(gateway, peer, [[XFF, CLAIMED]]);
      assert.equal(line.client, "192.0.2.1");
      const { line: through } = await send(gateway, PROXY, [[XFF, `${CLAIMED}, ${peer}`]]);
      assert.equal(through.client, "192.0.2.1");
    }
  });

  test("one client is counted once, in whatever form it comes", async () => {
    const status = async (client: string) => (await gateway.fetch("/limited", { client })).status;
    assert.equal(await status("2002:c633:6420::1"), 200);
    for (const form of [
      "198.51.100.32",
      "::ffff:198.51.100.32",
      "2002:c633:6420:9::",
      "64:ff9b::c633:6420",
    ])
      assert.equal(await status(form), 429, form);
    assert.equal(await status("198.51.100.33"), 200);
  });

  for (const refused of ["fe80::1%eth0", "010.0.0.1", "192.0.2.1:443", "[2001:db8::1]", "10.1"]) {
    test(`the platform's field with ${refused} is refused`, async () => {
      const { response } = await send(gateway, refused);
      await assertRefused(gateway, response, 400, "client-address");
    });
  }
});
