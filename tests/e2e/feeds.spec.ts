// Lists of addresses: imported through the admin API, and fetched from their feeds by the cron
// trigger, from a real server that behaves well and badly.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Admin, API, bearer, OPERATOR, READER, TOKENS } from "./admin.ts";
import { assertProblem, assertRefused, eventually, lineOf, sleep, within } from "./expect.ts";
import { Gateway, policy, route, using, type GatewayOptions } from "./mf.ts";
import { Origin, type Plan } from "./origin.ts";
import { Connection, head, type Fields, type RawResponse } from "./raw.ts";

/** Stands in for every server that the gateway asks. */
let origin: Origin;
before(async () => {
  origin = await Origin.start();
});
after(() => origin.stop());

const FEEDS = "https://feeds.test";
const APP = "http://app.test";

const hosts = (count: number): string =>
  Array.from({ length: count }, (_, at) => `198.51.${at >> 8}.${at & 255}\n`).join("");

/** A policy that denies whoever is in the stored sets, each with a feed of that URL and more. */
function denying(feeds: Record<string, object>): object {
  const names = Object.keys(feeds);
  const sets = names.map((name) => [name, { stored: true, feed: feeds[name] }]);
  return policy(APP, [route("all", "/*")], {
    refresh: { interval: "1s", source: "control" },
    address_sets: Object.fromEntries(sets),
    ip_filter: {
      rules: names.map((name) => ({
        id: name,
        action: "deny",
        address_sets: [name],
        on_failure: "open",
      })),
    },
    guard_list: ["203.0.113.0/24"],
  });
}

interface FeedReport {
  url: string;
  checked?: string;
  changed?: string;
  failure?: { reason: string; detail: string; attempts: number };
}

interface SetReport {
  name: string;
  prefixes: number;
  source: string;
  feed?: FeedReport;
}

interface Imported {
  name: string;
  generation: number;
  changed: boolean;
  read: number;
  prefixes: number;
  v4: number;
  v6: number;
  before: number;
}

/** A gateway whose feeds are answered by the origin. */
const start = (options: GatewayOptions = {}): Promise<Gateway> =>
  Gateway.start({ vars: TOKENS, outbound: origin.authority, ...options });

const sets = async (admin: Admin): Promise<SetReport[]> =>
  ((await admin.get("/address-sets")).json as { sets: SetReport[] }).sets;

const setOf = async (admin: Admin, name: string): Promise<SetReport> => {
  const found = (await sets(admin)).find((set) => set.name === name);
  assert.ok(found, `there is no set ${name}`);
  return found;
};

const imported = (response: RawResponse): Imported => {
  assert.equal(response.status, 200, response.text);
  return response.json as Imported;
};

const PLAIN: Fields = [["Content-Type", "text/plain"]];

const put = (admin: Admin, target: string, body: string | Buffer, fields = PLAIN) =>
  admin.call("PUT", `/address-sets/${target}`, { body, fields, timeout: 30_000 });

const refresh = (admin: Admin, name: string, timeout = 60_000): Promise<RawResponse> =>
  admin.call("POST", `/address-sets/${name}/refresh`, { timeout });

const statusOf = async (gateway: Gateway, client: string): Promise<number> =>
  (await gateway.fetch("/x", { client })).status;

interface Health {
  status: string;
  alerts?: number;
  alert_list?: { kind: string; name: string; reason: string; since: string }[];
}

const health = async (gateway: Gateway, fields: Fields = []): Promise<Health> =>
  (await gateway.fetch("/_weir/health", { fields })).json as Health;

/** The lines about feeds. */
const news = (gateway: Gateway): Record<string, string>[] =>
  gateway.log.notes
    .filter(({ message }) => message.includes('"event":"feed"'))
    .map(({ message }) => JSON.parse(message) as Record<string, string>);

