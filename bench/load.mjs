// The load generator, in a process of its own: N keep-alive connections, each with one request in
// flight (closed loop). The parent sends a plan over IPC and gets the counts back.
//
// A plan: { port, connections, seconds | count, requests: [head…], body: bytes, expect: status,
//           marker: "text", values: [text…] }
// `requests` are complete heads, used in turn. Where `marker` is set, each occurrence of it in a head
// becomes a number that no other request of this process has, or the next of `values`: a plan goes on
// where the one before stopped.

import net from "node:net";
import { Histogram } from "./histogram.mjs";
import { MessageReader } from "./http1.mjs";

const DRAIN_MS = 15_000; // how long requests in flight may still take once time is up
const MAX_REQUESTS = 5_000_000; // a bound whatever the plan says
const READ_BUFFER = 256 * 1024;
const MAX_RETRIES = 20;
const BODYLESS = /^HTTP\/1\.1 (?:1\d\d|204|304)/;

let serial = 0;

function run(plan) {
  return new Promise((resolve, reject) => {
    const body = plan.body ? Buffer.alloc(plan.body, "edgeweir bench body\n") : null;
    const heads = plan.requests.map((head) =>
      plan.marker ? head.split(plan.marker) : Buffer.from(head, "latin1"),
    );
    const latency = new Histogram();
    const statuses = {};
    const sockets = new Set();
    const limit = Math.min(plan.count ?? MAX_REQUESTS, MAX_REQUESTS);
    const started = process.hrtime.bigint();
    const cpu = process.cpuUsage();
    const stopAt = plan.seconds ? performance.now() + plan.seconds * 1000 : Infinity;
    let sent = 0;
    let completed = 0;
    let chunked = 0;
    let retries = 0;
    let settled = false;

    const drain = setTimeout(
      () =>
        fail(
          new Error(`requests were still unanswered ${DRAIN_MS / 1000} s after the round's end`),
        ),
      (plan.seconds ?? 600) * 1000 + DRAIN_MS,
    );

    function settle() {
      settled = true;
      clearTimeout(drain);
      for (const socket of sockets) socket.destroy();
    }

    function fail(error) {
      if (settled) return;
      settle();
      reject(error);
    }

    function finish() {
      if (settled) return;
      settle();
      const used = process.cpuUsage(cpu);
      resolve({
        completed,
        retries,
        seconds: Number(process.hrtime.bigint() - started) / 1e9,
        statuses,
        chunked,
        cpu: (used.user + used.system) / 1e6,
        latency: Object.fromEntries(
          [
            ["p50", 0.5],
            ["p90", 0.9],
            ["p99", 0.99],
            ["p999", 0.999],
            ["max", 1],
          ].map(([name, share]) => [name, latency.percentile(share)]),
        ),
      });
    }

    let open = plan.connections;
    for (let index = 0; index < plan.connections; index += 1) connect(null);

    /** @param again a head that another connection sent and got no answer to */
    function connect(again) {
      let begun = 0;
      let status = 0;
      let unanswered = null;
      let done = false;
      let cause = "no error";
      const reader = new MessageReader(
        (head) => {
          status = Number(head.slice(9, 12));
        },
        (message) => {
          // An informational answer is not the one that is waited for.
          if (status < 200) return;
          unanswered = null;
          latency.record((performance.now() - begun) * 1000);
          completed += 1;
          if (message.chunked) chunked += 1;
          statuses[status] = (statuses[status] ?? 0) + 1;
          if (status !== plan.expect)
            return fail(new Error(`expected status ${plan.expect}, got ${status}`));
          next();
        },
        (head) => BODYLESS.test(head),
      );
      const socket = net.connect({
        port: plan.port,
        host: "127.0.0.1",
        noDelay: true,
        // One buffer for all reads of this connection: nothing for the garbage collector to do.
        onread: {
          buffer: Buffer.allocUnsafe(READ_BUFFER),
          callback(length, buffer) {
            try {
              reader.push(buffer.subarray(0, length));
            } catch (error) {
              fail(error);
            }
            return true;
          },
        },
      });
      sockets.add(socket);
      socket.on("connect", () => (again === null ? next() : send(again)));
      socket.on("error", (error) => {
        cause = error.message;
      });
      // A server may close an idle connection just as the next request is on its way; a client then
      // sends it again (RFC 9112, 9.3.1). workerd does so where valgrind holds it up for 5 s.
      socket.on("close", () => {
        sockets.delete(socket);
        if (settled || done) return;
        retries += 1;
        if (retries <= MAX_RETRIES && reader.idle && unanswered !== null && !body)
          connect(unanswered);
        else
          fail(new Error(`the server closed a connection (${cause}), after ${completed} answers`));
      });

      function send(head) {
        unanswered = head;
        begun = performance.now();
        socket.write(head);
        if (body) socket.write(body);
      }

      function next() {
        if (settled) return;
        if (sent >= limit || performance.now() >= stopAt) {
          done = true;
          open -= 1;
          if (open === 0) finish();
          return;
        }
        const head = heads[sent % heads.length];
        sent += 1;
        if (!plan.marker) return send(head);
        serial += 1;
        send(head.join(plan.values ? plan.values[serial % plan.values.length] : String(serial)));
      }
    }
  });
}

process.on("message", ({ id, plan }) => {
  run(plan).then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: error.message }),
  );
});
process.on("disconnect", () => process.exit(0));
process.send({ ready: true });
