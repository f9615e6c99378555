// A deployment refuses what would not work, and does what it does in order. wrangler is a stand-in
// that writes down how it was called.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import * as checks from "../../scripts/lib/deploy-checks.mjs";
import { isToken } from "../../scripts/lib/admin-token.mjs";
import { deploy } from "../../scripts/lib/deploy.mjs";
import { inRoot } from "../../scripts/lib/paths.mjs";
import { command } from "./helpers.mjs";

const ID = "0123456789abcdef0123456789abcdef";
const TOML = `# kept
[[env.production.kv_namespaces]]
binding = "STATE"
id = "of-production"

[[env.staging.kv_namespaces]]
binding = "OTHER"
id = "of-other"

[[env.staging.kv_namespaces]]
binding = "STATE"
# why
id = "not-created-yet" # kept

[env.staging.vars]
ENVIRONMENT = "staging"
`;

const policy = (origin = "https://origin.weir.site") => ({
  version: 1,
  upstreams: { app: { origin } },
  routes: [],
});

const config = (more = {}) => ({
  name: "edgeweir-staging",
  routes: [{ pattern: "www.weir.site", custom_domain: true }],
  kv_namespaces: [{ binding: "STATE", id: "not-created-yet" }],
  durable_objects: { bindings: [{ name: "LIMITER", class_name: "Limiter" }] },
  vars: { ENVIRONMENT: "staging" },
  ...more,
});

/** A world in which everything works; `answers` are wrangler's, by the start of the command. */
function world({ answers = {}, ...more } = {}) {
  const seen = { calls: [], said: [], files: [], toml: TOML };
  const known = {
    whoami: { stdout: '{"loggedIn":true}' },
    "kv namespace list": { stdout: "[]" },
    "kv namespace create": { stdout: `id = "${ID}"` },
    "kv key list": { stdout: "[]" },
    "kv key put": {},
    "secret list": { code: 1, stderr: "This Worker does not exist on your account. [code: 10007]" },
    ...answers,
  };
  return {
    seen,
    config: () => config(),
    policy: () => JSON.stringify(policy()),
    readToml: () => seen.toml,
    writeToml: (text) => (seen.toml = text),
    wrangler: async (args) => {
      seen.calls.push(args.join(" "));
      const name = Object.keys(known).find((start) => args.join(" ").startsWith(start));
      assert.ok(name, `unexpected: wrangler ${args.join(" ")}`);
      return { code: 0, stdout: "", stderr: "", ...known[name] };
    },
    tool: async ([verb]) => ({
      code: 0,
      stdout: verb === "manifest" ? '{"format":1}\n' : "",
      stderr: "",
    }),
    upload: async (args) => {
      seen.calls.push(args.join(" "));
      return 0;
    },
    withFile: (text, use) => {
      seen.files.push(text);
      return use("FILE");
    },
    ask: async () => true,
    say: (text) => seen.said.push(text),
    random: (bytes) => Buffer.alloc(bytes, 7),
    now: () => Date.parse("2026-01-01T00:00:00Z"),
    ...more,
  };
}

const go = (w, more = {}) => deploy({ env: "staging", ...more }, w);

