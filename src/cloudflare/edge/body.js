// Bodies whose bytes Rust reads: as a whole, or piece by piece.

import { current, wait } from "./exchange.js";

/** The bytes that were waited for. */
export function bytes() {
  return current.bytes ?? new Uint8Array();
}

/** Reads the request's body, which `bytes` then gives; nothing when it is too large. */
export function readBody(limit, deadline) {
  const { body, headers } = current.request;
  const reader = body?.getReader();
  const reading = readAll(reader, Number(headers.get("content-length") ?? 0), limit);
  const exchange = current;
  wait(
    reading,
    deadline,
    (whole) => {
      if (whole === null) return undefined;
      exchange.bytes = whole;
      return "";
    },
    // What comes too late is not waited for: a slow client holds no memory.
    { abandon: () => reader?.cancel().catch(() => {}) },
  );
}

async function readAll(reader, announced, limit) {
  if (reader === undefined) return new Uint8Array();
  const chunks = [];
  let size = 0;
  for (;;) {
    if (announced > limit || size > limit) {
      reader.cancel().catch(() => {});
      return null;
    }
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    chunks.push(value);
  }
  return joined(chunks, size);
}

/** From now on the request's body is the one that is read by pieces. */
export function openBody() {
  current.reader = current.request.body?.getReader();
  current.rest = undefined;
}

/**
 * Reads the next bytes of the body that was opened, at most `limit`, which
 * `bytes` then gives; nothing at the end. Whatever has come by then is joined:
 * a crossing for each chunk of the runtime's would cost more than reading it.
 */
export function nextPiece(limit, deadline) {
  const exchange = current;
  wait(
    piece(exchange, limit),
    deadline,
    (bytes) => {
      if (bytes === null) return undefined;
      exchange.bytes = bytes;
      return "";
    },
    // A sender that is too slow holds no memory and no connection.
    { abandon: () => letGo(exchange) },
  );
}

async function piece(exchange, limit) {
  const chunks = [];
  let size = 0;
  while (size < limit && exchange.reader !== undefined) {
    if (exchange.rest === undefined) {
      const { done, value } = await exchange.reader.read();
      if (done) {
        exchange.reader = undefined;
        break;
      }
      exchange.rest = value;
    }
    const part = exchange.rest.subarray(0, limit - size);
    exchange.rest =
      part.length < exchange.rest.length ? exchange.rest.subarray(part.length) : undefined;
    size += part.length;
    chunks.push(part);
  }
  return size === 0 ? null : joined(chunks, size);
}

/** Lets go of what has not been read of the body that was opened. */
export function stopReading() {
  letGo(current);
}

function letGo(exchange) {
  exchange.reader?.cancel().catch(() => {});
  exchange.reader = undefined;
  exchange.rest = undefined;
}

export function joined(chunks, size) {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}