/** The status that a client gets who sends two bytes a second. */
async function trickle(gateway: Gateway): Promise<number> {
  const fields: Fields = [...bearer(OPERATOR), ["Content-Length", "1000"]];
  const connection = await Connection.open(gateway.port, 40_000);
  await connection.write(head(`${API}/address-sets/slow`, { method: "PUT", fields }));
  const timer = setInterval(() => void connection.write("#\n").catch(() => {}), 1_000);
  try {
    return (await connection.head()).status;
  } finally {
    clearInterval(timer);
    connection.close();
  }
}

// Side by side: two of them wait for a deadline to pass.
describe("lists of addresses", { concurrency: 3 }, () => {
  describe("a list is imported", { concurrency: 1 }, () => {
    let gateway: Gateway;
    let admin: Admin;
    // Takes its time, beside the other tests.
    let trickling: Promise<number>;
    before(async () => {
      gateway = await start();
      admin = new Admin(gateway);
      await admin.pushed(denying({ plain: { url: `${FEEDS}/never` } }), "r0");
      trickling = trickle(gateway);
      trickling.catch(() => {});
    });
    after(() => gateway?.dispose());

    const formats: [label: string, query: string, list: string, prefixes: number, v6: number][] = [
      ["netset", "", "# a list\n198.51.100.0/24 # why\n2001:db8:7::/48\n", 2, 1],
      ["ranges", "?format=netset", "198.51.100.0 - 198.51.100.4\n", 2, 0],
      ["Spamhaus DROP", "?format=spamhaus_drop", "; DROP\n1.10.16.0/20 ; SBL256894\n", 1, 0],
      [
        "Spamhaus JSON lines",
        "?format=spamhaus_json",
        '{"cidr":"1.10.16.0/20","sblid":"SBL256894"}\n{"type":"metadata","records":1}\n',
        1,
        0,
      ],
      [
        "AWS",
        "?format=aws",
        '{"prefixes":[{"ip_prefix":"3.4.12.4/32"}],"ipv6_prefixes":[{"ipv6_prefix":"2600:1f01:4874::/47"}]}',
        2,
        1,
      ],
      [
        "Google",
        "?format=google",
        '{"prefixes":[{"ipv4Prefix":"8.8.4.0/24"},{"ipv6Prefix":"2001:4860::/32"}]}',
        2,
        1,
      ],
      [
        "Cloudflare",
        "?format=cloudflare",
        '{"result":{"ipv4_cidrs":["173.245.48.0/20"],"ipv6_cidrs":["2400:cb00::/32"]},"success":true}',
        2,
        1,
      ],
      ["CSV", "?format=csv&column=net", 'id,net\r\n1,"198.51.100.0/24"\r\n', 1, 0],
    ];
    for (const [nth, [label, query, list, prefixes, v6]] of formats.entries()) {
      test(label, async () => {
        const answer = imported(await put(admin, `f${nth}${query}`, list));
        assert.deepEqual(
          [answer.changed, answer.prefixes, answer.v4, answer.v6, answer.before],
          [true, prefixes, prefixes - v6, v6, 0],
        );
        const set = await setOf(admin, `f${nth}`);
        assert.deepEqual([set.prefixes, set.source], [prefixes, "import"]);
      });
    }

    test("and acts, without a revision; so does the next one", async () => {
      assert.equal(await statusOf(gateway, "198.51.7.7"), 200);
      imported(await put(admin, "plain?message=first", "198.51.7.0/24\n"));
      const denied = (client: string): Promise<number> =>
        eventually(
          `${client} to be denied`,
          () => statusOf(gateway, client),
          (status) => status === 403,
        );
      await denied("198.51.7.7");
      imported(await put(admin, "plain", "198.51.8.0/24\n"));
      await denied("198.51.8.8");
      assert.equal(await statusOf(gateway, "198.51.7.7"), 200);
      const [entry] = await admin.audit(1);
      assert.deepEqual(
        [entry?.author, entry?.action, entry?.outcome],
        ["olaf", "import plain", "accepted"],
      );
    });

    test(
      "a million prefixes, in chunks, and again without a change",
      { timeout: 120_000 },
      async () => {
        const line = (at: number): string =>
          `${11 + (at >> 18)}.${(at >> 10) & 255}.${(at >> 2) & 255}.${(at & 3) << 6}/26\n`;
        const large = Array.from({ length: 1_000_000 }, (_, at) => line(at)).join("");
        const send = (): Promise<RawResponse> =>
          admin.call("PUT", "/address-sets/large", {
            body: large,
            chunked: 60_000,
            fields: PLAIN,
            timeout: 60_000,
          });
        const first = imported(await send());
        assert.deepEqual([first.changed, first.prefixes], [true, 1_000_000]);
        const second = imported(await send());
        assert.deepEqual([second.changed, second.generation], [false, first.generation]);
        assert.equal((await admin.call("DELETE", "/address-sets/large")).status, 200);
      },
    );

    test("what may not be is refused, and told why", async () => {
      imported(await put(admin, "kept", hosts(100)));
      const cases: [query: string, list: string, reason: string][] = [
        ["", "", "empty"],
        ["", "<!doctype html>", "malformed"],
        ["", "0.0.0.0/0\n", "short-prefix"],
        ["", "10.0.0.1\n", "private"],
        ["", "203.0.113.0/28\n", "guarded"],
        ["", "198.51.100.7/24\n", "host-bits"],
        ["", hosts(3), "shrunk"],
        ["", hosts(300), "grown"],
        ["?max_prefixes=10", hosts(100), "oversized"],
      ];
      for (const [query, list, reason] of cases) {
        const response = await put(admin, `kept${query}`, list);
        await assertRefused(gateway, response, 422, "invalid-list");
        assert.equal((response.json as { list_reason: string }).list_reason, reason);
      }
      assert.equal((await setOf(admin, "kept")).prefixes, 100);
      const [entry] = await admin.audit(1);
      assert.deepEqual([entry?.outcome, entry?.reason], ["refused", "invalid-list"]);
    });

    test("other kinds of bodies are refused unread", async () => {
      const encoded = await put(admin, "x", hosts(3), [...PLAIN, ["Content-Encoding", "gzip"]]);
      assertProblem(encoded, 415, "unsupported-media-type");
      const form = await put(admin, "x", hosts(3), [["Content-Type", "multipart/form-data"]]);
      assertProblem(form, 415, "unsupported-media-type");
      assertProblem(await put(admin, "x?format=auto", hosts(3)), 400, "bad-request");
      // A length that is announced is enough to be refused.
      const fields: Fields = [...bearer(OPERATOR), ["Content-Length", String((64 << 20) + 1)]];
      const announced = await gateway.fetch(`${API}/address-sets/x`, { method: "PUT", fields });
      assertProblem(announced, 413, "too-large");
    });

    test("64 MiB are read, and no more", { timeout: 120_000 }, async () => {
      const body = Buffer.from(`#${" ".repeat(1_022)}\n`.repeat((64 << 10) + 1));
      const fields: Fields = [...PLAIN, ...bearer(OPERATOR)];
      const options = { method: "PUT", fields, body, chunked: 1 << 20, timeout: 60_000 };
      const response = await gateway.fetch(`${API}/address-sets/x`, options);
      assertProblem(response, 413, "too-large");
    });

    test("of whoever has no token nothing is read", async () => {
      const connection = await Connection.open(gateway.port);
      const fields: Fields = [["Content-Length", "1000000"]];
      await connection.write(head(`${API}/address-sets/x`, { method: "PUT", fields }));
      assert.equal((await connection.head()).status, 401);
      connection.close();
      const read = await new Admin(gateway, READER).call("PUT", "/address-sets/x", { body: "x" });
      assertProblem(read, 403, "forbidden");
    });

    test("a client that breaks off changes nothing", async () => {
      const fields: Fields = [...bearer(OPERATOR), ["Content-Length", "1000"]];
      // A reset may overtake what was written before it, and then nobody has heard of the request.
      const breakOff = async (): Promise<void> => {
        const connection = await Connection.open(gateway.port);
        await connection.write(head(`${API}/address-sets/broken`, { method: "PUT", fields }));
        await connection.write(hosts(10));
        await sleep(100);
        connection.reset();
      };
      await eventually(
        "the attempt to be written down",
        async () => {
          await breakOff();
          return (await admin.audit(1))[0];
        },
        (entry) => entry?.reason === "invalid-body",
        20_000,
      );
      assert.ok((await sets(admin)).every(({ name }) => name !== "broken"));
    });

    test("a client that trickles is ended", { timeout: 60_000 }, async () => {
      assert.equal(await trickling, 408);
    });
  });

  describe("the cron trigger rings", { concurrency: 1 }, () => {
    test("feeds are fetched, act, and are asked about what is known", async () => {
      await using(
        { vars: TOKENS, outbound: origin.authority, control: "relay" },
        async (gateway) => {
          const admin = new Admin(gateway);
          const list: { plan: Plan } = {
            plan: { body: hosts(300), fields: [["ETag", '"one"']], encoding: "gzip" },
          };
          origin.on(`${FEEDS}/cron.txt`, () => list.plan);
          const dated: Plan = {
            body: "2001:db8:7::/48\n",
            fields: [["Last-Modified", "Thu, 01 Jan 2026 05:17:00 GMT"]],
          };
          origin.on(`${FEEDS}/dated.txt`, ({ field }) =>
            field("if-modified-since") === undefined ? dated : { status: 304 },
          );
          // Nothing is asked without a feed.
          assert.equal(await gateway.scheduled(), "ok");
          await admin.pushed(
            denying({
              drop: { url: `${FEEDS}/cron.txt?key=hunter2` },
              six: { url: `${FEEDS}/dated.txt` },
            }),
            "r0",
          );
          assert.equal(await gateway.scheduled(), "ok");
          const [first] = origin.received(`${FEEDS}/cron.txt`);
          assert.ok(first);
          assert.equal(first.method, "GET");
          assert.match(first.field("user-agent") ?? "", /^Edgeweir\/\d+\.\d+\.\d+$/);
          for (const name of [
            "cookie",
            "authorization",
            "if-none-match",
            "cache-control",
            "pragma",
          ])
            assert.equal(first.field(name), undefined, name);
          const drop = await setOf(admin, "drop");
          assert.equal(drop.prefixes, 300);
          assert.ok(drop.feed?.checked && drop.feed.changed && !drop.feed.failure);
          await eventually(
            "the list to act",
            () => statusOf(gateway, "198.51.0.7"),
            (status) => status === 403,
          );
          const [entry] = await admin.audit(1);
          assert.deepEqual(
            [entry?.author, entry?.action],
            ["schedule", "refresh: 2 sets changed (drop, six)"],
          );

          // It rings again, and nothing is due.
          assert.equal(await gateway.scheduled(), "ok");
          assert.equal(origin.received(`${FEEDS}/cron.txt`).length, 1);

          // A day later.
          await gateway.relay?.fail("age");
          list.plan = { status: 304, fields: [["ETag", '"one"']] };
          assert.equal(await gateway.scheduled(), "ok");
          const asked = origin.received(`${FEEDS}/cron.txt`)[1];
          assert.deepEqual(
            [asked?.field("if-none-match"), asked?.field("if-modified-since")],
            ['"one"', undefined],
          );
          const date = origin.received(`${FEEDS}/dated.txt`)[1]?.field("if-modified-since");
          assert.equal(date, "Thu, 01 Jan 2026 05:17:00 GMT");
          const generation = async (): Promise<number> =>
            ((await admin.get("/address-sets")).json as { generation: number }).generation;
          assert.equal(await generation(), 1);
          // Another tag, and the same list in another order.
          const shuffled = hosts(300).trim().split("\n").reverse().join("\n");
          list.plan = { body: shuffled, fields: [["ETag", 'W/"two"']], encoding: "br" };
          assert.equal(await gateway.scheduled(), "ok");
          assert.equal(await generation(), 1);
          list.plan = { body: hosts(301), fields: [["ETag", '"three"']] };
          assert.equal(await gateway.scheduled(), "ok");
          assert.equal(origin.received(`${FEEDS}/cron.txt`)[3]?.field("if-none-match"), 'W/"two"');
          assert.equal(await generation(), 2);
          assert.equal((await setOf(admin, "drop")).prefixes, 301);
          assert.deepEqual(news(gateway), []);
          for (const { message } of gateway.log.lines) assert.doesNotMatch(message, /hunter2/);
        },
      );
    });

    test("a feed that shrinks keeps its list, and is seen until it is good again", async () => {
      await using(
        { vars: TOKENS, outbound: origin.authority, control: "relay" },
        async (gateway) => {
          const admin = new Admin(gateway);
          let body = hosts(100);
          origin.on(`${FEEDS}/shrinks`, () => ({ body }));
          origin.on(`${FEEDS}/steady`, { body: "2001:db8:7::/48\n" });
          await admin.pushed(
            denying({ a: { url: `${FEEDS}/shrinks?key=hunter2` }, b: { url: `${FEEDS}/steady` } }),
            "r0",
          );
          await gateway.scheduled();
          assert.deepEqual(await health(gateway), {
            status: "ok",
            version: ((await health(gateway)) as unknown as { version: string }).version,
            revision: "r1",
          });
          await gateway.relay?.fail("age");
          body = hosts(10);
          await gateway.scheduled();
          await gateway.scheduled();
          const set = await setOf(admin, "a");
          assert.equal(set.prefixes, 100);
          assert.equal(set.feed?.failure?.reason, "shrunk");
          assert.equal(set.feed?.failure?.attempts, 2);
          // In the log once, without what may be a key.
          const [line, ...others] = news(gateway);
          assert.equal(others.length, 0);
          assert.deepEqual([line?.name, line?.state, line?.reason], ["a", "failing", "shrunk"]);
          assert.match(line?.detail ?? "", /^10 prefixes after 100/);
          for (const { message } of gateway.log.lines) assert.doesNotMatch(message, /hunter2/);
          // In health: how many for everybody, which for readers. It still answers 200.
          const bad = await eventually(
            "the alert to be in health",
            () => health(gateway),
            ({ alerts }) => alerts === 1,
          );
          assert.deepEqual([bad.status, bad.alert_list], ["degraded", undefined]);
          assert.equal((await gateway.fetch("/_weir/health")).status, 200);
          const list = (await health(gateway, bearer(READER))).alert_list;
          assert.deepEqual(
            list?.map(({ kind, name, reason }) => [kind, name, reason]),
            [["feed", "a", "shrunk"]],
          );
          const own = (await admin.get("/health")).json as { status: string; alerts: object[] };
          assert.deepEqual([own.status, own.alerts.length], ["degraded", 1]);
          // The last good list acts.
          assert.equal(await statusOf(gateway, "198.51.0.99"), 403);

          body = hosts(90);
          await gateway.scheduled();
          const good = await eventually(
            "health to be good",
            () => health(gateway),
            ({ status }) => status === "ok",
          );
          assert.equal(good.alerts, undefined);
          assert.deepEqual(
            news(gateway).map(({ name, state }) => [name, state]),
            [
              ["a", "failing"],
              ["a", "recovered"],
            ],
          );
          assert.equal((await setOf(admin, "a")).prefixes, 90);
        },
      );
    });

    test("a list that was rolled back stays away until there is another one", async () => {
      await using(
        { vars: TOKENS, outbound: origin.authority, control: "relay" },
        async (gateway) => {
          const admin = new Admin(gateway);
          let plan: Plan = { body: "198.51.1.0/24\n", fields: [["ETag", '"good"']] };
          origin.on(`${FEEDS}/rolled`, () => plan);
          await admin.pushed(denying({ a: { url: `${FEEDS}/rolled` } }), "r0");
          await gateway.scheduled();
          await gateway.relay?.fail("age");
          const bad: Plan = { body: "198.51.2.0/24\n", fields: [["ETag", '"bad"']] };
          plan = bad;
          await gateway.scheduled();
          const acts = (client: string): Promise<number> =>
            eventually(
              `${client} to be denied`,
              () => statusOf(gateway, client),
              (status) => status === 403,
            );
          await acts("198.51.2.1");
          const back = await admin.post("/address-sets/rollback", { to: 1, message: "bad" });
          assert.equal(back.status, 200, back.text);
          await acts("198.51.1.1");
          assert.equal(await statusOf(gateway, "198.51.2.1"), 200);
          plan = { status: 304 };
          await gateway.scheduled();
          const asked = origin.received(`${FEEDS}/rolled`).at(-1);
          assert.equal(asked?.field("if-none-match"), '"bad"');
          assert.equal(await statusOf(gateway, "198.51.2.1"), 200);
          plan = { body: "198.51.3.0/24\n" };
          await gateway.scheduled();
          await acts("198.51.3.1");
        },
      );
    });

    test("a Control object that fails is told in the log, and the next run goes on", async () => {
      await using(
        { vars: TOKENS, outbound: origin.authority, control: "relay" },
        async (gateway) => {
          const admin = new Admin(gateway);
          origin.on(`${FEEDS}/later`, { body: hosts(10) });
          await admin.pushed(denying({ a: { url: `${FEEDS}/later` } }), "r0");
          for (const mood of ["throw", "status", "garbage"] as const) {
            await gateway.relay?.fail(mood);
            assert.equal(await gateway.scheduled(), "ok", mood);
            await gateway.log.note(
              /"event":"feed".*"state":"interrupted"|"state":"interrupted".*"event":"feed"/,
            );
          }
          await gateway.relay?.fail("work");
          await gateway.scheduled();
          assert.equal((await setOf(admin, "a")).prefixes, 10);
        },
      );
    });
  });

  describe("a feed is refreshed", { concurrency: 1 }, () => {
    let gateway: Gateway;
    let admin: Admin;
    const urls: Record<string, string> = {};
    // Takes its time, beside the other tests.
    let silent: Promise<RawResponse>;
    before(async () => {
      gateway = await start();
      admin = new Admin(gateway);
      const names = [
        "good",
        "http",
        "address",
        "loop",
        "status",
        "short",
        "chunked",
        "large",
        "bomb",
        "html",
        "all",
        "reset",
        "slow",
      ];
      for (const name of names) urls[name] = `${FEEDS}/${name}`;
      const feeds = names.map((name) => [
        name,
        { url: urls[name], max_bytes: "64KiB", max_change: 10 },
      ]);
      await admin.pushed(denying(Object.fromEntries(feeds)), "r0");
      origin.on(`${FEEDS}/slow`, { body: hosts(1_000), failure: "stall-in-body" });
      silent = refresh(admin, "slow");
      silent.catch(() => {});
    });
    after(() => gateway?.dispose());

    const to = (location: string, status = 302): Plan => ({
      status,
      fields: [["Location", location]],
      body: "somewhere else",
    });

    const failed = async (name: string, reason: string, status = 502): Promise<void> => {
      const response = await refresh(admin, name);
      const label = status === 502 ? "feed-unavailable" : "invalid-list";
      const line = await assertRefused(gateway, response, status, label);
      assert.equal((response.json as { list_reason: string }).list_reason, reason, response.text);
      assert.equal(line.verdict, status === 502 ? "failed" : "refused");
      const listed = await setOf(admin, name);
      assert.equal(listed.prefixes, 0, `${name} has a list`);
      assert.equal(listed.feed?.failure?.reason, reason);
    };

    test("over redirects, each of another kind", async () => {
      origin.on(`${FEEDS}/good`, to("/relative", 301));
      origin.on(`${FEEDS}/relative`, to("//cdn.test/list?signature=x", 307));
      origin.on("https://cdn.test/list", to("https://other.test:8443/list", 308));
      origin.on("https://other.test:8443/list", { body: hosts(10), chunked: true });
      assert.equal(imported(await refresh(admin, "good")).prefixes, 10);
    });

    test("but to nowhere that is not https on a public host", async () => {
      const before = origin.requests.length;
      for (const [name, location] of [
        ["http", "http://feeds.test/list"],
        ["address", "https://169.254.169.254/latest/meta-data/"],
        ["address", "https://[::1]/"],
        ["address", "https://localhost/"],
        ["address", "https://metadata.google.internal/"],
        ["http", "file:///etc/passwd"],
        ["http", "https://user:hunter2@feeds.test/"],
      ] as const) {
        origin.on(`${FEEDS}/${name}`, to(location));
        await failed(name, "feed-redirect");
      }
      const asked = origin.requests.slice(before).map(({ target }) => target);
      // The other tests ask these, too.
      assert.ok(
        asked.every((target) => [FEEDS, APP].includes(new URL(target).origin)),
        String(asked),
      );
    });

    test("and not on and on", async () => {
      origin.on(`${FEEDS}/loop`, to(`${FEEDS}/loop`));
      await failed("loop", "feed-redirect");
      assert.equal(origin.received(`${FEEDS}/loop`).length, 4);
    });

    test("a status that is none of a list", async () => {
      for (const status of [204, 206, 404, 429, 500]) {
        origin.on(`${FEEDS}/status`, { status, body: status === 204 ? "" : hosts(10) });
        await failed("status", "feed-status");
      }
    });

    test("a body that breaks off, by length and in chunks", async () => {
      origin.on(`${FEEDS}/short`, { body: hosts(1_000), failure: "reset-in-body" });
      await failed("short", "feed-unreachable");
      origin.on(`${FEEDS}/chunked`, {
        body: hosts(1_000),
        chunked: true,
        failure: "reset-in-body",
      });
      await failed("chunked", "feed-unreachable");
      origin.on(`${FEEDS}/reset`, { failure: "reset-before-head" });
      await failed("reset", "feed-unreachable");
    });

    test("more bytes than may be, plain or packed", async () => {
      const large = "# nothing at all\n".repeat(1 << 20);
      origin.on(`${FEEDS}/large`, { body: large });
      await failed("large", "oversized", 422);
      // 16 MiB in 16 KiB.
      origin.on(`${FEEDS}/bomb`, { body: large, encoding: "gzip" });
      await failed("bomb", "oversized", 422);
    });

    test("a list that is none, or covers everything", async () => {
      origin.on(`${FEEDS}/html`, { body: "<html>Down for maintenance</html>" });
      await failed("html", "malformed", 422);
      origin.on(`${FEEDS}/all`, { body: "0.0.0.0/0\n" });
      await failed("all", "short-prefix", 422);
      origin.on(`${FEEDS}/all`, { body: "0.0.0.0-255.255.255.255\n" });
      await failed("all", "short-prefix", 422);
      origin.on(`${FEEDS}/all`, { body: "203.0.113.0/28\n" });
      await failed("all", "guarded", 422);
    });

    test("a server that goes silent", { timeout: 90_000 }, async () => {
      const response = await within("the deadline to pass", silent, 50_000);
      await assertRefused(gateway, response, 502, "feed-unavailable");
      assert.equal((response.json as { list_reason: string }).list_reason, "feed-timeout");
      const [received] = origin.received(`${FEEDS}/slow`);
      assert.equal(await received?.outcome, "aborted");
    });

    test("a set without a feed, or none at all", async () => {
      imported(await put(admin, "loose", hosts(3)));
      assertProblem(await refresh(admin, "loose"), 409, "no-feed");
      assertProblem(await refresh(admin, "nothing"), 404, "no-such-set");
      const reader = new Admin(gateway, READER);
      assertProblem(await refresh(reader, "good"), 403, "forbidden");
    });

    test("what failed is in the log with its reason, and the line names no URL", async () => {
      const lines = news(gateway);
      assert.ok(lines.length >= 8, JSON.stringify(lines));
      for (const line of lines) assert.doesNotMatch(JSON.stringify(line), /hunter2|signature/);
      const response = await gateway.fetch("/_weir/health", { fields: bearer(READER) });
      await lineOf(gateway, response);
      assert.ok(((response.json as Health).alerts ?? 0) >= 8);
    });
  });
});
