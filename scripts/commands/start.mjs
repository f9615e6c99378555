import { readFileSync } from "node:fs";
import { startOrigin } from "../../demo/origin.mjs";
import { makeToken } from "../lib/admin-token.mjs";
import { build } from "../lib/build.mjs";
import { readFlags, readPort } from "../lib/flags.mjs";
import { demoPolicy, startGateway } from "../lib/gateway.mjs";
import { readDocument } from "../lib/input.mjs";
import { publishLocalRun } from "../lib/local-run.mjs";
import { whenAbandoned } from "../lib/node.mjs";
import { inRoot } from "../lib/paths.mjs";
import { checkFiles, showChecked } from "../lib/policy-check.mjs";
import { requireFree } from "../lib/ports.mjs";
import { findTools, prepare } from "../lib/prepare.mjs";
import { demoThings, policyThings, quoted } from "../lib/things-to-try.mjs";
import { bold, dim, main, Refusal } from "../lib/term.mjs";

const help = `npm start [-- FLAGS]

Sets up what is missing, builds, and runs the gateway before a small demo origin in two versions,
stable and next. Ctrl-C ends all of it.

  --port N          of the gateway (8787)
  --origin-port N   of the origin's stable version (8788); next takes the port after it
  --policy FILE     a policy document instead of policies/demo.json; it is checked first
  --help            this text

Every run makes a new owner's token of the admin API, good until it ends. npm run policy finds it by
itself.
`;

async function readPolicy(path) {
  try {
    return await readDocument(path);
  } catch (error) {
    if (error instanceof Refusal) throw new Refusal(`The policy ${error.message}`);
    throw error;
  }
}

async function requireGood(path) {
  const checked = await checkFiles([path]);
  if (showChecked(checked) !== 0)
    throw new Refusal(`${path} is not a policy.`, "Its problems are above.");
}

/** The admin API of this run, with its token. */
const adminThings = (url, token, file) => [
  [
    "policy",
    "the admin API, with this run's owner token; 404 until something is pushed",
    `curl -s -H 'Authorization: Bearer ${token}' ${url}/_weir/admin/v1/policy`,
  ],
  ["", "a new policy acts without a restart", `npm run policy -- push ${file} -m 'what it is for'`],
];

function tell(url, origins, things) {
  const lines = [
    "",
    `${bold("The gateway answers on")} ${url}`,
    `before ${origins.map(({ name, port }) => `${name} http://127.0.0.1:${port}`).join(" and ")}.`,
    "Try, in another terminal:",
    "",
  ];
  for (const [stage, what, command] of things) {
    if (stage || what) lines.push(`${stage.padEnd(10)} ${dim(what)}`.trimEnd());
    lines.push(`           ${command}`);
  }
  lines.push("", "Below, a line for each request. Ctrl-C ends everything.", "");
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** The gateway itself says when it is there. */
async function waitUntilHealthy(url) {
  const response = await fetch(`${url}/_weir/health`, { signal: AbortSignal.timeout(30_000) });
  const text = await response.text();
  if (response.status !== 200) {
    throw new Refusal(`The gateway is not healthy: ${response.status} ${text}`);
  }
}

async function serve({ port, originPort, policy, things }) {
  const running = [];
  const { token, entry } = makeToken({ name: "local", role: "owner" });
  const stop = async () => {
    while (running.length > 0) await running.pop().close();
  };
  const stopped = new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, resolve);
    whenAbandoned(resolve);
  });
  try {
    const origins = [
      { name: "stable", port: originPort },
      { name: "next", port: originPort + 1 },
    ];
    for (const origin of origins) running.push(await startOrigin(origin));
    const onLine = (line, level) => {
      const stream = level === "error" || level === "warn" ? process.stderr : process.stdout;
      stream.write(`${line}\n`);
    };
    const gateway = await startGateway({ port, policy, adminTokens: [entry], onLine });
    running.push(gateway);
    const { url } = gateway;
    await Promise.race([waitUntilHealthy(url), stopped]);
    running.push({ close: publishLocalRun({ url, token }) });
    tell(url, origins, things(url, token));
    await stopped;
  } finally {
    await stop();
  }
}

await main(async () => {
  const args = process.argv.slice(2);
  const flags = readFlags(args, {
    port: { type: "string" },
    "origin-port": { type: "string" },
    policy: { type: "string" },
  });
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  const port = readPort("port", flags.port, 8787);
  const originPort = readPort("origin-port", flags["origin-port"], 8788);
  const wanted = [
    { port, flag: "port" },
    { port: originPort, flag: "origin-port" },
    { port: originPort + 1, flag: "origin-port", first: originPort },
  ];
  await requireFree(wanted);
  const given = flags.policy === undefined ? undefined : await readPolicy(flags.policy);

  const tools = ["workerBuild", "bindgen"];
  const code = await prepare("start", args, tools);
  if (code !== undefined) return code;
  if (given !== undefined) await requireGood(flags.policy);
  await build(await findTools(tools));
  await requireFree(wanted);
  const demo = readFileSync(inRoot("policies", "demo.json"), "utf8");
  const policy = given ?? demoPolicy(demo, { app: originPort, app_next: originPort + 1 });
  // The built-in demo names the usual ports.
  const file = flags.policy ?? (policy === undefined ? "policies/demo.json" : "FILE");
  const things = (url, token) => [
    ...(given === undefined ? demoThings(url) : policyThings(JSON.parse(given), url)),
    ...adminThings(url, token, quoted(file)),
  ];
  await serve({ port, originPort, policy, things });
  return 0;
});
