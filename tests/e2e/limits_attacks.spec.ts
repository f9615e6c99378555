// What clients do who look for a way around limits, against the running program.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { Admin, OPERATOR, TOKENS } from "./admin.ts";
import { sleep } from "./expect.ts";
import { CLIENT, Gateway, policy, route, type FetchOptions } from "./mf.ts";
import { Origin } from "./origin.ts";
import type { Fields } from "./raw.ts";

const rule = (id: string, more: object): object => ({
  id,
  max: 2,
  window: "1h",
  algorithm: "fixed_window",
  on_failure: "closed",
  deadline: "5s",
  ...more,
});
const limited = (id: string, path: string, ...rules: object[]): object =>
  route(id, path, { rate_limit: { rules } });

let origin: Origin;
let gateway: Gateway;
before(async () => {
  origin = await Origin.start();
  const parts = ["one", "two", "three", "four"];
  const path = parts.map((part) => ({ path: part }));
  gateway = await Gateway.start({
    isolates: 2,
    vars: TOKENS,
    policy: policy(origin.url, [
      limited("deep", "/deep/{one}/{two}/{three}/{four}", rule("l", { key: ["client", ...path] })),
      limited("cookie", "/cookie", rule("l", { key: [{ cookie: "s" }] })),
      limited("header", "/header", rule("l", { key: [{ header: "Authorization" }] })),
      limited("query", "/query", rule("l", { key: [{ query: "u" }] })),
      limited("gone", "/gone/*", rule("l", { max: 20, count_status: [401] })),
      limited(
        "both",
        "/both",
        rule("wide", { max: 150 }),
        rule("narrow", { max: 100, key: [{ header: "X-User" }] }),
      ),
    ]),
  });
});
after(async () => {
  await gateway?.dispose();
  await origin.stop();
});

/** The statuses of requests to the isolates in turn. */
async function statuses(target: string | string[], fields: Fields[]): Promise<number[]> {
  const seen = [];
  for (const [nth, lines] of fields.entries()) {
    const options: FetchOptions = { isolate: nth % 2, fields: lines };
    const to = typeof target === "string" ? target : (target[nth] ?? "/");
    seen.push((await gateway.fetch(to, options)).status);
  }
  return seen;
}

test("long values are counted like short ones", async () => {
  const path = ["a", "b", "c", "d"].map((part) => part.repeat(64)).join("/");
  assert.deepEqual(await statuses(`/deep/${path}`, [[], [], [], []]), [200, 200, 429, 429]);
});

describe("one value, one counter", () => {
  test("a cookie in other spellings, and on two lines", async () => {
    const spellings: Fields[] = ["s=real", "t=1; s=%72eal", 's= "real"', "s =real"].map((value) => [
      ["Cookie", value],
    ]);
    const lines: Fields = [
      ["Cookie", "t=1"],
      ["Cookie", "s=real"],
    ];
    assert.deepEqual(await statuses("/cookie", [...spellings, lines]), [200, 200, 429, 429, 429]);
  });

  test("a cookie and a parameter that are there twice", async () => {
    const twice = [1, 2, 3].map((nth): Fields => [["Cookie", `s=${nth}; s=other`]]);
    assert.deepEqual(await statuses("/cookie", twice), [200, 200, 429]);
    const targets = [1, 2, 3].map((nth) => `/query?u=${nth}&%75=other`);
    assert.deepEqual(await statuses(targets, [[], [], []]), [200, 200, 429]);
  });

  test("a field in other cases, which nobody sees in lists of counters", async () => {
    const names = ["Authorization", "AUTHORIZATION", "authorization"];
    const fields = names.map((name): Fields => [[name, "Bearer very-secret"]]);
    assert.deepEqual(await statuses("/header", fields), [200, 200, 429]);
    const { text } = await new Admin(gateway, OPERATOR).get("/limits");
    assert.match(text, /header\/l authorization=#[0-9a-f]{12}/);
    assert.doesNotMatch(text, /very-secret|Bearer/);
  });
});

test("what many that passed were charged does not stand in the way of giving back", async () => {
  const as = (user: string, times: number): Fields[] =>
    Array.from({ length: times }, () => [["X-User", user]]);
  const passed = async (user: string, times: number): Promise<number> =>
    (await statuses("/both", as(user, times))).filter((status) => status === 200).length;
  assert.equal(await passed("a", 100), 100);
  assert.equal(await passed("a", 40), 0);
  await sleep(500);
  assert.equal(await passed("b", 60), 50);
});

/** Sends a request and goes away before there is an answer. */
async function goAway(target: string, isolate: number): Promise<void> {
  const socket = connect(gateway.ports[isolate] ?? 0, "127.0.0.1");
  const lines = [`GET ${target} HTTP/1.1`, "Host: gateway.test", `CF-Connecting-IP: ${CLIENT}`];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  await sleep(150);
  socket.destroy();
}

test("whoever goes away before the answer is counted by it all the same", async () => {
  origin.on("/gone/slow", async () => {
    await sleep(1_000);
    return { status: 401 };
  });
  await Promise.all(Array.from({ length: 30 }, (_, nth) => goAway("/gone/slow", nth % 2)));
  await sleep(1_500);
  assert.ok(origin.received("/gone/slow").length <= 20);
  assert.equal((await gateway.fetch("/gone/x")).status, 429);
});
