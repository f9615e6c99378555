import { adminClient } from "../lib/admin-client.mjs";
import { ApiRefusal, USAGE } from "../lib/admin-refusal.mjs";
import { environment, LOCAL } from "../lib/environments.mjs";
import { readArguments } from "../lib/flags.mjs";
import { address } from "../lib/policy-address.mjs";
import { ban, bans, unban } from "../lib/policy-bans.mjs";
import { cache, warm } from "../lib/policy-cache.mjs";
import { push, rollback } from "../lib/policy-change.mjs";
import { allPolicies, checkFiles, problemLine, showChecked } from "../lib/policy-check.mjs";
import { help } from "../lib/policy-help.mjs";
import { importList, refresh } from "../lib/policy-import.mjs";
import { explain, replay } from "../lib/policy-judge.mjs";
import { limits, reset } from "../lib/policy-limits.mjs";
import { purge, purges } from "../lib/policy-purge.mjs";
import { audit, diff, health, history, pull } from "../lib/policy-read.mjs";
import { removeSet, rollbackSets, sets } from "../lib/policy-sets.mjs";
import { main, note, printable, Refusal } from "../lib/term.mjs";

const text = { type: "string" };
const flag = { type: "boolean" };
const many = { type: "string", multiple: true };
const common = { env: text, json: flag, timeout: text };
const message = { type: "string", short: "m" };
const yes = { type: "boolean", short: "y" };
const judged = { document: text, revision: text };
const counters = {
  ...{ client: text, rule: text, counter: text, method: text },
  header: { type: "string", short: "H", multiple: true },
  key: { type: "string", multiple: true },
};

/**
 * Commands that take no names beside their flags are marked as `bare`; `timeout` is how many seconds
 * one may take, where that is not the usual.
 */
const COMMANDS = {
  check: { options: {}, run: check },
  diff: {
    options: { base: text, "exit-code": flag },
    run: (call, names, flags) => diff(call, names, flags),
  },
  push: {
    options: { message, base: text, create: flag, yes },
    run: (call, names, flags, target) => push(call, target, names, flags),
  },
  pull: {
    options: { revision: text, output: { type: "string", short: "o" } },
    bare: true,
    run: (call, _, flags) => pull(call, flags),
  },
  rollback: {
    options: { message, base: text, yes },
    run: (call, names, flags, target) => rollback(call, target, names, flags),
  },
  history: {
    options: { limit: text, before: text },
    bare: true,
    run: (call, _, flags) => history(call, flags),
  },
  audit: {
    options: { limit: text, before: text },
    bare: true,
    run: (call, _, flags) => audit(call, flags),
  },
  health: { options: {}, bare: true, run: (call, _, flags) => health(call, flags) },
  explain: {
    options: {
      method: text,
      client: text,
      header: { type: "string", short: "H", multiple: true },
      ...judged,
    },
    run: (call, names, flags) => explain(call, names, flags),
  },
  replay: { options: judged, run: (call, names, flags) => replay(call, names, flags) },
  address: { options: {}, run: (call, names, flags) => address(call, names, flags) },
  bans: {
    options: { address: text, limit: text, after: text },
    bare: true,
    run: (call, _, flags) => bans(call, flags),
  },
  ban: {
    options: { message, for: text, until: text },
    run: (call, names, flags) => ban(call, names, flags),
  },
  unban: { options: { message }, run: (call, names, flags) => unban(call, names, flags) },
  purge: {
    options: { message, url: many, prefix: many, tag: many, all: flag, soft: flag, yes },
    bare: true,
    run: (call, _, flags, target) => purge(call, target, flags),
  },
  purges: {
    options: { limit: text, before: text },
    bare: true,
    run: (call, _, flags) => purges(call, flags),
  },
  cache: {
    options: { method: text, header: { type: "string", short: "H", multiple: true } },
    run: (call, names, flags) => cache(call, names, flags),
  },
  warm: {
    options: { header: { type: "string", short: "H", multiple: true } },
    run: (call, names, flags) => warm(call, names, flags),
  },
  limits: {
    options: { ...counters, limit: text },
    run: (call, names, flags) => limits(call, names, flags),
  },
  reset: { options: counters, run: (call, names, flags) => reset(call, names, flags) },
  sets: { options: {}, bare: true, run: (call, _, flags) => sets(call, flags) },
  import: {
    options: {
      ...{ message, format: text, column: text, "host-bits": text },
      ...{ "max-change": text, "max-prefixes": text, "allow-private": flag },
    },
    timeout: "120",
    run: (call, names, flags) => importList(call, names, flags),
  },
  refresh: {
    options: {},
    timeout: "120",
    run: (call, names, flags) => refresh(call, names, flags),
  },
  "remove-set": {
    options: { message, yes },
    run: (call, names, flags, target) => removeSet(call, target, names, flags),
  },
  "rollback-sets": {
    options: { message, yes },
    run: (call, names, flags, target) => rollbackSets(call, target, names, flags),
  },
};

