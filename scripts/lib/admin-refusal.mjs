// What an answer of the admin API that is no means to whoever typed the command: one line with the mend,
// and an exit code. So does no answer at all.
import { printable, Refusal } from "./term.mjs";
import { bytes } from "./units.mjs";

const DETAIL_LIMIT = 300;
const REASON = /^urn:edgeweir:problem:([a-z0-9-]{1,64})$/;

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
export const line = (text) => {
  const shown = printable(text);
  return shown.length > DETAIL_LIMIT ? `${shown.slice(0, DETAIL_LIMIT)} …` : shown;
};

/** What fetch's errors are, by code. */
const CAUSES = {
  ECONNREFUSED: "the connection was refused",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the host's name could not be looked up",
  ECONNRESET: "the connection broke",
  EPIPE: "the connection broke",
  UND_ERR_SOCKET: "the connection broke",
  EHOSTUNREACH: "there is no way to the host",
  ENETUNREACH: "there is no network",
};

/** Before anything was sent. */
const NOT_SENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"];

/** A body that did not get there whole is nothing that anybody acts on. */
function brokenOff(target, error, why) {
  const { sent, size } = error.upload;
  return new ApiRefusal(
    `${target.name} (${target.url}) took ${bytes(sent)} of ${bytes(size)}, then ${why}.`,
    "Nothing was changed. Try again.",
    UNREACHABLE,
  );
}

/** @param {any} error `upload` says how much of a body was sent, where that was not all */
export function unreachable(target, error, timeout) {
  if (error?.name === "TimeoutError") {
    if (error.upload?.sent > 0) return brokenOff(target, error, `nothing for ${timeout / 1_000} s`);
    return new ApiRefusal(
      `${target.name} (${target.url}) did not answer within ${timeout / 1_000} s.`,
      "Try again, or give --timeout more seconds.",
      UNREACHABLE,
      { unsure: error.upload === undefined },
    );
  }
  const cause = error?.cause?.code ?? error?.code ?? error?.cause?.message ?? error?.message;
  const why = CAUSES[cause] ?? line(cause);
  if (error?.upload?.sent > 0) return brokenOff(target, error, why);
  const mend =
    target.name === "local"
      ? "Start it in another terminal: npm start"
      : "Look at its url in your settings.";
  return new ApiRefusal(
    `${target.name} (${target.url}) cannot be reached: ${why}.`,
    mend,
    UNREACHABLE,
    { unsure: !NOT_SENT.includes(cause) && error?.upload === undefined },
  );
}

/** Somebody else's answer. */
export const foreign = (target, status) =>
  new ApiRefusal(
    `${target.name} (${target.url}) answers ${status}, but not as the admin API does.`,
    "Is its url that of a gateway?",
    UNREACHABLE,
    { unsure: true },
  );

/** Statuses that say nothing of the request but that it was not taken from this token, or not now. */
function gate(target, status, said, { retryAfter, needs }) {
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
        `${target.name} (${target.url}) has no admin API${needs ? ", or one without this" : ""} (404${said}).`,
        'It has one while ADMIN_TOKENS is set, and on the hosts of "admin" if the policy names some.' +
          (needs ? ` This command needs module ${needs} there.` : ""),
      ];
    case 408:
      return [`${target.name} did not take the request in time (408${said}).`, "Try again."];
    case 429: {
      const seconds = /^\d{1,6}$/.exec(retryAfter ?? "")?.[0];
      const when = seconds ? `Try again in ${seconds} s.` : "Try again later.";
      return [`Too many rejected attempts (429${said}).`, when];
    }
    default:
      return status >= 500
        ? [`${target.name} cannot answer (${status}${said}).`, undefined]
        : undefined;
  }
}

/** Reasons that every command can meet. Each gives the problem, and its mend. */
const KNOWN = {
  "stale-base": ({ base, active }) =>
    base === "r0"
      ? [`There is a policy already: ${active}.`, "Push without --create."]
      : [
          `The base ${base} is not the active revision any more: that is ${active}.`,
          "Pull or diff again, then push with what is there now.",
        ],
  "needs-newer-module": ({ needs, oldest }) => [
    `The document needs module ${needs}; ${oldest} was still seen in the last 24 hours.`,
    "Deploy the newer module everywhere first.",
  ],
};

/**
 * @typedef {Record<string, (body: Record<string, string>, said: string) => [string | undefined, (string | undefined)?]>}
 *   Refusals what a command says to a refusal, by reason: the problem, unless the usual words do, and
 *   its mend. `said` is what the API said.
 */

/** The members of a problem that are texts: all that a line is made of. */
const plainMembers = (body) =>
  Object.fromEntries(Object.entries(body ?? {}).filter(([, value]) => typeof value === "string"));

/**
 * What the API refused, as one line.
 *
 * @param {{name: string, url: string}} target
 * @param {{status: number, problem: any, text: string, retryAfter?: string | null}} answer `problem`
 *   is its body, where that is problem details
 * @param {{refusals?: Refusals, needs?: string}} [call] `needs`: the module that has such calls
 */
export function refusal(target, { status, problem: body, text, retryAfter }, call = {}) {
  const { refusals = {}, needs } = call;
  const plain = plainMembers(body);
  const reason = REASON.exec(plain.type ?? "")?.[1];
  if (reason === undefined) {
    return status === 404 || status === 401
      ? new ApiRefusal(...gate(target, status, "", { needs }), UNREACHABLE)
      : foreign(target, status);
  }
  const labels = [reason, plain.list_reason].filter(Boolean).join(", ");
  const words = [labels, plain.detail ?? plain.title].filter(Boolean);
  const id = plain.request_id ? `; request id ${line(plain.request_id)}` : "";
  const said = ` ${line(words.join(": "))}${id}`;
  const more = { reason, problem: body, text };
  const own = Object.hasOwn(refusals, reason) ? refusals[reason] : undefined;
  // That something is not there is an answer; that there is nobody to ask is none.
  const answers = own !== undefined || (status === 404 && reason !== "no-such-endpoint");
  const closed = answers ? undefined : gate(target, status, said, { retryAfter, needs });
  if (closed) return new ApiRefusal(...closed, UNREACHABLE, { ...more, unsure: status >= 500 });
  const known = own ?? (Object.hasOwn(KNOWN, reason) ? KNOWN[reason] : undefined);
  const [problem, mend] = known?.(plain, said.trim()) ?? [];
  return new ApiRefusal(
    problem === undefined ? `Refused (${status}${said}).` : line(problem),
    mend === undefined ? undefined : line(mend),
    NO,
    more,
  );
}
