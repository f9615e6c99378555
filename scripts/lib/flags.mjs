// Command-line flags: an unknown one is refused in one line that says what is known.
import { parseArgs } from "node:util";
import { Refusal } from "./term.mjs";

/**
 * @param {string[]} args
 * @param {Record<string, {type: "string" | "boolean", short?: string}>} options
 */
export function readFlags(args, options) {
  try {
    return parseArgs({
      args,
      options: { ...options, help: { type: "boolean", short: "h" } },
      allowPositionals: false,
      strict: true,
    }).values;
  } catch (error) {
    const known = [...Object.keys(options), "help"].map((name) => `--${name}`).join(" ");
    const first = String(error.message).split(". ")[0].replace(/\.$/, "");
    throw new Refusal(`${first}.`, `Known flags: ${known}`);
  }
}

export function readPort(flag, text, fallback) {
  if (text === undefined) return fallback;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65_535) {
    throw new Refusal(`--${flag} ${text} is not a port.`, "Give a number from 1 to 65535.");
  }
  return port;
}
