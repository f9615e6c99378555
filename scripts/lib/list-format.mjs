// How a list is written, as the admin API names it; and which of the ways that can be, by its beginning.
//
// Only what cannot be anything else is guessed: a wrong guess would be refused by the gateway, but what
// it said would be about a format that nobody named. Plain lines may be a netset, a column of a CSV or
// what the feed of the set says, so they are left to the gateway; a CSV is never guessed, since which
// column it is decides what is denied.

export const FORMATS = [
  "netset",
  "spamhaus_drop",
  "spamhaus_json",
  "aws",
  "google",
  "cloudflare",
  "csv",
];

/** Members that only one of the documents has. A quote inside a text has a backslash before it. */
const MARKS = {
  aws: /"ip(?:v6)?_prefix"\s*:/,
  google: /"ipv[46]Prefix"\s*:/,
  cloudflare: /"ipv[46]_cidrs"\s*:/,
};

function jsonLine(line) {
  try {
    return typeof JSON.parse(line)?.cidr === "string";
  } catch {
    return false;
  }
}

/**
 * @param {Buffer} head how the list begins, some 64 KiB
 * @returns {{format: string, by: string} | undefined} the format, and what it was told by
 */
export function guessFormat(head) {
  const text = head
    .toString("utf8")
    .replace(/^\ufeff/, "")
    .trimStart();
  if (/^;\s*Spamhaus E?DROP List\b/i.test(text)) {
    return { format: "spamhaus_drop", by: "its first line" };
  }
  if (!text.startsWith("{")) return undefined;
  if (jsonLine(text.split("\n", 1)[0])) {
    return { format: "spamhaus_json", by: "its first line" };
  }
  const found = Object.keys(MARKS).filter((format) => MARKS[format].test(text));
  return found.length === 1 ? { format: found[0], by: "its members" } : undefined;
}
