// What is asked of bindings: counters, the objects that collapse, the runtime's limiter, KV.

import { current, messageOf, wait } from "./exchange.js";

/**
 * From now on the current exchange leads: it says so again and again, so many
 * times at most, until it is told how that ends. `messages` are what it says,
 * and then its ends.
 */
export function lead(binding, name, field, messages, every, times) {
  const { env, context } = current;
  const [renewal, ...ends] = messages.split("\n");
  const stub = env[binding].get(env[binding].idFromName(name));
  const say = (message) =>
    stub.fetch("https://collapser.invalid/", { headers: { [field]: message } }).then(
      () => {},
      // Who waits finds out by himself.
      () => {},
    );
  let left = times;
  let timer;
  const renew = () => {
    timer = left-- > 0 ? setTimeout(renew, every) : undefined;
    if (left < times - 1) void say(renewal);
  };
  renew();
  current.endLead = (end) => {
    clearTimeout(timer);
    context.waitUntil(say(ends[end]));
  };
}

/** Ends the lead of the current exchange. */
export function endLead(end) {
  current.endLead?.(end);
  current.endLead = undefined;
}

/** Asks a counter object; resumes with the text of its answer. */
export function take(binding, name, field, message, deadline, steps) {
  const namespace = current.env[binding];
  const stub = namespace.get(namespace.idFromName(name));
  const asked = stub.fetch("https://limiter.invalid/take", { headers: { [field]: message } });
  wait(asked, deadline, ({ status, headers }) => headers.get(field) ?? `status ${status}`, {
    steps,
  });
}

/** Asks several counter objects, a name a line; resumes with their answers, a line each. */
export function takeAll(binding, names, field, message, deadline) {
  const namespace = current.env[binding];
  const ask = async (name) => {
    try {
      const stub = namespace.get(namespace.idFromName(name));
      const headers = { [field]: message };
      const late = new Promise((resolve) => setTimeout(resolve, deadline, "no answer in time"));
      const asked = stub.fetch("https://limiter.invalid/take", { headers });
      const answer = asked.then(({ status, headers }) => headers.get(field) ?? `status ${status}`);
      return await Promise.race([answer, late]);
    } catch (error) {
      return messageOf(error).replaceAll("\n", " ");
    }
  };
  const asked = Promise.all(names.split("\n").map(ask));
  wait(asked, deadline + 1_000, (answers) => answers.join("\n"));
}

/** Asks the runtime's own limiter; resumes with whether the request may pass. */
export function limit(binding, key, deadline) {
  wait(current.env[binding].limit({ key }), deadline, ({ success }) => String(success));
}

/** Sends a message to an object; resumes with the text of its answer. */
export function ask(binding, name, message, deadline) {
  const namespace = current.env[binding];
  const stub = namespace.get(namespace.idFromName(name));
  wait(post(stub, message), deadline, (text) => text);
}

async function post(stub, body) {
  const response = await stub.fetch("https://object.invalid/", { method: "POST", body });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`status ${response.status}`);
  return text;
}

/**
 * Reads a KV key; resumes with the metadata as one line of JSON (empty where
 * there is none), and the value.
 */
export function readKey(binding, key, cacheTtl, deadline) {
  const read = current.env[binding].getWithMetadata(key, { type: "text", cacheTtl });
  wait(read, deadline, ({ value, metadata }) => {
    if (value === null) return undefined;
    if (metadata === null) return `\n${value}`;
    return `${JSON.stringify(metadata)}\n${value}`;
  });
}

/**
 * Reads the bytes of KV keys, a line each, all at once; `partBytes` then gives
 * them. Resumes with the SHA-256 of each, a line each, empty where there is
 * nothing. The digest is the platform's: in wasm it takes ten times as long.
 */
export function readParts(binding, keys, deadline) {
  const namespace = current.env[binding];
  const read = Promise.all(keys.split("\n").map((key) => readPart(namespace, key)));
  wait(read, deadline, (parts, exchange) => {
    exchange.parts = parts.map(({ buffer }) => buffer);
    return parts.map(({ hash }) => hash).join("\n");
  });
}

async function readPart(namespace, key) {
  try {
    const buffer = await namespace.get(key, { type: "arrayBuffer" });
    if (buffer === null) return { hash: "" };
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
    return {
      buffer,
      hash: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""),
    };
  } catch {
    // One that cannot be read is asked for elsewhere.
    return { hash: "" };
  }
}

/** The bytes of one of the parts that were waited for, which are then let go. */
export function partBytes(index) {
  const { parts } = current;
  const bytes = new Uint8Array(parts[index]);
  parts[index] = undefined;
  return bytes;
}
