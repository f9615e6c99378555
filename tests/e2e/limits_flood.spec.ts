// A flood of random keys: what it uses up is nobody else's, and it loosens nobody's limit.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { sleep } from "./expect.ts";
import { flood } from "./flood.ts";
import { CLIENT, Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";

/** A file system in memory, where the machine has one with room: the objects write a hundred thousand
 * times. */
const MEMORY = "/dev/shm";

function hasMemory(): boolean {
  if (!existsSync(MEMORY)) return false;
  const { bavail, bsize } = statfsSync(MEMORY);
  return bavail * bsize > 512 << 20;
}

const limited = (counting: string, key: object[]): object => {
  // One comes back in five hours, and no window ends in the middle.
  const quota = { max: 5, window: "24h", algorithm: "gcra" };
  const failing = { on_failure: "closed", deadline: "5s" };
  const rule = { id: "l", ...quota, key, counting, ...failing };
  // Answers come from memory, since no origin is what this is about; hits count.
  const cache = { tiers: ["memory"] };
  return route(counting, `/${counting}/*`, { rate_limit: { rules: [rule] }, cache });
};

/** How many random keys. An exact count is a call and a write of the object for each of them: a hundred
 * thousand took eight minutes, with the same end. */
const KEYS = { local: 100_000, leased: 100_000, exact: 10_000 };

describe("random keys loosen nobody's limit", () => {
  let origin: Origin;
  let gateway: Gateway;
  let folder: string | undefined;
  before(async () => {
    origin = await Origin.start();
    const key = [{ header: "X-Key" }];
    gateway = await Gateway.start({
      isolates: 2,
      // What objects write need not outlive the machine.
      ...(hasMemory() && {
        persist: (folder = mkdtempSync(path.join(MEMORY, "edgeweir-"))),
      }),
      // A line for each of them would be most of the work.
      vars: { LOG_LEVEL: "error" },
      policy: policy(
        origin.url,
        Object.keys(KEYS).map((counting) => limited(counting, key)),
      ),
    });
  });
  after(async () => {
    await gateway?.dispose();
    await origin.stop();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  for (const [counting, count] of Object.entries(KEYS)) {
    test(`${counting}: ${count} keys`, async (context) => {
      const target = `/${counting}/x`;
      origin.on(target, { fields: [["Cache-Control", "max-age=3600"]] });
      const mine = async (isolate: number): Promise<number> => {
        const options: FetchOptions = { isolate, fields: [["X-Key", "mine"]] };
        return (await gateway.fetch(target, options)).status;
      };
      // The flood before has used up what may be asked in its last second.
      await sleep(1_100);
      const first = [];
      for (let nth = 0; nth < 16; nth += 1) first.push(await mine(nth % 2));
      const passed = first.filter((status) => status === 200).length;
      assert.equal(passed, counting === "local" ? 10 : 5);
      let isOver = false;
      const random = flood(target, {
        ports: gateway.ports,
        count,
        connections: 32,
        fields: (nth) => `CF-Connecting-IP: ${CLIENT}\r\nX-Key: random-${nth}\r\n`,
      }).finally(() => (isOver = true));
      // It is awaited below; until then it must not count as one that nobody handles.
      random.catch(() => {});
      while (!isOver) {
        assert.deepEqual([await mine(0), await mine(1)], [429, 429]);
        await sleep(200);
      }
      const seen = await random;
      // Whoever is new is counted with all others that are, where there are too many of them.
      const [others = 0, refused = 0] = [seen.get(200), seen.get(429)];
      context.diagnostic(`${others} passed, ${refused} refused`);
      assert.equal(others + refused, count);
      assert.ok(others > 0);
      assert.deepEqual([await mine(0), await mine(1)], [429, 429]);
    });
  }
});
