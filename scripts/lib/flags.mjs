// Command-line flags: an unknown one is refused in one line that says what is known.
import { parseArgs } from "node:util";
import { Refusal } from "./term.mjs";

/**
 * The flags, and what stands between them.
 *
 * @param {string[]} args
 * @param {Record<string, {type: "string" | "boolean", short?: string, multiple?: boolean}>} options
 * @param {{positionals?: boolean, exitCode?: number}} [more]
 */
export function readArguments(args, options, { positionals = true, exitCode } = {}) {
  try {
    return parseArgs({
      args,
      options: { help: { type: "boolean", short: "h" }, ...options },
      allowPositionals: positionals,
      strict: true,
    });
  } catch (error) {
    const known = [...Object.keys(options), "help"].map((name) => `--${name}`).join(" ");
    const first = String(error.message)
      .split(/\. |\n/)[0]
      .replace(/\.$/, "");
    throw new Refusal(`${first}.`, `Known flags: ${known}`, exitCode);
  }
}

/** The flags of a command that takes nothing else. */
export function readFlags(args, options) {
  return readArguments(args, options, { positionals: false }).values;
}

export function readPort(flag, text, fallback) {
  if (text === undefined) return fallback;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65_535) {
    throw new Refusal(`--${flag} ${text} is not a port.`, "Give a number from 1 to 65535.");
  }
  return port;
}

/** A whole number of a command that tells wrong usage from a no; as text, since it goes into a query. */
export function readWhole(flag, text, least, most) {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (/^\d{1,15}$/.test(text) && number >= least && number <= most) return String(number);
  const range = `${least} to ${most.toLocaleString("en-US")}`;
  throw new Refusal(`--${flag} wants a whole number from ${range}.`, undefined, 2);
}
