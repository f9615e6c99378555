// The heads of responses: read, edited, and given as the answer.

import { current } from "./exchange.js";

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

export function applyEdits(headers, edits, first) {
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

export const isNullBody = (status) => status === 204 || status === 205 || status === 304;

/** Lets go of the body of a response that nobody gets. */
export function discard(response) {
  current.held[response].body?.cancel().catch(() => {});
}
