// What can be said about a deployment without leaving the machine: functions of wrangler's reading
// of wrangler.toml and of the policy document.
import { Refusal } from "./term.mjs";

/** Hosts of the documentation (RFC 2606): nobody's to deploy to. */
const RESERVED = /(^|\.)(example\.(com|net|org)|example|test|invalid|localhost)$/;
const NAMESPACE_ID = /^[0-9a-f]{32}$/;

/** The environments that wrangler.toml names. */
export function environments(toml) {
  const headers = toml.matchAll(/^\s*\[+env\.([\w-]+)[\].]/gm);
  return [...new Set([...headers].map((match) => match[1]))];
}

export function requireEnvironment(name, toml) {
  const known = environments(toml);
  if (!name) throw new Refusal(`Name an environment: --env ${known.join(" or --env ")}.`);
  if (!known.includes(name)) {
    throw new Refusal(`wrangler.toml has no [env.${name}].`, `Choose one of: ${known.join(", ")}.`);
  }
}

/** A KV binding of an environment: STATE, or CACHE where there is one. */
export const namespaceOf = (config, binding) =>
  config.kv_namespaces?.find((namespace) => namespace.binding === binding);

/** The KV bindings whose namespaces are still to be created. */
export const missingNamespaces = (config) =>
  ["STATE", "CACHE"].filter((binding) => {
    const namespace = namespaceOf(config, binding);
    return namespace !== undefined && !NAMESPACE_ID.test(namespace.id ?? "");
  });

/** A host name in lower case without its final dot. */
const normalHost = (host) => host.toLowerCase().replace(/\.$/, "");

/** Does a route's host cover this one? A leading `*` stands for anything, also for nothing. */
const covers = (pattern, host) =>
  pattern.startsWith("*") ? host.endsWith(pattern.slice(1)) : pattern === host;

/** The routes of an environment as {host, custom}; a path is left off. */
export function routeHosts(config) {
  const routes = [...(config.routes ?? []), ...(config.route ? [config.route] : [])];
  return routes.map((route) => {
    const pattern = typeof route === "string" ? route : route.pattern;
    const host = pattern.replace(/^https?:\/\//, "").split("/")[0];
    return { host: normalHost(host), custom: route.custom_domain === true };
  });
}

/** The upstreams of a policy as {name, host}; the host is undefined for `"origin": "request"`. */
export function upstreamHosts(policy) {
  const upstreams = Object.entries(policy.upstreams ?? {});
  return upstreams.flatMap(([name, upstream]) => {
    const origins = [upstream.origin, ...(upstream.targets ?? []).map((target) => target.origin)];
    return origins
      .filter((origin) => typeof origin === "string")
      .map((origin) => ({
        name,
        host: origin === "request" ? undefined : normalHost(new URL(origin).hostname),
      }));
  });
}

/** What makes a deployment wrong, each with its mend. */
export function problems(name, config, policy) {
  const found = [];
  const bound = (list, key) => list?.some((binding) => binding[key] !== undefined);
  if (!namespaceOf(config, "STATE"))
    found.push(`[env.${name}] has no KV binding STATE. Repeat [[kv_namespaces]] there.`);
  const objects = config.durable_objects?.bindings ?? [];
  if (!objects.some((binding) => binding.name === "LIMITER") || !bound(objects, "class_name")) {
    found.push(
      `[env.${name}] has no Durable Object LIMITER. Repeat [[durable_objects.bindings]] there.`,
    );
  }
  const caches = [policy.defaults?.cache, ...(policy.routes ?? []).map((route) => route.cache)];
  if (caches.some((cache) => cache?.tiers?.includes?.("global")) && !namespaceOf(config, "CACHE")) {
    found.push(
      `The policy keeps answers in the tier "global", and [env.${name}] has no KV binding CACHE. Add one, as at the top.`,
    );
  }
  if (config.vars?.ENVIRONMENT !== name) {
    found.push(`ENVIRONMENT of [env.${name}.vars] is not "${name}". Set it.`);
  }
  if (config.cache?.enabled) {
    found.push(
      "[cache] enabled answers requests without running the gateway, past every check. Remove it.",
    );
  }
  const feeds = Object.values(policy.address_sets ?? {}).filter((set) => set?.feed);
  if (feeds.length > 0 && !config.triggers?.crons?.length) {
    found.push(
      `The policy has feeds, and nothing fetches them: [env.${name}.triggers] has no crons. Take that table away; the one at the top is inherited.`,
    );
  }
  for (const { host, custom } of routeHosts(config)) {
    for (const upstream of upstreamHosts(policy)) {
      if (upstream.host !== undefined && covers(host, upstream.host)) {
        const mend = custom
          ? "Give the origin a host of its own."
          : 'Give the origin a host of its own, or use "origin": "request".';
        found.push(
          `${host} is the gateway's and also the upstream ${upstream.name}: it would call itself. ${mend}`,
        );
      }
      if (upstream.host === undefined && custom) {
        found.push(
          `${host} is a custom domain: no origin is behind it, and the upstream ${upstream.name} ("origin": "request") would call the gateway. Use a route with zone_name, or give an origin.`,
        );
      }
    }
  }
  return found;
}

/** What a first deployment still has to be given. */
export function blanks(name, config, policy) {
  const found = [];
  for (const { host } of routeHosts(config)) {
    if (RESERVED.test(host)) {
      found.push(`${host} is not yours. Set your own host in [env.${name}] of wrangler.toml.`);
    }
  }
  if (routeHosts(config).length === 0) {
    found.push(
      `[env.${name}] has no routes: nothing would reach the gateway. Add one to wrangler.toml.`,
    );
  }
  for (const upstream of upstreamHosts(policy)) {
    if (upstream.host && RESERVED.test(upstream.host)) {
      found.push(
        `The upstream ${upstream.name} is ${upstream.host}. Set your origin in policies/${name}.json.`,
      );
    }
  }
  return found;
}

/** wrangler.toml with the id of a KV binding in one environment; everything else stays as it is. */
export function withNamespaceId(toml, name, binding, id) {
  const ours = new RegExp(`^\\s*binding\\s*=\\s*"${binding}"`);
  const lines = toml.split("\n");
  const header = `[[env.${name}.kv_namespaces]]`;
  for (let start = lines.indexOf(header); start !== -1; start = lines.indexOf(header, start + 1)) {
    let end = start + 1;
    while (end < lines.length && !/^\s*\[/.test(lines[end])) end += 1;
    const table = lines.slice(start, end);
    if (!table.some((line) => ours.test(line))) continue;
    const at = table.findIndex((line) => /^\s*id\s*=/.test(line));
    if (at === -1) return undefined;
    // The comment above told where the id comes from; it has come.
    lines[start + at] = lines[start + at].replace(/(=\s*)"[^"]*"/, `$1"${id}"`);
    return lines.join("\n");
  }
  return undefined;
}
