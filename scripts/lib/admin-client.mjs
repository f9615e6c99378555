// Speaks to the admin API of one gateway. Every request has a time limit, every answer a size; no
// redirect is followed, since the token would go with it; whatever comes back loses the token, should
// a server repeat it.
import { isLoopback } from "./environments.mjs";
import { printable, Refusal } from "./term.mjs";

/** Longer than any answer of the API: a document has at most 1 MiB, as JSON up to six times that. */
const ANSWER_LIMIT = 16 << 20;
const DETAIL_LIMIT = 300;
const REVISION_TAG = /^(?:W\/)?"(r\d{1,20})"$/;

/** Exit codes: the answer is no; the command is used wrongly; nobody answers, or not to this token. */
export const NO = 1;
export const USAGE = 2;
export const UNREACHABLE = 3;

/** An answer that is no, or none at all. */
export class ApiRefusal extends Refusal {
  /**
   * @param {string} problem
   * @param {string | undefined} mend
   * @param {number} exitCode
   * @param {{reason?: string, problem?: any, text?: string, unsure?: boolean}} [more] `reason` as
   *   the API names it; `text` the API's JSON; `unsure`: the request may have been carried out
   */
  constructor(problem, mend, exitCode, { reason, problem: body, text, unsure = false } = {}) {
    super(problem, mend, exitCode);
    this.reason = reason;
    this.body = body;
    this.text = text;
    this.unsure = unsure;
  }
}

/** One line of what others wrote. */
const line = (text) => {
  const shown = printable(text);
  return shown.length > DETAIL_LIMIT ? `${shown.slice(0, DETAIL_LIMIT)} …` : shown;
};

/** What fetch's errors are, by code. */
const CAUSES = {
  ECONNREFUSED: "the connection was refused",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the host's name could not be looked up",
  ECONNRESET: "the connection broke",
  UND_ERR_SOCKET: "the connection broke",
  EHOSTUNREACH: "there is no way to the host",
  ENETUNREACH: "there is no network",
};

/** Before anything was sent. */
const NOT_SENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"];

function unreachable(target, error, timeout) {
  if (error?.name === "TimeoutError") {
    return new ApiRefusal(
      `${target.name} (${target.url}) did not answer within ${timeout / 1_000} s.`,
      "Try again, or give --timeout more seconds.",
      UNREACHABLE,
      { unsure: true },
    );
  }
  const cause = error?.cause?.code ?? error?.code ?? error?.cause?.message ?? error?.message;
  const mend =
    target.name === "local"
      ? "Start it in another terminal: npm start"
      : "Look at its url in your settings.";
  return new ApiRefusal(
    `${target.name} (${target.url}) cannot be reached: ${CAUSES[cause] ?? line(cause)}.`,
    mend,
    UNREACHABLE,
    { unsure: !NOT_SENT.includes(cause) },
  );
}

