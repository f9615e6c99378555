// Speaks to the admin API of one gateway. Every request has a time limit, every answer a size; no
// redirect is followed, since the token would go with it; whatever comes back loses the token, should
// a server repeat it.
import { ApiRefusal, foreign, refusal, UNREACHABLE, unreachable } from "./admin-refusal.mjs";
import { upload } from "./admin-upload.mjs";
import { isLoopback } from "./environments.mjs";
import { Refusal } from "./term.mjs";

/** Longer than any answer of the API: a document has at most 1 MiB, as JSON up to six times that. */
const ANSWER_LIMIT = 16 << 20;
const REVISION_TAG = /^(?:W\/)?"(r\d{1,20})"$/;

/** @typedef {ReturnType<typeof adminClient>} Call */

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
   *   body?: string | Uint8Array, list?: import("./list-file.mjs").List,
   *   onSent?: (bytes: number) => void, plain?: boolean, expect?: number[],
   *   known?: (answer: {json: any, revision?: string}) => boolean, needs?: string,
   *   refusals?: import("./admin-refusal.mjs").Refusals}} [options] `body` is JSON; `list` is sent
   *   piece by piece, and may take as long as it gets on; `plain`: asks for the text for people;
   *   `known`: whether that is what the API answers. Any server may say 200 in JSON, and nothing of it
   *   would read as "there is nothing"; `needs`: the module that has such calls.
   */
  return async function call(method, path, options = {}) {
    const { query = {}, headers = {}, body, list, plain = false, expect = [200] } = options;
    const { known = () => true } = options;
    const url = new URL(`/_weir/admin/v1/${path}`, target.url);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const wanted = plain ? "text/plain" : "application/json";
    const fields = { ...who, Authorization: `Bearer ${target.token}`, Accept: wanted, ...headers };
    let response;
    let text;
    try {
      if (list === undefined) {
        if (body !== undefined) fields["Content-Type"] = "application/json";
        const signal = AbortSignal.timeout(timeout);
        response = await fetch(url, { method, headers: fields, body, redirect: "manual", signal });
      } else {
        fields["Content-Type"] = "application/octet-stream";
        const { onSent } = options;
        response = await upload(url, { method, headers: fields, timeout, body: list, onSent });
      }
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
      const { status } = response;
      if (status < 400) throw foreign(target, status);
      const isProblem = mediaType(response) === "application/problem+json";
      const problem = isProblem ? parsed(text) : undefined;
      const retryAfter = response.headers.get("retry-after");
      throw refusal(target, { status, problem, text, retryAfter }, options);
    }
    const revision = REVISION_TAG.exec(response.headers.get("etag") ?? "")?.[1];
    const answer = { status: response.status, text, json, revision };
    if (!known(answer)) throw foreign(target, response.status);
    return answer;
  };
}
