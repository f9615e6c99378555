import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireName } from "../lib/admin-token.mjs";
import { build } from "../lib/build.mjs";
import { deploy } from "../lib/deploy.mjs";
import { requireEnvironment } from "../lib/deploy-checks.mjs";
import { readFlags } from "../lib/flags.mjs";
import { toolEnv } from "../lib/node.mjs";
import { inRoot, nodeBin, root } from "../lib/paths.mjs";
import { findTools, prepare } from "../lib/prepare.mjs";
import { output, run } from "../lib/run.mjs";
import { ask, main, note } from "../lib/term.mjs";

const help = `npm run deploy -- --env NAME [FLAGS]

Checks an environment of wrangler.toml, prepares what its first deployment needs, and deploys it:
  1. policies/NAME.json is checked; a host that is the gateway's and an upstream's is refused
  2. the KV namespace is created, if wrangler.toml has no id yet, and its id written there
  3. policies/NAME.json becomes the active policy, if KV holds none
  4. ADMIN_TOKENS: a new owner's token on request; only its SHA-256 is stored, as a secret
  5. wrangler deploy --env NAME

  --env NAME               staging or production, or another [env.NAME] of wrangler.toml
  --dry-run                steps 1 and 5 without leaving this machine
  --yes                    do not ask
  --new-admin-token NAME   make the first admin token, an owner's, for this person or program; shown once
  --json                   print what was done as JSON
  --help                   this text
`;

async function withFile(text, use) {
  const folder = mkdtempSync(join(tmpdir(), "edgeweir-"));
  const path = join(folder, "value");
  try {
    writeFileSync(path, text, { mode: 0o600 });
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** wrangler asks nothing when its input is no terminal: all questions are ours. */
const env = () => ({ ...toolEnv(), WRANGLER_SEND_METRICS: "false" });

async function makeWorld() {
  const { unstable_readConfig: readConfig } = await import("wrangler");
  const path = inRoot("wrangler.toml");
  const read = (name) => readConfig({ config: path, env: name }, { hideWarnings: true });
  return {
    config: read,
    policy: (name) => {
      const file = inRoot("policies", `${name}.json`);
      return existsSync(file) ? readFileSync(file, "utf8") : undefined;
    },
    readToml: () => readFileSync(path, "utf8"),
    writeToml: (text) => {
      writeFileSync(`${path}.tmp`, text);
      renameSync(`${path}.tmp`, path);
    },
    wrangler: (args) => output(nodeBin("wrangler"), args, { cwd: root, env: env() }),
    tool: (args) =>
      output("cargo", ["run", "--quiet", "--example", "policy", "--", ...args], { cwd: root }),
    upload: (args) => run(nodeBin("wrangler"), args, { cwd: root, env: env() }),
    withFile,
    ask,
    say: note,
    random: randomBytes,
    now: Date.now,
  };
}

await main(async () => {
  const args = process.argv.slice(2);
  const flags = readFlags(args, {
    env: { type: "string" },
    "dry-run": { type: "boolean" },
    yes: { type: "boolean" },
    "new-admin-token": { type: "string" },
    json: { type: "boolean" },
  });
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  if (flags["new-admin-token"] !== undefined) requireName(flags["new-admin-token"]);
  requireEnvironment(flags.env, readFileSync(inRoot("wrangler.toml"), "utf8"));
  const tools = ["workerBuild", "bindgen"];
  const code = await prepare("deploy", args, tools);
  if (code !== undefined) return code;
  await build(await findTools(tools));
  const done = await deploy(
    {
      env: flags.env,
      dryRun: flags["dry-run"],
      yes: flags.yes,
      newAdminToken: flags["new-admin-token"],
    },
    await makeWorld(),
  );
  if (flags.json) process.stdout.write(`${JSON.stringify(done)}\n`);
});
