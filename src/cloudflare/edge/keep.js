// How an answer gets into the tiers while the client gets it.

import { joined } from "./body.js";
import { LOST, STORED, current, later, tell } from "./exchange.js";
import { Recalled, nextBody, remember } from "./memory.js";
import { nextMoment } from "./removal.js";
import { put, putGlobal } from "./tiers.js";

/**
 * Splits a response between the client, who gets it from its place, and the
 * tiers. Nothing is stored before the whole body has arrived: a body that
 * breaks off must never be served as whole. `text` is key, primary key, entry
 * and the name for all locations, a line each. `lifetime` is below zero where
 * the location does not keep it, `memory` and `global`, the largest body there,
 * where the isolate and all locations do not, `size` where it is not known, and
 * `begun` where the answer takes the place of what this request has just
 * removed. The number of the body.
 */
export function keep(response, text, limit, size, lifetime, memory, begun, global, ttl, leads) {
  const [key, primary, entry, name] = text.split("\n");
  const { held, module, removing, env, endLead, around } = current;
  current.around = undefined;
  if (leads) current.endLead = undefined;
  const native = held[response];
  const since = begun < 0 ? nextMoment() : Math.min(begun, around?.begun ?? begun);
  const number = nextBody();
  const lost = () => memory >= 0 && tell(module, "bodyLost", number);
  const near = async (body) => {
    if (body === null) return lost();
    if (memory >= 0) remember(module, number, primary, body, memory, since);
    await removing;
    if (lifetime >= 0) await put(key, primary, entry, lifetime, body, since);
  };
  const store = async (collected) => {
    let body;
    try {
      const part = await collected;
      body = around === undefined || part === null ? part : await within(around, part);
      await near(body);
    } catch (error) {
      if (body === undefined) lost();
      if (leads) endLead?.(LOST);
      throw error;
    } finally {
      tell(module, "bodySettled", number);
    }
    if (leads) endLead?.(body === null ? LOST : STORED);
    if (body !== null && body.byteLength <= global) {
      await putGlobal(env.CACHE, name, primary, `${key}\n${entry}`, ttl, body, since);
    }
  };
  // Never before this has returned: only then does the number mean something.
  const whole = (bytes) => later(Promise.resolve(bytes).then(store));
  if (native instanceof Recalled) whole(native.bytes);
  else if (native.body === null) whole(new Uint8Array());
  else {
    const [toClient, toStore] = native.body.tee();
    const length = native.headers.get("content-length");
    const expected = [length === null ? -1 : Number(length), size];
    held[response] = new Response(toClient, native);
    later(store(collect(toStore, limit, expected)));
  }
  return number;
}

/**
 * What is kept next is a part that stands between bytes of the stored one at that place: so many
 * from its beginning, and so many up to its end. It is void from when it was looked for on, or, below
 * one, where it is from memory, from when the part was asked for.
 */
export function surround(stored, begun, before, after) {
  const native = current.held[stored];
  const { bytes } = native instanceof Recalled ? native : { bytes: read(native) };
  current.around = { bytes, begun: begun < 1 ? undefined : begun, before, after };
}

/** All bytes of a stored response, or null. */
const read = (stored) =>
  stored.arrayBuffer().then(
    (buffer) => new Uint8Array(buffer),
    () => null,
  );

async function within({ bytes, before, after }, part) {
  const stored = await bytes;
  const size = stored?.byteLength ?? -1;
  if (before > size || after > size) return null;
  const chunks = [stored.subarray(0, before), part, stored.subarray(size - after)];
  return joined(chunks, before + part.byteLength + after);
}

/** The whole body, or null when it is too large, or has not one of the sizes that are not below zero. */
async function collect(stream, limit, sizes) {
  const reader = stream.getReader();
  const chunks = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      const fits = sizes.every((expected) => expected < 0 || expected === size);
      return fits ? joined(chunks, size) : null;
    }
    size += value.byteLength;
    if (size > limit) {
      await reader.cancel();
      return null;
    }
    chunks.push(value);
  }
}
