// The tiers outside of the isolate: the location's cache, and KV for all locations. What is stored
// there is looked for, written, and made a response again.

import { current, hold, wait } from "./exchange.js";
import { Recalled } from "./memory.js";
import { isBeingRemoved, isOvertaken, nextMoment, noteRemoval, openCache } from "./removal.js";
import { applyEdits, discard, isNullBody } from "./response.js";

const ENTRY_FIELD = "weir-entry";
const SIZE_FIELD = "weir-size";

/**
 * Resumes with the place of what is stored under the key, its size, the moment
 * at which it was looked for, and its entry.
 */
export function lookup(key, deadline) {
  const begun = nextMoment();
  const stored = isBeingRemoved(key) ? Promise.resolve() : match(key);
  wait(stored, deadline, (stored, { held }) => {
    if (stored === undefined) return undefined;
    const { headers } = stored;
    const size = headers.get(SIZE_FIELD) ?? "";
    return `${held.push(stored) - 1}\n${size}\n${begun}\n${headers.get(ENTRY_FIELD)}`;
  });
}

async function match(key) {
  const stored = await (await openCache()).match(key);
  if (stored === undefined || stored.headers.get(ENTRY_FIELD) !== null) return stored;
  await stored.body?.cancel();
  return undefined;
}

export async function put(key, primary, entry, lifetime, body, begun) {
  const cache = await openCache();
  if (isOvertaken(primary, begun)) return;
  const headers = {
    "cache-control": `max-age=${lifetime}`,
    [ENTRY_FIELD]: entry,
    [SIZE_FIELD]: String(body.byteLength),
  };
  await cache.put(key, new Response(body, { headers }));
  // Removed while it was being written: it must not stay, nor what has been
  // read of it meanwhile.
  if (isOvertaken(primary, begun)) {
    noteRemoval(primary);
    await cache.delete(key);
  }
}

// In front of a body in KV: how long the head is, and the body.
const LENGTHS = 8;

/**
 * Resumes with the place of what is stored for all locations under the name,
 * its size, the moment at which it was looked for, and its head.
 */
export function lookupGlobal(binding, name, key, deadline) {
  const begun = nextMoment();
  wait(readGlobal(current.env[binding], name, key), deadline, (value, { held }) => {
    if (value === null || value.byteLength < LENGTHS) return undefined;
    const view = new DataView(value);
    const start = LENGTHS + view.getUint32(0);
    const size = view.getUint32(4);
    if (start + size !== value.byteLength) return undefined;
    const head = new TextDecoder().decode(new Uint8Array(value, LENGTHS, start - LENGTHS));
    // A copy: what comes near must not hold the head as well.
    const bytes = new Uint8Array(value.slice(start));
    return `${held.push(new Recalled({ bytes })) - 1}\n${size}\n${begun}\n${head}`;
  });
}

async function readGlobal(namespace, name, key) {
  return isBeingRemoved(key) ? null : namespace.get(name, "arrayBuffer");
}

export async function putGlobal(namespace, name, primary, head, ttl, body, begun) {
  if (isOvertaken(primary, begun)) return;
  const text = new TextEncoder().encode(head);
  const value = new Uint8Array(LENGTHS + text.byteLength + body.byteLength);
  const view = new DataView(value.buffer);
  view.setUint32(0, text.byteLength);
  view.setUint32(4, body.byteLength);
  value.set(text, LENGTHS);
  value.set(body, LENGTHS + text.byteLength);
  await namespace.put(name, value, { expirationTtl: ttl });
  if (isOvertaken(primary, begun)) await namespace.delete(name);
}

/**
 * A response of a stored body, of its bytes from `first` to `last` where they
 * are not below zero, or of none, under a head of ours; its place.
 */
export function revive(stored, status, edits, withBody, first, last) {
  const native = current.held[stored];
  const headers = new Headers();
  applyEdits(headers, edits, 0);
  let { body } = native;
  if (!withBody || isNullBody(status)) {
    discard(stored);
    body = null;
  } else if (first >= 0 && body !== null) {
    body = slice(body, first, last);
  }
  // The body is as it came, in whatever encoding the head says.
  const response = new Response(body, { status, headers, encodeBody: "manual" });
  return hold(response);
}

/** The bytes of a stream from `first` to `last`. */
function slice(body, first, last) {
  const { readable, writable } = new FixedLengthStream(last - first + 1);
  // A client that goes away ends it; nobody has to know.
  current.context.waitUntil(copy(body.getReader(), writable.getWriter(), first, last));
  return readable;
}

async function copy(reader, writer, first, last) {
  try {
    for (let at = 0; at <= last;) {
      const { done, value } = await reader.read();
      if (done) break;
      const from = Math.max(first - at, 0);
      const to = Math.min(last + 1 - at, value.byteLength);
      if (from < to) await writer.write(value.subarray(from, to));
      at += value.byteLength;
    }
    // Too few bytes are an error there, so none pass for the whole part.
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => {});
  }
  await reader.cancel().catch(() => {});
}
