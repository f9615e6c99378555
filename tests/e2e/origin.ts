// A real HTTP origin on loopback. It records exactly what reaches it and answers each path as a test
// says, well or badly.

import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { accept, CLOSE, decode, encode } from "./websocket.ts";
import { fieldOf, type Fields } from "./raw.ts";

/** What reached the origin. */
export interface Received {
  method: string;
  /** The target as it stood in the request line. */
  target: string;
  /** Field lines in the order of the wire. */
  fields: Fields;
  /** The value of one field, several lines joined; `undefined` when it is absent. */
  field: (name: string) => string | undefined;
  /** Resolves when the whole body has come, or rejects when it was cut short. */
  body: Promise<{ length: number; sha256: string; text: string }>;
  /** Resolves when the exchange is over: whole, or given up by the other side. */
  outcome: Promise<"whole" | "aborted">;
}

/** How a path is answered; whatever is left out is the plainest there is. */
export interface Plan {
  status?: number;
  /** Field lines, in order, besides those that frame the body. */
  fields?: Fields;
  body?: Buffer | string;
  /** The body is sent in chunks instead of with Content-Length. */
  chunked?: boolean;
  /** The body is compressed, and labelled so. */
  encoding?: "gzip" | "br";
  /** `Range: bytes=a-b` gets 206. */
  ranges?: boolean;
  /** How the origin lets its client down. `stall-*` goes silent, `reset-*` resets the connection; in
   * the body means after the first half of it. */
  failure?: "stall-before-head" | "stall-in-body" | "reset-before-head" | "reset-in-body";
  /** Sends these bytes instead of an answer, and ends the connection. */
  raw?: string;
  /** Sends the second half of the body only after this promise. */
  gate?: Promise<unknown>;
  /** Answers before it has read the request's body, and never reads it. */
  unread?: boolean;
  /** Reads the request's body only after this promise. */
  readAfter?: Promise<unknown>;
}

/** A plan, or what makes one for the nth request of a path. */
export type Answer = Plan | ((received: Received, nth: number) => Plan | Promise<Plan>);

const pairs = (raw: string[]): Fields => {
  const fields: Fields = [];
  for (let at = 0; at + 1 < raw.length; at += 2) fields.push([raw[at] ?? "", raw[at + 1] ?? ""]);
  return fields;
};

/** The bytes that an origin sends for a plan's body. */
export function encoded(plan: Plan): Buffer {
  const body = Buffer.from(plan.body ?? "");
  if (plan.encoding === "gzip") return gzipSync(body);
  return plan.encoding === "br" ? brotliCompressSync(body) : body;
}

