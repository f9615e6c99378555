// npm run bench -- --lookups: what it costs to find an answer in the memory of an isolate, by how
// many there are, in WebAssembly under V8. The gateway's table, with more room than an isolate gives
// it: 16 MiB hold a third of the largest number at most.
//
// Counted is CPU time, so that what other processes of the machine take is not in it. What they do to
// its caches is: a lookup among many reads memory that no cache holds.

import os from "node:os";
import { compileModule, start } from "./address-module.mjs";
import { median } from "./summary.mjs";

const ENTRIES = [100, 1_000, 10_000, 100_000];
const LOOKUPS = 1 << 17;
const ROUNDS = 15;
const FLAT = 1.2;

// A hit from memory as a whole takes some 100 µs of CPU: `npm run bench -- --scenario memory`.
const HIT_US = 100;

function timed(act) {
  const { user: before, system: beforeToo } = process.cpuUsage();
  if (act() !== LOOKUPS) throw new Error("a stored answer was not found");
  const { user, system } = process.cpuUsage();
  return ((user + system - before - beforeToo) * 1000) / LOOKUPS;
}

export async function measureLookups(options, { machine, progress }) {
  const module = compileModule(progress);
  const tables = ENTRIES.map((entries) => {
    progress(`${entries} answers`);
    const exports = start(module);
    if (exports.fill_memory(entries) !== entries) throw new Error("not all of them are kept");
    return { entries, exports, samples: [], loops: [] };
  });
  const round = () => {
    for (const { entries, exports, samples, loops } of tables) {
      loops.push(timed(() => exports.loop_memory(entries, LOOKUPS)));
      samples.push(timed(() => exports.lookup_memory(entries, LOOKUPS)));
    }
  };
  // The first ones compile.
  for (let warm = 0; warm < 3; warm += 1) round();
  for (const { samples, loops } of tables) samples.length = loops.length = 0;
  for (let index = 0; index < ROUNDS; index += 1) round();
  const rows = tables.map(({ entries, samples, loops }) => ({
    entries,
    ns: median(samples.map((sample, index) => sample - loops[index])),
  }));
  const [least] = rows;
  for (const row of rows) {
    row.ratio = row.ns / least.ns;
    row.hit_ratio = 1 + (row.ns - least.ns) / 1000 / HIT_US;
  }
  const most = rows.at(-1);
  const targets = [
    {
      what: `a lookup among ${most.entries} against one among ${least.entries}`,
      value: most.ratio,
      at_most: FLAT,
      unit: "ratio",
      met: most.ratio <= FLAT,
    },
    {
      what: `a hit among ${most.entries} against one among ${least.entries}`,
      value: most.hit_ratio,
      at_most: FLAT,
      unit: "ratio",
      met: most.hit_ratio <= FLAT,
    },
  ];
  const results = {
    format: 1,
    machine,
    load_average_at_end: os.loadavg()[0],
    lookups: LOOKUPS,
    rounds: ROUNDS,
    hit_us: HIT_US,
    rows,
    targets,
  };
  process.stdout.write(options.json ? `${JSON.stringify(results, null, 2)}\n` : render(results));
  if (options.strict && targets.some(({ met }) => !met)) process.exitCode = 1;
}

function render({ machine, load_average_at_end: end, rows, targets, rounds }) {
  const loads = [machine.load_average_at_start, end].map((load) => load.toFixed(1)).join(" to ");
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, Node ${machine.node} (V8 ${process.versions.v8}), ${machine.date}; load average ${loads}`,
    `ns of CPU a lookup of an answer that is there, at random, median of ${rounds} interleaved rounds; beside it what`,
    `that makes of a hit that takes ${HIT_US} µs as a whole.`,
    "",
    `  ${"answers".padStart(8)}${"ns".padStart(8)}${"ratio".padStart(8)}${"of a hit".padStart(10)}`,
    ...rows.map(
      ({ entries, ns, ratio, hit_ratio: hit }) =>
        `  ${String(entries).padStart(8)}${ns.toFixed(0).padStart(8)}${ratio.toFixed(2).padStart(8)}${hit.toFixed(3).padStart(10)}`,
    ),
    "",
    ...targets.map(
      ({ what, value, at_most: bound, met }) =>
        `  ${met ? "met    " : "NOT MET"}  ${what}: ${value.toFixed(3)}, at most ${bound}`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}
