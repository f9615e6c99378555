// npm run bench -- --limits: what limits promise and cost, in one run: four isolates of the gateway on
// the same counter objects, in workerd. Between them and the objects, where calls are counted, stands a
// class that counts them; what is timed goes past it.

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { reachableModules } from "./build.mjs";
import { median } from "./summary.mjs";

const ISOLATES = 4;
const HEADS = "weir-message";

// Counts what passes. A class of its own: the module is left as it is.
const RELAY = `
import { DurableObject } from "cloudflare:workers";
let calls = 0;
export class Limiter extends DurableObject {
  async fetch(request) {
    calls += 1;
    const real = this.env.REAL;
    return real.get(real.idFromName(this.ctx.id.name ?? "v1-0")).fetch(request);
  }
}
export default {
  fetch() {
    const response = Response.json({ calls });
    calls = 0;
    return response;
  },
};
`;

// Asks one object, so many at a time.
const DRIVER = `
const ask = (key, algorithm) => ({ key: key.toString(16).padStart(32, "0"), algorithm, max: 100,
  window_ms: 900000, burst: 100, cost: 1, enforced: true });
export default {
  async fetch(request, env) {
    const { count, atOnce, batch, first } = await request.json();
    const object = env.LIMITER.get(env.LIMITER.idFromName("v1-0"));
    let next = 0;
    const worker = async () => {
      while (next < count) {
        const at = next;
        next += batch;
        const asks = Array.from({ length: Math.min(batch, count - at) }, (_, n) => ask(first + at + n, "gcra"));
        const headers = { "${HEADS}": JSON.stringify({ v: 2, asks }) };
        const { status } = await object.fetch("https://limiter.invalid/", { headers });
        if (status !== 200) throw new Error("status " + status);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    return new Response("done");
  },
};
`;

const rule = (more) => ({ id: "few", max: 100, window: "15m", ...more });
const route = (id, more) => ({
  id,
  match: { path: `/${id}` },
  upstream: "app",
  ...(more && { rate_limit: { rules: [rule(more)] } }),
});

function policyOf(origin) {
  const wide = { max: 100_000, window: "60s" };
  return {
    version: 1,
    upstreams: { app: { origin } },
    routes: [
      route("none"),
      route("exact", { algorithm: "fixed_window", counting: "exact" }),
      route("leased", { algorithm: "fixed_window", counting: "leased" }),
      route("wide-exact", { ...wide, counting: "exact" }),
      route("wide-leased", { ...wide, counting: "leased" }),
      route("blocked", { max: 1, counting: "leased" }),
    ],
  };
}

/** Four isolates, and their ports. */
async function start({ build, runtime, origin, relayed, persist }) {
  const { Miniflare } = await import("miniflare");
  const modules = reachableModules(build).map((name) => ({
    type: name.endsWith(".wasm") ? "CompiledWasm" : "ESModule",
    path: name,
    contents: readFileSync(path.join(build, name)),
  }));
  const policy = JSON.stringify(policyOf(origin));
  const own = { className: "Limiter", useSQLite: true };
  const limiter = (index) => {
    if (relayed) return { ...own, scriptName: "relay" };
    return index === 0 ? own : { ...own, scriptName: "isolate-0" };
  };
  const common = {
    modules,
    compatibilityDate: runtime.date,
    compatibilityFlags: runtime.flags,
    kvNamespaces: ["STATE"],
    bindings: { ENVIRONMENT: "production", LOG_LEVEL: "error" },
  };
  const socket = [{ host: "127.0.0.1", port: 0 }];
  const isolates = Array.from({ length: ISOLATES }, (_, index) => ({
    ...common,
    name: `isolate-${index}`,
    durableObjects: { LIMITER: limiter(index), ...(index === 0 && { OWN: own }) },
    unsafeDirectSockets: socket,
  }));
  const real = { ...own, scriptName: "isolate-0" };
  const plain = (name, script, durableObjects) => ({
    name,
    modules: [{ type: "ESModule", path: `${name}.mjs`, contents: script }],
    compatibilityDate: runtime.date,
    durableObjects,
    unsafeDirectSockets: socket,
  });
  const mf = new Miniflare({
    host: "127.0.0.1",
    port: 0,
    cf: false,
    ...(persist && { defaultPersistRoot: persist }),
    handleStructuredLogs: () => {},
    workers: [
      ...isolates,
      plain("relay", RELAY, { REAL: real, LIMITER: own }),
      plain("driver", DRIVER, { LIMITER: real }),
    ],
  });
  await mf.ready;
  const manifest = `{"format":1,"sequence":1,"revision":"bench","module":"0.3.0","policy":${policy}}`;
  const hash = createHash("sha256").update(manifest).digest("hex");
  const state = await mf.getKVNamespace("STATE", "isolate-0");
  await state.put("active", manifest, { metadata: { sequence: 1, hash } });
  const port = async (name) => Number((await mf.unsafeGetDirectURL(name)).port);
  const ports = await Promise.all(isolates.map(({ name }) => port(name)));
  const [relay, driver] = await Promise.all([port("relay"), port("driver")]);
  return { mf, ports, relay, driver };
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });

