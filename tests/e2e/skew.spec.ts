// A deployment on its way: isolates and the Control object run different builds for a while, and a
// document waits until the oldest module can read it.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { accepted, Admin, OPERATOR, TOKENS } from "./admin.ts";
import { assertProblem, eventually, lineOf } from "./expect.ts";
import { Gateway, policy, route, using, VERSION, type Build } from "./mf.ts";
import { Origin } from "./origin.ts";

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

/** A document that the first module could read, and one that it could not. */
const old = (name: string): object =>
  policy(origin.url, [route(name, "/*")], { refresh: { interval: "1s" } });
const newer = (name: string): object =>
  policy(origin.url, [route(name, "/*")], { refresh: { interval: "1s", source: "control" } });

/** The protocol that a build speaks. */
const PROTOCOL: Record<Build, number> = { current: 3, previous: 2 };

const acts = (gateway: Gateway, name: string, isolate: number): Promise<unknown> =>
  eventually(
    `isolate ${isolate} to act on ${name}`,
    async () => (await lineOf(gateway, await gateway.fetch("/x", { isolate }))).route,
    (route) => route === name,
  );

for (const [control, other] of [
  ["current", "previous"],
  ["previous", "current"],
] as const) {
  describe(`the Control object runs the ${control} build, an isolate the ${other} one`, () => {
    let gateway: Gateway;
    let theirs: Admin;
    let ours: Admin;
    before(async () => {
      gateway = await Gateway.start({ env: "staging", vars: TOKENS, builds: [control, other] });
      // The first isolate runs the build of the object.
      ours = new Admin(gateway, OPERATOR, 0);
      theirs = new Admin(gateway, OPERATOR, 1);
    });
    after(() => gateway?.dispose());

    test("each speaks its own protocol, and the lower one of both with the other", async () => {
      for (const [version, least, answered] of [
        [1, 1, 1],
        [2, 1, 2],
        [3, 1, PROTOCOL[control]],
        [4, 1, PROTOCOL[control]],
      ] as const) {
        const answer = await gateway.askControl({ version, least, action: "status" });
        assert.deepEqual([answer.version, answer.refused], [answered, undefined]);
      }
      const unknown = await gateway.askControl({ version: 4, least: 4, action: "status" });
      assert.equal(unknown.refused?.reason, "unsupported-version");
      const tooOld = await gateway.askControl({ version: 0, least: 0, action: "status" });
      assert.equal(tooOld.refused?.reason, "unsupported-version");
      // What a later protocol adds is passed over.
      const more = await gateway.askControl({ action: "active", have: null, shade: "blue" });
      assert.equal(more.result?.none, true);
    });

    test("pushes, follows, is refused, and rolls back", async () => {
      assert.equal(accepted(await theirs.push(old("first"), "r0")).revision, "r1");
      for (const isolate of [0, 1]) await acts(gateway, "first", isolate);
      // From here on both ask the object itself.
      assert.equal(accepted(await ours.push(newer("second"), "r1")).revision, "r2");
      for (const isolate of [0, 1]) await acts(gateway, "second", isolate);
      assert.equal(accepted(await theirs.push(newer("third"), "r2")).revision, "r3");
      for (const isolate of [0, 1]) await acts(gateway, "third", isolate);

      const stale = await theirs.push(newer("stale"), "r2");
      assertProblem(stale, 412, "stale-base");
      const { base, active } = stale.json as { base: string; active: string };
      assert.deepEqual([base, active], ["r2", "r3"]);
      const invalid = await theirs.push({ version: 1, routes: 7 }, "r3");
      assertProblem(invalid, 422, "invalid-policy");
      assert.equal((invalid.json as { problems: object[] }).problems.length, 1);
      const owners = { ...newer("owners"), admin: { hosts: ["gateway.test"] } };
      assertProblem(await theirs.push(owners, "r3"), 403, "needs-owner");
      assertProblem(await theirs.rollback("r9", "r3"), 404, "no-such-revision");

      assert.equal(accepted(await theirs.rollback("r2", "r3")).revision, "r4");
      for (const isolate of [0, 1]) await acts(gateway, "second", isolate);
    });

    test("reads all that there is, the same through either", async () => {
      for (const target of [
        "/policy",
        "/policy?revision=r1",
        "/policy/history",
        "/policy/history?limit=2&before=r4",
        "/audit?limit=50",
        "/policy/diff?from=r1&to=r4",
      ]) {
        const [one, two] = [await ours.get(target), await theirs.get(target)];
        assert.deepEqual([one.status, two.status], [200, 200], target);
        assert.equal(one.text, two.text, target);
      }
      const reasons = (await theirs.audit()).reverse().map(({ reason }) => reason ?? "accepted");
      assert.deepEqual(reasons, [
        ...["accepted", "accepted", "accepted"],
        ...["stale-base", "invalid-policy", "needs-owner", "no-such-revision", "accepted"],
      ]);
      const health = (await theirs.get("/health")).json as {
        control: { active: string; oldest_module: string };
      };
      assert.deepEqual([health.control.active, health.control.oldest_module], ["r4", VERSION]);
    });

    test("has its parts from it", async () => {
      const pushed = await gateway.askControl({
        action: "push",
        base: "r4",
        document: JSON.stringify(newer("parts")),
        parts: ["a part"],
        author: "olaf",
        role: "operator",
      });
      assert.equal(pushed.result?.revision, "r5", JSON.stringify(pushed));
      for (const isolate of [0, 1]) await acts(gateway, "parts", isolate);
    });
  });
}

