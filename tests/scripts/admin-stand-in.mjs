// A server on loopback that plays the admin API: it writes down what it is asked, and answers what it
// was told to.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { command, scratch } from "./helpers.mjs";

export const TOKEN = `weir_${"T0ken-_".repeat(7).slice(0, 43)}`;
export const DOCUMENT = '{ "version": 1,\n  "upstreams": {}, "routes": [] }\n';

const PREFIX = "/_weir/admin/v1";

/** An answer in JSON. */
export const json = (status, value, headers = {}) => ({
  status,
  headers: { "Content-Type": "application/json", ...headers },
  body: typeof value === "string" ? value : JSON.stringify(value),
});

export const plain = (body) => ({
  status: 200,
  headers: { "Content-Type": "text/plain; charset=utf-8" },
  body,
});

/** A refusal, as RFC 9457 has it. */
export const problem = (status, reason, more = {}, headers = {}) => ({
  status,
  headers: { "Content-Type": "application/problem+json", ...headers },
  body: JSON.stringify({
    type: `urn:edgeweir:problem:${reason}`,
    title: `Title of ${reason}`,
    status,
    request_id: "id-1",
    ...more,
  }),
});

/** Breaks the connection, or never answers, or never reads. */
export const RESET = "reset";
export const SILENT = "silent";
export const DEAF = "deaf";

/**
 * An answer that comes after so many bytes of the body; then the connection is closed on whoever is
 * still sending. 0: before the body is asked for.
 */
export const early = (answer, bytes) => ({ ...answer, after: bytes });

/** A connection that breaks after so many bytes of the body. */
export const breaking = (bytes) => ({ breaks: true, after: bytes });

/** Longer bodies are not kept, but their hash is. */
const BODY_KEPT = 1 << 20;

const acknowledged = json(
  201,
  { revision: "r8", sequence: 8, hash: "00", state: "published" },
  { ETag: '"r8"' },
);

/** What happens when all is well: r7 is active. */
const WELL = {
  "GET /policy": json(200, DOCUMENT, { ETag: '"r7"' }),
  "PUT /policy": acknowledged,
  "POST /policy/rollback": acknowledged,
  "POST /policy/diff": plain('added routes["a"]: {}\nchanged routes["b"].path: "/a" -> "/b"\n'),
  "GET /policy/diff": plain('removed routes["a"]: {}\n'),
};

/**
 * Plays the API until the test ends.
 *
 * @param {import("node:test").TestContext} test
 * @param {Record<string, object | string>} [answers] by method and path; others than when all is well
 */
export async function standIn(test, answers = {}) {
  const requests = [];
  const open = new Set();
  const serve = (request, response) => {
    const url = new URL(request.url, "http://stand-in");
    const line = `${request.method} ${url.pathname.slice(PREFIX.length)}`;
    const answer = answers[line] ?? answers["*"] ?? WELL[line] ?? problem(404, "no-such-endpoint");
    const chunks = [];
    const hash = createHash("sha256");
    let bytes = 0;
    const give = () => {
      requests.push({
        line,
        prefix: url.pathname.slice(0, PREFIX.length),
        query: Object.fromEntries(url.searchParams),
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
        bytes,
        sha256: hash.digest("hex"),
      });
      if (answer === RESET || answer.breaks) return request.socket.destroy();
      if (answer === SILENT) return undefined;
      response.writeHead(answer.status, answer.headers);
      if (answer.after === undefined) return response.end(answer.body);
      // Closing with something unread is a reset.
      response.end(answer.body, () => request.socket.destroy());
      return request.pause();
    };
    if (answer.after === 0) return give();
    if (request.headers.expect !== undefined) response.writeContinue();
    if (answer === DEAF) return undefined;
    let given = false;
    request.on("error", () => (broken.count += 1));
    request.on("data", (chunk) => {
      bytes += chunk.length;
      if (bytes <= BODY_KEPT) chunks.push(chunk);
      hash.update(chunk);
      if (given || answer.after === undefined || bytes < answer.after) return;
      given = true;
      give();
    });
    request.once("end", () => given || give());
    return undefined;
  };
  const broken = { count: 0 };
  const server = createServer(serve);
  server.on("checkContinue", serve);
  server.on("connection", (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.after(() => {
    for (const socket of open) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const home = scratch(test);
  const url = `http://127.0.0.1:${server.address().port}`;
  const env = {
    // That there is no colour is because there is no terminal.
    NO_COLOR: "",
    XDG_CONFIG_HOME: home,
    XDG_STATE_HOME: home,
    EDGEWEIR_STAGING_URL: url,
    EDGEWEIR_STAGING_TOKEN: TOKEN,
  };
  return {
    url,
    env,
    home,
    requests,
    /** How many requests broke off. */
    broken,
    lines: () => requests.map(({ line }) => line),
    /** Runs `npm run policy` against it. */
    run: (args, options) => command("policy", [...args, "--env", "staging"], env, options),
  };
}

/** A list of its own: the path of a file with that text. */
export function listFile(test, text, name = "list.txt") {
  const path = join(scratch(test), name);
  writeFileSync(path, text);
  return path;
}

/** A document of its own, as bytes that are not what a JSON writer would make of them. */
export function documentFile(test, text = DOCUMENT) {
  const path = join(scratch(test), "edited.json");
  writeFileSync(path, text);
  return path;
}

/** A result in which there is neither the token nor a colour. */
export function clean(result) {
  assert.ok(!(result.stdout + result.stderr).includes(TOKEN), "the token was shown");
  assert.doesNotMatch(result.stdout + result.stderr, /\u001b/);
  return result;
}

export const oneLine = (text) => text.trim().split("\n").length === 1;
