// What runs beside the current exchange, in exchanges of their own: what no client waits for, and
// the requests that warm the cache.

import { current, fail, open, wait } from "./exchange.js";

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
