// A plain TCP client: sends exactly the bytes it is given and shows exactly what comes back. Clients
// such as `fetch` tidy targets and fields up, and that is what many of these tests are about.

import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";

/** Field lines in the order of the wire. */
export type Fields = [name: string, value: string][];

/** The Host field where a test does not care. */
export const HOST = "gateway.test";

/** How long one read or one whole exchange may take, unless a test says otherwise. */
const PATIENCE = 10_000;

/** All lines of one field. */
export function linesOf(fields: Fields, name: string): string[] {
  const wanted = name.toLowerCase();
  return fields.filter(([field]) => field.toLowerCase() === wanted).map(([, value]) => value);
}

/** The value of one field, several lines joined; `undefined` when it is absent. */
export function fieldOf(fields: Fields, name: string): string | undefined {
  const lines = linesOf(fields, name);
  return lines.length === 0 ? undefined : lines.join(", ");
}

/** Bytes that do not repeat in any short period. */
export function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 1;
  for (let offset = 0; offset + 4 <= length; offset += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, offset);
  }
  return bytes;
}

export const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** A response as it came over the wire; only the chunked coding is taken off. */
export class RawResponse {
  readonly status: number;
  readonly fields: Fields;
  readonly body: Buffer;

  constructor(status: number, fields: Fields, body: Buffer) {
    this.status = status;
    this.fields = fields;
    this.body = body;
  }

  /** All lines of one field. */
  lines(name: string): string[] {
    return linesOf(this.fields, name);
  }

  /** The value of one field, several lines joined; `undefined` when it is absent. */
  field(name: string): string | undefined {
    return fieldOf(this.fields, name);
  }

