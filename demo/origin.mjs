// The demo origin: a plain HTTP server that tells what reached it. `npm start` runs two versions of
// it behind the gateway; `node demo/origin.mjs --name stable --port 8788` runs one alone.
//
//   /static/*        cacheable: Cache-Control: max-age=30 and an ETag; 304 where it still fits
//   /slow?ms=2000    answers late
//   /error?status=503
//   /stream?chunks=5 a line every 200 ms, chunked
//   /reset           breaks the connection without an answer
//   anything else    JSON: the request as it arrived
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const SHOWN_BODY = 4_096;
const LONGEST_WAIT = 60_000;
const MOST_CHUNKS = 100;

function between(text, least, most, fallback) {
  const value = Number(text ?? fallback);
  return Number.isFinite(value) ? Math.min(Math.max(Math.trunc(value), least), most) : fallback;
}

function sendJson(response, status, value, fields = {}) {
  const body = `${JSON.stringify(value, null, 2)}\n`;
  response.writeHead(status, {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": Buffer.byteLength(body),
    ...fields,
  });
  response.end(body);
}

/** Reads the whole body but keeps only what an answer shows. */
async function readBody(request) {
  const kept = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (bytes < SHOWN_BODY) kept.push(chunk.subarray(0, SHOWN_BODY - bytes));
    bytes += chunk.length;
  }
  return { bytes, start: Buffer.concat(kept).toString("utf8") };
}

async function echo(name, request, response) {
  const { bytes, start } = await readBody(request);
  const fields = { "Cache-Control": "no-store", "X-Origin-Version": name };
  sendJson(
    response,
    200,
    {
      version: name,
      method: request.method,
      target: request.url,
      headers: request.headers,
      body: { bytes, start },
    },
    fields,
  );
}

function staticResource(name, url, request, response) {
  const etag = `"${createHash("sha256").update(`${name} ${url.pathname}`).digest("hex").slice(0, 16)}"`;
  const fields = { "Cache-Control": "max-age=30", ETag: etag, "X-Origin-Version": name };
  const known = (request.headers["if-none-match"] ?? "").split(",").map((tag) => tag.trim());
  if (known.includes(etag)) {
    response.writeHead(304, fields);
    response.end();
    return;
  }
  sendJson(
    response,
    200,
    { version: name, path: url.pathname, made: new Date().toISOString() },
    fields,
  );
}

async function stream(name, url, request, response) {
  const chunks = between(url.searchParams.get("chunks"), 1, MOST_CHUNKS, 5);
  response.writeHead(200, { "Content-Type": "text/plain; charset=utf-8" });
  for (let chunk = 1; chunk <= chunks && !response.destroyed; chunk += 1) {
    response.write(`${name}: ${chunk} of ${chunks}\n`);
    await sleep(200);
  }
  response.end();
}

async function answer(name, request, response) {
  const url = new URL(request.url, "http://origin.invalid");
  if (url.pathname.startsWith("/static/")) return staticResource(name, url, request, response);
  switch (url.pathname) {
    case "/slow":
      await sleep(between(url.searchParams.get("ms"), 0, LONGEST_WAIT, 2_000));
      return sendJson(response, 200, { version: name, slow: true });
    case "/error": {
      const status = between(url.searchParams.get("status"), 400, 599, 500);
      return sendJson(response, status, { version: name, error: `asked for ${status}` });
    }
    case "/stream":
      return stream(name, url, request, response);
    case "/reset":
      return request.socket.destroy();
    default:
      return echo(name, request, response);
  }
}

/**
 * Starts one version of the origin on loopback.
 *
 * @param {{name: string, port: number}} options port 0 takes a free one
 * @returns {Promise<{port: number, close: () => Promise<void>}>}
 */
export async function startOrigin({ name, port }) {
  const server = createServer((request, response) => {
    answer(name, request, response).catch((error) => {
      // A target that is no URL, or a client that went away in the middle of its body.
      if (response.headersSent) response.destroy();
      else sendJson(response, 400, { version: name, error: String(error.message) });
    });
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    port: server.address().port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { values } = parseArgs({
    options: {
      name: { type: "string", default: "stable" },
      port: { type: "string", default: "8788" },
    },
  });
  const origin = await startOrigin({ name: values.name, port: Number(values.port) });
  process.stdout.write(`The origin ${values.name} answers on http://127.0.0.1:${origin.port}\n`);
}
