// Runs the built gateway in workerd, by miniflare, as wrangler.toml says: the bindings and variables
// of an environment, several isolates on the same objects, and stand-ins for bindings that are to
// fail. Requests go straight to workerd's sockets, so that raw bytes reach the Worker.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { Miniflare, type WorkerOptions } from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import { Log } from "./log.ts";
import { exchange, HOST, type Fields, type RawResponse, type RequestOptions } from "./raw.ts";
import type { Store } from "./store.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");

/** The Worker that stands in for the real Limiter, where a test asks for it. */
const STAND_IN = "stand-in";

/** The version of the module, as manifests name it. */
export const VERSION = "0.2.0";

/** The client's address where a test does not care. */
export const CLIENT = "192.0.2.1";

export interface GatewayOptions {
  /** The environment of wrangler.toml; the local one by default. */
  env?: "staging" | "production";
  /** Variables on top of wrangler.toml; `undefined` takes one away. */
  vars?: Record<string, string | undefined>;
  /** Published under STATE before the first request, as sequence 1. */
  policy?: object;
  /** Isolates of the same module on the same bindings. */
  isolates?: 1 | 2 | 3;
  /** Where storage outlives the process. */
  persist?: string;
  /** A store that can be told to fail, in the place of the KV namespace. */
  store?: Store;
  /** Whole URLs reach the Worker as they are written, as those of the platform's own front do. By
   * default workerd makes them from Host and target: it resolves plain dot segments on the way, and
   * answers 500 itself where the two make no URL. */
  verbatim?: boolean;
  /** A Durable Object class that can be told to fail, in the place of the real one. */
  limiter?: "stand-in";
}

export interface FetchOptions extends RequestOptions {
  /** The value of CF-Connecting-IP; `null` leaves it out. */
  client?: string | null;
  /** Which isolate, from 0. */
  isolate?: number;
  /** The scheme, where URLs are verbatim; `http` by default. */
  scheme?: "http" | "https";
}

/** What the tests need of a KV namespace. */
interface Namespace {
  put(key: string, value: string, options: { metadata?: unknown }): Promise<void>;
  delete(key: string): Promise<void>;
}

/** How the stand-in for the Limiter behaves. */
export type LimiterMood = "throw" | "hang" | "garbage" | "status";

const LIMITER_SCRIPT = `
import { DurableObject } from "cloudflare:workers";
let mood = "throw";
export class Limiter extends DurableObject {
  async fetch() {
    if (mood === "hang") await new Promise((resolve) => setTimeout(resolve, 30_000));
    if (mood === "status") return new Response("told to fail", { status: 500 });
    if (mood === "garbage") return new Response("told to fail", { headers: { "weir-message": "{" } });
    throw new Error("told to fail");
  }
}
export default {
  fetch(request) {
    mood = new URL(request.url).pathname.slice(1);
    return new Response(mood);
  },
};`;

/** A manifest and its metadata, as they stand under the key `active`. */
export function manifest(
  policy: object,
  sequence = 1,
  revision = `r${sequence}`,
): { value: string; metadata: { sequence: number; hash: string } } {
  const value = JSON.stringify({ format: 1, sequence, revision, module: VERSION, policy });
  return { value, metadata: { sequence, hash: createHash("sha256").update(value).digest("hex") } };
}

/** A policy before one origin, with these routes and whatever else is at the top. */
export function policy(
  origin: string,
  routes: object[],
  more: Record<string, object> = {},
): object {
  const { upstreams, ...rest } = more;
  return { version: 1, upstreams: { app: { origin }, ...upstreams }, routes, ...rest };
}

/** A route to that origin by path, with these stages. */
export function route(id: string, path: string, more: object = {}): object {
  return { id, match: { path }, upstream: "app", ...more };
}

/** As much of a Durable Object namespace as is used here. */
interface Objects {
  idFromName(name: string): object;
  get(id: object): {
    fetch(url: string, init: { headers: Record<string, string> }): Promise<Response>;
  };
}

export class Gateway {
  readonly log: Log;
  readonly #mf: Miniflare;
  readonly #options: GatewayOptions;
  /** The loopback port of each isolate. */
  readonly ports: number[];

  private constructor(mf: Miniflare, options: GatewayOptions, ports: number[], log: Log) {
    this.#mf = mf;
    this.#options = options;
    this.ports = ports;
    this.log = log;
  }

  /** Starts a gateway; the caller disposes of it. */
  static async start(options: GatewayOptions = {}): Promise<Gateway> {
    const log = new Log();
    const workers = gatewayWorkers(options);
    const mf = new Miniflare({
      host: "127.0.0.1",
      port: 0,
      // Without this, miniflare asks the network for a sample of `request.cf`.
      cf: false,
      ...(options.persist === undefined ? {} : { defaultPersistRoot: options.persist }),
      handleStructuredLogs: (line: { level: string; message: string }) => log.take(line),
      workers: options.limiter ? [...workers, standIn()] : workers,
    });
    try {
      await mf.ready;
      const ports = await Promise.all(
        workers.map(async ({ name }) => Number((await mf.unsafeGetDirectURL(name)).port)),
      );
      const gateway = new Gateway(mf, options, ports, log);
      if (options.policy) await gateway.publish(options.policy);
      return gateway;
    } catch (error) {
      await mf.dispose();
      throw error;
    }
  }

  get port(): number {
    return this.ports[0] ?? 0;
  }

