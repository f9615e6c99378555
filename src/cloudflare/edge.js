// The runtime's side of the border. Each function does in one crossing what
// would be many from Rust: strings are joined here and taken apart there. No
// decision is made here; texts of edits come from `platform::edits_text`.
//
// Native objects stay on this side. Rust names them by their place in the
// exchange at hand, and what it waits for it leaves here: `begin` and `resume`
// run the journey until it is over or has to wait, and whatever it waits for
// resumes it. So an answer that waits for nothing needs no promise, and one
// that waits needs one.

const CACHE_NAME = "edgeweir";
const ENTRY_FIELD = "weir-entry";
const SIZE_FIELD = "weir-size";

// What `cache: "no-store"` comes down to: the platform's own cache is out of
// the way. Said with `cache`, the runtime would also add Cache-Control and
// Pragma to what the client sent.
const NO_PLATFORM_CACHE = { cacheTtl: -1, cacheLevel: "bypass" };

// How a wait ended, as `task::Outcome` reads it.
const DONE = 0;
const NOTHING = 1;
const FAILED = 2;
const TIMED_OUT = 3;

/** One request, its answer, and the native objects that Rust has named. */
class Exchange {
  constructor(id, module, request, env, context) {
    this.id = id;
    this.module = module;
    this.request = request;
    this.env = env;
    this.context = context;
    this.held = [];
    this.bytes = undefined;
    this.parts = undefined;
    // The body that is read piece by piece, and what of it has come too early.
    this.reader = undefined;
    this.rest = undefined;
    // What it removes from the cache, to be waited for by what takes its place.
    this.removing = undefined;
    // Ends what it leads for other isolates.
    this.endLead = undefined;
    // The stored bytes between which stands what is kept next.
    this.around = undefined;
    this.answer = undefined;
    // What it asks for, where no client does.
    this.job = undefined;
    this.resolve = undefined;
    this.reject = undefined;
  }
}

// Ids are given here, so that a module that began anew after a trap never
// takes an exchange of its predecessor for one of its own.
let lastId = 0;

/** The exchange whose journey runs now. Rust calls out only while one does. */
let current;

/** The place of a native response in the current exchange. */
export function hold(response) {
  return current.held.push(response) - 1;
}

/** The answer of the current exchange, once there is one. */
export function answered() {
  return current.answer;
}

/** Makes a new exchange the current one. */
export function open(module, request, env, context) {
  lastId = lastId < 0xffff_ffff ? lastId + 1 : 1;
  current = new Exchange(lastId, module, request, env, context);
  return current.id;
}

/**
 * Answers a request: at once, or by a promise where the journey has to wait.
 *
 * The runtime forgets a request whose client goes away before there is an
 * answer: its journey would never be resumed or dropped, so its memory would
 * be lost and its log line never written. Handed to waitUntil, it comes to
 * its end.
 */
export function serve(module, request, env, context) {
  const id = open(module, request, env, context);
  const exchange = current;
  if (module.begin(id)) return exchange.answer;
  const answered = new Promise((resolve, reject) => {
    exchange.resolve = resolve;
    exchange.reject = reject;
  });
  context.waitUntil(answered);
  return answered;
}

/** Does what is due by schedule: there is no request, and no answer. */
export function runScheduled(module, env, context) {
  const id = open(module, undefined, env, context);
  const exchange = current;
  if (module.beginScheduled(id)) return undefined;
  const done = new Promise((resolve, reject) => {
    exchange.resolve = resolve;
    exchange.reject = reject;
  });
  context.waitUntil(done);
  return done;
}

/** Refreshes the policy beside the current exchange. */
export function refreshLater() {
  beside("beginRefresh");
}

/** Reports offences beside the current exchange. */
export function reportLater() {
  beside("beginReports");
}

/** Asks the origin about a stored answer beside the current exchange. */
export function revalidateLater() {
  beside("beginRevalidation");
}

/** Settles charges beside the current exchange. */
export function settleLater() {
  beside("beginSettling");
}

/** Runs what the module begins by that name beside the current exchange, which does not wait. */
function beside(name) {
  const { module, request, env, context } = current;
  context.waitUntil(run(name, module, request, env, context));
}

/** Runs what the module begins by that name in an exchange of its own; gives what it answers. */
function run(name, module, request, env, context, job) {
  return new Promise((resolve, reject) => {
    queueMicrotask(() => {
      const id = open(module, request, env, context);
      const exchange = current;
      exchange.job = job;
      exchange.resolve = resolve;
      exchange.reject = reject;
      try {
        if (module[name](id)) resolve(exchange.answer);
      } catch (error) {
        fail(exchange, error);
      }
    });
  });
}

