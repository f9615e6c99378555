// Runs the built gateway in workerd, by miniflare, as wrangler.toml says: the bindings and variables
// of an environment, several isolates on the same objects, and stand-ins for bindings that are to
// fail. Requests go straight to workerd's sockets, so that raw bytes reach the Worker.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { HttpOptions_Style, Miniflare, type WorkerOptions } from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import { Log } from "./log.ts";
import { exchange, HOST, type Fields, type RawResponse, type RequestOptions } from "./raw.ts";
import {
  CollapserStandIn,
  ControlRelay,
  LimiterStandIn,
  STAND_IN,
  standInWorker,
  type LimiterMood,
} from "./stand_in.ts";
import type { Store } from "./store.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");

/** The Worker that has the real objects, where it is none of the isolates. */
const OBJECTS = "objects";

/** The name of the one Control object. */
const CONTROL_NAME = "control-v1";

/** Where the build is that speaks the protocol before this one. */
const PREVIOUS = path.join(ROOT, "target", "previous-protocol", "index.js");

/** The version of the module, as manifests name it. */
export const VERSION = "0.3.0";

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
  isolates?: 1 | 2 | 3 | 4;
  /** Where storage outlives the process. */
  persist?: string;
  /** A store that can be told to fail, in the place of the KV namespace. */
  store?: Store;
  /** Another one, in the place of what the tier `global` of the cache keeps. Gateways that share it
   * are locations: each has a Cache API of its own. */
  cacheStore?: Store;
  /** Bindings that are taken away. */
  unbound?: readonly ("CACHE" | "COLLAPSER")[];
  /** Whole URLs reach the Worker as they are written, as those of the platform's own front do. By
   * default workerd makes them from Host and target: it resolves plain dot segments on the way, and
   * answers 500 itself where the two make no URL. */
  verbatim?: boolean;
  /** The static assets. Miniflare puts a router in front for them, which parses the URLs. */
  assets?: boolean;
  /** A Durable Object class that can be told to fail, in the place of the real one. */
  limiter?: "stand-in";
  /** Between the isolates and a real Collapser object, one that can be told to fail. */
  collapser?: "relay";
  /** Between the isolates and the real Control object, one that counts what passes and can be told
   * to fail. */
  control?: "relay";
  /** `host:port` of a server that gets every request that the isolates send, as a proxy does: in
   * absolute form, whatever the scheme and host. */
  outbound?: string;
  /** The runtime's own limiters, by binding; the period is 10 or 60 seconds. */
  ratelimits?: Record<string, { namespace_id: string; simple: { limit: number; period: 10 | 60 } }>;
  /** Which build each isolate runs; the current one by default. The first one's has the objects. */
  builds?: readonly Build[];
}

/** This source, or this source as it spoke before: protocol 1. */
export type Build = "current" | "previous";

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
  get(key: string): Promise<string | null>;
  put(key: string, value: string, options: { metadata?: unknown }): Promise<void>;
  delete(key: string): Promise<void>;
}

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
    fetch(url: string, init: RequestInit): Promise<Response>;
  };
}

/** As much of a Worker as is used here. */
interface Scheduled {
  scheduled(options: { cron: string }): Promise<{ outcome: string }>;
}

/** What the Control object says. */
export interface ControlAnswer {
  version: number;
  result?: Record<string, unknown>;
  refused?: Record<string, unknown> & { reason: string };
}

export type { LimiterMood };

export class Gateway {
  readonly log: Log;
  /** What stands between the isolates and the Control object, where there is something. */
  readonly relay: ControlRelay | undefined;
  /** What stands in the place of the Limiter objects, where something does. */
  readonly limiter: LimiterStandIn | undefined;
  /** What stands before the Collapser objects, where something does. */
  readonly collapser: CollapserStandIn | undefined;
  readonly #mf: Miniflare;
  readonly #options: GatewayOptions;
  /** The loopback port of each isolate. */
  readonly ports: number[];

