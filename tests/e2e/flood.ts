// Very many requests in a short time: keep-alive connections with one request in flight each. What each
// of them gets is counted, not kept.

import { connect, type Socket } from "node:net";
import { HOST } from "./raw.ts";

const HEAD_END = "\r\n\r\n";
/** How long one answer may take. */
const PATIENCE = 30_000;

/** Calls back with each head of a stream of messages that have no body. */
function heads(socket: Socket, each: (head: string) => void): void {
  let held = "";
  socket.on("data", (chunk: Buffer) => {
    const parts = (held + chunk.toString("latin1")).split(HEAD_END);
    held = parts.pop() ?? "";
    for (const part of parts) each(part);
  });
}

export interface FloodOptions {
  /** The loopback ports that are asked in turn. */
  ports: readonly number[];
  /** How many requests in all. */
  count: number;
  /** How many connections in all. */
  connections: number;
  /** The field lines of the nth one, from 0, each with its line break. */
  fields: (nth: number) => string;
}

/** How often a connection may be lost in all. */
const MAX_LOST = 1_000;

/** Sends HEAD requests, which have no body to read; gives how many there were of each status. */
export async function flood(target: string, options: FloodOptions): Promise<Map<number, number>> {
  const { ports, count, connections, fields } = options;
  const seen = new Map<number, number>();
  let sent = 0;
  let lost = 0;

  /** One request after the other, until there are enough; gives what a lost connection left unanswered. */
  const along = (port: number, again: string | undefined): Promise<string | undefined> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port });
      let waiting: string | undefined;
      const send = (head: string): void => {
        waiting = head;
        socket.write(head);
      };
      const next = (): void => {
        waiting = undefined;
        if (sent >= count) return void socket.destroy();
        send(`HEAD ${target} HTTP/1.1\r\nHost: ${HOST}\r\n${fields(sent++)}\r\n`);
      };
      socket.setNoDelay(true);
      socket.setTimeout(PATIENCE, () => reject(new Error(`no answer within ${PATIENCE} ms`)));
      socket.once("connect", () => (again === undefined ? next() : send(again)));
      socket.on("error", () => {});
      // A server may close an idle connection in the moment of the next request; a client sends that again
      // (RFC 9112, 9.3.1). workerd does so with all of them where it is too busy to read for five seconds.
      socket.once("close", () => {
        if (waiting !== undefined && (lost += 1) > MAX_LOST) reject(new Error("connections break"));
        resolve(waiting);
      });
      heads(socket, (head) => {
        const status = Number(head.slice(9, 12));
        seen.set(status, (seen.get(status) ?? 0) + 1);
        next();
      });
    });

  const worker = async (port: number): Promise<void> => {
    let unanswered = await along(port, undefined);
    while (unanswered !== undefined) unanswered = await along(port, unanswered);
  };
  await Promise.all(
    Array.from({ length: connections }, (_, nth) => worker(ports[nth % ports.length] ?? 0)),
  );
  return seen;
}
