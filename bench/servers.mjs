// The processes that a run compares, and the origin and load generator beside them.

import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { writeGateway, writePlain } from "./config.mjs";
import { Helper, startWorkerd, temporaryFolder } from "./processes.mjs";
import { send } from "./requests.mjs";

// What a server that has no gateway beside it is sent, so that its requests are as long.
const SOME_COOKIE = "weir_variant=stable";

/**
 * Starts the origin, the load generator and one workerd for each name.
 * @param names of "passthrough", "constant", "gateway" (access log on) and "quiet" (failures only)
 * @param prefix of the temporary folder: a command to run each workerd under
 * @param timeoutMs how long workerd may take to start, and to answer a first request
 */
export async function startServers(
  names,
  { build, runtime, workerd, prefix = () => [], timeoutMs },
) {
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
  const gateway = servers.gateway ?? servers.quiet;
  const cookie = gateway === undefined ? SOME_COOKIE : await stickyCookie(gateway.port, timeoutMs);
  const children = [origin, load, cache, ...Object.values(servers)].map(({ child }) => child);
  return { origin, load, servers, cookie, folder, children, timeoutMs, warm: new Set() };
}

function writeConfig(name, directory, { build, runtime, originPort, cachePort }) {
  switch (name) {
    case "passthrough":
      return writePlain(
        directory,
        "passthrough.js",
        { ORIGIN: `127.0.0.1:${originPort}` },
        runtime,
      );
    case "constant":
    case "cache":
      return writePlain(directory, `${name}.js`, {}, runtime);
    default: {
      const logLevel = name === "quiet" ? "error" : "info";
      return writeGateway(
        directory,
        { build, policy: benchPolicy(originPort), logLevel, cachePort },
        runtime,
      );
    }
  }
}

function benchPolicy(originPort) {
  const policy = JSON.parse(readFileSync(path.join(import.meta.dirname, "policy.json"), "utf8"));
  for (const upstream of Object.values(policy.upstreams))
    upstream.origin = `http://127.0.0.1:${originPort}`;
  return policy;
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
