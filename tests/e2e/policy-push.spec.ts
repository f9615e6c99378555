// A change on its way through the admin API: it acts without a restart, exactly one of several
// wins, and what is bad changes nothing and stands in the audit log.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { accepted, Admin, API, bearer, JSON_TYPE, onBase, OPERATOR, TOKENS } from "./admin.ts";
import { assertProblem, eventually, lineOf } from "./expect.ts";
import { CLIENT, Gateway, policy, route } from "./mf.ts";
import { Origin } from "./origin.ts";
import { Connection, head, type Fields } from "./raw.ts";

/** The largest document. */
const LIMIT = 1 << 20;

let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const document = (name: string, more: Record<string, object> = {}): object =>
  policy(origin.url, [route(name, "/*")], { refresh: { interval: "1s" }, ...more });

/** A document of exactly that many bytes, whitespace for the most part. */
const padded = (name: string, bytes: number): string => {
  const text = JSON.stringify(document(name));
  return text.slice(0, -1) + "\n".repeat(bytes - text.length) + "}";
};

test("from nothing to a deny rule, its explanation, and back", async () => {
  const gateway = await Gateway.start({ vars: TOKENS });
  try {
    const admin = new Admin(gateway);
    // Locally the demo acts until something is pushed.
    const demo = await gateway.fetch("/_weir/health");
    assert.equal((demo.json as { revision: string }).revision, "demo");
    await admin.pushed(document("open"), "r0");
    const acts = async (revision: string): Promise<number> => {
      const response = await eventually(
        `${revision} to act`,
        async () => {
          const response = await gateway.fetch("/x");
          return { response, line: await lineOf(gateway, response) };
        },
        ({ line }) => line.revision === revision,
      );
      return response.response.status;
    };
    assert.equal(await acts("r1"), 200);

    const ip_filter = {
      rules: [{ id: "bad-net", action: "deny", address_sets: ["bad"] }],
    };
    const address_sets = { bad: { prefixes: ["192.0.2.0/28", "203.0.113.0/24"] } };
    const closed = document("open", { ip_filter, address_sets });
    assert.equal(accepted(await admin.push(closed, "r1", {})).revision, "r2");
    assert.equal(await acts("r2"), 403);

    const explained = await admin.post("/explain", {
      url: "https://gateway.test/x",
      client: CLIENT,
    });
    assert.equal(explained.status, 200, explained.text);
    const { verdict, stages, revision } = explained.json as {
      verdict: string;
      revision: string;
      stages: Record<string, unknown>[];
    };
    const filter = stages.find(({ stage }) => stage === "entry.ip_filter");
    assert.deepEqual(
      [verdict, revision, filter?.rule, filter?.prefix, filter?.address_set],
      ["refused", "r2", "bad-net", "192.0.2.0/28", "bad"],
    );

    const broken = await admin.push({ ...closed, routes: "all of them" }, "r2");
    assertProblem(broken, 422, "invalid-policy");
    assert.equal(await acts("r2"), 403);
    assert.equal(accepted(await admin.rollback("r1", "r2")).revision, "r3");
    assert.equal(await acts("r3"), 200);

    const audit = await admin.audit();
    assert.deepEqual(
      audit.reverse().map(({ action, outcome, reason, revision, base, to }) => ({
        action,
        outcome,
        ...(reason === undefined ? {} : { reason }),
        ...(revision === undefined ? {} : { revision }),
        base,
        ...(to === undefined ? {} : { to }),
      })),
      [
        { action: "push", outcome: "accepted", revision: "r1", base: "r0" },
        { action: "push", outcome: "accepted", revision: "r2", base: "r1" },
        { action: "push", outcome: "refused", reason: "invalid-policy", base: "r2" },
        { action: "rollback", outcome: "accepted", revision: "r3", base: "r2", to: "r1" },
      ],
    );
    assert.ok(audit.every(({ author, role }) => author === "olaf" && role === "operator"));
  } finally {
    await gateway.dispose();
  }
});

