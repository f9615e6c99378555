// npm run bench -- --addresses: longest-prefix match in WebAssembly under V8, our index beside public
// crates, in one run. The package in addresses/ holds them; nothing of it is in the gateway.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";

const HERE = path.join(import.meta.dirname, "addresses");
const WASM = path.join(HERE, "target/wasm32-unknown-unknown/release/edgeweir_bench_addresses.wasm");
const PREFIXES = { v4: 1_000_000, v6: 250_000 };
const QUERIES = 1 << 20;
const ROUNDS = 9;
const TABLES = ["edgeweir", "treebitmap", "prefix-trie"];

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function timed(act) {
  const begun = performance.now();
  const result = act();
  if (result === 0) throw new Error("a call of the benchmark found or made nothing");
  return performance.now() - begun;
}

/** An instance without the runtime, which nothing here asks for. */
function start(module) {
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = () => {
      throw new Error(`${name} is not there`);
    };
  }
  return new WebAssembly.Instance(module, imports);
}

/** An instance with its data and one table. */
function instance(module, kind) {
  const { exports } = start(module);
  exports.prepare(PREFIXES.v4, PREFIXES.v6, QUERIES);
  return { name: TABLES[kind], exports, bytes: exports.build(kind), v4: [], v6: [] };
}

export function measureAddresses(options, { machine, progress }) {
  progress("compiling the tables to WebAssembly (some minutes the first time)");
  const built = spawnSync(
    "cargo",
    ["build", "--release", "--locked", "--quiet", "--target", "wasm32-unknown-unknown"],
    { cwd: HERE, stdio: ["ignore", "inherit", "inherit"] },
  );
  if (built.status !== 0) throw new Error("cargo could not build bench/addresses");
  const module = new WebAssembly.Module(readFileSync(WASM));

  const tables = TABLES.map((name, kind) => {
    progress(`${name}: building`);
    return instance(module, kind);
  });
  const [ours] = tables;
  // The same questions have the same answers, whoever is asked.
  for (const query of ["lookup_v4", "lookup_v6"]) {
    const found = tables.map(({ exports }) => exports[query]());
    if (new Set(found).size !== 1) throw new Error(`${query}: the tables differ: ${found}`);
  }
  const loops = { v4: [], v6: [] };
  const waits = [];
  const { exports: memory } = start(module);
  memory.chase(1);
  for (let round = 0; round < ROUNDS; round += 1) {
    progress(`round ${round + 1} of ${ROUNDS}`);
    waits.push(timed(() => memory.chase(QUERIES)));
    for (const family of ["v4", "v6"]) {
      loops[family].push(timed(() => ours.exports[`loop_${family}`]()));
      for (const table of tables) {
        table[family].push(timed(() => table.exports[`lookup_${family}`]()));
      }
    }
  }
  const nanoseconds = (table, family) =>
    ((median(table[family]) - median(loops[family])) * 1e6) / QUERIES;

  progress("the stored form");
  const bytes = ours.exports.write();
  const several = (act) => median(Array.from({ length: ROUNDS }, () => timed(act)));
  const copy = several(() => ours.exports.copy_and_checksum());
  const load = several(() => ours.exports.load());
  const alone = (v4, v6) => {
    const { exports } = start(module);
    exports.prepare(v4, v6, 1);
    return exports.build(0) / (v4 + v6);
  };
  const held = { v4: alone(PREFIXES.v4, 0), v6: alone(0, PREFIXES.v6) };
  const peak = ours.exports.peak_of_swap();
  progress("from text");
  const text = ours.exports.write_text();
  const compile = several(() => ours.exports.compile_text());

  const results = {
    format: 1,
    machine,
    prefixes: PREFIXES,
    queries: QUERIES,
    rounds: ROUNDS,
    wait_for_memory_ns: (median(waits) * 1e6) / QUERIES,
    tables: tables.map((table) => ({
      name: table.name,
      v4_ns: nanoseconds(table, "v4"),
      v6_ns: nanoseconds(table, "v6"),
      bytes: table.bytes,
    })),
    stored: { bytes, copy_and_checksum_ms: copy, load_ms: load },
    memory: { v4_bytes_a_prefix: held.v4, v6_bytes_a_prefix: held.v6, peak_of_a_swap: peak },
    compile: { text_bytes: text, ms: compile },
  };
  process.stdout.write(options.json ? `${JSON.stringify(results, null, 2)}\n` : render(results));
}

function render(results) {
  const { machine, tables, stored, memory, compile, prefixes } = results;
  const mebi = (bytes) => (bytes / 2 ** 20).toFixed(1);
  const lines = [
    `${machine.cpu ?? ""}, Node ${process.versions.node} (V8 ${process.versions.v8}), ${new Date().toISOString().slice(0, 10)}`,
    `${prefixes.v4} IPv4 and ${prefixes.v6} IPv6 prefixes; half of the queries any address, half members`,
    "",
    `  ${"table".padEnd(14)}${"IPv4, ns".padStart(10)}${"IPv6, ns".padStart(10)}${"MiB".padStart(8)}`,
    ...tables.map(
      ({ name, v4_ns, v6_ns, bytes }) =>
        `  ${name.padEnd(14)}${v4_ns.toFixed(1).padStart(10)}${v6_ns.toFixed(1).padStart(10)}${mebi(bytes).padStart(8)}`,
    ),
    "",
    `  one read of memory   ${results.wait_for_memory_ns.toFixed(0)} ns, at a random place of 8 MiB, in these rounds`,
    `  memory               ${memory.v4_bytes_a_prefix.toFixed(2)} bytes an IPv4, ${memory.v6_bytes_a_prefix.toFixed(2)} an IPv6 prefix`,
    `  stored               ${mebi(stored.bytes)} MiB`,
    `  copy and checksum    ${stored.copy_and_checksum_ms.toFixed(1)} ms`,
    `  with the check       ${stored.load_ms.toFixed(1)} ms`,
    `  peak during a swap   ${mebi(memory.peak_of_a_swap)} MiB: old, new, and the new one's parts`,
    `  compile from text    ${compile.ms.toFixed(0)} ms for ${mebi(compile.text_bytes)} MiB`,
    "",
  ];
  const [ours, treebitmap] = tables;
  const target = (met, text) => lines.push(`  ${met ? "met    " : "NOT MET"}  ${text}`);
  target(ours.v4_ns <= 50, `lookup IPv4 ${ours.v4_ns.toFixed(1)} ns, at most 50`);
  const factor = treebitmap.v4_ns / ours.v4_ns;
  target(factor >= 2, `${factor.toFixed(1)} times as fast as treebitmap, at least 2`);
  target(ours.v6_ns <= 120, `lookup IPv6 ${ours.v6_ns.toFixed(1)} ns, at most 120`);
  target(memory.v4_bytes_a_prefix <= 12, "at most 12 bytes an IPv4 prefix");
  target(memory.v6_bytes_a_prefix <= 28, "at most 28 bytes an IPv6 prefix");
  target(stored.copy_and_checksum_ms <= 10, "copy and checksum at most 10 ms");
  target(compile.ms <= 1_500, "compile from text at most 1500 ms");
  return `${lines.join("\n")}\n`;
}
