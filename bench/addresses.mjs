// npm run bench -- --addresses: longest-prefix match in WebAssembly under V8, our index beside public
// crates, in one run. The package in addresses/ holds them; nothing of it is in the gateway.
//
// Counted is CPU time, so that what other processes of the machine take is not in it. What they do to
// its caches is: the rounds are interleaved, and the table says what one read of memory costs in them.

import os from "node:os";
import { PREFIXES, compileModule, partsOf, start } from "./address-module.mjs";
import { median } from "./summary.mjs";

const QUERIES = 1 << 20;
const ROUNDS = 9;
const TABLES = ["edgeweir", "treebitmap", "prefix-trie"];
const FAMILIES = ["v4", "v6"];
// As addresses/src/lib.rs numbers them.
const WAYS = { cold: 0, hot: 1, in_turn: 2 };
// The places of a read of memory: the IPv4 index is as large as the first.
const PLACES = { "4 MiB": 1 << 20, "8 MiB": 1 << 21 };

const TARGETS = {
  v4: 50,
  factor: 2,
  v6: 120,
  v4_bytes: 12,
  v6_bytes: 28,
  copy: 10,
  compile: 1_500,
};

const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

function timed(act) {
  const begun = cpuMs();
  const result = act();
  if (result === 0) throw new Error("a call of the benchmark found or made nothing");
  return cpuMs() - begun;
}

const several = (act) => median(Array.from({ length: ROUNDS }, () => timed(act)));

/** An instance with its data and one table. */
function instance(module, kind) {
  const exports = start(module);
  exports.prepare(PREFIXES.v4, PREFIXES.v6, QUERIES);
  return { name: TABLES[kind], exports, call: "lookup", bytes: exports.build(kind) };
}

export async function measureAddresses(options, { machine, progress }) {
  const module = compileModule(progress);
  const tables = TABLES.map((name, kind) => {
    progress(`${name}: building`);
    return instance(module, kind);
  });
  const [ours] = tables;
  // The same questions have the same answers, whoever is asked, and however.
  for (const family of FAMILIES) {
    const found = tables.map(({ exports }) => exports[`lookup_${family}`](WAYS.cold));
    found.push(ours.exports[`every_${family}`](WAYS.cold));
    found.push(ours.exports[`lookup_${family}`](WAYS.in_turn));
    if (new Set(found).size !== 1) throw new Error(`IP${family}: the tables differ: ${found}`);
  }
  const { rows, waits } = lookups(module, tables, progress);

  progress("the stored form");
  const bytes = ours.exports.write();
  const parts = partsOf(ours.exports);
  const copy = several(() => ours.exports.copy_and_checksum());
  const load = several(() => ours.exports.load());
  const digest = await digests(parts);
  const alone = (v4, v6) => {
    const exports = start(module);
    exports.prepare(v4, v6, 1);
    return exports.build(0) / (v4 + v6);
  };
  const held = { v4: alone(PREFIXES.v4, 0), v6: alone(0, PREFIXES.v6) };
  const peak = ours.exports.peak_of_swap();
  progress("from text");
  const text = ours.exports.write_text();
  const compile = several(() => ours.exports.compile_text());

  const results = {
    format: 2,
    machine,
    load_average_at_end: os.loadavg()[0],
    prefixes: PREFIXES,
    queries: QUERIES,
    rounds: ROUNDS,
    wait_for_memory_ns: waits,
    tables: rows,
    stored: { bytes, copy_and_checksum_ms: copy, load_ms: load, sha256_webcrypto_ms: digest },
    memory: { v4_bytes_a_prefix: held.v4, v6_bytes_a_prefix: held.v6, peak_of_a_swap: peak },
    compile: { text_bytes: text, ms: compile },
  };
  results.targets = judge(results);
  process.stdout.write(options.json ? `${JSON.stringify(results, null, 2)}\n` : render(results));
  if (options.strict && results.targets.some(({ met }) => !met)) process.exitCode = 1;
}

/** Nanoseconds a lookup, medians of interleaved rounds. */
function lookups(module, tables, progress) {
  const contenders = tables.map(({ name, exports, bytes }) => ({
    name,
    bytes,
    call: (family, way) => exports[`lookup_${family}`](way),
  }));
  const { exports } = tables[0];
  contenders.splice(1, 0, {
    name: "  all prefixes",
    bytes: null,
    call: (family, way) => exports[`every_${family}`](way),
  });
  const loop = { name: "loop", call: (family, way) => exports[`loop_${family}`](way) };
  const samples = new Map();
  const take = (key, act) => {
    if (!samples.has(key)) samples.set(key, []);
    samples.get(key).push((timed(act) * 1e6) / QUERIES);
  };
  const memories = Object.entries(PLACES).map(([name, words]) => {
    const { chase } = start(module);
    chase(words, QUERIES);
    return { name, act: () => chase(words, QUERIES) };
  });
  for (let round = 0; round < ROUNDS; round += 1) {
    progress(`round ${round + 1} of ${ROUNDS}`);
    for (const { name, act } of memories) take(name, act);
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const [way, number] of Object.entries(WAYS)) {
      for (const family of FAMILIES) {
        for (const { name, call } of [loop, ...order])
          take(`${name} ${family} ${way}`, () => call(family, number));
      }
    }
  }
  const of = (key) => median(samples.get(key));
  const rows = contenders.map(({ name, bytes }) => {
    const row = { name: name.trim(), bytes };
    for (const way of Object.keys(WAYS)) {
      for (const family of FAMILIES)
        row[`${family}_${way}_ns`] = of(`${name} ${family} ${way}`) - of(`loop ${family} ${way}`);
    }
    return row;
  });
  return { rows, waits: Object.fromEntries(Object.keys(PLACES).map((name) => [name, of(name)])) };
}