describe("one of several", () => {
  let gateway: Gateway;
  before(async () => {
    gateway = await Gateway.start({ env: "staging", isolates: 3, vars: TOKENS });
  });
  after(() => gateway?.dispose());

  test("on one base wins, whichever isolate it comes through; the others are told both revisions", async () => {
    const admins = [0, 1, 2].map((isolate) => new Admin(gateway, OPERATOR, isolate));
    for (const base of ["r0", "r1", "r2"]) {
      const responses = await Promise.all(
        Array.from({ length: 12 }, (_, nth) => {
          const admin = admins[nth % 3] ?? new Admin(gateway);
          // A rollback among the pushes, where there is something to go back to.
          return nth === 5 && base !== "r0"
            ? admin.rollback("r1", base)
            : admin.push(document(`push-${nth}`), base);
        }),
      );
      const won = responses.filter(({ status }) => status === 201);
      assert.equal(won.length, 1, responses.map(({ status }) => status).join(" "));
      const next = `r${Number(base.slice(1)) + 1}`;
      assert.ok(won[0]);
      assert.equal(accepted(won[0]).revision, next);
      for (const response of responses.filter((one) => one !== won[0])) {
        assertProblem(response, 412, "stale-base");
        const named = response.json as { base: string; active: string };
        assert.deepEqual([named.base, named.active], [base, next]);
      }
    }
    const admin = new Admin(gateway);
    const revisions = await admin.history();
    assert.deepEqual(
      revisions.map(({ revision }) => revision),
      ["r3", "r2", "r1"],
    );
    const audit = await admin.audit();
    assert.equal(audit.length, 36);
    assert.equal(audit.filter(({ outcome }) => outcome === "accepted").length, 3);
    assert.equal(audit.filter(({ reason }) => reason === "stale-base").length, 33);
    const sequences = revisions.map(({ sequence }) => sequence);
    assert.deepEqual(
      sequences,
      [...new Set(sequences)].sort((one, other) => other - one),
      "sequences grow",
    );
  });
});

