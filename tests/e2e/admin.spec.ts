// The admin API: who may use it, and what each endpoint answers.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  Admin,
  API,
  bearer,
  JSON_TYPE,
  OPERATOR,
  OWNER,
  READER,
  token,
  tokens,
  TOKENS,
  type AuditEntry,
  type Token,
} from "./admin.ts";
import { assertProblem, assertRefused, eventually, lineOf } from "./expect.ts";
import { Gateway, policy, route, using, VERSION } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { Fields, RawResponse } from "./raw.ts";

const EXPIRED = token("old", "owner", "2020-01-01T00:00:00Z");
const LASTING = token("new", "reader", "2999-12-31T23:59:59+09:00");

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const document = (name: string, more: Record<string, object> = {}): object =>
  policy(origin.url, [route(name, "/*")], more);

const request = (gateway: Gateway, path: string, fields: Fields = []): Promise<RawResponse> =>
  gateway.fetch(`${API}${path}`, { fields });

describe("nothing is reachable", () => {
  const unusable: [label: string, secret: string | undefined][] = [
    ["without ADMIN_TOKENS", undefined],
    ["with an empty list", "[]"],
    ["with ADMIN_TOKENS that is no JSON", `[{"name":"rita","sha256":"${READER.text}`],
    [
      "with one entry among good ones that cannot be read",
      JSON.stringify([
        READER.entry,
        { ...OWNER.entry, expires: "next year", sha256: OWNER.entry.sha256 },
      ]),
    ],
  ];
  for (const [label, secret] of unusable) {
    test(label, async () => {
      await using({ vars: { ADMIN_TOKENS: secret } }, async (gateway) => {
        for (const path of ["/policy", "/health", "/audit", "/openapi.json", "", "/nothing"]) {
          for (const fields of [[], bearer(READER)] as Fields[]) {
            const response = await request(gateway, path, fields);
            await assertRefused(gateway, response, 404, "no-such-endpoint");
            assert.equal(response.field("www-authenticate"), undefined);
          }
        }
        const wrong = gateway.log.notes.filter(({ message }) => message.includes("ADMIN_TOKENS"));
        assert.equal(wrong.length, secret === undefined || secret === "[]" ? 0 : 1);
        // What stands in the secret's place may be a token.
        for (const { message } of wrong) assert.doesNotMatch(message, /weir_|rita|next year/);
      });
    });
  }
});

