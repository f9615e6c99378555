// Files that a command is given: bounded, UTF-8, `-` for the standard input.
import { createReadStream } from "node:fs";
import { userPath } from "./paths.mjs";
import { printable, Refusal } from "./term.mjs";

const USAGE = 2;

export const DOCUMENT_LIMIT = 1 << 20;

export const nameOf = (path) => (path === "-" ? "The standard input" : printable(path));

/** That a file cannot be read is the command's wrong usage; that it holds something else is not. */
export function unreadable(path, error) {
  const why = error.code === "ENOENT" ? "there is no such file" : (error.code ?? error.message);
  return new Refusal(`${nameOf(path)} cannot be read: ${why}.`, undefined, USAGE);
}

/**
 * All of it, in pieces.
 *
 * @param {string} path as the user wrote it
 * @param {{limit: number, mend?: string, stream?: AsyncIterable<Buffer>}} options `limit` in bytes;
 *   `mend` is what to do about more; `stream` reads the path, where it is open already
 * @returns {Promise<Buffer[]>}
 */
export async function readPieces(path, { limit, mend, stream }) {
  const pieces = [];
  let size = 0;
  const own = () => (path === "-" ? process.stdin : createReadStream(userPath(path)));
  try {
    for await (const piece of stream ?? own()) {
      size += piece.length;
      if (size > limit) {
        throw new Refusal(`${nameOf(path)} is larger than ${limit >> 20} MiB.`, mend);
      }
      pieces.push(piece);
    }
  } catch (error) {
    throw error instanceof Refusal ? error : unreadable(path, error);
  }
  return pieces;
}

/** A text in UTF-8. */
export async function readText(path, limit = DOCUMENT_LIMIT) {
  const pieces = await readPieces(path, { limit });
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(pieces));
  } catch {
    throw new Refusal(`${nameOf(path)} is not UTF-8.`);
  }
}

/** A document that is to stand inside a larger JSON text: as it was written, so it has to be JSON. */
export async function readDocument(path) {
  const text = await readText(path);
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Refusal(`${printable(path)} is not JSON: ${printable(error.message)}.`);
  }
  return text;
}
