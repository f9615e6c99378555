// A deployment, step by step: checks, then the KV namespace, the first policy, the admin token, the
// upload. Everything it touches comes in through `world`.
import { createHash } from "node:crypto";
import { DEFAULT_EXPIRY, expiryOf, makeToken, requireName } from "./admin-token.mjs";
import {
  blanks,
  missingNamespaces,
  namespaceOf,
  problems,
  withNamespaceId,
} from "./deploy-checks.mjs";
import { Refusal } from "./term.mjs";

/**
 * @typedef {object} World
 * @property {(name: string) => any} config wrangler's reading of an environment
 * @property {(name: string) => string | undefined} policy the text of policies/NAME.json
 * @property {() => string} readToml
 * @property {(text: string) => void} writeToml
 * @property {(args: string[]) => Promise<{code: number, stdout: string, stderr: string}>} wrangler
 * @property {(args: string[]) => Promise<{code: number, stdout: string, stderr: string}>} tool
 *   the example `policy` of the crate
 * @property {(args: string[]) => Promise<number>} upload wrangler, its output shown
 * @property {(text: string, use: (path: string) => Promise<any>) => Promise<any>} withFile
 *   a private file for as long as `use` takes
 * @property {(question: string) => Promise<boolean>} ask
 * @property {(text: string) => void} say
 * @property {(bytes: number) => Buffer} random
 * @property {() => number} now
 */

const tail = (answer) =>
  (answer.stderr.trim() || answer.stdout.trim()).split("\n").slice(-12).join("\n");

async function called(world, args, what) {
  const answer = await world.wrangler(args);
  if (answer.code !== 0) throw new Refusal(`wrangler could not ${what}:\n${tail(answer)}`);
  return answer.stdout;
}

/** Everything that can be refused without an account. */
async function localChecks(name, world) {
  const config = world.config(name);
  const text = world.policy(name);
  if (text === undefined) {
    throw new Refusal(
      `policies/${name}.json is missing.`,
      "Write the environment's first policy there.",
    );
  }
  const checked = await world.tool(["check", `policies/${name}.json`]);
  if (checked.code !== 0) {
    throw new Refusal(`policies/${name}.json is not a policy:\n${tail(checked)}`);
  }
  const policy = JSON.parse(text);
  const wrong = problems(name, config, policy);
  if (wrong.length > 0) throw new Refusal(wrong.join("\nerror: "));
  return { config, blank: blanks(name, config, policy) };
}

/** The id of a binding's namespace, which is created where there is none. */
async function namespace(name, binding, config, world) {
  if (!missingNamespaces(config).includes(binding)) return namespaceOf(config, binding)?.id;
  const title = `edgeweir-${name}-${binding.toLowerCase()}`;
  const listed = JSON.parse(
    await called(world, ["kv", "namespace", "list"], "list the KV namespaces"),
  );
  let id = listed.find((entry) => entry.title === title)?.id;
  if (!id) {
    const created = await called(
      world,
      ["kv", "namespace", "create", title],
      "create a KV namespace",
    );
    id = /[0-9a-f]{32}/.exec(created)?.[0];
    if (!id)
      throw new Refusal(
        "wrangler named no id for the new KV namespace.",
        "Write it into wrangler.toml by hand.",
      );
  }
  const toml = withNamespaceId(world.readToml(), name, binding, id);
  if (toml === undefined) {
    throw new Refusal(
      `No id of ${binding} in [[env.${name}.kv_namespaces]].`,
      `Set id = "${id}" there.`,
    );
  }
  world.writeToml(toml);
  world.say(`KV namespace ${title}: ${id}, written into wrangler.toml. Commit that.`);
  return id;
}

async function firstPolicy(name, id, world) {
  const at = ["--namespace-id", id, "--remote"];
  const keys = JSON.parse(
    await called(world, ["kv", "key", "list", "--prefix", "active", ...at], "list KV"),
  );
  if (keys.some((key) => key.name === "active")) {
    world.say("STATE holds a policy already; it stays as it is.");
    return "kept";
  }
  const made = await world.tool([
    "manifest",
    `policies/${name}.json`,
    "--sequence",
    "1",
    "--revision",
    "r1",
  ]);
  if (made.code !== 0) throw new Refusal(`No manifest of policies/${name}.json:\n${tail(made)}`);
  const value = made.stdout.replace(/\n$/, "");
  const hash = createHash("sha256").update(value).digest("hex");
  const metadata = JSON.stringify({ sequence: 1, hash });
  await world.withFile(value, (path) =>
    called(
      world,
      ["kv", "key", "put", "active", "--path", path, "--metadata", metadata, ...at],
      "write the policy",
    ),
  );
  world.say(`policies/${name}.json is the active policy, revision r1.`);
  return "written";
}