describe("a first deployment", () => {
  it("makes the namespace, writes its id, publishes the policy, then deploys", async () => {
    const w = world();
    const done = await go(w);
    assert.deepEqual(
      w.seen.calls.map((call) => call.split(" --")[0]),
      [
        "whoami",
        "secret list",
        "kv namespace list",
        "kv namespace create edgeweir-staging-state",
        "kv key list",
        "kv key put active",
        "deploy",
      ],
    );
    assert.equal(w.seen.calls.at(-1), "deploy --env staging");
    assert.equal(w.seen.toml, TOML.replace('"not-created-yet" # kept', `"${ID}" # kept`));
    const put = w.seen.calls.find((call) => call.startsWith("kv key put"));
    const hash = createHash("sha256").update('{"format":1}').digest("hex");
    assert.equal(
      put,
      `kv key put active --path FILE --metadata {"sequence":1,"hash":"${hash}"} --namespace-id ${ID} --remote`,
    );
    assert.deepEqual(w.seen.files, ['{"format":1}']);
    assert.deepEqual(done, {
      env: "staging",
      dry_run: false,
      kv_namespace: ID,
      policy: "written",
      admin_token: false,
    });
    assert.match(w.seen.said.join("\n"), /ADMIN_TOKENS is not set.*--new-admin-token/);
  });

  it("makes the namespace of the cache, too, where it is bound", async () => {
    const cached = `${TOML}\n[[env.staging.kv_namespaces]]\nbinding = "CACHE"\nid = "not-created-yet"\n`;
    const w = world({
      config: () =>
        config({
          kv_namespaces: [
            { binding: "STATE", id: ID },
            { binding: "CACHE", id: "not-created-yet" },
          ],
        }),
    });
    w.seen.toml = cached;
    await go(w);
    const created = w.seen.calls.filter((call) => call.startsWith("kv namespace create"));
    assert.deepEqual(created, ["kv namespace create edgeweir-staging-cache"]);
    assert.equal(w.seen.toml, cached.replace(/"not-created-yet"\n$/, `"${ID}"\n`));
  });

  it("takes a namespace that an earlier try made", async () => {
    const w = world({
      answers: {
        "kv namespace list": { stdout: `[{"id":"${ID}","title":"edgeweir-staging-state"}]` },
      },
    });
    await go(w);
    assert.ok(!w.seen.calls.some((call) => call.startsWith("kv namespace create")));
    assert.ok(w.seen.toml.includes(ID));
  });

  it("shows a new admin token once and stores its digest only", async () => {
    const w = world();
    const done = await go(w, { newAdminToken: "ada" });
    const token = /weir_\S+/.exec(w.seen.said.join("\n"))[0];
    assert.ok(isToken(token), token);
    const digest = createHash("sha256").update(token).digest("hex");
    const secret = [
      { name: "ada", role: "owner", sha256: digest, expires: "2026-04-01T00:00:00Z" },
    ];
    assert.deepEqual(JSON.parse(JSON.parse(w.seen.files.at(-1)).ADMIN_TOKENS), secret);
    assert.equal(w.seen.calls.at(-1), "deploy --env staging --secrets-file FILE");
    assert.equal(w.seen.said.filter((text) => text.includes(token)).length, 1);
    assert.ok(!JSON.stringify([w.seen.files, w.seen.calls, done]).includes(token));
    assert.ok(Buffer.from(token.slice("weir_".length), "base64url").length * 8 >= 128);
  });
});

describe("a later deployment", () => {
  const known = { config: () => config({ kv_namespaces: [{ binding: "STATE", id: ID }] }) };
  const answers = {
    "kv key list": { stdout: '[{"name":"active"}]' },
    "secret list": { stdout: '[{"name":"ADMIN_TOKENS","type":"secret_text"}]' },
  };

  it("leaves the namespace, the policy and the tokens as they are", async () => {
    const w = world({ ...known, answers });
    const done = await go(w);
    assert.deepEqual(
      w.seen.calls.map((call) => call.split(" --")[0]),
      ["whoami", "secret list", "kv key list", "deploy"],
    );
    assert.equal(w.seen.toml, TOML);
    assert.equal(done.policy, "kept");
  });

  it("wants a name for the token that fits the history", async () => {
    const w = world({ ...known, answers });
    await assert.rejects(go(w, { newAdminToken: "a b" }), /not a name for a token/);
    assert.deepEqual(w.seen.calls, []);
  });

  it("refuses to replace the tokens unseen", async () => {
    const w = world({ ...known, answers });
    await assert.rejects(
      go(w, { newAdminToken: "ada" }),
      /ADMIN_TOKENS is set already.*secret delete/,
    );
    assert.ok(!w.seen.calls.some((call) => call.startsWith("deploy")));
  });

  it("does not read a failure to list secrets as none", async () => {
    const w = world({
      ...known,
      answers: { ...answers, "secret list": { code: 1, stderr: "network" } },
    });
    await assert.rejects(go(w, { newAdminToken: "ada" }), /could not list the secrets/);
  });
});

