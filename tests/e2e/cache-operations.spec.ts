// What operators do with the cache: look an entry up, warm it, pass it by a token; and that clients
// cannot turn it off for the origin.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Admin, OPERATOR, READER, TOKENS } from "./admin.ts";
import { FRESH, isHit, status } from "./caching.ts";
import { assertProblem, eventually, lineOf, sleep, stages } from "./expect.ts";
import { Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import { HOST, type Fields } from "./raw.ts";

const KEY = "an end-to-end test's key of 32 bytes and more";

let origin: Origin;
let gateway: Gateway;
before(async () => {
  origin = await Origin.start();
  gateway = await Gateway.start({
    isolates: 2,
    vars: { ...TOKENS, CACHE_BYPASS_KEY: KEY },
    policy: policy(origin.url, [
      route("near", "/n/*", { cache: { tiers: ["memory"] } }),
      route("far", "/f/*", { cache: {} }),
      route("both", "/b/*", { cache: { tiers: ["memory", "location"], max_body: "1KiB" } }),
      route("closed", "/closed/*", {
        cache: {},
        ip_filter: { default: "deny", rules: [] },
      }),
      route("plain", "/p/*"),
    ]),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin?.stop();
});

const url = (path: string): string => `http://${HOST}${path}`;

interface Tier {
  tier: string;
  state: string;
  answer?: { serves: string; status: number; size: number; age: number; tags?: string[] };
}

interface Report {
  route?: string;
  isolate: string;
  because?: string;
  tiers: Tier[];
}

const look = async (path: string, isolate = 0, more = ""): Promise<Report> => {
  const admin = new Admin(gateway, READER, isolate);
  const response = await admin.get(`/cache?url=${encodeURIComponent(url(path))}${more}`);
  assert.equal(response.status, 200, response.text);
  return response.json as Report;
};

const states = ({ tiers }: Report): string[] => tiers.map(({ tier, state }) => `${tier} ${state}`);

describe("an entry is looked up", () => {
  test("by tier, in the isolate that is asked", async () => {
    const path = origin.serve(
      { fields: [...FRESH, ["Cache-Tag", "News"], ["X-Kept", "yes"]], body: "the body of it" },
      "/b",
    );
    assert.deepEqual(states(await look(path)), ["memory none", "location none"]);
    await gateway.fetch(path);
    const report = await eventually(
      "both tiers to have it",
      () => look(path),
      (report) => report.tiers.every(({ state }) => state === "stored"),
    );
    assert.equal(report.route, "both");
    for (const { answer } of report.tiers) {
      assert.deepEqual(
        [answer?.serves, answer?.status, answer?.size, answer?.tags],
        ["hit", 200, 14, ["news"]],
      );
    }
    const text = JSON.stringify(report);
    assert.ok(text.includes("x-kept") && !text.includes("the body of it"), text);
    // The other isolate has another memory, and the same location.
    const other = await look(path, 1);
    assert.deepEqual(states(other), ["memory none", "location stored"]);
    assert.notEqual(other.isolate, report.isolate);
    assert.equal((await look(path)).isolate, report.isolate);
    // Looking is no request, and fills nothing.
    assert.deepEqual(states(await look(path, 1)), ["memory none", "location stored"]);
    assert.equal(origin.received(path).length, 1);
  });

  test("with what selects it, and the purge that makes it void", async () => {
    const fields: Fields = [...FRESH, ["Vary", "Accept-Language"]];
    const path = origin.serve({ fields }, "/f");
    await gateway.fetch(path, { fields: [["Accept-Language", "de"]] });
    const german = "&header=Accept-Language:%20de";
    await eventually(
      "it to be stored",
      () => look(path, 0, german),
      (report) => report.tiers[0]?.state === "stored",
    );
    assert.deepEqual(states(await look(path)), ["location other"]);
    const admin = new Admin(gateway, OPERATOR);
    const purged = await admin.post("/purge", { urls: [url(path)] });
    assert.equal(purged.status, 200, purged.text);
    const { tiers } = await look(path, 0, german);
    assert.equal(tiers[0]?.answer?.serves, "purged");
  });

  test("only with a token, and only as a request that there could be", async () => {
    const path = `/_weir/admin/v1/cache?url=${encodeURIComponent(url("/f/x"))}`;
    assertProblem(await gateway.fetch(path), 401, "unauthenticated");
    const admin = new Admin(gateway, READER);
    assertProblem(await admin.get("/cache?url=x"), 400, "bad-request");
    assert.equal((await look("/p/x")).because, "no-cache");
  });
});

interface Warmed {
  url: string;
  outcome: string;
  status?: number;
  why?: string;
}

const warm = async (paths: string[]): Promise<Warmed[]> => {
  const admin = new Admin(gateway, OPERATOR);
  const body = { urls: paths.map(url) };
  const response = await admin.post("/cache/warm", body, { timeout: 40_000 });
  assert.equal(response.status, 200, response.text);
  return (response.json as { results: Warmed[] }).results;
};

describe("warming", () => {
  for (const under of ["/n", "/f", "/b"]) {
    test(`stores what is asked for below ${under}, whole when it says so`, async () => {
      const paths = Array.from({ length: 20 }, (_, at) =>
        origin.serve({ fields: FRESH, body: `body ${at}` }, under),
      );
      const results = await warm(paths);
      assert.deepEqual(
        results.map(({ outcome, status }) => [outcome, status]),
        paths.map(() => ["stored", 200]),
      );
      for (const [at, path] of paths.entries()) {
        const fields: Fields = [["Accept-Encoding", "gzip, deflate, br, zstd"]];
        const hit = await gateway.fetch(path, { fields });
        assert.ok(isHit(hit), status(hit));
        assert.equal(hit.text, `body ${at}`);
        assert.equal(origin.only(path).field("x-forwarded-host"), HOST);
        assert.equal(origin.only(path).field("authorization"), undefined);
      }
      assert.deepEqual(
        (await warm(paths)).map(({ outcome }) => outcome),
        paths.map(() => "hit"),
      );
    });
  }

  test("stands in the audit log", async () => {
    const path = origin.serve({ fields: FRESH }, "/n");
    await warm([path, "/nowhere"]);
    const [entry] = await new Admin(gateway, READER).audit();
    assert.deepEqual(
      [entry?.author, entry?.action, entry?.outcome],
      [OPERATOR.entry.name, "warm", "accepted"],
    );
    assert.match(String(entry?.message), /^2 URLs( in \w+)?: 1 stored, 1 not-stored; from /);
  });

  test("goes past rules about clients, and tells why something is not stored", async () => {
    const closed = origin.serve({ fields: FRESH }, "/closed");
    assert.equal((await gateway.fetch(closed)).status, 403);
    const large = origin.serve({ fields: FRESH, body: "x".repeat(2_000), chunked: true }, "/b");
    const cut = origin.serve(
      { fields: FRESH, body: "x".repeat(500), failure: "reset-in-body", chunked: true },
      "/b",
    );
    const secret = origin.serve({ fields: [["Cache-Control", "private"]] }, "/f");
    const results = await warm([closed, large, cut, secret, "/p/x", "/_weir/health", "/nowhere"]);
    assert.deepEqual(
      results.map(({ outcome, why }) => why ?? outcome),
      ["stored", "body", "body", "directive", "not-cached", "no-route", "no-route"],
    );
    assert.equal((await gateway.fetch(closed)).status, 403);
    assert.deepEqual(origin.received("/_weir/*"), []);
  });

  test("does not wait for ever", async () => {
    const silent = origin.serve({ failure: "stall-before-head" }, "/f");
    const fine = origin.serve({ fields: FRESH }, "/f");
    const begun = Date.now();
    const results = await warm([silent, fine]);
    assert.deepEqual(
      results.map(({ outcome, why }) => why ?? outcome),
      ["deadline", "stored"],
    );
    assert.ok(Date.now() - begun < 28_000);
  });

  test("is an operator's business, and bounded", async () => {
    const reader = new Admin(gateway, READER);
    assertProblem(await reader.post("/cache/warm", { urls: [url("/f/x")] }), 403, "forbidden");
    const operator = new Admin(gateway, OPERATOR);
    const many = await operator.post("/cache/warm", { urls: Array(101).fill(url("/f/x")) });
    assertProblem(many, 400, "invalid-body");
  });
});

const signed = (seconds: number, scope = "", key = KEY): string => {
  const expires = Math.floor(Date.now() / 1_000) + seconds;
  const text = `v1.${expires}.${Buffer.from(scope).toString("base64url")}`;
  return `${text}.${createHmac("sha256", key).update(text).digest("base64url")}`;
};

const bypass = (token: string): { fields: Fields } => ({ fields: [["Weir-Cache-Bypass", token]] });

describe("Weir-Cache-Bypass", () => {
  for (const under of ["/n", "/f"]) {
    test(`a signed token passes the cache below ${under}`, async () => {
      const path = origin.serve((_, nth) => ({ fields: FRESH, body: String(nth) }), under);
      assert.equal((await gateway.fetch(path)).text, "1");
      await eventually("a hit", () => gateway.fetch(path), isHit);
      const past = await gateway.fetch(path, bypass(signed(60)));
      assert.equal(past.text, "2");
      assert.equal(status(past), "edgeweir; fwd=bypass; fwd-status=200; detail=bypass-token");
      const scoped = await gateway.fetch(path, bypass(signed(60, `${HOST}${under}`)));
      assert.equal(scoped.text, "3");
      // What is stored is as it was.
      const hit = await gateway.fetch(path);
      assert.ok(isHit(hit) && hit.text === "1", status(hit));
    });
  }

  test("any other is ignored, and the log says why", async () => {
    const path = origin.serve((_, nth) => ({ fields: FRESH, body: String(nth) }), "/n");
    await gateway.fetch(path);
    await eventually("a hit", () => gateway.fetch(path), isHit);
    for (const [token, verdict] of [
      [signed(-1), "bypass-expired"],
      [signed(2 * 86_400), "bypass-too-long"],
      [signed(60, "other.test"), "bypass-scope"],
      [signed(60, "", "another key of at least 32 bytes, too"), "bypass-signature"],
      [OPERATOR.text, "bypass-malformed"],
      ["x", "bypass-malformed"],
      ["", "bypass-malformed"],
    ] as const) {
      const response = await gateway.fetch(path, bypass(token));
      assert.ok(isHit(response), `${token}: ${status(response)}`);
      const line = await lineOf(gateway, response);
      assert.deepEqual(
        stages(line, "cache").map((stage) => stage.verdict),
        [verdict],
      );
      if (token.length > 1) assert.ok(!JSON.stringify(line).includes(token));
    }
    assert.equal(origin.received(path).length, 1);
  });

  test("no origin sees one, wherever it is sent", async () => {
    const sent: Fields = [
      ["Weir-Cache-Bypass", signed(60)],
      ["weir_cache_bypass", "x"],
    ];
    for (const under of ["/n", "/f", "/p"]) {
      for (const method of ["GET", "POST", "HEAD"]) {
        const path = origin.serve({ fields: FRESH }, under);
        await gateway.fetch(path, { method, fields: sent });
        const names = origin.only(path).fields.map(([name]) => name.toLowerCase());
        assert.ok(!names.some((name) => /^weir.cache.bypass$/.test(name)), names.join(" "));
      }
    }
  });
});

describe("clients cannot turn the cache off", () => {
  for (const under of ["/n", "/f", "/b"]) {
    test(`two hundred requests with no-cache below ${under} reach the origin a few times`, async () => {
      const fields: Fields = [...FRESH, ["ETag", '"v1"']];
      const path = origin.serve(
        (received) =>
          received.field("if-none-match") ? { status: 304, fields } : { fields, body: "a body" },
        under,
      );
      await gateway.fetch(path);
      await eventually("a hit", () => gateway.fetch(path), isHit);
      await sleep(1_100);
      const before = origin.received(path).length;
      const begun = Date.now();
      const demands = ["no-cache", "max-age=0", "min-fresh=100000"];
      const responses = await Promise.all(
        Array.from({ length: 200 }, (_, nth) =>
          gateway.fetch(path, {
            fields: [
              ["Cache-Control", demands[nth % 3] ?? ""],
              [`X-Random-${nth}`, String(Math.random())],
            ],
          }),
        ),
      );
      const seconds = Math.ceil((Date.now() - begun) / 1_000);
      assert.deepEqual([...new Set(responses.map(({ status }) => status))], [200]);
      assert.deepEqual([...new Set(responses.map(({ text }) => text))], ["a body"]);
      const reached = origin.received(path).length - before;
      assert.ok(reached >= 1 && reached <= 1 + seconds, `${reached} in ${seconds} s`);
    });
  }

  for (const under of ["/n", "/f", "/b"]) {
    test(`nor with no-store, and nothing is stored for them: ${under}`, async () => {
      const path = origin.serve((_, nth) => ({ fields: FRESH, body: `body ${nth}` }), under);
      const fields: Fields = [["Cache-Control", "no-store"]];
      for (const nth of [1, 2]) {
        const own = await gateway.fetch(path, { fields });
        assert.equal(status(own), "edgeweir; fwd=uri-miss; fwd-status=200; detail=request");
        assert.equal(own.text, `body ${nth}`);
      }
      await eventually("a hit", () => gateway.fetch(path), isHit);
      await sleep(1_100);
      const begun = Date.now();
      const responses = await Promise.all(
        Array.from({ length: 100 }, () => gateway.fetch(path, { fields })),
      );
      const seconds = Math.ceil((Date.now() - begun) / 1_000);
      const reached = origin.received(path).length - 3;
      assert.ok(reached >= 1 && reached <= 1 + seconds, `${reached} in ${seconds} s`);
      assert.equal(responses.filter(({ text }) => text === "body 3").length, 100 - reached);
      const hit = await gateway.fetch(path);
      assert.deepEqual([isHit(hit), hit.text], [true, "body 3"]);
    });
  }

  for (const under of ["/f", "/b"]) {
    test(`what one isolate has had confirmed below ${under}, the other one takes from the location`, async () => {
      const fields: Fields = [...FRESH, ["ETag", '"v1"']];
      const path = origin.serve(
        (received) =>
          received.field("if-none-match") ? { status: 304, fields } : { fields, body: "a body" },
        under,
      );
      for (const isolate of [0, 1]) {
        await eventually("a hit", () => gateway.fetch(path, { isolate }), isHit);
      }
      await sleep(1_100);
      const before = origin.received(path).length;
      const demand: Fields = [["Cache-Control", "no-cache"]];
      const asked = await gateway.fetch(path, { fields: demand });
      assert.match(status(asked), /fwd=request; fwd-status=304; stored/);
      await sleep(150);
      for (const isolate of [1, 0]) {
        const other = await gateway.fetch(path, { fields: demand, isolate });
        assert.ok(isHit(other), status(other));
      }
      assert.equal(origin.received(path).length - before, 1);
    });
  }
});