async function hasTokens(name, world) {
  const answer = await world.wrangler(["secret", "list", "--env", name, "--format", "json"]);
  if (answer.code !== 0) {
    // A Worker that was never deployed has no secrets to list. Any other failure must not be read as
    // "none": a new secret would replace every token that is there.
    if (/10007|not found|does not exist/i.test(answer.stdout + answer.stderr)) return false;
    throw new Refusal(`wrangler could not list the secrets:\n${tail(answer)}`);
  }
  return JSON.parse(answer.stdout).some((secret) => secret.name === "ADMIN_TOKENS");
}

async function adminToken(name, owner, world) {
  if (await hasTokens(name, world)) {
    if (owner !== undefined) {
      throw new Refusal(
        "ADMIN_TOKENS is set already and cannot be read back.",
        `Add a token with npm run token; or, to replace every one: npx wrangler secret delete ADMIN_TOKENS --env ${name}, then again.`,
      );
    }
    return undefined;
  }
  if (owner === undefined) {
    world.say(
      `ADMIN_TOKENS is not set: nobody can use the admin API. To make a token: npm run deploy -- --env ${name} --new-admin-token YOUR-NAME`,
    );
    return undefined;
  }
  const expires = expiryOf(DEFAULT_EXPIRY, world.now());
  return makeToken({ name: owner, role: "owner", expires }, world.random);
}

/**
 * @param {{env?: string, dryRun?: boolean, yes?: boolean, newAdminToken?: string}} options
 * @param {World} world
 */
export async function deploy(options, world) {
  const name = options.env;
  if (options.newAdminToken !== undefined) requireName(options.newAdminToken);
  const { config, blank } = await localChecks(name, world);
  world.say(`policies/${name}.json and [env.${name}] of wrangler.toml are in order.`);

  if (options.dryRun) {
    const outdir = `target/deploy/${name}`;
    const code = await world.upload(["deploy", "--dry-run", "--env", name, "--outdir", outdir]);
    if (code !== 0) throw new Refusal("wrangler's dry run failed.", "Its message is above.");
    const first = missingNamespaces(config).map(
      (binding) => `The KV namespace of ${binding} will be created.`,
    );
    for (const line of [...blank, ...first]) world.say(`before the first deployment: ${line}`);
    return { env: name, dry_run: true, missing: blank };
  }

  if (blank.length > 0) throw new Refusal(blank.join("\nerror: "));
  const login = await world.wrangler(["whoami", "--json"]);
  if (login.code !== 0) {
    throw new Refusal(
      "wrangler is not logged in.",
      "Run npx wrangler login, or set CLOUDFLARE_API_TOKEN.",
    );
  }
  const steps = [
    ...missingNamespaces(config).map(
      (binding) => `create the KV namespace of ${binding} and write its id into wrangler.toml`,
    ),
    `write policies/${name}.json into the one of STATE, if it holds no policy`,
    options.newAdminToken === undefined ? undefined : "make an admin token",
    `deploy ${config.name}`,
  ];
  world.say(`This will, in your account: ${steps.filter(Boolean).join("; ")}.`);
  if (!options.yes && !(await world.ask("Go on?")))
    throw new Refusal("Nothing was done.", "Agree, or give --yes.");

  const token = await adminToken(name, options.newAdminToken, world);
  const id = await namespace(name, "STATE", config, world);
  await namespace(name, "CACHE", config, world);
  const policy = await firstPolicy(name, id, world);
  const code = token
    ? await world.withFile(
        JSON.stringify({ ADMIN_TOKENS: JSON.stringify([token.entry]) }),
        (path) => world.upload(["deploy", "--env", name, "--secrets-file", path]),
      )
    : await world.upload(["deploy", "--env", name]);
  if (code !== 0)
    throw new Refusal("wrangler deploy failed.", "Its message is above; what came before stays.");
  if (token) {
    const { role, expires } = token.entry;
    world.say(`The admin token (${role}), shown this once, good until ${expires}:\n${token.token}`);
    world.say(`Its entry in ADMIN_TOKENS; keep it, to add others: ${JSON.stringify(token.entry)}`);
  }
  return { env: name, dry_run: false, kv_namespace: id, policy, admin_token: token !== undefined };
}
