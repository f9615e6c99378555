// A list of addresses on its way to a gateway: a file is read as it is sent, and never held.
import { open } from "node:fs/promises";
import { nameOf, readPieces, unreadable } from "./input.mjs";
import { userPath } from "./paths.mjs";
import { Refusal } from "./term.mjs";
import { bytes } from "./units.mjs";

/** What the admin API takes. */
export const LIST_LIMIT = 64 << 20;

/** Enough to tell what it is. */
const HEAD = 64 << 10;
const PIECE = 64 << 10;

const SPLIT = "Make several sets of it, or one with wider prefixes.";

/** How files begin that hold a list, but packed. */
const PACKED = [
  [[0x1f, 0x8b], "gzip", "gunzip -c"],
  [[0x42, 0x5a, 0x68], "bzip2", "bunzip2 -c"],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], "xz", "xz -dc"],
  [[0x28, 0xb5, 0x2f, 0xfd], "zstd", "zstd -dc"],
  [[0x50, 0x4b, 0x03, 0x04], "zip", "unzip -p"],
];

/**
 * @typedef {object} List
 * @property {string} name for messages
 * @property {number} size bytes
 * @property {Buffer} head how it begins
 * @property {() => AsyncIterable<Uint8Array>} chunks all of it. A piece is good until the next one is
 *   asked for
 * @property {() => Promise<void>} close
 */

function check(list) {
  if (list.size === 0) throw new Refusal(`${list.name} is empty.`);
  for (const [magic, packing, unpack] of PACKED) {
    if (!magic.every((byte, at) => list.head[at] === byte)) continue;
    const mend = `Unpack it: ${unpack} FILE | npm run policy -- import NAME -`;
    throw new Refusal(`${list.name} is packed (${packing}).`, mend);
  }
  return list;
}

/** What comes through a pipe has no length before its end; so it is held. */
async function held(path, stream) {
  const pieces = await readPieces(path, { limit: LIST_LIMIT, mend: SPLIT, stream });
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  let head = Buffer.alloc(0);
  for (const piece of pieces) {
    if (head.length >= HEAD) break;
    head = Buffer.concat([head, piece.subarray(0, HEAD - head.length)]);
  }
  async function* chunks() {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; at += PIECE) yield piece.subarray(at, at + PIECE);
    }
  }
  return { name: nameOf(path), size, head, chunks, close: async () => {} };
}

/** Fills a buffer from a place of a file; how many bytes there were. */
async function fill(file, buffer, place) {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, place + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

async function streamed(path, file, { size, mtimeMs }) {
  const name = nameOf(path);
  if (size > LIST_LIMIT) {
    const most = `${LIST_LIMIT >> 20} MiB`;
    throw new Refusal(`${name} has ${bytes(size)}; at most ${most} are taken.`, SPLIT);
  }
  const head = Buffer.alloc(Math.min(HEAD, size));
  await fill(file, head, 0);
  async function* chunks() {
    const buffer = Buffer.alloc(PIECE);
    for (let place = 0; place < size; place += PIECE) {
      const piece = buffer.subarray(0, Math.min(PIECE, size - place));
      const filled = await fill(file, piece, place);
      const isLast = place + PIECE >= size;
      const now = isLast ? await file.stat() : { size, mtimeMs };
      // The last piece is what makes it a list: without it the gateway takes nothing.
      if (filled < piece.length || now.size !== size || now.mtimeMs !== mtimeMs) {
        throw new Refusal(`${name} was changed while it was sent; nothing was imported.`);
      }
      yield piece;
    }
  }
  return { name, size, head, chunks, close: () => file.close() };
}

/**
 * Opens a list, and refuses at once what cannot be one.
 *
 * @param {string} path as the user wrote it; `-` is the standard input
 * @returns {Promise<List>}
 */
export async function openList(path) {
  if (path === "-") return check(await held(path));
  let file;
  try {
    file = await open(userPath(path));
    const stat = await file.stat();
    if (stat.isFile()) return check(await streamed(path, file, stat));
    // A pipe by name, such as the shell's <(…): it can be opened once.
    return check(await held(path, file.createReadStream()));
  } catch (error) {
    await file?.close();
    throw error instanceof Refusal ? error : unreadable(path, error);
  }
}
