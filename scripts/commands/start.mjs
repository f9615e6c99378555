import { readFileSync } from "node:fs";
import { startOrigin } from "../../demo/origin.mjs";
import { build } from "../lib/build.mjs";
import { readFlags, readPort } from "../lib/flags.mjs";
import { demoPolicy, startGateway } from "../lib/gateway.mjs";
import { whenAbandoned } from "../lib/node.mjs";
import { inRoot } from "../lib/paths.mjs";
import { requireFree } from "../lib/ports.mjs";
import { findTools, prepare } from "../lib/prepare.mjs";
import { bold, dim, main, Refusal } from "../lib/term.mjs";

const help = `npm start [-- FLAGS]

Sets up what is missing, builds, and runs the gateway before a small demo origin in two versions,
stable and next. Ctrl-C ends all of it.

  --port N          of the gateway (8787)
  --origin-port N   of the origin's stable version (8788); next takes the port after it
  --policy FILE     a policy document instead of policies/demo.json
  --help            this text
`;

function readPolicy(path) {
  let text;
  try {
    text = readFileSync(path, "utf8");
    JSON.parse(text);
  } catch (error) {
    throw new Refusal(`The policy ${path} cannot be read: ${error.message}.`);
  }
  return text;
}

/** One request for each stage. The answers are the reader's to look at. */
export function thingsToTry(url) {
  return [
    [
      "identity",
      "the origin's answer shows the address, the ids and the trace it was given",
      `curl -s ${url}/hello`,
    ],
    [
      "route",
      "a target that the runtime would rewrite is refused: 400",
      `curl -si --path-as-is '${url}/a/%2e%2e/b'`,
    ],
    [
      "ip_filter",
      "an address of the denied range: 403",
      `curl -si -H 'CF-Connecting-IP: 203.0.113.66' ${url}/`,
    ],
    [
      "rate_limit",
      "five in ten seconds, the sixth gets 429",
      `for i in 1 2 3 4 5 6; do curl -so /dev/null -w '%{http_code} ' ${url}/limited/x; done; echo`,
    ],
    [
      "canary",
      "about one client in five gets the version next",
      `for i in 1 2 3 4 5 6 7 8; do curl -s -H "CF-Connecting-IP: 192.0.2.$i" ${url}/ | grep '"version"'; done`,
    ],
    [
      "",
      "and keeps it from any address: its cookie says so",
      `J=$(mktemp); for i in 1 2 3 4; do curl -s -b $J -c $J -H "CF-Connecting-IP: 192.0.2.$i" ${url}/ | grep '"version"'; done; rm $J`,
    ],
    [
      "cache",
      "twice: a miss, then a hit with its age",
      `for i in 1 2; do curl -si ${url}/static/logo | grep -iE '^(cache-status|age)'; sleep 1; done`,
    ],
    ["upstream", "the origin breaks the connection: 502", `curl -si ${url}/reset`],
    ["", "the origin is too slow: 504 after five seconds", `curl -si '${url}/slow?ms=8000'`],
    ["health", "", `curl -s ${url}/_weir/health`],
  ];
}

function tell(url, origins) {
  const lines = [
    "",
    `${bold("The gateway answers on")} ${url}`,
    `before ${origins.map(({ name, port }) => `${name} http://127.0.0.1:${port}`).join(" and ")}.`,
    "Try, in another terminal:",
    "",
  ];
  for (const [stage, what, command] of thingsToTry(url)) {
    if (stage || what) lines.push(`${stage.padEnd(11)}${dim(what)}`);
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

async function serve({ port, originPort, policy }) {
  const running = [];
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
    const gateway = await startGateway({ port, policy, onLine });
    running.push(gateway);
    await Promise.race([waitUntilHealthy(gateway.url), stopped]);
    tell(gateway.url, origins);
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
  const given = flags.policy === undefined ? undefined : readPolicy(flags.policy);

  const tools = ["workerBuild", "bindgen"];
  const code = await prepare("start", args, tools);
  if (code !== undefined) return code;
  await build(await findTools(tools));
  await requireFree(wanted);
  const demo = readFileSync(inRoot("policies", "demo.json"), "utf8");
  const policy = given ?? demoPolicy(demo, { app: originPort, app_next: originPort + 1 });
  await serve({ port, originPort, policy });
  return 0;
});