describe("refusals", () => {
  const refused = async (more, pattern, options = {}) => {
    const w = world(more);
    await assert.rejects(go(w, options), pattern);
    assert.deepEqual(
      w.seen.calls.filter((call) => !call.startsWith("whoami")),
      [],
    );
    assert.equal(w.seen.toml, TOML);
  };

  it("no policy, or one that does not compile", async () => {
    await refused({ policy: () => undefined }, /policies\/staging\.json is missing\. Write/);
    const tool = async () => ({ code: 1, stdout: "", stderr: "routes[0].path: expected a string" });
    await refused({ tool }, /is not a policy:\nroutes\[0\]\.path/);
  });

  it("a host that is the gateway's and an upstream's", async () => {
    const own = () => JSON.stringify(policy("https://WWW.weir.site:8443"));
    await refused(
      { policy: own },
      /www\.weir\.site is the gateway's and also the upstream app.*a host of its own\.$/,
    );
    const routed = () =>
      config({ routes: [{ pattern: "www.weir.site/*", zone_name: "weir.site" }] });
    await refused({ policy: own, config: routed }, /or use "origin": "request"\.$/);
  });

  it("a route whose host covers an upstream's, however either is written", async () => {
    const own = () => JSON.stringify(policy("https://www.weir.site."));
    for (const pattern of ["*.weir.site/*", "*weir.site/*", "www.weir.site./*"]) {
      const routed = () => config({ routes: [{ pattern, zone_name: "weir.site" }] });
      await refused({ policy: own, config: routed }, /it would call itself/);
    }
  });

  it('"origin": "request" behind a custom domain, but not on a route', async () => {
    const own = () => JSON.stringify(policy("request"));
    await refused({ policy: own }, /no origin is behind it/);
    const routed = () => config({ routes: ["https://www.weir.site/*"] });
    await go(world({ policy: own, config: routed }));
  });

  it("hosts and origins of the documentation", async () => {
    await refused(
      { config: () => config({ routes: ["www.example.com/*"] }) },
      /www\.example\.com is not yours/,
    );
    await refused(
      { policy: () => JSON.stringify(policy("https://app.example.com")) },
      /Set your origin/,
    );
    await refused({ config: () => config({ routes: undefined }) }, /has no routes/);
  });

  it("an environment without its bindings, or with a cache that skips the gateway", async () => {
    await refused({ config: () => config({ kv_namespaces: [] }) }, /no KV binding STATE/);
    await refused(
      { config: () => config({ durable_objects: { bindings: [] } }) },
      /no Durable Object LIMITER/,
    );
    await refused(
      { config: () => config({ vars: {} }) },
      /ENVIRONMENT of \[env\.staging\.vars\] is not "staging"/,
    );
    await refused({ config: () => config({ cache: { enabled: true } }) }, /\[cache\] enabled/);
  });

  it("feeds that nothing fetches", async () => {
    const feed = { url: "https://lists.weir.site/" };
    const own = () =>
      JSON.stringify({ ...policy(), address_sets: { drop: { stored: true, feed } } });
    await refused({ policy: own }, /has feeds, and nothing fetches them/);
    const none = () => config({ triggers: { crons: [] } });
    await refused({ policy: own, config: none }, /has feeds, and nothing fetches them/);
    const some = () => config({ triggers: { crons: ["*/5 * * * *"] } });
    await go(world({ policy: own, config: some }));
  });

  it("answers for all locations, and nowhere to keep them", async () => {
    const cache = { tiers: ["location", "global"] };
    const routes = [{ id: "a", match: {}, upstream: "app", cache }];
    for (const more of [{ routes }, { defaults: { cache } }]) {
      const own = () => JSON.stringify({ ...policy(), ...more });
      await refused({ policy: own }, /tier "global", and \[env\.staging\] has no KV binding CACHE/);
      const bound = [
        { binding: "STATE", id: ID },
        { binding: "CACHE", id: ID },
      ];
      await go(world({ policy: own, config: () => config({ kv_namespaces: bound }) }));
    }
  });

  it("no login, and no consent", async () => {
    await refused({ answers: { whoami: { code: 1 } } }, /not logged in\. Run npx wrangler login/);
    await refused({ ask: async () => false }, /Nothing was done/);
    const w = world({ ask: async () => assert.fail("--yes asks nothing") });
    await go(w, { yes: true });
  });

  it("a wrangler that fails stops it there", async () => {
    const w = world({ answers: { "kv key put": { code: 1, stderr: "quota" } } });
    await assert.rejects(go(w), /could not write the policy:\nquota/);
    assert.ok(!w.seen.calls.some((call) => call.startsWith("deploy")));
  });
});