  get text(): string {
    return this.body.toString("utf8");
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  get json(): any {
    return JSON.parse(this.text);
  }
}

/** What a request is made of; everything is sent as it stands here. */
export interface RequestOptions {
  method?: string;
  /** The Host field; `null` leaves it out. */
  host?: string | null;
  fields?: Fields;
  /** Sent with Content-Length, unless `chunked`. */
  body?: Buffer | string;
  /** Sends the body in chunks of this many bytes. */
  chunked?: number;
  /** For the whole exchange, in milliseconds. */
  timeout?: number;
}

/** The head of a request as bytes. Latin-1, so that every byte can be written as a character. */
export function head(target: string, options: RequestOptions = {}): Buffer {
  const { method = "GET", host = HOST, fields = [], body, chunked } = options;
  const lines = [`${method} ${target} HTTP/1.1`];
  if (host !== null) lines.push(`Host: ${host}`);
  for (const [name, value] of fields) lines.push(`${name}: ${value}`);
  if (body !== undefined) {
    lines.push(
      chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${Buffer.byteLength(body)}`,
    );
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

function chunks(body: Buffer, size: number): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
  }
  return [...parts, Buffer.from("0\r\n\r\n")];
}

/** One request on a connection of its own, and its response. */
export async function exchange(
  port: number,
  target: string,
  options: RequestOptions = {},
): Promise<RawResponse> {
  const connection = await Connection.open(port, options.timeout);
  try {
    const body = options.body === undefined ? undefined : Buffer.from(options.body);
    const parts = [head(target, options)];
    if (body) parts.push(...(options.chunked ? chunks(body, options.chunked) : [body]));
    // A Worker that refuses early answers while the body is still on its way.
    const sent = connection.write(Buffer.concat(parts));
    const response = connection.response(options.method);
    await Promise.all([response, sent.catch(() => response)]);
    return await response;
  } finally {
    connection.close();
  }
}

/** A TCP connection to a Worker. */
export class Connection {
  readonly #socket: Socket;
  readonly #patience: number;
  #waiting: Buffer[] = [];
  #ended = false;
  #error: Error | undefined;
  #wake: () => void = () => {};

  private constructor(socket: Socket, patience: number) {
    this.#socket = socket;
    this.#patience = patience;
    const wake = (): void => this.#wake();
    socket.setNoDelay(true);
    socket.on("data", (chunk) => {
      this.#waiting.push(chunk);
      wake();
    });
    socket.on("error", (error) => {
      this.#error = error;
      wake();
    });
    for (const event of ["end", "close"]) {
      socket.on(event, () => {
        this.#ended = true;
        wake();
      });
    }
  }

  /** Connects; `patience` bounds every later read, in milliseconds. */
  static open(port: number, patience = PATIENCE): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Connection(socket, patience));
      });
    });
  }

  /** Sends bytes; done when the kernel has taken them. */
  write(bytes: Buffer | string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Reads nothing more until `resume`: the sender's window fills up. */
  pause(): void {
    this.#socket.pause();
  }

  /** Reads on. */
  resume(): void {
    this.#socket.resume();
  }

  /** The next bytes; `undefined` at the end. Throws on a reset, and when nothing comes in time. */
  async read(): Promise<Buffer | undefined> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, this.#patience);
    try {
      for (;;) {
        const next = this.#waiting.shift();
        if (next) return next;
        if (this.#error) throw this.#error;
        if (this.#ended) return undefined;
        if (late) throw new Error(`nothing came within ${this.#patience} ms`);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Exactly that many bytes. */
  async exactly(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let missing = length;
    while (missing > 0) {
      const part = await this.read();
      if (!part) throw new Error(`the connection ended ${missing} bytes early`);
      if (part.length > missing) this.#waiting.unshift(part.subarray(missing));
      parts.push(part.subarray(0, missing));
      missing -= Math.min(missing, part.length);
    }
    return Buffer.concat(parts);
  }

  /** Everything up to and with the delimiter. */
  async until(delimiter: string): Promise<Buffer> {
    let bytes: Buffer = Buffer.alloc(0);
    for (;;) {
      const part = await this.read();
      if (!part) throw new Error(`the connection ended before ${JSON.stringify(delimiter)}`);
      bytes = Buffer.concat([bytes, part]);
      const at = bytes.indexOf(delimiter);
      if (at >= 0) {
        const end = at + delimiter.length;
        if (bytes.length > end) this.#waiting.unshift(bytes.subarray(end));
        return bytes.subarray(0, end);
      }
    }
  }

  /** Everything until the other side closes. */
  async rest(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (;;) {
      const part = await this.read();
      if (!part) return Buffer.concat(parts);
      parts.push(part);
    }
  }

  /** The head of the next response; 100 and 103 are passed over. */
  async head(): Promise<{ status: number; fields: Fields }> {
    for (;;) {
      const [start = "", ...lines] = (await this.until("\r\n\r\n"))
        .toString("latin1")
        .trimEnd()
        .split("\r\n");
      const status = Number(/^HTTP\/1\.1 (\d{3})( |$)/.exec(start)?.[1]);
      if (Number.isNaN(status)) throw new Error(`not a status line: ${JSON.stringify(start)}`);
      if (status < 200 && status !== 101) continue;
      const fields: Fields = lines.map((line) => {
        const colon = line.indexOf(":");
        const value = Buffer.from(line.slice(colon + 1).trim(), "latin1").toString("utf8");
        return [line.slice(0, colon), value];
      });
      return { status, fields };
    }
  }

  /** The next response, whole. Throws when its body is cut short. */
  async response(method = "GET"): Promise<RawResponse> {
    const { status, fields } = await this.head();
    const without = new RawResponse(status, fields, Buffer.alloc(0));
    if (method === "HEAD" || status === 204 || status === 304) return without;
    const length = without.field("content-length");
    const chunked = without.field("transfer-encoding") === "chunked";
    const body = chunked
      ? await this.#chunked()
      : await (length === undefined ? this.rest() : this.exactly(Number(length)));
    return new RawResponse(status, fields, body);
  }

  async #chunked(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (;;) {
      const size = Number.parseInt((await this.until("\r\n")).toString("latin1"), 16);
      if (Number.isNaN(size)) throw new Error("not a chunk size");
      if (size > 0) parts.push(await this.exactly(size));
      await this.until("\r\n");
      if (size === 0) return Buffer.concat(parts);
    }
  }

  /** Ends the connection at once, as a client that goes away. */
  close(): void {
    this.#socket.destroy();
  }

  /** Resets the connection, as a client that dies. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }
}