/** As `gateway::warm::Warmed` is written. */
const FAILED_TO_WARM = "not-stored\t\tfailed\t";

/** The location that runs this. */
export function colo() {
  return current.request.cf?.colo ?? undefined;
}

/**
 * Asks for URLs, each in an exchange of its own, some at once. `fields` are the
 * request's, "name:value", `jobs` what is asked for, its URL behind the last tab, a line each.
 * Resumes with a line for each, empty for what failed or came too late.
 */
export function warm(fields, jobs, atOnce, deadline) {
  const lines = fields === "" ? [] : fields.split("\n");
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1)];
  });
  const list = jobs.split("\n");
  const answers = new Array(list.length).fill("");
  const exchange = current;
  let next = 0;
  const work = async () => {
    while (next < list.length) {
      const at = next++;
      answers[at] = (await warmOne(exchange, headers, list[at]).catch(() => FAILED_TO_WARM)) ?? "";
    }
  };
  const late = new Promise((resolve) => setTimeout(resolve, deadline));
  const all = Promise.all(Array.from({ length: atOnce }, work));
  wait(Promise.race([all, late]), deadline + 1_000, () => {
    next = list.length;
    return answers.join("\n");
  });
}

/** Asks for one, and waits until what is stored of the answer is stored. */
async function warmOne({ module, env, context }, headers, job) {
  const storing = [];
  const own = {
    waitUntil(promise) {
      storing.push(promise);
      context.waitUntil(promise);
    },
  };
  const url = job.slice(job.lastIndexOf("\t") + 1);
  const request = new Request(url, { headers, redirect: "manual" });
  const answered = run("beginWarming", module, request, env, own, job);
  // It comes to its end also where nobody waits for it any more.
  context.waitUntil(answered.catch(() => {}));
  const answer = await answered;
  await Promise.allSettled(storing);
  return answer;
}

/** What the current exchange is to ask for. */
export function job() {
  return current.job ?? "";
}

/** What became of that. */
export function warmed(text) {
  current.answer = text;
}

function resume(exchange, outcome, text) {
  current = exchange;
  try {
    if (exchange.module.resume(exchange.id, outcome, text)) exchange.resolve(exchange.answer);
  } catch (error) {
    fail(exchange, error);
  }
}

function fail(exchange, error) {
  exchange.module.trapped(error);
  exchange.endLead?.(LOST);
  exchange.reject(error);
}

const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * Resumes the current journey when the promise is settled, with the text that
 * `read` makes of its value (nothing where it gives undefined), or after so
 * many milliseconds; then `abandon` is called, and a value that comes all the
 * same is handed to `discard`. In several `steps` the time is longer where the
 * isolate has too much to do: each begins when the one before is noticed.
 */
function wait(promise, milliseconds, read, { discard, abandon, steps = 1 } = {}) {
  const exchange = current;
  let over = false;
  let left = steps;
  const expire = () => {
    if (--left > 0) {
      timer = setTimeout(expire, milliseconds / steps);
      return;
    }
    over = true;
    abandon?.();
    resume(exchange, TIMED_OUT, "");
  };
  let timer = setTimeout(expire, milliseconds / steps);
  promise.then(
    (value) => {
      if (over) return discard?.(value);
      clearTimeout(timer);
      let text;
      try {
        text = read(value, exchange);
      } catch (error) {
        return resume(exchange, FAILED, messageOf(error));
      }
      if (text === undefined) resume(exchange, NOTHING, "");
      else resume(exchange, DONE, text);
    },
    (error) => {
      if (over) return;
      clearTimeout(timer);
      resume(exchange, FAILED, messageOf(error));
    },
  );
}

