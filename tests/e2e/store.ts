// A key-value store behind a real KV binding that can be told to fail: workerd speaks to it as it
// speaks to Workers KV. It lives outside of workerd, so it outlives a restart, and shows what every
// reader and writer did.

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** How the store behaves to readers. */
export type StoreMood = "work" | "throw" | "hang";

/** How it behaves to writers: `lose` takes the value and says that it has not; `tear` keeps half of
 * it and says that it has all. */
export type WriteMood = StoreMood | "lose" | "tear";

/** One write as it came. */
export interface Put {
  key: string;
  /** When it came, in milliseconds. */
  at: number;
  value: string;
  metadata: string | undefined;
  mood: WriteMood;
  /** For how many seconds it is to be kept, where that was said. */
  ttl: number | undefined;
}

interface Held {
  value: Buffer;
  metadata: string | undefined;
}

export class Store {
  mood: StoreMood = "work";
  /** How the next writes of a key end; by default well. */
  writeMood: (key: string) => WriteMood = () => "work";
  /** How often a value was asked for. */
  reads = 0;
  /** What was deleted, in order. */
  readonly deletions: string[] = [];
  /** What was written, in order, the failed ones too. */
  readonly puts: Put[] = [];
  readonly #values = new Map<string, Held>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    server.on("request", (request, response) => void this.#serve(request, response));
    // miniflare tries to open a channel for calls that KV has no use for.
    server.on("upgrade", (_request, socket) => socket.destroy());
  }

  static async start(): Promise<Store> {
    const store = new Store(createServer());
    store.#server.listen(0, "127.0.0.1");
    await once(store.#server, "listening");
    store.#server.unref();
    return store;
  }

  /** What stands in miniflare's `kvNamespaces`. */
  get binding(): { id: string; remoteProxyConnectionString: URL } {
    const { port } = this.#server.address() as AddressInfo;
    return { id: "stand-in", remoteProxyConnectionString: new URL(`http://127.0.0.1:${port}`) };
  }

  put(key: string, value: string, metadata?: unknown): void {
    const text = metadata === undefined ? undefined : JSON.stringify(metadata);
    this.#values.set(key, { value: Buffer.from(value), metadata: text });
  }

  /** What stands under a key. */
  get(key: string): string | undefined {
    return this.#values.get(key)?.value.toString("utf8");
  }

  delete(key: string): void {
    this.#values.delete(key);
  }

  /** Half of what stands under a key is lost. */
  tear(key: string): void {
    const held = this.#values.get(key);
    if (held)
      this.#values.set(key, { ...held, value: held.value.subarray(0, held.value.length >> 1) });
  }

  /** What stands under a key comes back by itself, as it does where the view is old. */
  async bringBack<T>(key: string, after: () => Promise<T>): Promise<T> {
    const held = this.#values.get(key);
    const result = await after();
    if (held) this.#values.set(key, held);
    return result;
  }

  /** The keys that begin so. */
  keys(prefix: string): string[] {
    return [...this.#values.keys()].filter((key) => key.startsWith(prefix));
  }

  /** The writes of one key. */
  putsOf(key: string): Put[] {
    return this.puts.filter((put) => put.key === key);
  }

  /** The revision that the key `active` names. */
  get revision(): string | undefined {
    const value = this.get("active");
    return value === undefined ? undefined : (JSON.parse(value) as { revision: string }).revision;
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The URL that workerd asked for: http://HOST/<key, urlencoded>?urlencoded=true
    const url = new URL(String(request.headers["mf-url"] ?? "http://store/"));
    const key = decodeURIComponent(url.pathname.slice(1));
    if (request.method === "PUT") return this.#take(key, url, request, response);
    if (request.method === "DELETE") {
      this.deletions.push(key);
      this.#values.delete(key);
      request.resume();
      return void response.writeHead(200).end();
    }
    this.reads += 1;
    request.resume();
    if (this.mood === "hang") return;
    if (this.mood === "throw") return void response.writeHead(500).end("told to fail");
    const found = this.#values.get(key);
    if (!found) return void response.writeHead(404).end();
    const metadata = found.metadata === undefined ? {} : { "CF-KV-Metadata": found.metadata };
    response.writeHead(200, metadata).end(found.value);
  }

  async #take(
    key: string,
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const value = Buffer.concat(parts);
    const field = request.headers["mf-header-cf-kv-metadata"];
    const metadata = typeof field === "string" ? field : undefined;
    const mood = this.writeMood(key);
    const ttl = Number(url.searchParams.get("expiration_ttl")) || undefined;
    this.puts.push({ key, at: Date.now(), value: value.toString("utf8"), metadata, mood, ttl });
    if (mood === "hang") return;
    if (mood === "throw") return void response.writeHead(500).end("told to fail");
    const kept = mood === "tear" ? value.subarray(0, value.length >> 1) : value;
    this.#values.set(key, { value: kept, metadata });
    if (mood === "lose") return void response.writeHead(500).end("told to fail");
    response.writeHead(200).end();
  }
}