describe("bad input changes nothing, and is audited", () => {
  let gateway: Gateway;
  let admin: Admin;
  let slow: Promise<{ connection: Connection; begun: number }>;

  const raw = (length: number, fields: Fields = []): Buffer =>
    head(`${API}/policy`, {
      method: "PUT",
      fields: [
        ["CF-Connecting-IP", CLIENT],
        ...bearer(OPERATOR),
        ...JSON_TYPE,
        ...onBase("r1"),
        ["Content-Length", String(length)],
        ...fields,
      ],
    });

  before(async () => {
    gateway = await Gateway.start({ env: "staging", vars: TOKENS });
    admin = new Admin(gateway);
    await admin.pushed(document("first"), "r0");
    // The limit of a slow body is 30 s: it goes on beside the other tests.
    slow = (async () => {
      const connection = await Connection.open(gateway.port, 40_000);
      await connection.write(Buffer.concat([raw(1_000), Buffer.from('{"version": 1, ')]));
      return { connection, begun: Date.now() };
    })();
  });
  after(() => gateway?.dispose());

  /** The newest entry of the audit log is this refusal, and the first revision is still active. */
  async function unchanged(reason: string, action = `PUT ${API}/policy`): Promise<void> {
    const [entry] = await admin.audit(1);
    assert.deepEqual(
      [entry?.author, entry?.role, entry?.action, entry?.outcome, entry?.reason],
      ["olaf", "operator", action, "refused", reason],
    );
    assert.deepEqual(
      (await admin.history()).map(({ revision }) => revision),
      ["r1"],
    );
    const line = await lineOf(gateway, await gateway.fetch("/x"));
    assert.deepEqual([line.status, line.revision], [200, "r1"]);
  }

  test("a document over 1 MiB, in chunks: it is read up to there", async () => {
    const body = padded("large", LIMIT + 1);
    assertProblem(await admin.push(body, "r1", { chunked: 60_000 }), 413, "too-large");
    await unchanged("too-large");
    const validated = await admin.call("POST", "/policy/validate", { body, chunked: 60_000 });
    assertProblem(validated, 413, "too-large");
  });

  test("a document that is announced to be over 1 MiB is not waited for", async () => {
    for (const length of [LIMIT + 1, 1 << 30]) {
      const connection = await Connection.open(gateway.port);
      try {
        await connection.write(Buffer.concat([raw(length), Buffer.from('{"version": 1, ')]));
        assertProblem(await connection.response(), 413, "too-large");
      } finally {
        connection.close();
      }
      await unchanged("too-large");
    }
  });

  const bodies: [label: string, body: Buffer | string, status: number, reason: string][] = [
    ["nothing", "", 422, "invalid-policy"],
    ["no JSON", "version: 1", 422, "invalid-policy"],
    ["half a document", '{"version": 1, "routes": [', 422, "invalid-policy"],
    ["two documents", '{"version": 1} {"version": 1}', 422, "invalid-policy"],
    ["null", "null", 422, "invalid-policy"],
    ["a list", "[1]", 422, "invalid-policy"],
    ["lists in lists", "[".repeat(200_000), 422, "invalid-policy"],
    ["objects in objects", '{"routes":'.repeat(50_000), 422, "invalid-policy"],
    [
      "nesting that is closed again",
      `{"version":1,"routes":${"[".repeat(1_000)}${"]".repeat(1_000)}}`,
      422,
      "invalid-policy",
    ],
    ["a name twice", '{"version": 1, "version": 1}', 422, "invalid-policy"],
    [
      "a name twice, further down",
      '{"version": 1, "refresh": {"interval": "1s", "interv\\u0061l": "2s"}}',
      422,
      "invalid-policy",
    ],
    ["a byte order mark", '\ufeff{"version": 1}', 422, "invalid-policy"],
    [
      "an unpaired surrogate",
      '{"version": 1, "routes": [{"id": "\\ud800"}]}',
      422,
      "invalid-policy",
    ],
    ["a number that no double holds", '{"version": 1e999}', 422, "invalid-policy"],
    [
      "bytes that are not UTF-8",
      Buffer.from('{"version": 1, "x": "\xff\xfe"}', "latin1"),
      400,
      "invalid-body",
    ],
    ["UTF-8 written too long", Buffer.from([0x22, 0xc0, 0xaf, 0x22]), 400, "invalid-body"],
    ["UTF-16", Buffer.from('{"version": 1}', "utf16le"), 422, "invalid-policy"],
  ];
  for (const [label, body, status, reason] of bodies) {
    test(`${label}: ${status} ${reason}`, async () => {
      const response = await admin.call("PUT", "/policy", {
        body,
        fields: onBase("r1"),
      });
      assertProblem(response, status, reason);
      if (status === 422) {
        const { problems } = response.json as { problems: { path: string; expected: string }[] };
        assert.ok(problems.length > 0);
        assert.ok(problems.every(({ expected }) => expected.length > 0));
      }
      // What the Control object refuses, it audits under the name of the action.
      await unchanged(reason, status === 422 ? "push" : undefined);
    });
  }

  test("the path of a name that stands there twice is told", async () => {
    const response = await admin.push(
      '{"version": 1, "refresh": {"interval": "1s", "interval": "2s"}}',
      "r1",
    );
    const { problems } = response.json as { problems: { path: string }[] };
    assert.deepEqual(
      problems.map(({ path }) => path),
      ["refresh.interval"],
    );
    await unchanged("invalid-policy", "push");
  });

  test("a client that goes away in the middle of its document", async () => {
    const [last] = await admin.audit(1);
    for (const leave of ["close", "reset"] as const) {
      const connection = await Connection.open(gateway.port);
      const body = JSON.stringify(document("half"));
      await connection.write(Buffer.concat([raw(body.length), Buffer.from(body.slice(0, -1))]));
      await new Promise((resolve) => setTimeout(resolve, 100));
      connection[leave]();
    }
    const entries = await eventually(
      "both to be audited",
      () => admin.audit(3),
      ([newest]) => (newest?.id ?? 0) >= (last?.id ?? 0) + 2,
    );
    for (const entry of entries.slice(0, 2)) {
      assert.deepEqual([entry.author, entry.reason], ["olaf", "invalid-body"]);
    }
    await unchanged("invalid-body");
  });

  test("a client that is too slow is told so after 30 s", async () => {
    const { connection, begun } = await slow;
    const drip = setInterval(() => void connection.write(" ").catch(() => {}), 1_000);
    try {
      const response = await connection.response();
      assertProblem(response, 408, "slow-body");
      const took = Date.now() - begun;
      assert.ok(took >= 29_000 && took < 36_000, `${took} ms`);
    } finally {
      clearInterval(drip);
      connection.close();
    }
    await unchanged("slow-body");
  });

  test("after all that, the next good one is accepted", async () => {
    assert.equal((await admin.pushed(document("second"), "r1")).revision, "r2");
  });
});

