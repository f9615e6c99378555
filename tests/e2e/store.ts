// A key-value store behind a real KV binding that can be told to fail: workerd speaks to it as it
// speaks to Workers KV.

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** How the store behaves. */
export type StoreMood = "work" | "throw" | "hang";

export class Store {
  mood: StoreMood = "work";
  /** How often a value was asked for. */
  reads = 0;
  readonly #values = new Map<string, { value: string; metadata: string | undefined }>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    server.on("request", (request, response) => this.#serve(request, response));
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
    this.#values.set(key, {
      value,
      metadata: metadata === undefined ? undefined : JSON.stringify(metadata),
    });
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    // The URL that workerd asked for: http://HOST/<key, urlencoded>?urlencoded=true
    const url = new URL(String(request.headers["mf-url"] ?? "http://store/"));
    this.reads += 1;
    request.resume();
    if (this.mood === "hang") return;
    if (this.mood === "throw") return void response.writeHead(500).end("told to fail");
    const found = this.#values.get(decodeURIComponent(url.pathname.slice(1)));
    if (!found) return void response.writeHead(404).end();
    const metadata = found.metadata === undefined ? {} : { "CF-KV-Metadata": found.metadata };
    response.writeHead(200, metadata).end(found.value);
  }
}
