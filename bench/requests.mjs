// The requests of the benchmark, as a browser behind a CDN would send them.

import http from "node:http";

const HOST = "api.example.com";

// Several clients, so that tables keyed by client hold more than one entry.
const CLIENTS = Array.from({ length: 64 }, (_, index) => `203.0.113.${index + 1}`);
const REFUSED = CLIENTS.map((address) => address.replace("203.0.113.", "192.0.2."));

/** Stands in a path for a number that is new in each request, or the next of those that it names by `among`. */
export const UNIQUE = "{n}";

// Stands in a head for the address of a client.
const CLIENT = "{client}";

function fields({ body = 0 }, client, cookie) {
  return {
    Host: HOST,
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    Accept: "application/json, text/plain, */*",
    "Accept-Language": "en-GB,en;q=0.8,de;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    Referer: "https://www.example.com/orders?page=2",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-site",
    "CF-Connecting-IP": client,
    ...(cookie && { Cookie: cookie }),
    ...(body > 0 && { "Content-Type": "application/octet-stream", "Content-Length": String(body) }),
  };
}

/**
 * What the load generator is told of a request: heads, and what to put in them. Where the request
 * names `clients`, a family of the scenario's own, each comes from the next of those.
 */
export function requestPlan(request, { cookie, clients }) {
  const plan = { body: request.body, requests: heads(request, cookie) };
  if (request.clients !== undefined)
    return { ...plan, marker: CLIENT, values: clients[request.clients].all };
  if (request.among !== undefined)
    return { ...plan, marker: UNIQUE, values: numbers(request.among) };
  return request.path.includes(UNIQUE) ? { ...plan, marker: UNIQUE } : plan;
}

/**
 * Numbers below `count`, each once, in an order in which no two neighbours stand beside each other:
 * what they name is looked up all over a table.
 */
function numbers(count) {
  // Prime, and no count that is asked for is a multiple of it.
  const STRIDE = 7919;
  return Array.from({ length: count }, (_, place) => String((place * STRIDE) % count));
}

/** One complete head for each client; one for all of them where the request names `clients`. */
export function heads(request, cookie) {
  const { method = "GET", path, refused = false } = request;
  const all = refused ? REFUSED : CLIENTS;
  return (request.clients === undefined ? all : [CLIENT]).map((client) => {
    const lines = Object.entries(fields(request, client, cookie)).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
  });
}

let serial = 0;

/** Sends one request for each client in turn: afterwards a limit of one is used up for all of them. */
export async function sendForEachClient(port, request, options) {
  for (const client of CLIENTS) await send(port, request, { ...options, client });
}

/** Sends one request and returns { status, headers, body }: the body as a Buffer. */
export function send(port, request, { cookie, client, timeoutMs = 20_000 } = {}) {
  const { method = "GET", path, body = 0, refused = false } = request;
  serial += 1;
  // A name that no request of the load generator has, which counts from one.
  const target = path.replace(UNIQUE, request.among === undefined ? `single-${serial}` : "0");
  const headers = fields(request, client ?? (refused ? REFUSED : CLIENTS)[0], cookie);
  return new Promise((resolve, reject) => {
    const outgoing = http.request(
      { host: "127.0.0.1", port, method, path: target, headers, agent: false, timeout: timeoutMs },
      async (incoming) => {
        try {
          const parts = await incoming.toArray();
          incoming.socket.destroy();
          resolve({
            status: incoming.statusCode,
            headers: incoming.headers,
            body: Buffer.concat(parts),
          });
        } catch (error) {
          reject(error);
        }
      },
    );
    // Node would add a Connection field, which the load generator does not send.
    outgoing.removeHeader("connection");
    outgoing.on("timeout", () =>
      outgoing.destroy(new Error(`no answer to ${method} ${target} in ${timeoutMs / 1000} s`)),
    );
    outgoing.on("error", reject);
    outgoing.end(body > 0 ? Buffer.alloc(body) : undefined);
  });
}