function get(port, target, { client = "192.0.2.1", body } = {}) {
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", path: target, agent, method: body ? "POST" : "GET" };
    const request = http.request(
      { ...options, headers: { "CF-Connecting-IP": client } },
      (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () =>
          resolve({ status: response.statusCode, text: `${Buffer.concat(chunks)}` }),
        );
      },
    );
    // A kept connection may have ended in the meantime (RFC 9112, 9.3.1): nothing was asked then.
    request.on("error", (error) =>
      request.reusedSocket ? resolve(get(port, target, { client, body })) : reject(error),
    );
    request.end(body);
  });
}

/** How many of so many pass, so many at once, to the isolates in turn. */
async function send(ports, target, count, atOnce, options = {}) {
  let [sent, passed] = [0, 0];
  const begun = performance.now();
  const worker = async () => {
    while (sent < count) {
      const nth = sent++;
      if (options.rate) {
        const early = (nth / options.rate) * 1_000 - (performance.now() - begun);
        if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
      }
      const { status, text } = await get(ports[nth % ports.length], target, options);
      if (status === 200) passed += 1;
      else if (status !== 429)
        throw new Error(`${target}: status ${status}: ${text.slice(0, 200)}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return { passed, seconds: (performance.now() - begun) / 1_000 };
}

/** The CPU time of this process's children in seconds, and their resident memory in bytes. */
function children() {
  const pids = readFileSync(`/proc/self/task/${process.pid}/children`, "utf8")
    .split(" ")
    .filter(Boolean);
  return pids.reduce(
    (sum, pid) => {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ");
      const cpu = (Number(stat[11]) + Number(stat[12])) / 100;
      return { cpu: sum.cpu + cpu, memory: sum.memory + Number(stat[21]) * 4_096 };
    },
    { cpu: 0, memory: 0 },
  );
}

const sizeOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(path.join(entry.parentPath, entry.name)).size, 0);

async function admitted(ports, repeats, progress) {
  const seen = {};
  for (const counting of ["exact", "leased"]) {
    seen[counting] = [];
    for (let nth = 0; nth < repeats; nth += 1) {
      // A window of the clock must not end in the middle.
      const left = 900_000 - (Date.now() % 900_000);
      if (left < 20_000) await new Promise((resolve) => setTimeout(resolve, left + 1_000));
      const client = `10.${counting === "exact" ? 0 : 1}.${nth >> 8}.${nth & 255}`;
      seen[counting].push((await send(ports, `/${counting}`, 2_000, 64, { client })).passed);
    }
    progress(`${counting}: ${seen[counting].join(" ")}`);
  }
  return seen;
}

async function cpu(ports) {
  const kinds = ["none", "wide-leased", "wide-exact"];
  const seen = Object.fromEntries(kinds.map((kind) => [kind, []]));
  for (const kind of kinds) await send(ports, `/${kind}`, 2_000, 16);
  for (let round = 0; round < 7; round += 1) {
    for (const kind of kinds) {
      const before = children().cpu;
      await send(ports, `/${kind}`, 3_000, 16);
      seen[kind].push((children().cpu - before) / 3);
    }
  }
  return Object.fromEntries(kinds.map((kind) => [kind, median(seen[kind])]));
}

export async function measureLimits(options, { runtime, machine, progress }) {
  const origin = http.createServer((_, response) => response.end("ok"));
  await new Promise((resolve) => origin.listen(0, "127.0.0.1", resolve));
  const at = { build: options.build, runtime, origin: `http://127.0.0.1:${origin.address().port}` };
  const results = {};

  progress("counting the calls of the objects");
  let running = await start({ ...at, relayed: true });
  const calls = async () => JSON.parse((await get(running.relay, "/")).text).calls;
  await send(running.ports, "/none", 200, 16);
  await calls();
  const { seconds, passed } = await send(running.ports, "/wide-leased", 20_000, 64, {
    rate: 1_000,
  });
  results.leased = { calls_per_1000: (await calls()) / 20, rate: 20_000 / seconds, passed };
  for (const port of running.ports) await get(port, "/blocked");
  await calls();
  const blocked = await send(running.ports, "/blocked", 1_000 * ISOLATES, 16);
  results.blocked = { calls_an_isolate: (await calls()) / ISOLATES, passed: blocked.passed };
  await running.mf.dispose();

  progress("counting who is admitted");
  const persist = mkdtempSync(path.join(tmpdir(), "edgeweir-bench-"));
  running = await start({ ...at, relayed: false, persist });
  results.admitted = await admitted(running.ports, options.repeats, progress);
  progress("measuring CPU");
  results.cpu = await cpu(running.ports);
  progress("asking one object");
  const drive = async (count, atOnce, batch, first) => {
    const begun = performance.now();
    const body = JSON.stringify({ count, atOnce, batch, first });
    const { status, text } = await get(running.driver, "/", { body });
    if (status !== 200) throw new Error(text.slice(0, 500));
    return count / ((performance.now() - begun) / 1_000);
  };
  await drive(1_000, 16, 1, 1);
  results.decisions = await drive(20_000, 16, 1, 10_000);
  progress(`filling one object with ${options.keys} keys`);
  const [memory, disk] = [children().memory, sizeOf(persist)];
  for (let first = 0; first < options.keys; first += 64_000) {
    await drive(Math.min(64_000, options.keys - first), 4, 64, 1_000_000 + first);
  }
  results.keys = {
    count: options.keys,
    memory: children().memory - memory,
    disk: sizeOf(persist) - disk,
  };
  results.decisions_full = await drive(20_000, 16, 1, 1_000_000);
  await running.mf.dispose();
  rmSync(persist, { recursive: true, force: true });
  origin.close();
  agent.destroy();
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ machine, limits: results }, undefined, 2)}\n`
      : table(results),
  );
}

const spread = (list) =>
  Math.min(...list) === Math.max(...list)
    ? `${list[0]}`
    : `${Math.min(...list)} to ${Math.max(...list)}`;
const mib = (bytes) => `${Math.round(bytes / (1 << 20))} MiB`;

function table({
  admitted: seen,
  leased,
  blocked,
  cpu: per,
  decisions,
  decisions_full: full,
  keys,
}) {
  const ratio = (kind) => `${(per[kind] / per.none).toFixed(2)} ×`;
  const rows = [
    [
      `admitted of 2,000, limit 100, 64 at once, 4 isolates, ${seen.exact.length} times: exact`,
      spread(seen.exact),
      "100",
    ],
    ["the same, leased", spread(seen.leased), "98 to 100"],
    [
      `calls of objects for 1,000 requests, leased, ${Math.round(leased.rate)} requests/s`,
      leased.calls_per_1000.toFixed(1),
      "at most 20",
    ],
    ["CPU of a request, leased, against no limit", ratio("wide-leased"), "at most 1.05 ×"],
    ["the same, exact", ratio("wide-exact"), "about 1.4 ×"],
    [
      "calls for 1,000 refusals of a blocked client, an isolate",
      blocked.calls_an_isolate.toFixed(1),
      "at most 2",
    ],
    ["decisions/s of one object", Math.round(decisions).toLocaleString("en"), "stated"],
    [
      `the same, with ${keys.count.toLocaleString("en")} keys`,
      Math.round(full).toLocaleString("en"),
      "stated",
    ],
    ["memory for them, and storage", `${mib(keys.memory)}, ${mib(keys.disk)}`, "stated"],
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, at) => cell.padEnd(widths[at]))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}
