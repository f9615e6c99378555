// What the two specs of the cache share: a gateway with a cache, and ways to ask until it answers.

import assert from "node:assert/strict";
import { eventually, sleep } from "./expect.ts";
import { Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { Origin, type Answer, type Plan } from "./origin.ts";
import type { Fields, RawResponse } from "./raw.ts";

/** Fresh for ten minutes. */
export const FRESH: Fields = [["Cache-Control", "max-age=600"]];

/** What the answer says of the cache. How long something is fresh that has not been a hit depends on
 * the moment, so it is left out. */
export const status = (response: RawResponse): string =>
  (response.field("cache-status") ?? "").replace(/(fwd=[^,]*?); ttl=-?\d+/, "$1");
export const isHit = (response: RawResponse): boolean =>
  /^edgeweir; hit; ttl=\d+$/.test(status(response));

export class Caching {
  readonly origin: Origin;
  readonly gateway: Gateway;

  private constructor(origin: Origin, gateway: Gateway) {
    this.origin = origin;
    this.gateway = gateway;
  }

  /** Starts with these routes besides. */
  static async start(...more: ReturnType<typeof route>[]): Promise<Caching> {
    const origin = await Origin.start();
    const gateway = await Gateway.start({
      isolates: 2,
      policy: policy(origin.url, [
        route("cached", "/c/*", { cache: { max_body: "64KiB" } }),
        {
          ...route("changed", "/m/*", { cache: {} }),
          match: { path: "/m/*", methods: ["GET", "HEAD"] },
        },
        route("changes", "/m/*"),
        route("uncached", "/u/*"),
        route("off", "/off/*", { cache: { mode: "off" } }),
        route("limited", "/limited/*", {
          cache: {},
          rate_limit: { rules: [{ id: "three", max: 3, window: "1h", counting: "local" }] },
        }),
        route("guarded", "/guarded/*", {
          cache: {},
          ip_filter: { rules: [{ id: "out", action: "deny", prefixes: ["203.0.113.0/24"] }] },
        }),
        ...more,
      ]),
    });
    return new Caching(origin, gateway);
  }

  async stop(): Promise<void> {
    await this.gateway.dispose();
    await this.origin.stop();
  }

  /** A path of its own on the route with a cache, answered so. */
  answer(answer: Answer): string {
    return this.origin.serve(answer, "/c");
  }

  /** A path of its own, answered by this plan; `{n}` in the body is the number of the request. */
  serve(plan: Plan, under = "/c"): string {
    return this.origin.serve(
      (_, nth) => ({ ...plan, body: String(plan.body ?? "body {n}").replace("{n}", String(nth)) }),
      under,
    );
  }

  /** Asks until the cache answers: storing goes on after the response. */
  untilHit(target: string, options: FetchOptions = {}): Promise<RawResponse> {
    return eventually(`a hit for ${target}`, () => this.gateway.fetch(target, options), isHit);
  }

  /** Has an answer that is fresh for two seconds stored, and waits until it is stale. */
  async untilStale(target: string, options: FetchOptions = {}): Promise<RawResponse> {
    const hit = await this.untilHit(target, options);
    await sleep(2_050);
    return hit;
  }

  /** Asks four times, with time between for what would be stored; nothing may be a hit. */
  async neverHit(target: string, options: FetchOptions = {}): Promise<RawResponse[]> {
    const seen: RawResponse[] = [];
    for (let nth = 0; nth < 4; nth += 1) {
      if (nth > 0) await sleep(30);
      const response = await this.gateway.fetch(target, options);
      assert.ok(!isHit(response), status(response));
      seen.push(response);
    }
    return seen;
  }
}
