// Stage 11: which version answers? Each version is an origin that says its own name.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, lineOf, stages } from "./expect.ts";
import { Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { RawResponse } from "./raw.ts";

const variants = (stable: number, next: number): object[] => [
  { name: "stable", upstream: "app", weight: stable },
  { name: "next", upstream: "app_next", weight: next },
];
const sticky = { cookie: "weir_variant", max_age: "2h" };

let stable: Origin;
let next: Origin;
let gateway: Gateway;

before(async () => {
  stable = await Origin.start();
  next = await Origin.start();
  for (const [name, origin] of Object.entries({ stable, next })) {
    for (const path of ["sticky", "even", "none", "all", "plain", "shadow", "off"]) {
      origin.on(`/${path}`, { fields: [["X-Version", name]], body: name });
    }
    origin.on("/cached", {
      fields: [
        ["X-Version", name],
        ["Cache-Control", "max-age=600"],
      ],
      body: name,
    });
  }
  gateway = await Gateway.start({
    verbatim: true,
    policy: policy(
      stable.url,
      [
        route("sticky", "/sticky", { canary: { sticky, variants: variants(80, 20) } }),
        route("even", "/even", { canary: { sticky, variants: variants(50, 50) } }),
        route("none", "/none", { canary: { sticky, variants: variants(100, 0) } }),
        route("all", "/all", { canary: { sticky, variants: variants(0, 100) } }),
        route("plain", "/plain", { canary: { variants: variants(50, 50) } }),
        route("shadow", "/shadow", {
          canary: { mode: "shadow", sticky, variants: variants(0, 100) },
        }),
        route("off", "/off", { canary: { mode: "off", sticky, variants: variants(0, 100) } }),
        route("cached", "/cached", { canary: { sticky, variants: variants(50, 50) }, cache: {} }),
      ],
      { upstreams: { app_next: { origin: next.url } } },
    ),
  });
});
after(async () => {
  await gateway?.dispose();
  await stable?.stop();
  await next?.stop();
});

const address = (nth: number): string => `198.18.${nth >> 8}.${nth & 255}`;
const versionOf = (response: RawResponse): string | undefined => response.field("x-version");
const withCookie = (value: string, more: FetchOptions = {}): FetchOptions => ({
  ...more,
  fields: [["Cookie", value]],
});

/** The first client, by address, that gets this version. */
async function clientOf(target: string, version: string): Promise<string> {
  for (let nth = 0; nth < 64; nth += 1) {
    if (versionOf(await gateway.fetch(target, { client: address(nth) })) === version)
      return address(nth);
  }
  throw new Error(`no client of 64 gets ${version}`);
}

describe("the sticky cookie", () => {
  test("is set once, and keeps its client wherever it comes from", async () => {
    const first = await gateway.fetch("/sticky");
    const [cookie = "", ...others] = first.lines("set-cookie");
    assert.match(
      cookie,
      /^weir_variant=[0-9a-f]{8}; Path=\/; Max-Age=7200; HttpOnly; SameSite=Lax$/,
    );
    assert.deepEqual(others, []);
    const pair = cookie.split(";")[0] ?? "";
    for (let nth = 0; nth < 10; nth += 1) {
      const again = await gateway.fetch(
        "/sticky",
        withCookie(`a=b; ${pair}; c=d`, { client: address(nth) }),
      );
      assert.equal(versionOf(again), versionOf(first));
      assert.deepEqual(again.lines("set-cookie"), []);
    }
  });

  test("is Secure over https", async () => {
    const response = await gateway.fetch("/sticky", { scheme: "https" });
    assert.match(response.field("set-cookie") ?? "", /; SameSite=Lax; Secure$/);
  });

  test("holds a number and no version: shares decide, not clients", async () => {
    for (const value of ["00000000", "ffffffff", "12345678"]) {
      assert.equal(
        versionOf(await gateway.fetch("/none", withCookie(`weir_variant=${value}`))),
        "stable",
      );
      assert.equal(
        versionOf(await gateway.fetch("/all", withCookie(`weir_variant=${value}`))),
        "next",
      );
    }
  });

  for (const value of ["next", "", "0000000G", "0123456789", "ABCDEF01", '"', "%00"]) {
    test(`a garbled one is replaced: ${JSON.stringify(value)}`, async () => {
      const response = await gateway.fetch("/sticky", withCookie(`weir_variant=${value}`));
      assert.equal(response.status, 200);
      assert.match(response.field("set-cookie") ?? "", /^weir_variant=[0-9a-f]{8};/);
    });
  }

  test("stands beside the origin's own cookies", async () => {
    stable.on("/none", {
      fields: [
        ["Set-Cookie", "a=1"],
        ["Set-Cookie", "b=2; Expires=Wed, 01 Jan 2031 00:00:00 GMT"],
      ],
    });
    const lines = (await gateway.fetch("/none")).lines("set-cookie");
    assert.deepEqual(lines.slice(0, 2), ["a=1", "b=2; Expires=Wed, 01 Jan 2031 00:00:00 GMT"]);
    assert.match(lines[2] ?? "", /^weir_variant=/);
    assert.equal(lines.length, 3);
  });
});

describe("the choice", () => {
  test("follows the weights", async () => {
    const clients = 500;
    const seen: (string | undefined)[] = [];
    for (let nth = 0; nth < clients; nth += 20) {
      const batch = Array.from({ length: 20 }, (_, more) =>
        gateway.fetch("/sticky", { client: address(nth + more) }),
      );
      seen.push(...(await Promise.all(batch)).map(versionOf));
    }
    const share = seen.filter((version) => version === "next").length / clients;
    assert.equal(
      seen.filter((version) => version === "stable" || version === "next").length,
      clients,
    );
    // The addresses and the hash are fixed, so this is too; four standard deviations of 20 % are 7 %.
    assert.ok(share > 0.13 && share < 0.27, `${share}`);
  });

  test("is the log's, and the origin's that answers", async () => {
    for (const version of ["stable", "next"]) {
      const client = await clientOf("/even", version);
      const response = await gateway.fetch("/even", { client });
      const line = await lineOf(gateway, response);
      assert.deepEqual(
        [line.variant, line.upstream],
        [version, version === "next" ? "app_next" : "app"],
      );
      assert.equal(response.text, version);
    }
  });

  test("without a cookie follows the client's network, and sets none", async () => {
    for (const version of ["stable", "next"]) {
      const client = await clientOf("/plain", version);
      for (let nth = 0; nth < 3; nth += 1) {
        const response = await gateway.fetch("/plain", { client });
        assert.equal(versionOf(response), version);
        assert.equal(response.field("set-cookie"), undefined);
      }
    }
    const two = await Promise.all(
      ["2001:db8:5:5::1", "2001:db8:5:5:ffff::2"].map((client) =>
        gateway.fetch("/plain", { client }),
      ),
    );
    assert.equal(versionOf(two[0] as RawResponse), versionOf(two[1] as RawResponse));
  });

  test("in shadow is noted, and the route's upstream answers", async () => {
    const response = await gateway.fetch("/shadow");
    assert.equal(versionOf(response), "stable");
    assert.equal(response.field("set-cookie"), undefined);
    const line = await lineOf(gateway, response);
    assert.equal(line.variant, "next");
    assert.deepEqual(stages(line, "canary"), [
      { stage: "canary", verdict: "choose", rule: "next", shadow: true },
    ]);
  });

  test("that is off is not there", async () => {
    const response = await gateway.fetch("/off");
    assert.equal(versionOf(response), "stable");
    assert.equal((await lineOf(gateway, response)).variant, undefined);
  });

  test("comes before the cache: no version is served to the other's clients", async () => {
    const clients = {
      stable: await clientOf("/cached", "stable"),
      next: await clientOf("/cached", "next"),
    };
    for (const [version, client] of Object.entries(clients)) {
      const hit = await eventually(
        `a hit of ${version}`,
        () => gateway.fetch("/cached", { client }),
        (response) => response.field("cache-status")?.includes("; hit") ?? false,
      );
      assert.equal(hit.text, version);
      // The cookie is made for this client, not taken from the stored answer.
      assert.equal(hit.lines("set-cookie").length, 1);
    }
    const before = stable.requests.length + next.requests.length;
    const [cookie = ""] = (await gateway.fetch("/cached", { client: clients.next })).lines(
      "set-cookie",
    );
    const other = await gateway.fetch(
      "/cached",
      withCookie(cookie.split(";")[0] ?? "", { client: clients.stable }),
    );
    assert.match(other.field("cache-status") ?? "", /; hit/, "our own cookie is no credential");
    assert.equal(other.text, "next");
    assert.deepEqual(other.lines("set-cookie"), []);
    assert.equal(stable.requests.length + next.requests.length, before);
  });
});
