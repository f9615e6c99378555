// Files that a command is given: bounded, UTF-8, `-` for the standard input.
import { createReadStream } from "node:fs";
import { userPath } from "./paths.mjs";
import { printable, Refusal } from "./term.mjs";

const USAGE = 2;

export const DOCUMENT_LIMIT = 1 << 20;

/**
 * @param {string} path as the user wrote it
 * @param {number} limit bytes
 * @returns {Promise<string>}
 */
export async function readText(path, limit = DOCUMENT_LIMIT) {
  const name = path === "-" ? "The standard input" : printable(path);
  const chunks = [];
  let size = 0;
  try {
    for await (const chunk of path === "-" ? process.stdin : createReadStream(userPath(path))) {
      size += chunk.length;
      if (size > limit) throw new Refusal(`${name} is larger than ${limit >> 20} MiB.`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    const why = error.code === "ENOENT" ? "there is no such file" : (error.code ?? error.message);
    throw new Refusal(`${name} cannot be read: ${why}.`, undefined, USAGE);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new Refusal(`${name} is not UTF-8.`);
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