describe("a dry run", () => {
  it("calls wrangler's own dry run alone, and tells what is still blank", async () => {
    const w = world({ config: () => config({ routes: ["www.example.com/*"] }) });
    const done = await go(w, { dryRun: true });
    assert.deepEqual(w.seen.calls, [
      "deploy --dry-run --env staging --outdir target/deploy/staging",
    ]);
    assert.equal(done.missing.length, 1);
    assert.match(
      w.seen.said.join("\n"),
      /before the first deployment: www\.example\.com is not yours/,
    );
    assert.equal(w.seen.toml, TOML);
  });

  it("is refused for what is wrong", async () => {
    const own = () => JSON.stringify(policy("https://www.weir.site"));
    await assert.rejects(go(world({ policy: own }), { dryRun: true }), /it would call itself/);
  });
});

describe("the command", () => {
  it("wants an environment of wrangler.toml", async () => {
    const none = await command("deploy", []);
    assert.equal(none.code, 1);
    assert.equal(
      none.stderr.trim(),
      "error: Name an environment: --env staging or --env production.",
    );
    const unknown = await command("deploy", ["--env", "nowhere"]);
    assert.equal(unknown.code, 1);
    assert.match(
      unknown.stderr,
      /^error: wrangler\.toml has no \[env\.nowhere\]\. Choose one of: staging, production\.$/m,
    );
  });
});

describe("wrangler.toml of this repository", async () => {
  const { unstable_readConfig: read } = await import("wrangler");
  const toml = readFileSync(inRoot("wrangler.toml"), "utf8");
  for (const name of checks.environments(toml)) {
    it(`[env.${name}] is in order, and the ids of its namespaces can be written`, () => {
      const settings = read({ config: inRoot("wrangler.toml"), env: name }, { hideWarnings: true });
      const document = JSON.parse(readFileSync(inRoot(`policies/${name}.json`), "utf8"));
      assert.deepEqual(checks.problems(name, settings, document), []);
      assert.deepEqual(settings.triggers.crons, ["*/5 * * * *"]);
      for (const binding of ["STATE", "CACHE"]) {
        const written = checks.withNamespaceId(toml, name, binding, ID);
        const before = toml.split("\n");
        const changed = written.split("\n").filter((line, index) => line !== before[index]);
        assert.deepEqual(changed, [`id = "${ID}"`]);
      }
    });
  }

  it("the local one deploys to nowhere", () => {
    const settings = read({ config: inRoot("wrangler.toml") }, { hideWarnings: true });
    assert.equal(settings.workers_dev, false);
    assert.equal(settings.routes, undefined);
    assert.equal(settings.vars.ENVIRONMENT, "local");
    assert.equal(settings.cache, undefined);
  });
});
