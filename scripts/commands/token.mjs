import { readFileSync, renameSync, writeFileSync } from "node:fs";
import {
  DEFAULT_EXPIRY,
  expiryOf,
  makeToken,
  requireName,
  requireRole,
} from "../lib/admin-token.mjs";
import {
  DEFAULT_LIFE,
  KEY_NAME,
  lifeOf,
  makeBypassToken,
  makeKey,
  requireKey,
  requireScope,
} from "../lib/bypass-token.mjs";
import { readFlags } from "../lib/flags.mjs";
import { readText } from "../lib/input.mjs";
import { userPath } from "../lib/paths.mjs";
import { quoted } from "../lib/things-to-try.mjs";
import { bold, main, note, Refusal } from "../lib/term.mjs";

const help = `npm run token -- --name NAME --role ROLE [FLAGS]
npm run token -- bypass [--for 1h] [--scope HOST[/PATH]] [--key-file FILE] [--json]
npm run token -- bypass-key [--env NAME]

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

bypass makes a token for the request field Weir-Cache-Bypass, which takes a request past the cache. It signs with
CACHE_BYPASS_KEY, from the environment or a file, and sends nothing. bypass-key makes such a key.

  --for 1h         how long it is good: s, m or h, at most 24h (1h)
  --scope HOST     for that host only, or HOST/PATH for what lies below a path; everything without it
  --key-file FILE  holds the key; - reads the standard input
  --json           {"token", "expires"} as JSON
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

const text = { type: "string" };

async function bypass(args) {
  const options = { for: text, scope: text, "key-file": text, json: { type: "boolean" } };
  const flags = readFlags(args, options);
  if (flags.help) return void process.stdout.write(help);
  const file = flags["key-file"];
  const key = requireKey(file === undefined ? process.env[KEY_NAME] : await readText(file, 4_096));
  const scope = requireScope(flags.scope);
  const expires = Math.floor(Date.now() / 1_000) + lifeOf(flags.for ?? DEFAULT_LIFE);
  const token = makeBypassToken({ key, expires, scope });
  const until = new Date(expires * 1_000).toISOString().replace(".000Z", "Z");
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ token, expires: until })}\n`);
    return;
  }
  const where = scope === "" ? "everything" : scope;
  note(`${bold("A token", process.stderr)} for ${where}, good until ${until}. Send it as`);
  process.stdout.write(`Weir-Cache-Bypass: ${token}\n`);
}

function bypassKey(args) {
  const flags = readFlags(args, { env: text });
  if (flags.help) return void process.stdout.write(help);
  note("A key, shown this once. Keep it where tokens are made, and put it:");
  process.stdout.write(`${makeKey()}\n`);
  note(`npx wrangler secret put ${KEY_NAME} --env ${requireEnvironment(flags.env)}`);
}

function requireEnvironment(name = "NAME") {
  if (/^[\w-]+$/.test(name)) return name;
  throw new Refusal("That is not the name of an environment.");
}

await main(async () => {
  const [command, ...rest] = process.argv.slice(2);
  if (command === "bypass") return bypass(rest);
  if (command === "bypass-key") return bypassKey(rest);
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
  const environment = requireEnvironment(flags.env);
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
