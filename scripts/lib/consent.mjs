// What every change has in common: it says why, asks where it has to, and tells when its end is not known.
import { ApiRefusal, NO, USAGE } from "./admin-refusal.mjs";
import { ask, note, Refusal } from "./term.mjs";

/** What the control plane keeps of a message, in bytes. */
const MESSAGE_LIMIT = 500;

/** A message, where there is one. */
export function readMessage(text) {
  if (text !== undefined && Buffer.byteLength(text) > MESSAGE_LIMIT) {
    throw new Refusal(`The message is longer than ${MESSAGE_LIMIT} bytes.`, "Shorten it.", USAGE);
  }
  return text;
}

/** A message that has to be there. `keeper` is what keeps it. */
export function requireMessage(text, example, keeper = "the history") {
  if (text?.trim()) return readMessage(text);
  throw new Refusal(`Say why: ${keeper} keeps it.`, `-m "${example}"`, USAGE);
}

/** Who is asked before something changes. */
export const somebody = () => ({ present: Boolean(process.stdin.isTTY), ask });

export async function agree(question, flags, person) {
  if (flags.yes) return;
  if (!person.present) {
    throw new Refusal("There is nobody to ask.", "Give --yes to go on without.", USAGE);
  }
  if (!(await person.ask(question))) throw new Refusal("Nothing was changed.", undefined, NO);
}

/**
 * Sends a change; where its end is not known, that is said.
 *
 * @param {import("./admin-client.mjs").Call} call
 * @param {[string, string, object]} request
 * @param {string} look the command that shows what became of it
 */
export async function change(call, [method, path, options], look) {
  try {
    return await call(method, path, options);
  } catch (error) {
    if (error instanceof ApiRefusal && error.unsure) {
      note(`It is not known whether that was accepted. Look: npm run policy -- ${look}`);
    }
    throw error;
  }
}

/** What an acknowledgement adds where publishing is still under way. */
export const pending = (state) =>
  state === "pending" ? "; stored, and will be published in a moment" : "";
