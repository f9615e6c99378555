// What was stored under one policy, under the next: before a real origin, in the memory of an isolate
// and in its location.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { FRESH, isHit, status } from "./caching.ts";
import { eventually, lineOf } from "./expect.ts";
import { policy, route, using } from "./mf.ts";
import { Origin } from "./origin.ts";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

test("a field that is ignored no more tells the answers apart, without a purge", async () => {
  const under = (vary: object): object =>
    policy(
      origin.url,
      [
        route("near", "/n/*", { cache: { tiers: ["memory"], vary } }),
        route("far", "/f/*", { cache: { tiers: ["location"], vary } }),
        route("both", "/b/*", { cache: { tiers: ["memory", "location"], vary } }),
      ],
      { refresh: { interval: "1s" } },
    );
  await using({ policy: under({ ignore: ["X-Shop"] }) }, async (gateway) => {
    const paths = ["/n", "/f", "/b"].map((route) =>
      origin.serve(
        ({ field }) => ({
          fields: [...FRESH, ["Vary", "X-Shop"]],
          body: `shop ${field("x-shop") ?? "none"}`,
        }),
        route,
      ),
    );
    const shop = (path: string, name: string) =>
      gateway.fetch(path, { fields: [["X-Shop", name]] });
    for (const path of paths) {
      const hit = await eventually("a hit", () => shop(path, "1"), isHit);
      assert.equal(hit.text, "shop none");
    }
    await gateway.publish(under({}), 2);
    await eventually(
      "the new policy",
      async () => (await lineOf(gateway, await gateway.fetch("/other"))).revision,
      (revision) => revision === "r2",
    );
    for (const path of paths) {
      for (const name of ["1", "2"]) {
        const first = await shop(path, name);
        assert.deepEqual([first.text, isHit(first)], [`shop ${name}`, false], status(first));
        const hit = await eventually("a hit", () => shop(path, name), isHit);
        assert.equal(hit.text, `shop ${name}`);
      }
    }
  });
});