export class Origin {
  /** Everything that has come, in order. */
  readonly requests: Received[] = [];
  /** What WebSocket clients have closed with, in order. */
  readonly closes: number[] = [];
  readonly #answers = new Map<string, Answer>();
  #served = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      socket.on("error", () => {});
    });
    server.on("request", (request, response) => void this.#serve(request, response));
    server.on("upgrade", (request, socket) => this.#upgrade(request, socket));
  }

  /** Starts on a free port. */
  static async start(): Promise<Origin> {
    // The limits of `node:http` are not under test.
    const server = createServer({
      keepAliveTimeout: 60_000,
      requestTimeout: 0,
      maxHeaderSize: 256 * 1024,
      // As a proxy it gets whole URLs, and no Host.
      requireHostHeader: false,
    });
    const origin = new Origin(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    // A test that fails half-way is over; nothing waits for the origin.
    server.unref();
    return origin;
  }

  get authority(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What stands in a policy. */
  get url(): string {
    return `http://${this.authority}`;
  }

  /** Says how a path (without query) is answered; `*` stands for every other one. */
  on(path: string, answer: Answer): void {
    this.#answers.set(path, answer);
  }

  /** A path that no test has asked for yet, answered by this plan. */
  serve(answer: Answer, under = "/path"): string {
    const path = `${under}/${(this.#served += 1)}`;
    this.on(path, answer);
    return path;
  }

  /** What has come for a path, in order; `/*` at the end takes all below it. */
  received(path: string): Received[] {
    const [below] = path.endsWith("/*") ? [path.slice(0, -1)] : [];
    return this.requests.filter(({ target }) =>
      below ? target.startsWith(below) : pathOf(target) === path,
    );
  }

  /** The one request that has come for a path. */
  only(path: string): Received {
    const all = this.received(path);
    const [first] = all;
    if (!first || all.length > 1)
      throw new Error(`the origin got ${all.length} requests for ${path}`);
    return first;
  }

  /** Ends every connection. */
  async stop(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #record(request: IncomingMessage, response?: ServerResponse): Received {
    const outcome = new Promise<"whole" | "aborted">((resolve) => {
      if (response)
        response.once("close", () => resolve(response.writableFinished ? "whole" : "aborted"));
      else request.socket.once("close", () => resolve("whole"));
    });
    const { promise: body, resolve, reject } = Promise.withResolvers<Awaited<Received["body"]>>();
    // Most tests do not ask for it.
    body.catch(() => {});
    const hash = createHash("sha256");
    const kept: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      hash.update(chunk);
      length += chunk.length;
      if (length <= 64 * 1024) kept.push(chunk);
    });
    request.once("end", () =>
      resolve({ length, sha256: hash.digest("hex"), text: Buffer.concat(kept).toString("utf8") }),
    );
    request.once("error", reject);
    request.once("close", () => reject(new Error("the body was cut short")));
    const fields = pairs(request.rawHeaders);
    const received: Received = {
      method: request.method ?? "",
      target: request.url ?? "",
      fields,
      field: (name) => fieldOf(fields, name),
      body,
      outcome,
    };
    this.requests.push(received);
    return received;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const received = this.#record(request, response);
    request.pause();
    const path = pathOf(received.target);
    const answer = this.#answers.get(path) ?? this.#answers.get("*") ?? {};
    const plan =
      typeof answer === "function" ? await answer(received, this.received(path).length) : answer;
    if (plan.readAfter) await plan.readAfter;
    if (!plan.unread) {
      request.resume();
      // An answer that overtakes the request's body is a case of its own, see `unread`.
      await received.body.catch(() => {});
    }
    if (plan.failure === "stall-before-head") return;
    if (plan.failure === "reset-before-head") return void request.socket.resetAndDestroy();
    if (plan.raw !== undefined) return void request.socket.end(plan.raw, "latin1");
    const { status, head, body } = framed(plan, request);
    response.sendDate = false;
    response.writeHead(status, head);
    if (request.method === "HEAD" || body.length === 0) return void response.end();
    if (!plan.failure && !plan.gate) return void response.end(body);
    const half = body.length >> 1;
    response.write(body.subarray(0, half));
    if (plan.failure === "stall-in-body") return;
    if (plan.failure === "reset-in-body") {
      // The first half has to arrive: a reset drops what is still to be sent.
      await new Promise((resolve) => setTimeout(resolve, 50));
      return void request.socket.resetAndDestroy();
    }
    await plan.gate;
    response.end(body.subarray(half));
  }

  #upgrade(request: IncomingMessage, socket: Duplex): void {
    this.#record(request);
    const key = request.headers["sec-websocket-key"] ?? "";
    const protocol = request.headers["sec-websocket-protocol"]?.split(",")[0];
    const lines = [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${accept(key)}`,
      ...(protocol ? [`Sec-WebSocket-Protocol: ${protocol}`] : []),
    ];
    socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    this.#echo(socket).catch(() => socket.destroy());
  }

  /** Sends every frame back until one says close. */
  async #echo(socket: Duplex): Promise<void> {
    let waiting: Buffer = Buffer.alloc(0);
    const chunks = socket[Symbol.asyncIterator]();
    const exactly = async (length: number): Promise<Buffer> => {
      while (waiting.length < length) {
        const { value, done } = await chunks.next();
        if (done) throw new Error("the connection ended");
        waiting = Buffer.concat([waiting, value as Buffer]);
      }
      const taken = waiting.subarray(0, length);
      waiting = waiting.subarray(length);
      return taken;
    };
    for (;;) {
      const frame = await decode(exactly);
      socket.write(encode(frame));
      if (frame.opcode === CLOSE) {
        this.closes.push(frame.payload.length >= 2 ? frame.payload.readUInt16BE() : 1005);
        socket.end();
        return;
      }
    }
  }
}

const pathOf = (target: string): string => target.split("?")[0] ?? "";

function framed(
  plan: Plan,
  request: IncomingMessage,
): { status: number; head: OutgoingHttpHeaders | string[]; body: Buffer } {
  const whole = encoded(plan);
  const head: string[] = (plan.fields ?? []).flat();
  if (plan.encoding) head.push("Content-Encoding", plan.encoding);
  const range = plan.ranges ? /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") : null;
  const [from, to] = range ? [Number(range[1]), Number(range[2])] : [0, whole.length - 1];
  const body = whole.subarray(from, to + 1);
  if (range) head.push("Content-Range", `bytes ${from}-${to}/${whole.length}`);
  const status = plan.status ?? (range ? 206 : 200);
  // RFC 9110, 8.6: neither 204 nor 304 frames a body.
  if (plan.chunked) head.push("Transfer-Encoding", "chunked");
  else if (status !== 204 && status !== 304) head.push("Content-Length", String(body.length));
  return { status, head, body };
}