/** 128 random bits as hex. */
export function randomSeed() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A variable as text, JSON where it is none; nothing where it is not there. */
export function variable(name) {
  const value = current.env[name];
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Writes a line. One string: an object costs twice as much to write. */
export function log(line) {
  console.log(line);
}

/** Writes a line that an operator should see. */
export function warn(line) {
  console.warn(line);
}

// The names of the fields that are read in one go, with their indices, by a
// hash of ours. To find a name in a Map, the runtime would first look for the
// one string that stands for it: the names that it gives are new ones.
const WANTED = 2048;
let wanted = [];

const slotOf = (name) => {
  const last = name.length - 1;
  return (last * 7 + name.charCodeAt(0) * 31 + name.charCodeAt(last) * 131) & (WANTED - 1);
};

/** From now on these fields, one a line, are read in one go. */
export function want(names) {
  wanted = new Array(WANTED).fill(undefined);
  names.split("\n").forEach((name, index) => (wanted[slotOf(name)] ??= []).push({ name, index }));
}

/**
 * Method, URL and those of the wanted fields that are there, as "index=value",
 * a line each. Asking which names there are is cheaper than asking for names
 * that are not.
 */
export function readHead() {
  const { request } = current;
  const { headers } = request;
  let text = `${request.method}\n${request.url}`;
  for (const name of headers.keys()) {
    const found = wanted[slotOf(name)];
    if (found === undefined) continue;
    for (const one of found) {
      if (one.name === name) text += `\n${one.index}=${headers.get(one.name)}`;
    }
  }
  return text;
}

/** One field of the request; nothing where the runtime refuses the name. */
export function requestField(name) {
  try {
    return current.request.headers.get(name) ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * What the platform says about the request, as `RequestMetadata::parse` reads
 * it: a line for each part, empty where it says nothing.
 */
export function requestMetadata() {
  const { cf } = current.request;
  if (!cf) return undefined;
  const { country, continent, asn, tlsVersion, tlsCipher, verifiedBotCategory } = cf;
  const { score, verifiedBot } = cf.botManagement ?? {};
  const parts = [
    country,
    continent,
    asn,
    tlsVersion,
    tlsCipher,
    score,
    verifiedBot,
    verifiedBotCategory,
  ];
  return parts.map((part) => part ?? "").join("\n");
}

/** One field of a response. */
export function responseField(response, name) {
  return current.held[response].headers.get(name) ?? undefined;
}

/** All field lines of a response, "name:value". */
export function responseFields(response) {
  let text = "";
  for (const [name, value] of current.held[response].headers) text += `${name}:${value}\n`;
  return text;
}

function applyEdits(headers, edits, first) {
  for (let start = first, end; start < edits.length; start = end + 1) {
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
 * Sends the request on; its body is handed over natively. `text` is the URL
 * and the edits, a line each. Resumes with the place of the response, its
 * status, when it was begun, and the fields that are always asked for, a line
 * each.
 *
 * `encodeResponseBody: "manual"` leaves a compressed body as it came.
 */
export function forward(text, firstByte) {
  const { request } = current;
  const { method, body } = request;
  const end = text.indexOf("\n");
  const url = text.slice(0, end);
  // fetch takes no body of a GET by itself, but passes on one that it got.
  const bodyOfGet = body !== null && (method === "GET" || method === "HEAD");
  const source = bodyOfGet ? new Request(url, request) : url;
  const headers = new Headers(request.headers);
  applyEdits(headers, text, end + 1);
  const init = { headers, redirect: "manual", cf: NO_PLATFORM_CACHE, encodeResponseBody: "manual" };
  if (!bodyOfGet) {
    init.method = method;
    init.body = body;
  }
  const begun = ++moment;
  wait(
    fetch(source, init),
    firstByte,
    (response, { held }) => {
      const { status, headers } = response;
      const connection = headers.get("connection") ?? "";
      const control = headers.get("cache-control") ?? "";
      return `${held.push(response) - 1}\n${status}\n${begun}\n${connection}\n${control}`;
    },
    { discard: (response) => response.body?.cancel() },
  );
}

/** The answer is a native response under an edited head. */
export function finish(response, edits) {
  const native = current.held[response];
  const answer = new Response(native.body, native);
  applyEdits(answer.headers, edits, 0);
  current.answer = answer;
}

/** The answer is our own. */
export function answer(status, edits, body) {
  const headers = new Headers();
  applyEdits(headers, edits, 0);
  current.answer = new Response(body === "" ? null : body, { status, headers });
}

// The bodies that are kept in memory, by their numbers. Which ones is decided
// elsewhere; no number is given twice, whatever becomes of the module.
const bodies = new Map();
let lastBody = 0;

/** A body that is kept in memory, where a response is expected; the answer is made of it at the end. */
class Recalled {
  constructor(kept) {
    this.kept = kept;
    this.bytes = kept.bytes;
  }
}

/**
 * Answers with a body that is kept in memory, with its bytes from `first` to `last` where they are
 * not below zero, or with none. `text` is the stored fields and the edits, a line each. One
 * response, and nothing on the way to it.
 */
export function finishRecalled(recalled, status, withBody, first, last, text) {
  const { kept } = current.held[recalled];
  const head = headOf(kept, status, text);
  let { bytes } = kept;
  if (!withBody || isNullBody(status)) bytes = null;
  else if (first >= 0) bytes = bytes.subarray(first, last + 1);
  current.answer = new Response(bytes, head);
}

const isNullBody = (status) => status === 204 || status === 205 || status === 304;

/**
 * The head of an answer from memory, as a response without a body: a new one takes over status,
 * fields and encoding from that at once, where each member of an object would be looked up. The
 * runtime copies the fields, so a head is kept, and only what differs from the answer before is set
 * there: as a rule what names the request, which is the last line, and once a second Age.
 */
function headOf(kept, status, text) {
  const { head } = kept;
  if (head !== undefined && head.status === status) {
    const { text: before } = kept;
    // What is only half done must not be taken for whole, should the runtime refuse a value.
    kept.head = undefined;
    const last = text.lastIndexOf("\n") + 1;
    const isLast = text[last] === "=" && before.slice(0, last) === text.slice(0, last);
    const same = isLast
      ? setAgain(head, before.slice(last), text.slice(last))
      : setLines(head, before.split("\n"), text.split("\n"));
    if (same) return keepHead(kept, head, text);
  }
  const headers = new Headers();
  applyEdits(headers, text, 0);
  return keepHead(kept, new Response(null, { status, headers, encodeBody: "manual" }), text);
}

/** Sets the fields of lines that differ; `false` where that does not make of one head the other. */
function setLines(head, before, lines) {
  if (before.length !== lines.length) return false;
  // A name that is there twice is a field of several lines, or one line undoes what another does.
  if (new Set(lines.map(nameOf)).size !== lines.length) return false;
  return lines.every(
    (line, index) => line === before[index] || setAgain(head, before[index], line),
  );
}

function nameOf(line) {
  const colon = line.indexOf(":");
  return line.slice(1, colon < 0 ? undefined : colon);
}

/** Sets a field that the line before has set or added, too; `false` where it has not. */
function setAgain(head, before, line) {
  const colon = line.indexOf(":") + 1;
  if (colon === 0 || before.slice(0, colon) !== line.slice(0, colon)) return false;
  head.headers.set(line.slice(1, colon - 1), line.slice(colon));
  return true;
}

// Those that have a head at the moment. One takes more memory than many a body, which is not
// counted, and is of use only where an answer is given again within a second.
const HEADS = 256;
const withHead = [];
let turn = 0;

/** Keeps a head, where what it is for is kept in memory; whoever has had one for longest loses it. */
function keepHead(kept, head, text) {
  if (kept.place === undefined) return head;
  kept.head = head;
  kept.text = text;
  if (kept.place < 0) {
    loseHead(withHead[turn]);
    withHead[turn] = kept;
    kept.place = turn;
    turn = (turn + 1) % HEADS;
  }
  return head;
}

function loseHead(kept) {
  if (kept === undefined) return;
  if (kept.place >= 0) withHead[kept.place] = undefined;
  kept.head = kept.text = undefined;
  kept.place = -1;
}

/** The place of a body that is kept in memory. */
export function recall(body) {
  const kept = bodies.get(body);
  return kept && hold(new Recalled(kept));
}

/** Lets go of a body that is kept in memory. */
export function release(body) {
  const kept = bodies.get(body);
  if (kept === undefined) return;
  bodies.delete(body);
  loseHead(kept);
  // Whoever answers with it just now keeps no head for it.
  kept.place = undefined;
}

/** Lets go of all of them. */
export function forgetBodies() {
  for (const body of bodies.keys()) release(body);
}

// A name of our own, apart from what the zone's own cache holds.
let cache;
async function openCache() {
  return (cache ??= await caches.open(CACHE_NAME));
}

// The keys that are being removed at the moment, how often, and until when that
// may take: the runtime may drop a request in the middle of it. What the cache
// still shows under one of them is void.
const REMOVAL_WAIT = 10_000;
const beingRemoved = new Map();

function beginRemoval(keys) {
  if (beingRemoved.size >= REMOVALS) beingRemoved.clear();
  const until = Date.now() + REMOVAL_WAIT;
  for (const key of keys) {
    beingRemoved.set(key, { count: (beingRemoved.get(key)?.count ?? 0) + 1, until });
  }
}

function endRemoval(keys) {
  for (const key of keys) {
    const removal = beingRemoved.get(key);
    if (removal !== undefined && --removal.count <= 0) beingRemoved.delete(key);
  }
}

const isBeingRemoved = (key) => (beingRemoved.get(key)?.until ?? 0) > Date.now();

/**
 * Resumes with the place of what is stored under the key, its size, the moment
 * at which it was looked for, and its entry.
 */
export function lookup(key, deadline) {
  const begun = ++moment;
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

// In front of a body in KV: how long the head is, and the body.
const LENGTHS = 8;

/**
 * Resumes with the place of what is stored for all locations under the name,
 * its size, the moment at which it was looked for, and its head.
 */
export function lookupGlobal(binding, name, key, deadline) {
  const begun = ++moment;
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

async function putGlobal(namespace, name, primary, head, ttl, body, begun) {
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

/** Lets go of the body of a response that nobody gets. */
export function discard(response) {
  current.held[response].body?.cancel().catch(() => {});
}

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
  const since = begun < 0 ? ++moment : Math.min(begun, around?.begun ?? begun);
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

/** Tells the module what has happened outside of any journey. */
function tell(module, name, ...values) {
  try {
    module[name](...values);
  } catch (error) {
    module.trapped(error);
    throw error;
  }
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

function nextBody() {
  lastBody = lastBody < 0xffff_ffff ? lastBody + 1 : 1;
  return lastBody;
}

/** Keeps a body in memory, unless it is too large or was overtaken. */
function remember(module, number, primary, body, largest, begun) {
  if (body.byteLength > largest || isOvertaken(primary, begun)) {
    tell(module, "bodyLost", number);
    return;
  }
  bodies.set(number, { bytes: body, head: undefined, text: undefined, place: -1 });
  tell(module, "bodyArrived", number, body.byteLength);
}

/** Goes on after the response; that it failed is worth a line, no more. */
function later(promise) {
  const noted = promise.catch((error) => {
    const cause = `response-store: ${messageOf(error)}`.slice(0, 300);
    const time = new Date().toISOString();
    console.warn(JSON.stringify({ schema: 1, event: "store", time, error: cause }));
  });
  current.context.waitUntil(noted);
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

async function put(key, primary, entry, lifetime, body, begun) {
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

/** Removes what is stored under the keys, and under the names for all locations, one a line. */
export function remove(keys, binding, names) {
  const list = keys.split("\n");
  const namespace = current.env[binding];
  list.forEach(noteRemoval);
  beginRemoval(list);
  const near = openCache().then((opened) => Promise.all(list.map((key) => opened.delete(key))));
  const far = names === "" ? [] : names.split("\n").map(async (name) => namespace.delete(name));
  const removed = Promise.all([near, ...far]);
  current.removing = Promise.allSettled([near, ...far]).then(() => endRemoval(list));
  later(removed);
}

// How a lead ends, in the order of its messages.
const STORED = 0;
const LOST = 2;

/** The location that has the request. */
export function location() {
  return current.request?.cf?.colo ?? "";
}

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

/** Whether there is such a binding. */
export function isBound(binding) {
  return (current.env[binding] ?? null) !== null;
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

/** Resumes after so many milliseconds. */
export function pause(milliseconds) {
  const over = new Promise((resolve) => setTimeout(resolve, milliseconds));
  wait(over, milliseconds + 1_000, () => "");
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

function joined(chunks, size) {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

/** Fetches a static asset; resumes with the place of the response. */
export function asset(binding, path, deadline) {
  const fetched = current.env[binding].fetch(`https://assets.invalid${path}`);
  wait(fetched, deadline, (response, { held }) =>
    response.status === 200 ? `${held.push(response) - 1}` : undefined,
  );
}

/** The bytes that were waited for. */
export function bytes() {
  return current.bytes ?? new Uint8Array();
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

/**
 * Asks the server of a feed. `text` is the URL and the fields, "name:value", a
 * line each. Resumes with status, Location, ETag and Last-Modified, a line
 * each; the body is the one that is read by pieces then, decoded.
 */
export function openFeed(text, deadline) {
  const [url, ...lines] = text.split("\n");
  const headers = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1)];
  });
  const abort = new AbortController();
  const { signal } = abort;
  wait(
    fetch(url, { headers, redirect: "manual", cf: NO_PLATFORM_CACHE, signal }),
    deadline,
    ({ status, headers, body }, exchange) => {
      exchange.reader = body?.getReader();
      exchange.rest = undefined;
      const field = (name) => headers.get(name) ?? "";
      return [status, field("location"), field("etag"), field("last-modified")].join("\n");
    },
    { abandon: () => abort.abort(), discard: (response) => response.body?.cancel() },
  );
}
