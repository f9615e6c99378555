import { readFileSync, renameSync, writeFileSync } from "node:fs";
import {
  DEFAULT_EXPIRY,
  expiryOf,
  makeToken,
  requireName,
  requireRole,
} from "../lib/admin-token.mjs";
import { readFlags } from "../lib/flags.mjs";
import { userPath } from "../lib/paths.mjs";
import { quoted } from "../lib/things-to-try.mjs";
import { bold, main, note, Refusal } from "../lib/term.mjs";

const help = `npm run token -- --name NAME --role ROLE [FLAGS]

Makes a token of the admin API: shows it once, and what the gateway is to be told of it. Sends nothing.

  --name NAME      the person or program that holds it, as the history and the audit name it
  --role ROLE      reader (everything that reads), operator (and push, rollback),
                   owner (and changes of who may use the admin API)
  --expires 90d    days until it expires, or never (90d)
  --list FILE      the environment's ADMIN_TOKENS as JSON, digests only: the new entry is added to it.
                   The secret cannot be read back, and putting it replaces all of it: keep this file
  --env NAME       the environment, for the line that puts the secret
  --json           {"token", "entry"} as JSON
  --help           this text
`;

/** The entries of the file; none where it does not exist yet. */
function readList(path) {
  let text;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw new Refusal(`${path} cannot be read (${error.code}).`);
  }
  try {
    const list = JSON.parse(text);
    const isEntry = (entry) => typeof entry?.name === "string" && typeof entry.sha256 === "string";
    if (Array.isArray(list) && list.every(isEntry)) return list;
  } catch {
    // As below.
  }
  throw new Refusal(`${path} is not a list of tokens.`, 'Expected [{"name","role","sha256"}, …].');
}

/** The gateway takes no list in which two entries have one name. */
function withEntry(list, entry, path) {
  if (!list.some(({ name }) => name === entry.name)) return [...list, entry];
  throw new Refusal(
    `${path} has an entry ${entry.name} already.`,
    `To replace that token, take the entry out first, or name this one ${entry.name}-2 for a while.`,
  );
}

function writeList(path, list) {
  writeFileSync(`${path}.tmp`, `${JSON.stringify(list, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

await main(async () => {
  const text = { type: "string" };
  const flags = readFlags(process.argv.slice(2), {
    name: text,
    role: text,
    expires: text,
    list: text,
    env: text,
    json: { type: "boolean" },
  });
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  const environment = flags.env ?? "NAME";
  if (!/^[\w-]+$/.test(environment)) throw new Refusal("That is not the name of an environment.");
  const { token, entry } = makeToken({
    name: requireName(flags.name),
    role: requireRole(flags.role),
    expires: expiryOf(flags.expires ?? DEFAULT_EXPIRY, Date.now()),
  });
  const put = `npx wrangler secret put ADMIN_TOKENS --env ${environment}`;
  let line;
  if (flags.list === undefined) {
    line = `printf %s ${quoted(JSON.stringify([entry]))} | ${put}`;
  } else {
    const path = userPath(flags.list);
    writeList(path, withEntry(readList(path), entry, path));
    line = `${put} < ${quoted(flags.list)}`;
  }
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ token, entry })}\n`);
    return;
  }
  const until = entry.expires ? `, good until ${entry.expires}` : "";
  note(
    `${bold("The token", process.stderr)} of ${entry.name} (${entry.role}${until}), shown this once:`,
  );
  process.stdout.write(`${token}\n`);
  note("\nIts entry in ADMIN_TOKENS, which holds no secret:");
  process.stdout.write(`${JSON.stringify(entry)}\n`);
  note(
    flags.list === undefined
      ? "\nPut it; this replaces the whole list, so add the entries of the other tokens (or keep them with --list FILE):"
      : "\nIt was added to the list. Put the list:",
  );
  process.stdout.write(`${line}\n`);
});
