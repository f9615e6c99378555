// Purges: from the admin API to the manifest, and from there to isolates that nobody has told.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Admin, OPERATOR, READER, TOKENS } from "./admin.ts";
import { assertProblem, eventually } from "./expect.ts";
import { Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";

/** How long a purge may take to the manifest and from there to an isolate that asks every second. */
const MANIFEST = 20_000;

interface Purged {
  sequence: number;
  state: "published" | "pending";
  purged: number;
  overflowed?: boolean;
}

interface Listed {
  sequence: number;
  scope: string;
  value?: string;
  soft: boolean;
  time: string;
  by: string;
}

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

for (const source of ["kv", "control"]) {
  describe(`two isolates that follow ${source}`, () => {
    let gateway: Gateway;
    let here: Admin;
    let there: Admin;
    before(async () => {
      gateway = await Gateway.start({ env: "staging", vars: TOKENS, isolates: 2 });
      here = new Admin(gateway);
      there = new Admin(gateway, READER, 1);
      const refresh = { interval: "1s", source };
      const routes = [route("cached", "/c/*", { cache: {} }), route("all", "/*")];
      await here.pushed(policy(origin.url, routes, { refresh }), "r0");
      for (const admin of [here, there]) {
        await eventually(
          "the policy to act",
          async () => (await admin.get("/health")).json as { revision: string },
          ({ revision }) => revision === "r1",
          MANIFEST,
        );
      }
    });
    after(() => gateway?.dispose());

    /** A purge that has to be accepted. */
    const purged = async (order: object): Promise<Purged> => {
      const answer = await here.post("/purge", order);
      assert.equal(answer.status, 200, answer.text);
      return answer.json as Purged;
    };

    /** The newest purge that an isolate knows. */
    const known = async (admin: Admin): Promise<number | undefined> =>
      ((await admin.get("/health")).json as { newest_purge?: number }).newest_purge;

    const list = async (query = ""): Promise<{ purges: Listed[]; more: boolean; total: number }> =>
      (await there.get(`/purges${query}`)).json as never;

    /** What the manifest of the policy store holds. */
    const shown = async (): Promise<object[]> => {
      const manifest = JSON.parse((await gateway.active()) ?? "{}") as {
        purges?: { records: object[] };
      };
      return manifest.purges?.records ?? [];
    };

    test("a purge acts at once where it is asked, and elsewhere with the manifest", async () => {
      assert.equal(await known(here), undefined);
      assert.deepEqual(await shown(), []);
      const {
        sequence,
        state,
        purged: count,
      } = await purged({
        urls: ["https://WWW.example.com:443/x?b=2&a=1"],
        prefixes: ["https://www.example.com/blog/"],
        tags: ["News", "news"],
        message: "a typo",
      });
      assert.equal(count, 3);
      assert.ok(["published", "pending"].includes(state), state);
      assert.equal(await known(here), sequence);
      const records = await eventually(
        "the manifest to hold the purges",
        shown,
        (records) => records.length === 3,
        MANIFEST,
      );
      assert.deepEqual(records, [
        { sequence: sequence - 2, url: "https://www.example.com/x?a=1&b=2" },
        { sequence: sequence - 1, prefix: "https://www.example.com/blog/" },
        { sequence, tag: "news" },
      ]);
      await eventually(
        "the other isolate to know",
        () => known(there),
        (newest) => newest === sequence,
        MANIFEST,
      );
      // It is no new revision.
      assert.equal((await here.history()).length, 1);
      const [entry] = (await here.audit(1)) as unknown as Record<string, string>[];
      assert.deepEqual(
        [entry?.action, entry?.outcome, entry?.author, entry?.message],
        ["purge", "accepted", OPERATOR.entry.name, "a typo"],
      );
      assert.match(entry?.purged ?? "", /^url https:\/\/WWW\.example\.com:443\/x.*, tag news$/);
    });

    test("the list outlives the object's memory, and what a newer purge holds leaves it", async () => {
      const before = await list();
      await gateway.evictControl();
      assert.deepEqual(await list(), before);
      const first = await list("?limit=1");
      assert.deepEqual([first.purges.length, first.more, first.total], [1, true, 3]);
      const rest = await list(`?before=${first.purges[0]?.sequence}`);
      assert.deepEqual(
        rest.purges.map(({ scope }) => scope),
        ["prefix", "url"],
      );
      const { sequence } = await purged({ prefixes: ["https://www.example.com/"], soft: true });
      assert.ok(sequence > (first.purges[0]?.sequence ?? 0));
      assert.equal((await list()).total, 4);
      await purged({ all: true });
      const [all, ...others] = (await list()).purges;
      assert.deepEqual([all?.scope, all?.soft, all?.by], ["all", false, OPERATOR.entry.name]);
      assert.deepEqual(others, []);
      await eventually(
        "the other isolate to know",
        () => known(there),
        (newest) => newest === all?.sequence,
        MANIFEST,
      );
    });

    test("a stored answer is gone where the purge was asked for at once, and elsewhere with the list", async () => {
      const path = origin.serve(
        (_, nth) => ({
          fields: [
            ["Cache-Control", "max-age=600"],
            ["Cache-Tag", "story"],
          ],
          body: `body ${nth}`,
        }),
        "/c",
      );
      const options = { host: "site.test" };
      const hit = (body: string, isolate: number): Promise<unknown> =>
        eventually(
          `${body} from the cache at isolate ${isolate}`,
          () => gateway.fetch(path, { ...options, isolate }),
          (response) =>
            response.text === body && (response.field("cache-status") ?? "").includes("hit"),
          MANIFEST,
        );
      await hit("body 1", 0);
      await hit("body 1", 1);
      await purged({ urls: [`http://site.test${path}`] });
      assert.equal((await gateway.fetch(path, options)).text, "body 2");
      await hit("body 2", 0);
      await hit("body 2", 1);
      await purged({ tags: ["story"] });
      assert.equal((await gateway.fetch(path, options)).text, "body 3");
      await hit("body 3", 1);
    });

    test("what is wrong is named, by its place, and changes nothing", async () => {
      const before = await known(here);
      assertProblem(await there.post("/purge", { all: true }), 403, "forbidden");
      const refused = await here.post("/purge", { urls: ["https://a.example/", "/x"], tags: [""] });
      assertProblem(refused, 400, "invalid-body");
      const { problems } = refused.json as { problems: { path: string; expected: string }[] };
      assert.deepEqual(
        problems.map(({ path }) => path),
        ["urls[1]", "tags[0]"],
      );
      assert.match(problems[0]?.expected ?? "", /^expected a URL of at most/);
      assertProblem(await here.post("/purge", {}), 400, "invalid-body");
      assert.equal(await known(here), before);
    });
  });
}
