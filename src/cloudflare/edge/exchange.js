// The exchange at hand, and how its journey waits and goes on.
//
// The files of this folder are the runtime's side of the border. Each function does in one crossing
// what would be many from Rust: strings are joined here and taken apart there. No decision is made
// here; texts of edits come from `platform::edits_text`.
//
// Native objects stay on this side. Rust names them by their place in the
// exchange at hand, and what it waits for it leaves here: `begin` and `resume`
// run the journey until it is over or has to wait, and whatever it waits for
// resumes it. So an answer that waits for nothing needs no promise, and one
// that waits needs one.

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
export let current;

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

/** Answers a request: at once, or by a promise where the journey has to wait. */
export function serve(module, request, env, context) {
  const id = open(module, request, env, context);
  const exchange = current;
  return module.begin(id) ? exchange.answer : inTheEnd(exchange);
}

/** Does what is due by schedule: there is no request, and no answer. */
export function runScheduled(module, env, context) {
  const id = open(module, undefined, env, context);
  const exchange = current;
  return module.beginScheduled(id) ? undefined : inTheEnd(exchange);
}

/**
 * What comes of a journey that has to wait.
 *
 * The runtime forgets a request whose client goes away before there is an
 * answer: its journey would never be resumed or dropped, so its memory would
 * be lost and its log line never written. Handed to waitUntil, it comes to
 * its end.
 */
function inTheEnd(exchange) {
  const ended = new Promise((resolve, reject) => {
    exchange.resolve = resolve;
    exchange.reject = reject;
  });
  exchange.context.waitUntil(ended);
  return ended;
}

// How a lead ends, in the order of its messages.
export const STORED = 0;
export const LOST = 2;

function resume(exchange, outcome, text) {
  current = exchange;
  try {
    if (exchange.module.resume(exchange.id, outcome, text)) exchange.resolve(exchange.answer);
  } catch (error) {
    fail(exchange, error);
  }
}

export function fail(exchange, error) {
  exchange.module.trapped(error);
  exchange.endLead?.(LOST);
  exchange.reject(error);
}

/** Tells the module what has happened outside of any journey. */
export function tell(module, name, ...values) {
  try {
    module[name](...values);
  } catch (error) {
    module.trapped(error);
    throw error;
  }
}

export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * Resumes the current journey when the promise is settled, with the text that
 * `read` makes of its value (nothing where it gives undefined), or after so
 * many milliseconds; then `abandon` is called, and a value that comes all the
 * same is handed to `discard`. In several `steps` the time is longer where the
 * isolate has too much to do: each begins when the one before is noticed.
 */
export function wait(promise, milliseconds, read, { discard, abandon, steps = 1 } = {}) {
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

/** Resumes after so many milliseconds. */
export function pause(milliseconds) {
  const over = new Promise((resolve) => setTimeout(resolve, milliseconds));
  wait(over, milliseconds + 1_000, () => "");
}

/** Goes on after the response; that it failed is worth a line, no more. */
export function later(promise) {
  const noted = promise.catch((error) => {
    const cause = `response-store: ${messageOf(error)}`.slice(0, 300);
    const time = new Date().toISOString();
    console.warn(JSON.stringify({ schema: 1, event: "store", time, error: cause }));
  });
  current.context.waitUntil(noted);
}