/** SHA-256 of the parts as the platform computes it: in Node, on threads of its own. */
async function digests(parts) {
  const samples = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const begun = cpuMs();
    for (const part of parts) await crypto.subtle.digest("SHA-256", part);
    samples.push(cpuMs() - begun);
  }
  return median(samples);
}

function judge({ tables, stored, memory, compile }) {
  const [ours] = tables;
  const treebitmap = tables.find(({ name }) => name === "treebitmap");
  const most = (what, value, bound, unit) => ({
    what,
    value,
    at_most: bound,
    unit,
    met: value <= bound,
  });
  const factor = treebitmap.v4_cold_ns / ours.v4_cold_ns;
  return [
    most("lookup IPv4", ours.v4_cold_ns, TARGETS.v4, "ns"),
    {
      what: "lookup IPv4 against treebitmap",
      value: factor,
      at_least: TARGETS.factor,
      unit: "times as fast",
      met: factor >= TARGETS.factor,
    },
    most("lookup IPv6", ours.v6_cold_ns, TARGETS.v6, "ns"),
    most("IPv4 prefix", memory.v4_bytes_a_prefix, TARGETS.v4_bytes, "bytes"),
    most("IPv6 prefix", memory.v6_bytes_a_prefix, TARGETS.v6_bytes, "bytes"),
    most("copy and checksum", stored.copy_and_checksum_ms, TARGETS.copy, "ms"),
    most("compile from text", compile.ms, TARGETS.compile, "ms"),
  ];
}

function render(results) {
  const { machine, tables, stored, memory, compile, prefixes, wait_for_memory_ns: waits } = results;
  const mebi = (bytes) => (bytes === null ? "" : (bytes / 2 ** 20).toFixed(1));
  const cell = (value) => value.toFixed(1).padStart(8);
  const loads = [machine.load_average_at_start, results.load_average_at_end];
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, Node ${machine.node} (V8 ${process.versions.v8}), ${machine.date}; load average ${loads.map((load) => load.toFixed(1)).join(" to ")}`,
    `${prefixes.v4} IPv4 and ${prefixes.v6} IPv6 prefixes; half of the queries any address, half members.`,
    `ns of CPU a lookup, median of ${results.rounds} interleaved rounds. Many: ${results.queries} addresses; few: the first 4096 of`,
    "them again and again; in turn: many, each made from the answer to the one before.",
    "",
    `  ${"".padEnd(16)}${"many".padStart(16)}${"few".padStart(16)}${"in turn".padStart(16)}`,
    `  ${"".padEnd(16)}${"    IPv4    IPv6".repeat(3)}${"MiB".padStart(8)}`,
    ...tables.map((row, place) => {
      const name = place === 1 ? `  ${row.name}` : row.name;
      const cells = Object.keys(WAYS).flatMap((way) =>
        FAMILIES.map((family) => cell(row[`${family}_${way}_ns`])),
      );
      return `  ${name.padEnd(16)}${cells.join("")}${mebi(row.bytes).padStart(8)}`;
    }),
    "",
    `  one read of memory   ${Object.entries(waits)
      .map(([name, ns]) => `${ns.toFixed(0)} ns at a random place of ${name}`)
      .join(", ")}, in these rounds`,
    `  memory               ${memory.v4_bytes_a_prefix.toFixed(2)} bytes an IPv4, ${memory.v6_bytes_a_prefix.toFixed(2)} an IPv6 prefix, set and CIDR included`,
    `  stored               ${mebi(stored.bytes)} MiB`,
    `  copy and checksum    ${stored.copy_and_checksum_ms.toFixed(1)} ms, what an isolate does with parts whose SHA-256 is right`,
    `  SHA-256              ${stored.sha256_webcrypto_ms.toFixed(1)} ms beside it, by WebCrypto in Node`,
    `  with the check       ${stored.load_ms.toFixed(1)} ms: copy, checksum and the walk over all entries, before a set is changed`,
    `  peak during a swap   ${mebi(memory.peak_of_a_swap)} MiB: old, new, and the new one's parts`,
    `  compile from text    ${compile.ms.toFixed(0)} ms for ${mebi(compile.text_bytes)} MiB`,
    "",
  ];
  for (const { what, value, at_least: least, at_most: bound, unit, met } of results.targets) {
    const wanted = least === undefined ? `at most ${bound}` : `at least ${least}`;
    const digits = unit === "ms" ? 0 : 1;
    lines.push(
      `  ${met ? "met    " : "NOT MET"}  ${what}: ${value.toFixed(digits)} ${unit}, ${wanted}`,
    );
  }
  return `${lines.join("\n")}\n`;
}
