// The tier in the isolate: bodies that are kept in memory, and the answers that are made of them.

import { current, hold, tell } from "./exchange.js";
import { isOvertaken } from "./removal.js";
import { applyEdits, isNullBody } from "./response.js";

// The bodies that are kept in memory, by their numbers. Which ones is decided
// elsewhere; no number is given twice, whatever becomes of the module.
const bodies = new Map();
let lastBody = 0;

/** A body that is kept in memory, where a response is expected; the answer is made of it at the end. */
export class Recalled {
  constructor(kept) {
    this.kept = kept;
    this.bytes = kept.bytes;
  }
}

export function nextBody() {
  lastBody = lastBody < 0xffff_ffff ? lastBody + 1 : 1;
  return lastBody;
}

/** Keeps a body in memory, unless it is too large or was overtaken. */
export function remember(module, number, primary, body, largest, begun) {
  if (body.byteLength > largest || isOvertaken(primary, begun)) {
    tell(module, "bodyLost", number);
    return;
  }
  bodies.set(number, { bytes: body, head: undefined, text: undefined, place: -1 });
  tell(module, "bodyArrived", number, body.byteLength);
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