describe("who may", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ vars: tokens(READER, OPERATOR, OWNER, EXPIRED, LASTING) });
  });
  after(() => gateway?.dispose());

  const stranger = token("stranger", "owner");
  const known = READER.text;
  const rejected: [label: string, field: string | undefined][] = [
    ["no token", undefined],
    ["another scheme", `Basic ${Buffer.from(`rita:${known}`).toString("base64")}`],
    ["an empty token", "Bearer "],
    ["a token that was never made, or was revoked", `Bearer ${stranger.text}`],
    ["a token with one character changed", `Bearer ${known.slice(0, -1)}!`],
    ["a token with one character more", `Bearer ${known}x`],
    ["a token in capitals", `Bearer ${known.toUpperCase()}`],
    ["the digest in place of the token", `Bearer ${READER.entry.sha256}`],
    ["the name in place of the token", "Bearer rita"],
    ["two tokens", `Bearer ${known}, Bearer ${known}`],
    ["a token of 8 KiB", `Bearer ${"a".repeat(8_192)}`],
  ];
  for (const [nth, [label, field]] of rejected.entries()) {
    test(`401: ${label}`, async () => {
      const client = `198.51.100.${nth + 1}`;
      const fields: Fields = field === undefined ? [] : [["Authorization", field]];
      const response = await gateway.fetch(`${API}/policy`, { client, fields });
      await assertRefused(gateway, response, 401, "unauthenticated");
      const error = /^Bearer \S/.test(field ?? "") ? ', error="invalid_token"' : "";
      assert.equal(response.field("www-authenticate"), `Bearer realm="edgeweir"${error}`);
      const [entry] = await new Admin(gateway, READER).audit(1);
      assert.deepEqual(
        [entry?.author, entry?.action, entry?.outcome, entry?.reason, entry?.message],
        ["", `GET ${API}/policy`, "refused", "unauthenticated", `from ${client}`],
      );
      const token = field?.split(" ")[1] ?? "none";
      if (token !== "") assert.ok(!response.text.includes(token), "the token stands in the answer");
    });
  }

  test("401: two Authorization lines", async () => {
    const fields: Fields = [...bearer(READER), ...bearer(OWNER)];
    const response = await gateway.fetch(`${API}/health`, { client: "198.51.100.50", fields });
    await assertRefused(gateway, response, 401, "unauthenticated");
  });

  test("401: an expired token, whose name the audit log has", async () => {
    const admin = new Admin(gateway, EXPIRED);
    const response = await admin.get("/policy", { client: "198.51.100.60" });
    await assertRefused(gateway, response, 401, "token-expired");
    assert.match(response.field("www-authenticate") ?? "", /invalid_token/);
    const [entry] = await new Admin(gateway, READER).audit(1);
    assert.deepEqual([entry?.author, entry?.reason], ["old", "token-expired"]);
  });

  test("a token that has not expired, and any case of the scheme's name", async () => {
    assert.equal((await new Admin(gateway, LASTING).get("/health")).status, 200);
    for (const scheme of ["bearer", "BEARER", "Bearer "]) {
      const fields: Fields = [["Authorization", `${scheme} ${READER.text}`]];
      assert.equal((await gateway.fetch(`${API}/health`, { fields })).status, 200, scheme);
    }
  });

  test("a token in the query or a cookie is none", async () => {
    const client = "198.51.100.70";
    for (const path of [`/health?access_token=${READER.text}`, `/health?token=${READER.text}`]) {
      const fields: Fields = [["Cookie", `token=${READER.text}`]];
      assertProblem(
        await gateway.fetch(`${API}${path}`, { client, fields }),
        401,
        "unauthenticated",
      );
    }
  });

  test("a reader reads, and changes nothing", async () => {
    const admin = new Admin(gateway, READER);
    const client = "198.51.100.80";
    for (const response of [
      await admin.push(document("mine"), "r0", { client }),
      await admin.rollback("r1", "r0", { client }),
    ]) {
      await assertRefused(gateway, response, 403, "forbidden");
      assert.match((response.json as { detail: string }).detail, /operator.*reader/);
    }
    const [rollback, push] = await admin.audit(2);
    assert.deepEqual(
      [push, rollback].map((entry) => [entry?.author, entry?.role, entry?.action, entry?.reason]),
      [
        ["rita", "reader", `PUT ${API}/policy`, "forbidden"],
        ["rita", "reader", `POST ${API}/policy/rollback`, "forbidden"],
      ],
    );
    assert.deepEqual(await admin.history(), []);
  });

  test("who is not known is told nothing about what there is", async () => {
    const client = "198.51.100.90";
    for (const [method, path] of [
      ["GET", "/nothing"],
      ["DELETE", "/policy"],
      ["GET", "/policy?revision=r99"],
      ["PUT", "/policy"],
    ] as const) {
      assertProblem(
        await gateway.fetch(`${API}${path}`, { client, method }),
        401,
        "unauthenticated",
      );
    }
  });

  test("rejected attempts have a limit of their own; good tokens pass it, a flood is not audited", async () => {
    const client = "203.0.113.7";
    const admin = new Admin(gateway, READER);
    const before = (await admin.audit(1))[0]?.id ?? 0;
    const statuses: number[] = [];
    let waited: RawResponse | undefined;
    for (let nth = 0; nth < 30; nth += 1) {
      const response = await gateway.fetch(`${API}/policy`, {
        client,
        fields: bearer(token(`guess ${nth}`, "owner")),
      });
      statuses.push(response.status);
      if (response.status === 429) waited = response;
    }
    assert.deepEqual(statuses.slice(0, 10), Array(10).fill(401));
    assert.ok(
      statuses.slice(11).every((status) => status === 429),
      statuses.join(" "),
    );
    assert.ok(waited);
    assertProblem(waited, 429, "too-many-rejections");
    const wait = Number(waited.field("retry-after"));
    assert.ok(wait >= 1 && wait <= 60, `Retry-After: ${wait}`);
    assert.equal((await lineOf(gateway, waited)).reason, "too-many-rejections");
    // The same address with a good token, and a bad token from elsewhere.
    assert.equal((await admin.get("/health", { client })).status, 200);
    const elsewhere = { client: "203.0.113.8" };
    assertProblem(await gateway.fetch(`${API}/policy`, elsewhere), 401, "unauthenticated");
    const after = (await admin.audit(1))[0]?.id ?? 0;
    assert.ok(after - before <= 12, `${after - before} entries`);
    // And nothing else of that client's is touched.
    assert.equal((await gateway.fetch("/_weir/health", { client })).status, 200);
  });
});

