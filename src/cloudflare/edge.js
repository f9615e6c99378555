// The runtime's side of the border. Each function does in one crossing what
// would be many from Rust: strings are joined here and taken apart there. No
// decision is made here; texts of edits come from `platform::edits_text`.

const TIMED_OUT = "edgeweir: no answer in time";
const CACHE_NAME = "edgeweir";
const ENTRY_FIELD = "weir-entry";

// What `cache: "no-store"` comes down to: the platform's own cache is out of
// the way. Said with `cache`, the runtime would also add Cache-Control and
// Pragma to what the client sent.
const NO_PLATFORM_CACHE = { cacheTtl: -1, cacheLevel: "bypass" };

/** 128 random bits as hex. */
export function randomSeed() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Method, URL and those of the wanted fields that are there, as "index=value",
 * a line each. Asking which names there are is cheaper than asking for names
 * that are not.
 */
export function readHead(request, wanted) {
  const headers = request.headers;
  let text = `${request.method}\n${request.url}`;
  for (const name of headers.keys()) {
    const index = wanted.get(name);
    if (index !== undefined) text += `\n${index}=${headers.get(name)}`;
  }
  return text;
}

/** From names, one a line, to what `readHead` takes. */
export function wantedFields(names) {
  return new Map(names.split("\n").map((name, index) => [name, index]));
}

/** All field lines, "name:value". */
export function readFields(message) {
  let text = "";
  for (const [name, value] of message.headers) text += `${name}:${value}\n`;
  return text;
}

function applyEdits(headers, edits) {
  for (let start = 0, end; start < edits.length; start = end + 1) {
    end = edits.indexOf("\n", start);
    if (end < 0) end = edits.length;
    const sign = edits[start];
    if (sign === "-") {
      headers.delete(edits.slice(start + 1, end));
      continue;
    }
    const colon = edits.indexOf(":", start);
    const name = edits.slice(start + 1, colon);
    const value = edits.slice(colon + 1, end);
    if (sign === "=") headers.set(name, value);
    else headers.append(name, value);
  }
}

/** Settles like `promise`, or rejects after so many milliseconds. */
function within(promise, milliseconds) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(TIMED_OUT)), milliseconds);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

/** Whether an error is ours, for lateness. */
export function isTimeout(error) {
  return error instanceof Error && error.message === TIMED_OUT;
}

// The order of what happens in this isolate: a request that was sent before a
// key was removed must not bring the old answer back. Bounded: when the list
// of removals is full, it is forgotten, and with it every request before it.
const REMOVALS = 10_000;
let moment = 0;
let forgotten = 0;
const removals = new Map();

function noteRemoval(key) {
  if (removals.size >= REMOVALS) {
    removals.clear();
    forgotten = ++moment;
  }
  removals.set(key, ++moment);
}

const isOvertaken = (key, begun) => begun < forgotten || begun < (removals.get(key) ?? 0);

/**
 * Sends a request on; its body is handed over natively. Gives the response,
 * its status and the fields that are always asked for, read in one go.
 *
 * `encodeResponseBody: "manual"` leaves a compressed body as it came.
 */
export function forward(request, url, edits, firstByte) {
  const { method, body } = request;
  // fetch takes no body of a GET by itself, but passes on one that it got.
  const bodyOfGet = body !== null && (method === "GET" || method === "HEAD");
  const source = bodyOfGet ? new Request(url, request) : url;
  const headers = new Headers(request.headers);
  applyEdits(headers, edits);
  const init = { headers, redirect: "manual", cf: NO_PLATFORM_CACHE, encodeResponseBody: "manual" };
  if (!bodyOfGet) {
    init.method = method;
    init.body = body;
  }
  const begun = ++moment;
  return within(fetch(source, init), firstByte).then((response) => {
    const { status, headers } = response;
    return [response, status, headers.get("connection"), headers.get("cache-control"), begun];
  });
}

/** A native response under an edited head. */
export function finish(response, edits) {
  const answer = new Response(response.body, response);
  applyEdits(answer.headers, edits);
  return answer;
}

/** An answer of our own. */
export function answer(status, edits, body) {
  const headers = new Headers();
  applyEdits(headers, edits);
  return new Response(body === "" ? null : body, { status, headers });
}

// A name of our own, apart from what the zone's own cache holds.
let cache;
async function openCache() {
  return (cache ??= await caches.open(CACHE_NAME));
}

/** What is stored under the key, as [entry, response], or nothing. */
export async function lookup(key) {
  const stored = await (await openCache()).match(key);
  if (stored === undefined) return undefined;
  const entry = stored.headers.get(ENTRY_FIELD);
  if (entry === null) {
    await stored.body?.cancel();
    return undefined;
  }
  return [entry, stored];
}

/** A response of a stored body, or none, under a head of ours. */
export function revive(stored, status, edits, withBody) {
  const headers = new Headers();
  applyEdits(headers, edits);
  const nullBody = status === 204 || status === 304;
  const body = withBody && !nullBody ? stored.body : null;
  // The body is as it came, in whatever encoding the head says.
  return new Response(body, { status, headers, encodeBody: "manual" });
}

/**
 * Splits a response: [what the client gets, the promise of the storing].
 * Nothing is stored before the whole body has arrived: a body that breaks off
 * must never be served as whole.
 */
export function keep(response, key, entry, limit, lifetime, begun) {
  if (response.body === null) return [response, put(key, entry, lifetime, null, begun)];
  const [toClient, toStore] = response.body.tee();
  const length = response.headers.get("content-length");
  const storing = collect(toStore, limit).then((body) => {
    const whole = body !== null && (length === null || body.size === Number(length));
    return whole ? put(key, entry, lifetime, body, begun) : undefined;
  });
  return [new Response(toClient, response), storing];
}

/** The whole body, or null when it is too large. */
async function collect(stream, limit) {
  const reader = stream.getReader();
  const chunks = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(chunks);
    size += value.byteLength;
    if (size > limit) {
      await reader.cancel();
      return null;
    }
    chunks.push(value);
  }
}

async function put(key, entry, lifetime, body, begun) {
  const cache = await openCache();
  if (isOvertaken(key, begun)) return;
  const headers = { "cache-control": `max-age=${lifetime}`, [ENTRY_FIELD]: entry };
  await cache.put(key, new Response(body, { headers }));
  // Removed while it was being written: it must not stay.
  if (isOvertaken(key, begun)) await cache.delete(key);
}

/** Removes what is stored under the keys, one a line. */
export async function remove(keys) {
  const list = keys.split("\n");
  list.forEach(noteRemoval);
  const cache = await openCache();
  await Promise.all(list.map((key) => cache.delete(key)));
}

/** Asks a counter object; gives the text of its answer. */
export async function takeFrom(namespace, name, field, message, deadline) {
  const stub = namespace.get(namespace.idFromName(name));
  const response = await within(
    stub.fetch("https://limiter.invalid/take", { headers: { [field]: message } }),
    deadline,
  );
  return response.headers.get(field) ?? `status ${response.status}`;
}

/** Value and metadata of a KV key as [text, JSON text], or nothing. */
export async function readKey(namespace, key, cacheTtl, deadline) {
  const read = namespace.getWithMetadata(key, { type: "text", cacheTtl });
  const { value, metadata } = await within(read, deadline);
  if (value === null) return undefined;
  return [value, metadata === null ? undefined : JSON.stringify(metadata)];
}

/** The bytes of a KV key, or nothing. */
export async function readBytes(namespace, key, deadline) {
  const bytes = await within(namespace.get(key, { type: "arrayBuffer" }), deadline);
  return bytes === null ? undefined : new Uint8Array(bytes);
}
