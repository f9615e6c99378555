// The lines to try that `npm start` prints.

/**
 * One request for each stage of the demo, as [stage, what, command]. The answers are the reader's to
 * look at.
 */
export function demoThings(url) {
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

const ROUTES_SHOWN = 12;
const STAGES = ["ip_filter", "rate_limit", "canary", "cache"];

/** A word for a shell; one of plain characters stands as it is. */
export const quoted = (text) =>
  /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/** A target that a route's path takes. */
const targetOf = (path = "/*") =>
  encodeURI(path.replace(/\{[^}]*\}/g, "x").replace(/\/\*$/, "/x")).replaceAll("%25", "%");

/**
 * One request for each route of a policy that was checked; a request by a route is not sure to take
 * it, since a more specific one may.
 */
export function policyThings(policy, url) {
  const routes = (policy.routes ?? []).slice(0, ROUTES_SHOWN);
  return routes.map(({ id, match = {}, ...route }) => {
    const host = match.hosts?.[0]?.replace(/^\*\./, "www.");
    const fields = { ...(host ? { Host: host } : {}), ...match.headers };
    const method = match.methods?.[0] ?? "GET";
    const words = [
      ...["curl", method === "HEAD" ? "-sI" : "-si"],
      ...(["GET", "HEAD"].includes(method) ? [] : ["-X", method]),
      ...Object.entries(fields).flatMap(([name, value]) => ["-H", `${name}: ${value}`]),
      `${url}${targetOf(match.path)}`,
    ];
    const stages = STAGES.filter((stage) => route[stage] ?? policy.defaults?.[stage]);
    return [id, stages.join(", "), words.map(quoted).join(" ")];
  });
}
