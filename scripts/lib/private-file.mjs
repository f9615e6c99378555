// Files that hold a token.
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { Refusal } from "./term.mjs";

const LIMIT = 1 << 20;
const USAGE = 2;

/** The text of a file that only its owner can open; undefined where there is none. */
export function readPrivate(path) {
  let file;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw new Refusal(`${path} cannot be read (${error.code}).`, undefined, USAGE);
  }
  try {
    // Of the open file: its name may lead elsewhere by now.
    const { mode, size } = fstatSync(file);
    if (process.platform !== "win32" && (mode & 0o077) !== 0) {
      throw new Refusal(
        `${path} holds tokens, and others may open it (mode ${(mode & 0o777).toString(8)}).`,
        `Run chmod 600 ${path}`,
        USAGE,
      );
    }
    if (size > LIMIT) throw new Refusal(`${path} is too large.`, undefined, USAGE);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}
