// What a hit costs at least: a Worker that asks of the runtime what the gateway asks of it for an
// answer from memory, and decides nothing. It reads the names that are there and the values of those
// that a rule of the benchmark's policy wants, writes a line of the same length (where LOG says so),
// and answers from the buffer that is there, under a kept head in which one field is set anew.
const WANTED = new Set(["cf-connecting-ip", "cookie", "host"]);

let kept;
let count = 0;

export default {
  fetch(request, env) {
    return kept === undefined ? fill(request, env) : answer(request, env);
  },
};

function answer(request, env) {
  let text = `${request.method}\n${request.url}`;
  const { headers } = request;
  for (const name of headers.keys()) if (WANTED.has(name)) text += `\n${name}=${headers.get(name)}`;
  count += 1;
  const id = String(count).padStart(32, "0");
  kept.head.headers.set("x-request-id", id);
  const response = new Response(kept.bytes, kept.head);
  if (env.LOG === "info") console.log(`${LINE}${id}","length":${text.length}}`);
  return response;
}

async function fill(request, env) {
  const { pathname, search } = new URL(request.url);
  const response = await fetch(`http://${env.ORIGIN}${pathname}${search}`, request);
  const headers = new Headers(response.headers);
  headers.set("age", "0");
  headers.set("cache-status", "edgeweir; hit; ttl=3600");
  headers.set("ratelimit-policy", '"per-client";q=1000000;w=1');
  headers.set("ratelimit", '"per-client";r=999999;t=1');
  headers.set("x-request-id", "");
  const head = new Response(null, { status: response.status, headers, encodeBody: "manual" });
  kept = { bytes: new Uint8Array(await response.arrayBuffer()), head };
  return answer(request, env);
}

// The gateway's line for the benchmark's request has so many bytes, ids included.
const LINE = `{"schema":1,"time":"2026-01-01T00:00:00.000Z","rest":"${"x".repeat(280)}","request_id":"`;
