// The processes that a run compares, and the origin and load generator beside them.

import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { makeStoredSets } from "./address-module.mjs";
import { writeGateway, writePlain } from "./config.mjs";
import { Helper, startWorkerd, temporaryFolder } from "./processes.mjs";
import { send } from "./requests.mjs";

// What a server that has no gateway beside it is sent, so that its requests are as long.
const SOME_COOKIE = "weir_variant=stable";

const WITH_SETS = ["listed", "unlisted"];

/** Those of `startServers` that have a stored set, made once. */
let storedSets;

/**
 * Starts the origin, the load generator and one workerd for each name.
 * @param names of "passthrough", "mapped", "calls" (with a line for each request), "quiet calls" (without),
 *              "constant", "gateway" (access log on), "quiet" (failures only),
 *              "listed" and "unlisted": the gateway with a stored set, of 1,250,000 prefixes and of
 *              two, and "gateway 100" and the like: a gateway of its own, for so many stored answers
 * @param prefix of the temporary folder: a command to run each workerd under
 * @param timeoutMs how long workerd may take to start, and to answer a first request
 */
export async function startServers(
  names,
  { build, runtime, workerd, prefix = () => [], timeoutMs, progress },
) {
  if (WITH_SETS.some((name) => new Set(names).has(name))) storedSets ??= makeStoredSets(progress);
  const folder = temporaryFolder();
  const [origin, load] = await Promise.all([Helper.start("origin.mjs"), Helper.start("load.mjs")]);
  const start = async (name, ports, ...more) => {
    const directory = path.join(folder, name);
    mkdirSync(directory);
    return startWorkerd(
      workerd.binary,
      writeConfig(name, directory, { build, runtime, ...ports }),
      ...more,
    );
  };
  const cache = await start("cache", {});
  const servers = {};
  for (const name of names) {
    servers[name] = await start(
      name,
      { originPort: origin.ready, cachePort: cache.port },
      prefix(folder),
      timeoutMs,
    );
  }
  const gateway = servers.gateway ?? servers.quiet ?? servers.listed ?? servers.unlisted;
  const cookie = gateway === undefined ? SOME_COOKIE : await stickyCookie(gateway.port, timeoutMs);
  const children = [origin, load, cache, ...Object.values(servers)].map(({ child }) => child);
  const { clients } = storedSets ?? {};
  return { origin, load, servers, cookie, clients, folder, children, timeoutMs, warm: new Set() };
}

function writeConfig(name, directory, { build, runtime, originPort, cachePort }) {
  switch (name) {
    case "passthrough":
    case "mapped":
      return writePlain(directory, `${name}.js`, { ORIGIN: `127.0.0.1:${originPort}` }, runtime);
    case "calls":
    case "quiet calls": {
      const LOG = name === "calls" ? "info" : "error";
      return writePlain(directory, "calls.js", { ORIGIN: `127.0.0.1:${originPort}`, LOG }, runtime);
    }
    case "constant":
    case "cache":
      return writePlain(directory, `${name}.js`, {}, runtime);
    default: {
      const logLevel = name === "quiet" ? "error" : "info";
      const policy = benchPolicy(originPort);
      const sets = WITH_SETS.includes(name) ? storedSets[name] : undefined;
      if (sets !== undefined) nameStoredSet(policy, name);
      return writeGateway(directory, { build, policy, sets, logLevel, cachePort }, runtime);
    }
  }
}

function benchPolicy(originPort) {
  const policy = JSON.parse(readFileSync(path.join(import.meta.dirname, "policy.json"), "utf8"));
  for (const upstream of Object.values(policy.upstreams))
    upstream.origin = `http://127.0.0.1:${originPort}`;
  return policy;
}

// About half of the addresses that clients have.
const HALF = ["0.0.0.0/1", "2000::/5"];

// Every client is looked up, and half of them get a label and pass: those in the stored set, or those
// in two prefixes, so that the log has as much to say. The route is there to be asked whether the set
// is.
function nameStoredSet(policy, name) {
  policy.address_sets.listed = { stored: true };
  policy.ip_filter.rules.push({
    id: "listed",
    action: "tag",
    tag: "listed",
    ...(name === "listed" ? { address_sets: ["listed"] } : { prefixes: HALF }),
  });
  policy.routes.push({
    id: "listed",
    match: { hosts: ["api.example.com"], path: "/v1/plain/listed" },
    upstream: "app",
    ip_filter: {
      default: "deny",
      rules: [{ id: "listed", action: "allow", address_sets: ["listed"] }],
    },
  });
}

// A returning browser sends the cookie that its first answer set. The value is the gateway's affair.
async function stickyCookie(port, timeoutMs) {
  const answer = await send(port, { path: "/v1/plain" }, { timeoutMs });
  const cookie = answer.headers["set-cookie"]?.[0]?.split(";")[0];
  if (cookie === undefined) {
    throw new Error(
      `the gateway set no sticky cookie; it answered ${answer.status} ${answer.body.toString().slice(0, 500)}`,
    );
  }
  return cookie;
}
