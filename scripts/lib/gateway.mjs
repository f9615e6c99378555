// The gateway in the local runtime, with what wrangler.toml says.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildDir, inRoot } from "./paths.mjs";

const HOST = "127.0.0.1";
const SIGNALS = ["SIGINT", "SIGTERM"];
const KNOWN = [
  "compatibilityDate",
  "compatibilityFlags",
  "bindings",
  "kvNamespaces",
  "durableObjects",
  "assets",
];

/** The demo policy with the origins of this run; undefined where the built-in one fits as it is. */
export function demoPolicy(text, ports) {
  const policy = JSON.parse(text);
  let changed = false;
  for (const [name, port] of Object.entries(ports)) {
    const upstream = policy.upstreams?.[name];
    if (!upstream) throw new Error(`policies/demo.json has no upstream ${name}`);
    const origin = `http://${HOST}:${port}`;
    changed ||= upstream.origin !== origin;
    upstream.origin = origin;
  }
  return changed ? JSON.stringify(policy) : undefined;
}

/** A line of the runtime's own, shortened to what a reader can use. */
const plain = (message) => (typeof message === "string" ? message : JSON.stringify(message));

/**
 * Starts the gateway on a socket of its own: miniflare's main port rewrites targets and fields, this
 * one hands them on as they came.
 *
 * @param {{port: number, policy?: string, adminTokens: object[],
 *   onLine: (line: string, level: string) => void}} options
 */
export async function startGateway({ port, policy, adminTokens, onLine }) {
  // The packages are there only after the set-up.
  const { unstable_getMiniflareWorkerOptions: readOptions } = await import("wrangler");
  const { Log, LogLevel, Miniflare } = await import("miniflare");
  const { workerOptions } = readOptions(inRoot("wrangler.toml"));
  const worker = Object.fromEntries(KNOWN.map((key) => [key, workerOptions[key]]));
  worker.bindings = { ...worker.bindings, ADMIN_TOKENS: JSON.stringify(adminTokens) };
  if (policy !== undefined) worker.bindings.POLICY = policy;

  const module = (type, name) => ({
    type,
    path: join(buildDir, name),
    contents: readFileSync(join(buildDir, name)),
  });
  const ours = Object.fromEntries(SIGNALS.map((signal) => [signal, process.listeners(signal)]));
  const runtime = new Miniflare({
    host: HOST,
    port: 0,
    // Otherwise miniflare asks the network where it is.
    cf: false,
    log: new Log(LogLevel.ERROR),
    handleStructuredLogs: ({ message, level }) => onLine(plain(message), level),
    workers: [
      {
        name: "edgeweir",
        modulesRoot: buildDir,
        modules: [module("ESModule", "index.js"), module("CompiledWasm", "index_bg.wasm")],
        unsafeDirectSockets: [{ host: HOST, port }],
        ...worker,
      },
    ],
  });
  try {
    await runtime.ready;
  } catch (error) {
    await runtime.dispose();
    throw error;
  }
  // miniflare would leave at once, and leave its temporary folders behind; our caller closes it.
  for (const signal of SIGNALS) {
    for (const listener of process.listeners(signal)) {
      if (!ours[signal].includes(listener)) process.off(signal, listener);
    }
  }
  return { url: `http://${HOST}:${port}`, close: () => runtime.dispose() };
}