async function check(call, names, flags) {
  const files = names.length > 0 ? names : allPolicies();
  if (files.length === 0) throw new Refusal("There is no policy to check.", undefined, USAGE);
  return showChecked(await checkFiles(files, call), flags);
}

/** Seconds as milliseconds. */
function readTimeout(given) {
  const seconds = Number(given);
  if (/^\d{1,3}(\.\d)?$/.test(given) && seconds > 0 && seconds <= 600) return seconds * 1_000;
  throw new Refusal("--timeout wants seconds, at most 600.", undefined, USAGE);
}

/** A refusal of the API has more to show than its line. */
function showRefusal(error, name, names, flags) {
  if (!(error instanceof ApiRefusal)) return;
  if (flags.json && error.text !== undefined) process.stdout.write(`${error.text.trimEnd()}\n`);
  const problems = Array.isArray(error.body?.problems) ? error.body.problems : [];
  const ofPolicy = error.reason === "invalid-policy";
  const subject = ofPolicy ? (flags.document ?? flags.revision ?? names[0] ?? name) : name;
  for (const problem of problems) note(problemLine(subject, problem));
  if (ofPolicy && problems.length > 0) {
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    error.message = `${printable(subject)} cannot be used: ${count}, above.`;
  }
  // Nobody who typed a command knows of a body: what it was made of is wrong.
  if (error.reason === "invalid-body" && problems.length > 0) {
    error.message = `That is no request to ${printable(name)}; see above.`;
    error.exitCode = USAGE;
  }
}

await main(async () => {
  const [name, ...args] = process.argv.slice(2);
  if (name === undefined || name === "--help" || name === "-h") {
    (name === undefined ? process.stderr : process.stdout).write(help);
    return name === undefined ? USAGE : 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  const known = Object.keys(COMMANDS).join(" ");
  if (!command) {
    throw new Refusal(`There is no command ${printable(name)}.`, `Commands: ${known}`, USAGE);
  }
  const options = { ...command.options, ...common };
  const { values: flags, positionals } = readArguments(args, options, { exitCode: USAGE });
  if (flags.help) {
    process.stdout.write(help);
    return 0;
  }
  if (command.bare && positionals.length > 0) {
    throw new Refusal(`${name} takes flags only.`, undefined, USAGE);
  }
  const timeout = readTimeout(flags.timeout ?? command.timeout ?? "30");
  // A check is of this machine unless an environment is named.
  const here = name === "check" && flags.env === undefined;
  const target = here ? undefined : environment(flags.env ?? LOCAL);
  const call = target && adminClient(target, { timeout });
  try {
    return (await command.run(call, positionals, flags, target)) ?? 0;
  } catch (error) {
    showRefusal(error, name, positionals, flags);
    throw error;
  }
});
