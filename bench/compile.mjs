// npm run bench -- --compile: what it costs an isolate to compile a policy, by the number of routes.
//
// A process that has just started compiles when its first request comes. That request also fetches
// the manifest, hashes it, and has V8 compile the WebAssembly that it runs through, so the first
// request of a policy of one route, padded to the same length, is subtracted. Counted is the CPU
// time of the thread that runs JavaScript: waiting for other work on the machine is not in it, and
// neither are V8's helper threads.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { writeGateway } from "./config.mjs";
import { startWorkerd, stop, temporaryFolder } from "./processes.mjs";
import { send } from "./requests.mjs";
import { median } from "./summary.mjs";

const RULES = 10;
const SIZES = [100, 300, 1000, 3000];
const TARGET_MS = 50;
const TARGET_ROUTES = 1000;
const DOCUMENT_LIMIT = 1024 * 1024;

const filters = (route) =>
  Array.from({ length: RULES / 2 }, (_, index) => ({
    id: `i${index}`,
    action: "deny",
    prefixes: [`10.${index}.${route % 256}.0/24`, `2001:db8:${index}::/48`],
  }));

const limits = () =>
  Array.from({ length: RULES / 2 }, (_, index) => ({
    id: `l${index}`,
    key: ["client", { header: `x-k${index}` }],
    max: 100 + index,
    window: "1m",
    counting: "local",
  }));

const stages = (route) => ({
  ip_filter: { rules: filters(route) },
  rate_limit: { rules: limits() },
});
const plain = (route) => ({ id: `r${route}`, match: { path: `/r${route}/*` }, upstream: "app" });

/** The shapes of policy: each route with rules of its own, or all with those of `defaults`. */
const SHAPES = {
  own: (count) => ({
    routes: Array.from({ length: count }, (_, route) => ({ ...plain(route), ...stages(route) })),
  }),
  defaults: (count) => ({
    defaults: stages(0),
    routes: Array.from({ length: count }, (_, route) => plain(route)),
  }),
};

function document(shape, count) {
  const upstreams = { app: { origin: "http://origin.invalid" } };
  return JSON.stringify({ version: 1, upstreams, ...SHAPES[shape](count) });
}

export async function measureCompile(options, { workerd, runtime, machine, progress }) {
  const folder = temporaryFolder();
  const rows = [];
  for (const shape of Object.keys(SHAPES)) {
    for (const routes of SIZES) {
      const whole = document(shape, routes);
      if (whole.length > DOCUMENT_LIMIT) continue;
      const least = document(shape, 1);
      const padded = least + " ".repeat(whole.length - least.length);
      const [withIt, without] = [[], []];
      for (let round = 0; round < options.rounds; round += 1) {
        without.push(await firstRequest(padded));
        withIt.push(await firstRequest(whole));
      }
      rows.push({
        shape,
        routes,
        bytes: whole.length,
        ms: median(withIt) - median(without),
        least: Math.min(...withIt) - Math.min(...without),
      });
      progress(`${shape}, ${routes} routes`);
    }
  }
  const targets = rows
    .filter(({ routes }) => routes === TARGET_ROUTES)
    .map(({ shape, ms }) => ({ shape, ms, at_most: TARGET_MS, met: ms <= TARGET_MS }));
  const results = { machine, rules: RULES, rounds: options.rounds, rows, targets };
  process.stdout.write(options.json ? `${JSON.stringify(results, null, 2)}\n` : render(results));
  if (options.strict && targets.some(({ met }) => !met)) process.exitCode = 1;

  async function firstRequest(policy) {
    const directory = path.join(folder, String(counter()));
    mkdirSync(directory);
    // No request reaches the cache.
    const gateway = { build: options.build, policy, logLevel: "error", cachePort: 1 };
    const server = await startWorkerd(workerd.binary, writeGateway(directory, gateway, runtime));
    const before = busyMs(server.pid);
    const answer = await send(server.port, { path: "/_weir/health" });
    const took = busyMs(server.pid) - before;
    await stop(server.child);
    const { status, revision } = JSON.parse(answer.body.toString());
    if (status !== "ok" || revision !== "bench")
      throw new Error(`the gateway did not take the policy: ${answer.body}\n${server.complaint()}`);
    return took;
  }
}

let count = 0;
const counter = () => (count += 1);

/** Milliseconds that a process's first thread has run, or of the clock where that is not to be had. */
function busyMs(pid) {
  const file = `/proc/${pid}/schedstat`;
  if (!existsSync(file)) return performance.now();
  return Number(readFileSync(file, "utf8").split(" ")[0]) / 1e6;
}

function render({ machine, rules, rounds, rows, targets }) {
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, workerd ${machine.workerd}, ${machine.date}`,
    `compiling a policy in an isolate's first request, ${rules} rules for each route; CPU of ${rounds} samples: difference of the medians, and of the least`,
    "",
    "  rules of     routes       bytes       ms    least   µs a rule",
  ];
  for (const { shape, routes, bytes, ms, least } of rows) {
    const cells = [
      shape.padEnd(11),
      String(routes).padStart(6),
      String(bytes).padStart(10),
      ms.toFixed(1).padStart(7),
      least.toFixed(1).padStart(7),
      ((ms * 1000) / (routes * rules)).toFixed(2).padStart(10),
    ];
    lines.push(`  ${cells.join("  ")}`);
  }
  lines.push("");
  for (const { shape, ms, at_most: most, met } of targets)
    lines.push(
      `  ${met ? "met" : "NOT MET"}  ${TARGET_ROUTES} routes, rules of ${shape}: ${ms.toFixed(1)} ms, at most ${most} ms`,
    );
  return `${lines.join("\n")}\n`;
}
