// The WebAssembly module of bench/addresses: tables to compare, and what the scenario `addresses`
// runs with.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";

const HERE = path.join(import.meta.dirname, "addresses");
const WASM = path.join(HERE, "target/wasm32-unknown-unknown/release/edgeweir_bench_addresses.wasm");

export const PREFIXES = { v4: 1_000_000, v6: 250_000 };

export function compileModule(progress) {
  progress("compiling bench/addresses to WebAssembly (some minutes the first time)");
  const built = spawnSync(
    "cargo",
    ["build", "--release", "--locked", "--quiet", "--target", "wasm32-unknown-unknown"],
    { cwd: HERE, stdio: ["ignore", "inherit", "inherit"] },
  );
  if (built.status !== 0) throw new Error("cargo could not build bench/addresses");
  return new WebAssembly.Module(readFileSync(WASM));
}

/** The exports of an instance without the runtime, which nothing here asks for. */
export function start(module) {
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = () => {
      throw new Error(`${name} is not there`);
    };
  }
  return new WebAssembly.Instance(module, imports).exports;
}

/** Copies of the parts that were written last. */
export function partsOf({ memory, parts, part_at: at, part_length: length }) {
  return Array.from({ length: parts() }, (_, part) =>
    Buffer.from(new Uint8Array(memory.buffer, at(part) >>> 0, length(part))),
  );
}

/**
 * For the scenario `addresses`: the parts of a stored set of all prefixes and of one of two
 * addresses, and the clients of each family. `members` are clients that a prefix of the full set
 * contains, `others` are not; `probe` is in both sets, and no client.
 */
export function makeStoredSets(progress, clients = 1 << 16) {
  const exports = start(compileModule(progress));
  progress("making the stored sets");
  exports.prepare(PREFIXES.v4, PREFIXES.v6, clients);
  const write = (full) => {
    exports.stored_set(full);
    return partsOf(exports);
  };
  const family = (number, probe) => {
    const length = exports.clients(number);
    const text = new Uint8Array(exports.memory.buffer, exports.text_at() >>> 0, length);
    const lines = Buffer.from(text).toString("latin1").trim().split("\n");
    const all = lines.map((line) => line.split(" "));
    const of = (kind) => all.filter(([, is]) => is === kind).map(([address]) => address);
    return {
      all: all.map(([address]) => address),
      members: of("true"),
      others: of("false"),
      probe,
    };
  };
  return {
    listed: write(1),
    unlisted: write(0),
    clients: { v4: family(4, "203.0.113.254"), v6: family(6, "2001:db8:3::1") },
  };
}