describe("the endpoints", () => {
  let gateway: Gateway;
  let admin: Admin;
  before(async () => {
    gateway = await Gateway.start({ env: "staging", vars: TOKENS });
    admin = new Admin(gateway);
  });
  after(() => gateway?.dispose());

  test("before the first revision", async () => {
    assertProblem(await admin.get("/policy"), 404, "no-such-revision");
    assert.deepEqual((await admin.get("/policy/history")).json, { revisions: [], more: false });
    const diff = await admin.post("/policy/diff", document("one"));
    assert.equal((diff.json as { base: string }).base, "r0");
    const health = (await admin.get("/health")).json as Record<string, unknown>;
    assert.deepEqual([health.status, health.revision], ["unavailable", "none"]);
    assert.equal((health.control as { active: string }).active, "r0");
    assertProblem(await admin.get("/policy/diff?from=r1"), 404, "no-such-revision");
    assertProblem(await admin.rollback("r1", "r0"), 404, "no-such-revision");
    assertProblem(await admin.rollback("r0", "r0"), 404, "no-such-revision");
  });

  test("the first push, and what is read of it", async () => {
    const text = `${JSON.stringify(document("one"), null, 2)}\n`;
    const pushed = await admin.push(text, "r0");
    assert.equal(pushed.status, 201, pushed.text);
    assert.equal(pushed.field("etag"), '"r1"');
    assert.equal(pushed.field("cache-control"), "no-store");
    const body = pushed.json as Record<string, unknown>;
    assert.deepEqual([body.revision, body.state], ["r1", "published"]);
    const read = await admin.get("/policy");
    assert.equal(read.status, 200);
    assert.equal(read.field("content-type"), "application/json");
    assert.equal(read.field("etag"), '"r1"');
    assert.equal(read.text, text, "the document is as its author wrote it");
    const [revision] = await admin.history();
    assert.deepEqual(
      { ...revision, time: typeof revision?.time },
      {
        revision: "r1",
        sequence: body.sequence,
        hash: body.hash,
        bytes: text.length,
        module: "0.1.0",
        author: "olaf",
        role: "operator",
        time: "string",
        message: "",
        base: "r0",
      },
    );
  });

  test("If-None-Match: 304 for what is known", async () => {
    const conditional = (field: string, path = "/policy"): Promise<RawResponse> =>
      admin.get(path, { fields: [["If-None-Match", field]] });
    for (const field of ['"r1"', 'W/"r1"', '"r7", "r1"', "*"]) {
      const response = await conditional(field);
      assert.deepEqual([response.status, response.body.length], [304, 0], field);
      assert.equal(response.field("etag"), '"r1"');
    }
    for (const field of ['"r2"', "r1", '"r11"', '"R1"']) {
      assert.equal((await conditional(field)).status, 200, field);
    }
    assert.equal((await conditional('"r1"', "/policy?revision=r1")).status, 304);
  });

  test("a change names its base, in one way", async () => {
    for (const fields of [
      [],
      [["If-Match", "*"]],
      [["If-Match", "r1"]],
      [["If-Match", 'W/"r1"']],
      [["If-Match", '"r1", "r2"']],
      [["If-Match", '"x"']],
      [["If-None-Match", '"r1"']],
      [
        ["If-Match", '"r1"'],
        ["If-None-Match", "*"],
      ],
    ] as Fields[]) {
      const body = JSON.stringify(document("two"));
      const response = await admin.call("PUT", "/policy", { body, fields });
      assertProblem(response, 428, "precondition-required");
      assertProblem(
        await admin.post("/policy/rollback", { to: "r1" }, { fields }),
        428,
        "precondition-required",
      );
    }
    for (const base of ["r0", "r2", "r99"]) {
      const response = await admin.push(document("two"), base);
      assertProblem(response, 412, "stale-base");
      const { base: named, active } = response.json as { base: string; active: string };
      assert.deepEqual([named, active], [base, "r1"]);
    }
    assert.equal((await admin.history()).length, 1);
  });

  test("validate says what is wrong, with paths, or which module it needs", async () => {
    const good = await admin.post("/policy/validate", document("x"));
    assert.deepEqual(good.json, { valid: true, module: "0.1.0" });
    const newer = await admin.post(
      "/policy/validate",
      document("x", { refresh: { interval: "1s", source: "control" } }),
    );
    assert.deepEqual(newer.json, { valid: true, module: "0.2.0" });
    const bad = await admin.post("/policy/validate", {
      version: 1,
      routes: [{ id: "a", match: { path: "/a" }, upstream: "nobody" }],
      speling: true,
    });
    assertProblem(bad, 422, "invalid-policy");
    const { problems } = bad.json as { problems: { path: string; expected: string }[] };
    assert.deepEqual(problems.map(({ path }) => path).sort(), ["routes[0].upstream", "speling"]);
    assert.equal((await admin.history()).length, 1);
  });

  test("diff of a document and of revisions, as JSON and as text", async () => {
    const two = document("two", { rate_limit: { rules: [{ id: "all", max: 9, window: "1m" }] } });
    assert.equal((await admin.push(two, "r1")).status, 201);
    const revisions = (await admin.get("/policy/diff?from=r1&to=r2")).json as {
      base: string;
      to: string;
      changes: { path: string }[];
    };
    assert.deepEqual([revisions.base, revisions.to], ["r1", "r2"]);
    assert.ok(revisions.changes.length > 0);
    const candidate = await admin.post("/policy/diff?base=r1", two);
    const { changes } = candidate.json as { changes: object[] };
    assert.deepEqual(changes, revisions.changes, "a document and the same as a revision");
    assert.deepEqual((await admin.post("/policy/diff", two)).json, { base: "r2", changes: [] });
    assert.deepEqual((await admin.get("/policy/diff?from=r1&to=r1")).json, {
      base: "r1",
      to: "r1",
      changes: [],
    });
    const text = await admin.get("/policy/diff?from=r1", { fields: [["Accept", "text/plain"]] });
    assert.equal(text.field("content-type"), "text/plain; charset=utf-8");
    assert.match(text.text, /rate_limit/);
    assert.equal(text.text.trimEnd().split("\n").length, revisions.changes.length);
    assertProblem(await admin.get("/policy/diff"), 400, "bad-request");
    assertProblem(await admin.get("/policy/diff?from=r1&to=r9"), 404, "no-such-revision");
    assertProblem(await admin.post("/policy/diff", { version: 2 }), 422, "invalid-policy");
  });

  test("rollback brings an old content back as a new revision", async () => {
    const back = await admin.rollback("r1", "r2");
    assert.equal(back.status, 201, back.text);
    assert.equal(back.field("etag"), '"r3"');
    const [third, , first] = await admin.history();
    assert.equal(third?.hash, first?.hash);
    assert.deepEqual([third?.rollback_to, third?.base], ["r1", "r2"]);
    assertProblem(await admin.rollback("r9", "r3"), 404, "no-such-revision");
    assertProblem(await admin.rollback("r1", "r2"), 412, "stale-base");
    for (const body of [
      "",
      "[]",
      "{}",
      '{"to": 1}',
      '{"to": "r1", "to": "r2"}',
      '{"to": "r1", "force": true}',
      '{"to": "one"}',
    ]) {
      const fields: Fields = [["If-Match", '"r3"']];
      const response = await admin.call("POST", "/policy/rollback", { body, fields });
      assertProblem(response, 400, "invalid-body");
    }
    assert.equal((await admin.history()).length, 3);
  });

  test("history and audit come in pages, newest first", async () => {
    const page = async (path: string): Promise<{ names: unknown[]; more: boolean }> => {
      const { revisions, entries, more } = (await admin.get(path)).json as {
        revisions?: { revision: string }[];
        entries?: AuditEntry[];
        more: boolean;
      };
      return {
        names: revisions?.map(({ revision }) => revision) ?? entries?.map(({ id }) => id) ?? [],
        more,
      };
    };
    assert.deepEqual(await page("/policy/history?limit=2"), { names: ["r3", "r2"], more: true });
    assert.deepEqual(await page("/policy/history?limit=2&before=r2"), {
      names: ["r1"],
      more: false,
    });
    const all = (await page("/audit")).names as number[];
    assert.deepEqual(
      all,
      [...all].sort((one, other) => other - one),
    );
    assert.equal(all.at(-1), 1);
    const before = all[2] ?? 0;
    assert.deepEqual(await page(`/audit?before=${before}&limit=1`), {
      names: [before - 1],
      more: true,
    });
    for (const path of [
      "/audit?limit=x",
      "/audit?limit=-1",
      "/audit?limit=1.5",
      "/audit?before=r1",
      "/audit?limit=99999999999999999999",
      "/policy/history?before=7",
      "/policy/history?before=r01",
      "/policy?revision=latest",
      "/policy?revision=%FF",
    ]) {
      assertProblem(await admin.get(path), 400, "bad-request");
    }
  });

  test("a parameter that nobody reads is refused, and named parameters are listed", async () => {
    for (const [method, path] of [
      ["GET", "/policy?rev=r1"],
      ["GET", "/policy/history?limit=1&offset=2"],
      ["GET", "/health?verbose=1"],
      ["POST", "/explain?url=x"],
      ["PUT", "/policy?mesage=typo"],
    ] as const) {
      assertProblem(await admin.call(method, path), 400, "bad-request");
    }
    const { detail } = (await admin.get("/policy?rev=r1")).json as { detail: string };
    assert.match(detail, /revision/);
  });

  test("another method is 405 with Allow, another path is 404", async () => {
    const allowed: [path: string, methods: string[]][] = [
      ["/policy", ["GET", "PUT"]],
      ["/policy/validate", ["POST"]],
      ["/policy/diff", ["GET", "POST"]],
      ["/policy/rollback", ["POST"]],
      ["/policy/history", ["GET"]],
      ["/explain", ["POST"]],
      ["/replay", ["POST"]],
      ["/audit", ["GET"]],
      ["/health", ["GET"]],
      ["/openapi.json", ["GET"]],
      ["/schema.json", ["GET"]],
    ];
    for (const [path, methods] of allowed) {
      for (const method of ["DELETE", "PATCH", "OPTIONS"]) {
        const response = await admin.call(method, path);
        await assertRefused(gateway, response, 405, "method-not-allowed");
        const allow = (response.field("allow") ?? "").split(", ").filter((one) => one !== "HEAD");
        assert.deepEqual(allow.sort(), methods, path);
      }
    }
    for (const path of ["", "/", "/policies", "/policy/r1", "/Policy", "/../v2/policy"]) {
      assertProblem(await admin.get(path), 404, "no-such-endpoint");
    }
  });

  test("HEAD is a GET without a body", async () => {
    for (const path of ["/policy", "/policy/history", "/audit", "/health"]) {
      const head = await admin.call("HEAD", path);
      assert.deepEqual([head.status, head.body.length], [200, 0], path);
    }
    assert.equal((await admin.call("HEAD", "/policy")).field("etag"), '"r3"');
    assert.equal((await admin.call("HEAD", "/policy?revision=r9")).status, 404);
  });

  test("health tells an admin what the public is not told", async () => {
    const health = (await admin.get("/health")).json as {
      status: string;
      version: string;
      revision: string;
      sequence: number;
      control: Record<string, unknown>;
    };
    assert.deepEqual([health.status, health.version], ["ok", VERSION]);
    assert.equal(typeof health.sequence, "number");
    const { active, state, failures, oldest_module } = health.control;
    assert.deepEqual([active, failures, oldest_module], ["r3", 0, VERSION]);
    assert.ok(state === "published" || state === "pending");
  });

  test("a path written in another way reaches the same endpoint, and never the origin", async () => {
    for (const path of ["/health/", "//health", "/%68ealth", "/./health"]) {
      const response = await admin.get(path);
      assert.ok([200, 404].includes(response.status), `${path}: ${response.status}`);
    }
    assert.equal(origin.received(`${API}/*`).length, 0);
  });
});