  /** Sends a request with a client address, as the platform in front of a Worker does. */
  fetch(target: string, options: FetchOptions = {}): Promise<RawResponse> {
    const { client = CLIENT, isolate = 0, fields = [], host = HOST, scheme = "http" } = options;
    const port = this.ports[isolate];
    if (port === undefined) throw new Error(`there is no isolate ${isolate}`);
    const address: Fields = client === null ? [] : [["CF-Connecting-IP", client]];
    const written = this.#options.verbatim ? `${scheme}://${host}${target}` : target;
    return exchange(port, written, { ...options, host, fields: [...address, ...fields] });
  }

  /** Publishes a policy, as sequence and revision say. */
  async publish(policy: object, sequence = 1, revision = `r${sequence}`): Promise<void> {
    const { value, metadata } = manifest(policy, sequence, revision);
    await this.put(value, metadata);
  }

  /** Writes the key `active` as it stands here. */
  async put(value: string, metadata?: unknown): Promise<void> {
    if (this.#options.store) return void this.#options.store.put("active", value, metadata);
    await (await this.#state()).put("active", value, metadata === undefined ? {} : { metadata });
  }

  /** Takes the key `active` away. */
  async unpublish(): Promise<void> {
    await (await this.#state()).delete("active");
  }

  async #state(): Promise<Namespace> {
    return (await this.#mf.getKVNamespace("STATE")) as unknown as Namespace;
  }

  /** Drops the memory of every running Limiter object, as the platform does with idle ones; gives
   * their number. */
  async evictLimiters(): Promise<number> {
    const name = workerName(0);
    const ids = await this.#mf.listDurableObjectIds("Limiter", name);
    let evicted = 0;
    for (const id of ids) {
      const eviction = this.#mf.unsafeEvictDurableObject(name, "Limiter", { id });
      evicted += await eviction.then(
        () => 1,
        (error: Error) => {
          if (!error.message.includes("not currently running")) throw error;
          return 0;
        },
      );
    }
    return evicted;
  }

  /** Says a message to one Limiter object; gives its answer. */
  async askLimiter(shard: number, message: object): Promise<unknown> {
    const binding: unknown = await this.#mf.getDurableObjectNamespace("LIMITER", workerName(0));
    const objects = binding as Objects;
    const limiter = objects.get(objects.idFromName(`v1-${shard}`));
    const headers = { "weir-message": JSON.stringify(message) };
    const response = await limiter.fetch("https://limiter.invalid/", { headers });
    const answer = response.headers.get("weir-message");
    return answer === null ? response.status : (JSON.parse(answer) as unknown);
  }

  /** Tells the stand-in for the Limiter how to fail. */
  async failLimiter(mood: LimiterMood): Promise<void> {
    const { port } = await this.#mf.unsafeGetDirectURL(STAND_IN);
    await exchange(Number(port), `/${mood}`);
  }

  /** Ends workerd. Throws when the module panicked or left an exception uncaught meanwhile. */
  async dispose(): Promise<void> {
    await this.#mf.dispose();
    const [worst] = this.log.crashes();
    if (worst !== undefined) throw new Error(`the gateway crashed: ${worst}`);
  }
}

/** Runs a gateway for as long as the body takes. */
export async function using(
  options: GatewayOptions,
  body: (gateway: Gateway) => Promise<void>,
): Promise<void> {
  const gateway = await Gateway.start(options);
  try {
    await body(gateway);
  } finally {
    await gateway.dispose();
  }
}

const workerName = (index: number): string => (index === 0 ? "edgeweir" : `edgeweir-${index + 1}`);

/** What wrangler.toml says, as miniflare takes it, and where the built module is. */
export function settings(env?: GatewayOptions["env"]) {
  const { workerOptions, main } = unstable_getMiniflareWorkerOptions(
    path.join(ROOT, "wrangler.toml"),
    env,
  );
  if (main === undefined || !existsSync(main)) {
    throw new Error("The gateway is not built: run `npm run build` first.");
  }
  const { compatibilityDate = "", compatibilityFlags = [], modulesRules, bindings } = workerOptions;
  const { kvNamespaces, durableObjects, zone } = workerOptions;
  return {
    main,
    compatibilityDate,
    compatibilityFlags,
    modulesRules,
    bindings,
    kvNamespaces,
    durableObjects,
    zone,
  };
}

/** The same module once for each isolate; the first one owns the objects. */
function gatewayWorkers(options: GatewayOptions): WorkerOptions[] {
  const { main, bindings, kvNamespaces, durableObjects, ...rest } = settings(options.env);
  const vars = Object.entries({ ...bindings, ...options.vars }).filter(
    ([, value]) => value !== undefined,
  );
  return Array.from({ length: options.isolates ?? 1 }, (_, index) => ({
    ...rest,
    name: workerName(index),
    modules: true,
    modulesRoot: path.dirname(main),
    scriptPath: main,
    bindings: Object.fromEntries(vars),
    kvNamespaces: options.store ? { STATE: options.store.binding } : kvNamespaces,
    durableObjects: objects(durableObjects, index, options),
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0, proxy: options.verbatim ?? false }],
  })) as WorkerOptions[];
}

function objects(
  configured: WorkerOptions["durableObjects"],
  index: number,
  options: GatewayOptions,
): object {
  const owner = options.limiter ? STAND_IN : workerName(0);
  if (!options.limiter && index === 0) return configured ?? {};
  const names = Object.entries(configured ?? {});
  return Object.fromEntries(
    names.map(([binding, object]) => [binding, { ...(object as object), scriptName: owner }]),
  );
}

function standIn(): WorkerOptions {
  return {
    name: STAND_IN,
    modules: true,
    script: LIMITER_SCRIPT,
    compatibilityDate: "2026-07-30",
    durableObjects: { LIMITER: { className: "Limiter", useSQLite: true } },
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
  };
}