describe("what is unusual, and good", () => {
  let gateway: Gateway;
  let admin: Admin;
  before(async () => {
    gateway = await Gateway.start({ env: "staging", vars: TOKENS });
    admin = new Admin(gateway);
  });
  after(() => gateway?.dispose());

  test("a document of exactly 1 MiB, in chunks too", async () => {
    for (const [base, chunked] of [
      ["r0", undefined],
      ["r1", 65_536],
    ] as const) {
      const body = padded(`large-${base}`, LIMIT);
      const response = await admin.push(body, base, chunked === undefined ? {} : { chunked });
      accepted(response);
      assert.equal((await admin.get("/policy")).text, body);
    }
    await eventually(
      "it to act",
      async () => (await lineOf(gateway, await gateway.fetch("/x"))).route,
      (id) => id === "large-r1",
    );
  });

  test("Korean text survives, in the message and in the document", async () => {
    const message = "차단 규칙을 추가: 서울 사무실만 허용 (긴급)";
    const text = JSON.stringify({ $schema: "./정책/스키마.json", ...document("korean") });
    const [active] = await admin.history();
    const base = active?.revision ?? "";
    const pushed = await admin.call("PUT", `/policy?message=${encodeURIComponent(message)}`, {
      body: text,
      fields: onBase(base),
    });
    const { revision, hash } = accepted(pushed);
    assert.equal((await admin.get("/policy")).text, text);
    const [newest] = await admin.history();
    assert.deepEqual([newest?.revision, newest?.hash, newest?.message], [revision, hash, message]);
    assert.equal(newest?.bytes, Buffer.byteLength(text));
    assert.equal((await admin.audit(1))[0]?.message, message);
    const back = await admin.post(
      "/policy/rollback",
      { to: base, message: `되돌림: ${message}` },
      { fields: onBase(revision) },
    );
    accepted(back);
    const [entry] = await admin.audit(1);
    assert.deepEqual([entry?.message, entry?.to], [`되돌림: ${message}`, base]);
  });

  test("a message longer than 500 bytes is cut between characters", async () => {
    const [active] = await admin.history();
    const base = active?.revision ?? "";
    const message = "가".repeat(200);
    const path = `/policy?message=${encodeURIComponent(message)}`;
    const body = JSON.stringify(document("long"));
    accepted(await admin.call("PUT", path, { body, fields: onBase(base) }));
    assert.equal((await admin.history())[0]?.message, "가".repeat(166));
    assertProblem(
      await admin.call("PUT", "/policy?message=%ea%b0", { body, fields: onBase("r1") }),
      400,
      "bad-request",
    );
  });

  test("a client that goes away before the answer has pushed all the same", async () => {
    const [active] = await admin.history();
    const base = active?.revision ?? "";
    const body = JSON.stringify(document("gone"));
    const connection = await Connection.open(gateway.port);
    const fields: Fields = [
      ["CF-Connecting-IP", CLIENT],
      ...bearer(OPERATOR),
      ...JSON_TYPE,
      ...onBase(base),
    ];
    await connection.write(
      Buffer.concat([head(`${API}/policy`, { method: "PUT", fields, body }), Buffer.from(body)]),
    );
    connection.close();
    const audit = await eventually(
      "an entry",
      () => admin.audit(1),
      ([entry]) => entry?.base === base,
    );
    // Either way the log and the revisions agree.
    const [newest] = await admin.history();
    assert.equal(audit[0]?.outcome, "accepted");
    assert.equal(newest?.revision, audit[0]?.revision);
  });
});