  private constructor(
    mf: Miniflare,
    options: GatewayOptions,
    ports: number[],
    standIn: number | undefined,
    log: Log,
  ) {
    this.#mf = mf;
    this.#options = options;
    this.ports = ports;
    this.log = log;
    if (standIn !== undefined && options.control) this.relay = new ControlRelay(standIn);
    if (standIn !== undefined && options.limiter) this.limiter = new LimiterStandIn(standIn);
    if (standIn !== undefined && options.collapser) this.collapser = new CollapserStandIn(standIn);
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
      workers: [...workers, ...besides(options)],
    });
    try {
      await mf.ready;
      const portOf = async (name?: string): Promise<number> =>
        Number((await mf.unsafeGetDirectURL(name)).port);
      const ports = await Promise.all(workers.map(({ name }) => portOf(name)));
      const stands = options.limiter || options.control || options.collapser;
      const standIn = stands ? await portOf(STAND_IN) : undefined;
      const gateway = new Gateway(mf, options, ports, standIn, log);
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

  /** The key `active` as it stands there. */
  async active(): Promise<string | null> {
    return (await this.#state()).get("active");
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
  evictLimiters(): Promise<number> {
    return this.#evict("Limiter", workerName(0));
  }

  /** Drops the memory of the Control object; gives whether it was running. */
  async evictControl(): Promise<boolean> {
    return (await this.#evict("Control", this.#owner)) > 0;
  }

  async #evict(className: string, owner: string): Promise<number> {
    const ids = await this.#mf.listDurableObjectIds(className, owner);
    let evicted = 0;
    for (const id of ids) {
      const eviction = this.#mf.unsafeEvictDurableObject(owner, className, { id });
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

  /** Lets the cron trigger ring, and waits until what it began is over; gives how it ended. */
  async scheduled(isolate = 0): Promise<string> {
    const worker: unknown = await this.#mf.getWorker(workerName(isolate));
    return (await (worker as Scheduled).scheduled({ cron: "*/5 * * * *" })).outcome;
  }

  /** The Worker that has the real Control object. */
  get #owner(): string {
    return this.#options.control ? OBJECTS : workerName(0);
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

  /** Says a message to the real Control object, past every isolate; gives its answer. */
  async askControl(message: object): Promise<ControlAnswer> {
    const binding: unknown = await this.#mf.getDurableObjectNamespace("CONTROL", this.#owner);
    const objects = binding as Objects;
    const control = objects.get(objects.idFromName(CONTROL_NAME));
    const body = JSON.stringify({ version: 3, least: 1, module: VERSION, ...message });
    const response = await control.fetch("https://control.invalid/", { method: "POST", body });
    return (await response.json()) as ControlAnswer;
  }

  /** Tells the stand-in for the Limiter how to fail. */
  async failLimiter(mood: LimiterMood): Promise<void> {
    await this.limiter?.fail(mood);
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
  const { kvNamespaces, durableObjects, assets, zone } = workerOptions;
  return {
    main,
    compatibilityDate,
    compatibilityFlags,
    modulesRules,
    bindings,
    kvNamespaces,
    durableObjects,
    assets,
    zone,
  };
}

/** The module once for each isolate. */
function gatewayWorkers(options: GatewayOptions): WorkerOptions[] {
  return Array.from({ length: options.isolates ?? options.builds?.length ?? 1 }, (_, index) => ({
    ...moduleWorker(options, options.builds?.[index] ?? "current"),
    name: workerName(index),
    durableObjects: objects(index, options),
    ...outbound(options),
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0, proxy: options.verbatim ?? false }],
  })) as WorkerOptions[];
}

/** Where requests of the isolates go. */
function outbound({ outbound: address }: GatewayOptions): object {
  if (address === undefined) return {};
  return { outboundService: { external: { address, http: { style: HttpOptions_Style.PROXY } } } };
}

function moduleWorker(options: GatewayOptions, build: Build): object {
  const { main, bindings, kvNamespaces, durableObjects, assets, ...others } = settings(options.env);
  const rest = options.assets ? { ...others, assets } : others;
  const vars = Object.entries({ ...bindings, ...options.vars }).filter(
    ([, value]) => value !== undefined,
  );
  const script = build === "current" ? main : PREVIOUS;
  if (!existsSync(script)) {
    throw new Error("The previous protocol is not built: run `npm run build -- --previous` first.");
  }
  return {
    ...rest,
    modules: true,
    modulesRoot: path.dirname(script),
    scriptPath: script,
    bindings: Object.fromEntries(vars),
    kvNamespaces: without(options, {
      ...kvNamespaces,
      ...(options.store && { STATE: options.store.binding }),
      ...(options.cacheStore && { CACHE: options.cacheStore.binding }),
    }),
    durableObjects,
    ...(options.ratelimits && { ratelimits: options.ratelimits }),
  };
}

/** Bindings without those that are taken away. */
function without({ unbound = [] }: GatewayOptions, bindings: object): object {
  const kept = Object.entries(bindings).filter(
    ([binding]) => !(unbound as readonly string[]).includes(binding),
  );
  return Object.fromEntries(kept);
}

/** Where an isolate finds the objects: the first one has them, unless something stands in between. */
function objects(index: number, options: GatewayOptions): object {
  const configured = Object.entries(without(options, settings(options.env).durableObjects ?? {}));
  const owner = (binding: string): string | undefined => {
    if (binding === "LIMITER" && options.limiter) return STAND_IN;
    if (binding === "CONTROL" && options.control) return STAND_IN;
    if (binding === "COLLAPSER" && options.collapser) return STAND_IN;
    return index === 0 ? undefined : workerName(0);
  };
  return Object.fromEntries(
    configured.map(([binding, object]) => {
      const scriptName = owner(binding);
      return [binding, { ...(object as object), ...(scriptName ? { scriptName } : {}) }];
    }),
  );
}

/** The Workers besides the isolates. */
function besides(options: GatewayOptions): WorkerOptions[] {
  if (!options.limiter && !options.control && !options.collapser) return [];
  const isReal = options.control !== undefined || options.collapser !== undefined;
  const standIn = standInWorker(isReal ? OBJECTS : undefined);
  if (!isReal) return [standIn];
  const real = { ...moduleWorker(options, options.builds?.[0] ?? "current"), name: OBJECTS };
  return [standIn, real as WorkerOptions];
}
