// npm run bench -- --instructions: instructions a request, counted by valgrind's callgrind.
//
// Requests/s and CPU time vary by a quarter on a shared machine; instructions repeat within a few
// per cent, so they are what to look at while optimising. User space only, and workerd runs some
// fifty times slower. V8 is kept to one thread and one seed, or its compiler and collector would
// land in one sample and not in the next. On one thread it would also never get round to optimising
// WebAssembly: without Liftoff, its baseline compiler, code is optimised when it is first called.

import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { proveEntry } from "./measure.mjs";
import { stop } from "./processes.mjs";
import { requestPlan } from "./requests.mjs";
import { startServers } from "./servers.mjs";
import { median } from "./summary.mjs";

const WARM_UP = 1500; // requests until V8 has compiled what it will compile
const SAMPLE = 500;
const V8_FLAGS = ["--single-threaded", "--random-seed=1", "--no-liftoff"];
const START_MS = 180_000;
const CONTROL_MS = 60_000;

const run = promisify(execFile);

export async function countInstructions(options, { workerd, runtime, machine, progress }) {
  try {
    await run("callgrind_control", ["--version"]);
  } catch {
    throw new Error("--instructions needs valgrind (callgrind_control is not on the PATH)");
  }
  // Without a choice: the scenario that the targets are about.
  const scenarios = options.partial
    ? options.scenarios
    : options.scenarios.filter(({ name }) => name === "uncacheable");
  const results = [];
  for (const scenario of scenarios) {
    const rows = [];
    for (const entry of scenario.entries) {
      rows.push(await countEntry(scenario, entry, options, { workerd, runtime, progress }));
    }
    results.push({ name: scenario.name, title: scenario.title, rows });
  }
  if (options.json)
    return process.stdout.write(`${JSON.stringify({ machine, scenarios: results }, null, 2)}\n`);
  process.stdout.write(`${results.flatMap(renderScenario).join("\n")}\n`);
}

/** One entry in a fresh process: what ran before it must not be in its caches or its heap. */
export async function countEntry(scenario, entry, options, { workerd, runtime, progress }) {
  const request = { ...scenario.request, ...entry.request };
  const running = await startServers([entry.server], {
    build: options.build,
    runtime: { ...runtime, v8Flags: V8_FLAGS },
    workerd,
    prefix: (folder) => [
      "valgrind",
      "--tool=callgrind",
      "--smc-check=all-non-file",
      `--callgrind-out-file=${folder}/callgrind.out`,
    ],
    timeoutMs: START_MS,
    progress,
  });
  const { port, pid } = running.servers[entry.server];
  const plan = {
    ...requestPlan(request, running),
    port,
    connections: 1,
    expect: entry.expect,
  };
  progress(`${scenario.name}, ${entry.name}: warming up`);
  await proveEntry({ ...entry, request }, running);
  await running.load.ask({ plan: { ...plan, count: WARM_UP } });
  const samples = [];
  for (let index = 0; index < options.samples; index += 1) {
    await run("callgrind_control", ["-z", String(pid)], { timeout: CONTROL_MS });
    await running.load.ask({ plan: { ...plan, count: SAMPLE } });
    await run("callgrind_control", ["-d", String(pid)], { timeout: CONTROL_MS });
    samples.push(readTotal(newestDump(running.folder)) / SAMPLE);
    progress(
      `${scenario.name}, ${entry.name}: ${Math.round(samples.at(-1)).toLocaleString("en-GB")} instructions a request`,
    );
  }
  if (options.keep !== undefined) {
    mkdirSync(options.keep, { recursive: true });
    const name = `${scenario.name}.${entry.name}`.replace(/[^a-z0-9.]+/gi, "-");
    copyFileSync(newestDump(running.folder), path.join(options.keep, `callgrind.out.${name}`));
  }
  await Promise.all(running.children.map(stop));
  return { entry: entry.name, instructions: median(samples), samples };
}

function newestDump(folder) {
  const dumps = readdirSync(folder)
    .map((name) => /^callgrind\.out\.(\d+)$/.exec(name))
    .filter(Boolean);
  if (dumps.length === 0) throw new Error("callgrind wrote no dump");
  const newest = dumps.reduce((a, b) => (Number(a[1]) > Number(b[1]) ? a : b));
  return path.join(folder, newest[0]);
}

function readTotal(file) {
  const total = /^totals: (\d+)/m.exec(readFileSync(file, "utf8"));
  if (total === null) throw new Error("callgrind's dump has no totals line");
  return Number(total[1]);
}

function renderScenario({ name, title, rows }) {
  const baseline = rows[0].instructions;
  const width = Math.max(...rows.map(({ entry }) => entry.length));
  return [
    `${name}: ${title}`,
    ...rows.map(({ entry, instructions, samples }) => {
      const count = Math.round(instructions).toLocaleString("en-GB").padStart(12);
      const spread = `${Math.round(Math.min(...samples) / 1000)}k-${Math.round(Math.max(...samples) / 1000)}k`;
      return `  ${entry.padEnd(width)}  ${count} instructions/request  ${(instructions / baseline).toFixed(3)}  (${spread})`;
    }),
  ];
}