describe("on named hosts only", () => {
  test("an owner says which, and nobody else may change that", async () => {
    const refresh = { interval: "1s" };
    const here = document("here", { admin: { hosts: ["Admin.Test"] }, refresh });
    await using({ env: "staging", vars: TOKENS }, async (gateway) => {
      const host = "admin.test";
      const as = (who: Token): Admin => new Admin(gateway, who);
      await as(OPERATOR).pushed(document("anywhere", { refresh }), "r0");
      assertProblem(await as(OPERATOR).push(here, "r1"), 403, "needs-owner");
      assert.equal((await as(OWNER).push(here, "r1")).status, 201);
      const away = await eventually(
        "the other hosts to be closed",
        () => as(OWNER).get("/health", { host: "www.test" }),
        ({ status }) => status === 404,
      );
      assertProblem(away, 404, "no-such-endpoint");
      for (const other of ["admin.test.evil.test", "admin.test:8080", "xadmin.test"]) {
        const response = await as(OWNER).get("/health", { host: other });
        assertProblem(response, 404, "no-such-endpoint");
      }
      for (const same of ["admin.test", "ADMIN.TEST", "admin.test.", "admin.test:80"]) {
        const response = await as(READER).get("/health", { host: same });
        assert.equal(response.status, 200, same);
      }
      // The public part stays where it was.
      assert.equal((await gateway.fetch("/_weir/health", { host: "www.test" })).status, 200);
      const without = document("without", { refresh });
      assertProblem(await as(OPERATOR).push(without, "r2", { host }), 403, "needs-owner");
      assertProblem(await as(OPERATOR).rollback("r1", "r2", { host }), 403, "needs-owner");
      const same = { ...here, routes: [route("other", "/*")] };
      assert.equal((await as(OPERATOR).push(same, "r2", { host })).status, 201);
      const reasons = (await as(OWNER).get("/audit?limit=5", { host })).json as {
        entries: AuditEntry[];
      };
      assert.deepEqual(
        reasons.entries.map(({ reason }) => reason),
        [undefined, "needs-owner", "needs-owner", undefined, "needs-owner"],
      );
      assert.equal((await as(OWNER).rollback("r1", "r3", { host })).status, 201);
      await eventually(
        "the other hosts to be open",
        () => as(OWNER).get("/health", { host: "www.test" }),
        ({ status }) => status === 200,
      );
    });
  });
});