/** The body as text, up to the limit. */
async function bounded(response, target) {
  const chunks = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > ANSWER_LIMIT) {
      throw new ApiRefusal(
        `The answer of ${target.name} (${target.url}) is longer than ${ANSWER_LIMIT >> 20} MiB.`,
        undefined,
        UNREACHABLE,
        { unsure: true },
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const mediaType = (response) =>
  (response.headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();

const foreign = (target, status) =>
  new ApiRefusal(
    `${target.name} (${target.url}) answers ${status}, but not as the admin API does.`,
    "Is its url that of a gateway?",
    UNREACHABLE,
    { unsure: true },
  );

const REASON = /^urn:edgeweir:problem:([a-z0-9-]{1,64})$/;

/** Statuses that say nothing of the request but that it was not taken from this token, or not now. */
function gate(target, status, said, response) {
  switch (status) {
    case 401:
      return [
        `${target.name} does not know this token (401${said}).`,
        "It is wrong, revoked or expired.",
      ];
    case 403:
      return [`This token may not do that (403${said}).`, "Ask somebody with a higher role."];
    case 404:
      return [
        `${target.name} (${target.url}) has no admin API (404${said}).`,
        'It has one while ADMIN_TOKENS is set, and on the hosts of "admin" if the policy names some.',
      ];
    case 408:
      return [`${target.name} did not take the request in time (408${said}).`, "Try again."];
    case 429: {
      const seconds = /^\d{1,6}$/.exec(response.headers.get("retry-after") ?? "")?.[0];
      const when = seconds ? `Try again in ${seconds} s.` : "Try again later.";
      return [`Too many rejected attempts (429${said}).`, when];
    }
    default:
      return status >= 500
        ? [`${target.name} cannot answer (${status}${said}).`, undefined]
        : undefined;
  }
}

/** What the API refused, as one line. */
function refusal(target, response, text) {
  const { status } = response;
  const body = mediaType(response) === "application/problem+json" ? parsed(text) : undefined;
  const reason = REASON.exec(body?.type)?.[1];
  if (reason === undefined) {
    return status === 404 || status === 401
      ? new ApiRefusal(...gate(target, status, "", response), UNREACHABLE)
      : foreign(target, status);
  }
  const words = [reason, body.detail ?? body.title].filter((it) => typeof it === "string");
  const id = typeof body.request_id === "string" ? `; request id ${line(body.request_id)}` : "";
  const said = ` ${line(words.join(": "))}${id}`;
  const more = { reason, problem: body, text };
  const closed = reason === "no-such-revision" ? undefined : gate(target, status, said, response);
  if (closed) return new ApiRefusal(...closed, UNREACHABLE, { ...more, unsure: status >= 500 });
  switch (reason) {
    case "stale-base":
      if (body.base === "r0") {
        const problem = `There is a policy already: ${line(body.active)}.`;
        return new ApiRefusal(problem, "Push without --create.", NO, more);
      }
      return new ApiRefusal(
        `The base ${line(body.base)} is not the active revision any more: that is ${line(body.active)}.`,
        "Pull or diff again, then push with what is there now.",
        NO,
        more,
      );
    case "needs-newer-module":
      return new ApiRefusal(
        `The document needs module ${line(body.needs)}; ${line(body.oldest)} was still seen in the last 24 hours.`,
        "Deploy the newer module everywhere first.",
        NO,
        more,
      );
    default:
      return new ApiRefusal(`Refused (${status}${said}).`, undefined, NO, more);
  }
}

/**
 * @param {{name: string, url: string, token: string}} target
 * @param {{timeout: number}} options milliseconds for a request and its answer
 */
export function adminClient(target, { timeout }) {
  // On this machine no CDN says who is calling, and a policy may insist on it: such a one has to be
  // taken back all the same.
  const who = isLoopback(new URL(target.url).hostname) ? { "CF-Connecting-IP": "127.0.0.1" } : {};
  /**
   * @param {string} method
   * @param {string} path below `/_weir/admin/v1`
   * @param {{query?: Record<string, string | undefined>, headers?: Record<string, string>,
   *   body?: string | Uint8Array, plain?: boolean, expect?: number[],
   *   known?: (answer: {json: any, revision?: string}) => boolean}} [options] `plain`: asks for the
   *   text for people; `known`: whether that is what the API answers. Any server may say 200 in JSON,
   *   and nothing of it would read as "there is nothing".
   */
  return async function call(method, path, options = {}) {
    const { query = {}, headers = {}, body, plain = false, expect = [200] } = options;
    const { known = () => true } = options;
    const url = new URL(`/_weir/admin/v1/${path}`, target.url);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const wanted = plain ? "text/plain" : "application/json";
    let response;
    let text;
    try {
      response = await fetch(url, {
        method,
        headers: {
          ...who,
          Authorization: `Bearer ${target.token}`,
          Accept: wanted,
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...headers,
        },
        body,
        redirect: "manual",
        signal: AbortSignal.timeout(timeout),
      });
      text = (await bounded(response, target)).replaceAll(target.token, "weir_[hidden]");
    } catch (error) {
      throw error instanceof Refusal ? error : unreachable(target, error, timeout);
    }
    if (response.status >= 300 && response.status < 400) {
      throw new ApiRefusal(
        `${target.name} (${target.url}) redirects, and the token is not sent on.`,
        "Set the url that it redirects to, if that is yours.",
        UNREACHABLE,
      );
    }
    const json = plain ? undefined : parsed(text);
    const fits = mediaType(response) === wanted && (plain || json !== undefined);
    if (!fits || !expect.includes(response.status)) {
      throw response.status >= 400
        ? refusal(target, response, text)
        : foreign(target, response.status);
    }
    const revision = REVISION_TAG.exec(response.headers.get("etag") ?? "")?.[1];
    const answer = { status: response.status, text, json, revision };
    if (!known(answer)) throw foreign(target, response.status);
    return answer;
  };
}
