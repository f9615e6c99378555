// Tokens of Weir-Cache-Bypass: signed here, judged by src/stages/cache/bypass_token.rs.
import { createHmac, randomBytes } from "node:crypto";
import { Refusal } from "./term.mjs";
import { parseSpan } from "./units.mjs";

/** The variable that holds the key here, and the name of the secret there. */
export const KEY_NAME = "CACHE_BYPASS_KEY";

export const DEFAULT_LIFE = "1h";

/** The gateway takes none that is good for longer. */
const LONGEST = 24 * 3_600;

export const makeKey = (random = randomBytes) => random(32).toString("base64url");

/** A key that the gateway would take. */
export function requireKey(text) {
  const key = text?.trim() ?? "";
  const size = Buffer.byteLength(key);
  if (size >= 32 && size <= 1_024) return key;
  throw new Refusal(
    size === 0 ? "There is no key to sign with." : "The key needs 32 to 1,024 bytes.",
    `Set ${KEY_NAME} to that of the environment, or give --key-file FILE (- for the standard input). npm run token -- bypass-key makes one.`,
  );
}

/** Seconds of a life such as `15m`, at most a day. */
export function lifeOf(text) {
  const seconds = Math.floor((parseSpan(text) ?? 0) / 1_000);
  if (seconds >= 1 && seconds <= LONGEST) return seconds;
  throw new Refusal(`${JSON.stringify(text)} is no life for a token.`, "Give --for 1s to 24h.");
}

/** A host, or a host and the beginning of a path; empty for everything. */
export function requireScope(text = "") {
  const isHost = /^[A-Za-z0-9._-]+(:\d{1,5})?(\/[\x21-\x7e]*)?$/.test(text);
  const isAddress = /^\[[0-9A-Fa-f:.]+\](:\d{1,5})?(\/[\x21-\x7e]*)?$/.test(text);
  if (text === "" || ((isHost || isAddress) && text.length <= 512)) return text;
  throw new Refusal(
    `${JSON.stringify(text.slice(0, 80))} is no scope.`,
    "Give --scope www.example.com, or www.example.com/blog for all below it; at most 512 bytes.",
  );
}

/**
 * @param {{key: string, expires: number, scope?: string}} wanted `expires` in seconds since 1970
 */
export function makeBypassToken({ key, expires, scope = "" }) {
  const signed = `v1.${expires}.${Buffer.from(scope).toString("base64url")}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}