test("a body has to be JSON by its name, in UTF-8, without an encoding", async () => {
  await using({ env: "staging", vars: TOKENS }, async (gateway) => {
    const admin = new Admin(gateway);
    const body = JSON.stringify(document("typed"));
    for (const fields of [
      [["Content-Type", "text/plain"]],
      [["Content-Type", "application/json; charset=latin1"]],
      [["Content-Type", "application/jsonx"]],
      [["Content-Type", "multipart/form-data; boundary=x"]],
      [["Content-Type", ""]],
      [...JSON_TYPE, ["Content-Encoding", "gzip"]],
    ] as Fields[]) {
      for (const path of ["/policy/validate", "/policy/diff", "/explain", "/replay"]) {
        const response = await admin.call("POST", path, { body, fields });
        assertProblem(response, 415, "unsupported-media-type");
      }
      const push = await admin.push(body, "r0", { fields });
      assertProblem(push, 415, "unsupported-media-type");
      const [entry] = await admin.audit(1);
      assert.deepEqual([entry?.author, entry?.reason], ["olaf", "unsupported-media-type"]);
    }
    const none = await gateway.fetch(`${API}/policy/validate`, {
      method: "POST",
      fields: bearer(READER),
      body,
    });
    assertProblem(none, 415, "unsupported-media-type");
    for (const type of ["application/json; charset=UTF-8", 'APPLICATION/JSON;charset="utf-8"']) {
      const fields: Fields = [["Content-Type", type]];
      assert.equal((await admin.call("POST", "/policy/validate", { body, fields })).status, 200);
    }
    assert.deepEqual(await admin.history(), []);
  });
});