for (const builds of [
  ["current", "previous"],
  ["previous", "current"],
] as const) {
  test(`a limit is shared where the Limiter objects run the ${builds[0]} build`, async () => {
    const limit = (id: string, more: object): object => {
      const rules = [{ id: "few", max: 5, window: "1h", ...more }];
      return route(id, `/${id}`, { rate_limit: { rules } });
    };
    const shared = policy(origin.url, [
      limit("exact", { counting: "exact" }),
      limit("two", { counting: "exact", key: ["client", { header: "X-User" }] }),
    ]);
    await using({ builds, policy: shared }, async (gateway) => {
      for (const target of ["/exact", "/two"]) {
        const statuses: number[] = [];
        for (let nth = 0; nth < 8; nth += 1) {
          statuses.push((await gateway.fetch(target, { isolate: nth % 2 })).status);
        }
        assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429, 429, 429], target);
      }
    });
  });
}

test("what one build of the object stored, the other goes on with, forth and back", async () => {
  const persist = await mkdtemp(path.join(tmpdir(), "edgeweir-skew-"));
  try {
    const names: string[] = [];
    for (const [nth, build] of (["previous", "current", "previous"] as const).entries()) {
      const options = { env: "staging", vars: TOKENS, builds: [build], persist } as const;
      await using(options, async (gateway) => {
        const admin = new Admin(gateway);
        names.push(`push-${nth}`);
        await admin.pushed(newer(names[nth] ?? ""), `r${nth}`);
        await acts(gateway, names[nth] ?? "", 0);
        for (const [older, name] of names.entries()) {
          const document = await admin.get(`/policy?revision=r${older + 1}`);
          assert.deepEqual(document.json, newer(name));
        }
        assert.equal((await admin.audit()).length, nth + 1);
      });
    }
  } finally {
    await rm(persist, { recursive: true, force: true });
  }
});

describe("while an older module has been seen within a day", () => {
  let gateway: Gateway;
  let admin: Admin;
  before(async () => {
    gateway = await Gateway.start({ env: "staging", vars: TOKENS });
    admin = new Admin(gateway);
    await admin.pushed(old("first"), "r0");
    await admin.pushed(newer("second"), "r1");
    await admin.pushed(old("third"), "r2");
  });
  after(() => gateway?.dispose());

  const asOld = (message: object): ReturnType<Gateway["askControl"]> =>
    gateway.askControl({ version: 1, module: "0.1.0", ...message });

  test("it gets the newest revision that it can read", async () => {
    const first = await asOld({ action: "active", have: null });
    const { value } = first.result?.manifest as { value: string };
    const manifest = JSON.parse(value) as { revision: string; module: string };
    assert.deepEqual([manifest.revision, manifest.module], ["r3", "0.1.0"]);
    assert.equal(first.result?.behind, undefined);
  });

  test("a document that it could not read is refused, and both versions are named", async () => {
    const refusals = [
      await admin.push(newer("fourth"), "r3"),
      await admin.rollback("r2", "r3"),
      await admin.push({ $schema: "./policy.schema.json", ...old("fourth") }, "r3"),
    ];
    for (const response of refusals) {
      assertProblem(response, 409, "needs-newer-module");
      const { needs, oldest } = response.json as { needs: string; oldest: string };
      assert.deepEqual([needs, oldest], ["0.2.0", "0.1.0"]);
    }
    const audit = await admin.audit(3);
    assert.deepEqual(
      audit.map(({ reason }) => reason),
      Array(3).fill("needs-newer-module"),
    );
    assert.equal((await admin.history()).length, 3);
    const health = (await admin.get("/health")).json as { control: { oldest_module: string } };
    assert.equal(health.control.oldest_module, "0.1.0");
    // Whether it is a policy is another question.
    const validated = await admin.post("/policy/validate", newer("fourth"));
    assert.deepEqual(validated.json, { valid: true, module: "0.2.0" });
  });

  test("one that it can read is accepted", async () => {
    assert.equal((await admin.pushed(old("fourth"), "r3")).revision, "r4");
    assert.equal(accepted(await admin.rollback("r1", "r4")).revision, "r5");
  });

  test("the object being dropped from memory does not forget it", async () => {
    await gateway.evictControl();
    assertProblem(await admin.push(newer("sixth"), "r5"), 409, "needs-newer-module");
  });
});

test("a module too old for the active revision takes an older one, and is told so", async () => {
  await using({ env: "staging", vars: TOKENS }, async (gateway) => {
    const admin = new Admin(gateway);
    await admin.pushed(old("first"), "r0");
    await admin.pushed(newer("second"), "r1");
    const ask = async (version: number, have: number | null) =>
      (await gateway.askControl({ version, module: "0.1.0", action: "active", have })).result ?? {};
    const cold = await ask(2, null);
    const { value } = cold.manifest as { value: string };
    const { revision, sequence } = JSON.parse(value) as { revision: string; sequence: number };
    assert.equal(revision, "r1");
    assert.deepEqual(cold.behind, { revision: "r2", module: "0.2.0" });
    const warm = await ask(2, sequence);
    assert.deepEqual(warm, { unchanged: true, behind: { revision: "r2", module: "0.2.0" } });
    // The protocol before this one has no word for it.
    assert.deepEqual(await ask(1, sequence), { unchanged: true });
  });
});
