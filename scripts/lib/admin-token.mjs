// Tokens of the admin API. The gateway is given digests (the secret ADMIN_TOKENS); the token itself is
// shown to its holder once.
import { createHash, randomBytes } from "node:crypto";
import { Refusal } from "./term.mjs";

export const ROLES = ["reader", "operator", "owner"];
export const DEFAULT_EXPIRY = "90d";

const RANDOM_BYTES = 32;
const DAY = 86_400_000;
/** Ten years: whoever needs longer says "never". */
const MOST_DAYS = 3_650;
const FORM = /^weir_[A-Za-z0-9_-]{43}$/;

export const isToken = (text) => FORM.test(text);

/** How the gateway knows a token: the SHA-256 of its whole text. */
export const digestOf = (token) => createHash("sha256").update(token).digest("hex");

/** A name as it stands in the history and the audit. */
export function requireName(name) {
  if (/^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$/.test(name ?? "")) return name;
  throw new Refusal(
    name === undefined ? "The token needs a name." : "That is not a name for a token.",
    "Name the person or program that holds it, with 1 to 64 of A-Z a-z 0-9 _ . @ - (npm run token: --name).",
  );
}

export function requireRole(role) {
  if (ROLES.includes(role)) return role;
  throw new Refusal(
    role === undefined ? "The token needs a role." : `There is no role ${JSON.stringify(role)}.`,
    `Give --role ${ROLES.join(" or ")}.`,
  );
}

/**
 * @param {string} text `90d`, or `never`
 * @param {number} now milliseconds since 1970
 * @returns {string | undefined} the time as in RFC 3339
 */
export function expiryOf(text, now) {
  if (text === "never") return undefined;
  const days = /^([1-9]\d{0,3})d$/.exec(text)?.[1];
  if (days === undefined || Number(days) > MOST_DAYS) {
    throw new Refusal(
      `${JSON.stringify(text)} is no time until a token expires.`,
      `Give --expires 1d to ${MOST_DAYS}d, or never.`,
    );
  }
  return new Date(now + Number(days) * DAY).toISOString().replace(/\.\d+Z$/, "Z");
}

/**
 * A new token, and its entry in ADMIN_TOKENS.
 *
 * @param {{name: string, role: string, expires?: string}} wanted `expires` as in RFC 3339
 * @param {(bytes: number) => Buffer} [random]
 */
export function makeToken({ name, role, expires }, random = randomBytes) {
  const token = `weir_${random(RANDOM_BYTES).toString("base64url")}`;
  const entry = { name, role, sha256: digestOf(token), ...(expires ? { expires } : {}) };
  return { token, entry };
}
