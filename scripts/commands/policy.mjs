import { adminClient, ApiRefusal, USAGE } from "../lib/admin-client.mjs";
import { environment, LOCAL } from "../lib/environments.mjs";
import { readArguments } from "../lib/flags.mjs";
import { push, rollback } from "../lib/policy-change.mjs";
import { allPolicies, checkFiles, problemLine, showChecked } from "../lib/policy-check.mjs";
import { explain, replay } from "../lib/policy-judge.mjs";
import { audit, diff, health, history, pull } from "../lib/policy-read.mjs";
import { main, note, printable, Refusal } from "../lib/term.mjs";

const help = `npm run policy -- COMMAND [FLAGS]

Checks policies, publishes them, goes back, and tells what they do.

  check [FILE…]              every problem, found on this machine (policies/*.json);
                             with --env NAME by the gateway there
  diff FILE [--base r5]      what FILE changes in the active revision, or in another one
  diff r1 r2                 what changed between two revisions
      --exit-code            exit code 1 when something did
  push FILE -m MESSAGE       makes FILE the active revision, if nothing was pushed meanwhile
      --base r7              the revision that FILE was made for (the active one)
      --create               only if there is no revision yet
      --yes, -y              do not ask
  pull [--revision r3] [-o FILE]
                             the document as it was pushed
  rollback r3 -m MESSAGE [--base r7] [--yes]
                             makes the content of r3 the active revision
  history [--limit N] [--before r5]
                             the revisions, newest first
  audit [--limit N] [--before ID]
                             every change and every rejected attempt, newest first
  health                     what the gateway acts on; exit code 1 unless it is ok
  explain URL                what would become of a request; nothing is sent or counted
      --method M, --client ADDRESS, -H 'name: value' (again for more)
      --document FILE        by that document; --revision r3 by that revision
  replay LOG [--document FILE | --revision r3]
                             what would have become of recorded requests; - reads the standard input

  --env NAME       the environment (local: the running npm start)
  --json           the gateway's JSON, as it is
  --timeout N      seconds that a request may take (30)
  --help           this text

The address and the token of an environment come from EDGEWEIR_NAME_URL and EDGEWEIR_NAME_TOKEN, or from
~/.config/edgeweir/environments.json (mode 600): {"staging":{"url":"https://…","token":"…"}}

Exit codes: 0 done; 1 the answer is no; 2 wrong usage; 3 not reachable, or not with this token.
`;

const text = { type: "string" };
const flag = { type: "boolean" };
const common = { env: text, json: flag, timeout: text };
const message = { type: "string", short: "m" };
const yes = { type: "boolean", short: "y" };
const judged = { document: text, revision: text };

/** Commands that take no names beside their flags are marked as `bare`. */
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
};

async function check(call, names, flags) {
  const files = names.length > 0 ? names : allPolicies();
  if (files.length === 0) throw new Refusal("There is no policy to check.", undefined, USAGE);
  return showChecked(await checkFiles(files, call), flags);
}

/** Seconds as milliseconds. */
function readTimeout(given = "30") {
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
  const timeout = readTimeout(flags.timeout);
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
