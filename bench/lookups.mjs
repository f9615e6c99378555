// npm run bench -- --lookups: what it costs to find an answer in the memory of an isolate, by how
// many there are, in WebAssembly under V8. The gateway's table, with more room than an isolate gives
// it: 16 MiB hold a third of the largest number at most.
//
// Counted is CPU time, so that what other processes of the machine take is not in it. What they do to
// its caches is: a lookup among many reads memory that no cache holds.
//
// A request brings its key in a cache, so each key is made from a number in the loop, and what that
// takes is subtracted. The number is made of the answer before: the processor cannot begin the next
// while it waits for this one.

import os from "node:os";
import { compileModule, start } from "./address-module.mjs";
import { median } from "./summary.mjs";

const ENTRIES = [100, 1_000, 10_000, 100_000];
const LOOKUPS = 1 << 17;
const ROUNDS = 15;
const FLAT = 1.2;

// How far it goes with each key, as in bench/addresses/src/memory.rs.
const MAKE = 0;
const STEPS = { hash: 1, found: 2, judged: 3, head: 4 };

// Whom it asks for: all alike, or the n-th 1/n times as often as the first.
const WAYS = { alike: 0, popular: 1 };

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
    return { entries, exports };
  });
  const cells = tables.flatMap((table) =>
    Object.keys(WAYS).map((way) => ({
      ...table,
      way,
      samples: Object.fromEntries(Object.keys(STEPS).map((step) => [step, []])),
    })),
  );
  const round = () => {
    for (const { entries, exports, way, samples } of cells) {
      const take = (step) => timed(() => exports.lookup_memory(step, entries, LOOKUPS, WAYS[way]));
      const making = take(MAKE);
      for (const [name, step] of Object.entries(STEPS)) samples[name].push(take(step) - making);
    }
  };
  // The first ones compile.
  for (let warm = 0; warm < 3; warm += 1) round();
  for (const { samples } of cells) for (const list of Object.values(samples)) list.length = 0;
  for (let index = 0; index < ROUNDS; index += 1) round();
  const all = cells.map(({ entries, way, samples }) => {
    const each = (of) =>
      Object.fromEntries(Object.keys(STEPS).map((step) => [step, of(samples[step])]));
    return { entries, way, ns: each(median), least_ns: each((list) => Math.min(...list)) };
  });
  const rows = all.filter(({ way }) => way === "alike");
  const popular = all.filter(({ way }) => way === "popular");
  for (const list of [rows, popular]) {
    for (const row of list) {
      const [first] = list;
      row.ratio = row.ns.found / first.ns.found;
      row.judged_ratio = row.ns.judged / first.ns.judged;
      row.hit_ratio = 1 + (row.ns.head - first.ns.head) / 1000 / HIT_US;
    }
  }
  const most = rows.at(-1);
  const targets = [
    {
      what: `a lookup among ${most.entries} against one among ${rows[0].entries}`,
      value: most.ratio,
      at_most: FLAT,
      unit: "ratio",
      met: most.ratio <= FLAT,
    },
    {
      what: `the same, with what judging it reads of the head`,
      value: most.judged_ratio,
      at_most: FLAT,
      unit: "ratio",
      met: most.judged_ratio <= FLAT,
    },
    {
      what: `a hit among ${most.entries} against one among ${rows[0].entries}`,
      value: most.hit_ratio,
      at_most: FLAT,
      unit: "ratio",
      met: most.hit_ratio <= FLAT,
    },
  ];
  const results = {
    format: 2,
    machine,
    load_average_at_end: os.loadavg()[0],
    lookups: LOOKUPS,
    rounds: ROUNDS,
    hit_us: HIT_US,
    rows,
    popular,
    targets,
  };
  process.stdout.write(options.json ? `${JSON.stringify(results, null, 2)}\n` : render(results));
  if (options.strict && targets.some(({ met }) => !met)) process.exitCode = 1;
}

function table(rows) {
  const cell = (ns, least) => `${ns.toFixed(0)} (${least.toFixed(0)})`.padStart(12);
  const head = ["hash", "found", "judged", "whole head"].map((name) => name.padStart(12)).join("");
  return [
    `  ${"answers".padStart(8)}${head}${"ratio".padStart(8)}${"of a hit".padStart(10)}`,
    ...rows.map(({ entries, ns, least_ns: least, ratio, hit_ratio: hit }) => {
      const steps = Object.keys(STEPS).map((step) => cell(ns[step], least[step]));
      return `  ${String(entries).padStart(8)}${steps.join("")}${ratio.toFixed(2).padStart(8)}${hit.toFixed(3).padStart(10)}`;
    }),
  ];
}

function render({ machine, load_average_at_end: end, rows, popular, targets, rounds }) {
  const loads = [machine.load_average_at_start, end].map((load) => load.toFixed(1)).join(" to ");
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, Node ${machine.node} (V8 ${process.versions.v8}), ${machine.date}; load average ${loads}`,
    `ns of CPU until a key is hashed, its answer found, what judging reads of its head read, and all of its head;`,
    `median of ${rounds} interleaved rounds, and the least. The ratio is of what finds it; beside it what reading all`,
    `of it makes of a hit that takes ${HIT_US} µs as a whole.`,
    "",
    "  All are asked for alike",
    ...table(rows),
    "",
    "  The n-th is asked for 1/n times as often as the first",
    ...table(popular),
    "",
    ...targets.map(
      ({ what, value, at_most: bound, met }) =>
        `  ${met ? "met    " : "NOT MET"}  ${what}: ${value.toFixed(3)}, at most ${bound}`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}
