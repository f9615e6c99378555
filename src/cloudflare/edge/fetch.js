// What is fetched from elsewhere: the origin, the server of a feed, the static assets.

import { current, wait } from "./exchange.js";
import { nextMoment } from "./removal.js";
import { applyEdits } from "./response.js";

// What `cache: "no-store"` comes down to: the platform's own cache is out of
// the way. Said with `cache`, the runtime would also add Cache-Control and
// Pragma to what the client sent.
const NO_PLATFORM_CACHE = { cacheTtl: -1, cacheLevel: "bypass" };

/**
 * Sends the request on; its body is handed over natively. `text` is the URL
 * and the edits, a line each. Resumes with the place of the response, its
 * status, when it was begun, and the fields that are always asked for, a line
 * each; none for a Date that is not there.
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
  const begun = nextMoment();
  wait(
    fetch(source, init),
    firstByte,
    (response, { held }) => {
      const { status, headers } = response;
      const connection = headers.get("connection") ?? "";
      const control = headers.get("cache-control") ?? "";
      const date = headers.get("date");
      const always = `${held.push(response) - 1}\n${status}\n${begun}\n${connection}\n${control}`;
      return date === null ? always : `${always}\n${date}`;
    },
    { discard: (response) => response.body?.cancel() },
  );
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

/** Fetches a static asset; resumes with the place of the response. */
export function asset(binding, path, deadline) {
  const fetched = current.env[binding].fetch(`https://assets.invalid${path}`);
  wait(fetched, deadline, (response, { held }) =>
    response.status === 200 ? `${held.push(response) - 1}` : undefined,
  );
}
