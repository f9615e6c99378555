// Writes the capnp configurations that `workerd serve` runs: one process for each contender, so that
// the CPU of a process is the CPU of one contender. For the gateway that includes its Durable
// Objects and the stand-in for KV, which is asked once each refresh interval. The stand-in for the
// cache is asked for each request: it has a process of its own, as a location's cache has.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { reachableModules } from "./build.mjs";

const WORKERS = path.join(import.meta.dirname, "workers");

// Only loopback can be reached, whatever a Worker asks for.
const INTERNET = `(name = "internet", network = (allow = ["local"]))`;

// A capnp text literal takes the same escapes as JSON for everything that occurs here.
const text = (value) => JSON.stringify(value);
const variable = ([name, value]) => `(name = ${text(name)}, text = ${text(value)})`;

/** Writes DIR/config.capnp for a Worker that is one file of bench/workers. */
export function writePlain(directory, worker, variables, runtime) {
  copyFileSync(path.join(WORKERS, worker), path.join(directory, worker));
  return write(directory, runtime, [INTERNET, script("main", worker, variables, runtime)]);
}

/**
 * Writes DIR/config.capnp for the gateway: its build, the policy (an object, or its text) and the
 * parts of its stored sets, if there are any, in a stand-in KV, the address of the stand-in cache, and a Durable Object namespace on disk
 * (`inMemory` has no SQL).
 */
export function writeGateway(directory, { build, policy, sets, logLevel, cachePort }, runtime) {
  const modules = reachableModules(build);
  for (const module of modules) {
    const to = path.join(directory, "gateway", module);
    mkdirSync(path.dirname(to), { recursive: true });
    copyFileSync(path.join(build, module), to);
  }
  copyFileSync(path.join(WORKERS, "kv.js"), path.join(directory, "kv.js"));
  const objects = path.join(directory, "objects");
  mkdirSync(objects);

  const document = typeof policy === "string" ? policy : JSON.stringify(policy);
  const parts = (sets ?? []).map((bytes) => ({ hash: sha256(bytes), bytes }));
  const beside = sets && {
    generation: 1,
    parts: parts.map(({ hash, bytes }) => ({ hash, bytes: bytes.length })),
  };
  const manifest = `{"format":1,"sequence":1,"revision":"bench","module":"0.1.0","policy":${document}${sets ? `,"sets":${JSON.stringify(beside)}` : ""}}`;
  const data = parts.map(({ hash, bytes }, place) => {
    writeFileSync(path.join(directory, `part${place}`), bytes);
    return `(name = ${text(`part:${hash}`)}, data = embed ${text(`part${place}`)})`;
  });
  const hash = sha256(manifest);
  const bindings = `
        (name = "STATE", kvNamespace = "kv"),
        (name = "LIMITER", durableObjectNamespace = "Limiter"),
        ${variable(["ENVIRONMENT", "production"])},
        ${variable(["LOG_LEVEL", logLevel])}`;
  const gateway = `(name = "main", worker = (
      modules = [${modules.map((module) => embed(module, `gateway/${module}`)).join(", ")}],
      bindings = [${bindings}],
      cacheApiOutbound = "cache",
      durableObjectNamespaces = [(className = "Limiter", uniqueKey = "bench-limiter", enableSql = true)],
      durableObjectStorage = (localDisk = "objects"),
      ${compatibility(runtime)}))`;
  return write(directory, runtime, [
    INTERNET,
    gateway,
    script(
      "kv",
      "kv.js",
      { MANIFEST: manifest, METADATA: JSON.stringify({ sequence: 1, hash }) },
      runtime,
      data,
    ),
    `(name = "cache", external = (address = "127.0.0.1:${cachePort}", http = ()))`,
    `(name = "objects", disk = (path = ${text(objects)}, writable = true))`,
  ]);
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

function script(name, module, variables, runtime, data = []) {
  return `(name = ${text(name)}, worker = (
      modules = [${embed(module, module)}],
      bindings = [${[...Object.entries(variables).map(variable), ...data].join(", ")}],
      ${compatibility(runtime)}))`;
}

function embed(name, file) {
  const kind = name.endsWith(".wasm") ? "wasm" : "esModule";
  return `(name = ${text(name)}, ${kind} = embed ${text(file)})`;
}

function compatibility({ date, flags }) {
  return `compatibilityDate = ${text(date)}, compatibilityFlags = [${flags.map(text).join(", ")}]`;
}

// Port 0: workerd takes a free one and reports it on its control descriptor.
function write(directory, { v8Flags = [] }, services) {
  const file = path.join(directory, "config.capnp");
  writeFileSync(
    file,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    ${services.join(",\n    ")}
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
  v8Flags = [${v8Flags.map(text).join(", ")}],
);
`,
  );
  return file;
}

/** The compatibility date and flags that the project deploys with: every contender gets the same. */
export function readRuntime(root) {
  const toml = readFileSync(path.join(root, "wrangler.toml"), "utf8");
  const date = /^compatibility_date\s*=\s*"([\d-]+)"/m.exec(toml)?.[1];
  if (date === undefined) throw new Error("wrangler.toml has no compatibility_date");
  const flags = /^compatibility_flags\s*=\s*\[([^\]]*)\]/m.exec(toml)?.[1] ?? "";
  return { date, flags: [...flags.matchAll(/"([^"]+)"/g)].map((match) => match[1]) };
}
