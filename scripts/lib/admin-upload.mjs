// Sends a long body, piece by piece, with its length declared: what breaks off is no list, for either
// side.
//
// Not by fetch. A gateway that refuses a list answers before it has read all of it, and closes; what is
// then still being written resets the connection, and the answer is lost with it. (Of a Worker's refusals
// in workerd a third were lost by fetch, most by a plain loop of writes.) So, as curl does, it is asked
// first whether the body is wanted, for a second; and between two pieces there is time to hear that it is
// not any more.
import http from "node:http";
import https from "node:https";
import { setImmediate as immediate, setTimeout as wait } from "node:timers/promises";

/** Smaller bodies are sent without asking. */
const ASKS_FROM = 64 << 10;
const ASKS_FOR = 1_000;
/** With pieces of 64 KiB a list of 64 MiB takes a second longer for it. */
const PAUSE = 1;
/**
 * What is written in the very moment in which the answer comes still loses it: of 60 refusals one, on a
 * machine that has too much to do. It is tried again then, and slowly around where it broke off.
 */
const TRIES = 3;
const SLOW_PAUSE = 30;
const SLOW_BYTES = 1 << 20;
const BROKEN = ["ECONNRESET", "EPIPE"];

const timeoutError = () => Object.assign(new Error("timed out"), { name: "TimeoutError" });

/**
 * @param {URL} url
 * @param {{method: string, headers: Record<string, string>, timeout: number,
 *   body: {size: number, chunks: () => AsyncIterable<Uint8Array>},
 *   onSent?: (bytes: number) => void}} options `timeout` is how many milliseconds may go by without
 *   anything being sent or received
 * @returns {Promise<{status: number, headers: {get: (name: string) => string | null},
 *   body: AsyncIterable<Uint8Array>}>} what fetch would give; its body has to be read. An error says
 *   in `upload` how much was sent, where that was not all
 */
export async function upload(url, options) {
  let brokeAt;
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(url, options, brokeAt);
    } catch (error) {
      // Nobody acts on a part of a body: whoever has it knows its length.
      brokeAt = error.upload?.sent;
      if (!brokeAt || !BROKEN.includes(error.code) || tries === TRIES) throw error;
    }
  }
}

async function once(url, { method, headers, timeout, body, onSent = () => {} }, brokeAt) {
  const asks = body.size > ASKS_FROM;
  const outgoing = (url.protocol === "https:" ? https : http).request(url, {
    method,
    agent: false,
    headers: {
      ...headers,
      "Content-Length": String(body.size),
      ...(asks ? { Expect: "100-continue" } : {}),
    },
  });
  let sent = 0;
  let isOver = false;
  let hasTimedOut = false;
  let timer;
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      hasTimedOut = true;
      outgoing.destroy(timeoutError());
    }, timeout);
  };
  const end = () => {
    clearTimeout(timer);
    outgoing.destroy();
  };
  const explained = (error) => {
    const cause = hasTimedOut ? timeoutError() : error;
    return sent < body.size ? Object.assign(cause, { upload: { sent, size: body.size } }) : cause;
  };
  const answered = new Promise((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.on("error", reject);
  }).finally(() => (isOver = true));
  // It is awaited below; until then it must not count as a rejection that nobody handles.
  answered.catch(() => {});

  try {
    restart();
    if (asks) {
      outgoing.flushHeaders();
      const asked = new Promise((resolve) => outgoing.once("continue", resolve));
      await Promise.race([
        asked,
        answered,
        connected(outgoing).then(() => wait(ASKS_FOR, undefined, { ref: false })),
      ]);
    }
    for await (const chunk of body.chunks()) {
      if (sent > 0) {
        await wait(Math.abs(sent - brokeAt) < SLOW_BYTES ? SLOW_PAUSE : PAUSE);
        // What came meanwhile is read before anything else is written, and nothing comes in between.
        await immediate();
      }
      if (isOver) break;
      await Promise.race([written(outgoing, chunk), answered]);
      if (isOver) break;
      sent += chunk.length;
      onSent(sent);
      restart();
    }
    if (!isOver) outgoing.end();
    const response = await answered;
    restart();
    return {
      status: response.statusCode,
      headers: { get: (name) => response.headers[name.toLowerCase()] ?? null },
      body: received(),
    };
    async function* received() {
      try {
        for await (const chunk of response) {
          restart();
          yield chunk;
        }
      } catch (error) {
        throw explained(error);
      } finally {
        end();
      }
    }
  } catch (error) {
    end();
    throw explained(error);
  }
}

/** The time of the question begins when somebody can hear it. */
const connected = (outgoing) =>
  new Promise((resolve) => {
    outgoing.once("socket", (socket) => {
      if (!socket.connecting) resolve();
      socket.once(socket.encrypted ? "secureConnect" : "connect", resolve);
    });
  });

/** Until the operating system has it: no more than one piece is held. */
const written = (outgoing, chunk) =>
  new Promise((resolve) => outgoing.write(chunk, () => resolve()));
