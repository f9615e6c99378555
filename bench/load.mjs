// The load generator, in a process of its own: N keep-alive connections, each with one request in
// flight (closed loop). The parent sends a plan over IPC and gets the counts back.
//
// A plan: { port, connections, seconds | count, requests: [head…], body: bytes, expect: status,
//           unique: "marker" }
// `requests` are complete heads, used in turn. Where `unique` is set, each occurrence of that
// marker in a head becomes a number that no other request of this process has.

import net from "node:net";
import { Histogram } from "./histogram.mjs";
import { MessageReader } from "./http1.mjs";

const DRAIN_MS = 15_000; // how long requests in flight may still take once time is up
const MAX_REQUESTS = 5_000_000; // a bound whatever the plan says
const READ_BUFFER = 256 * 1024;
const BODYLESS = /^HTTP\/1\.1 (?:1\d\d|204|304)/;

let serial = 0;

function run(plan) {
  return new Promise((resolve, reject) => {
    const body = plan.body ? Buffer.alloc(plan.body, "edgeweir bench body\n") : null;
    const heads = plan.requests.map((head) => (plan.unique ? head.split(plan.unique) : Buffer.from(head, "latin1")));
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
    let bodyBytes = 0;
    let settled = false;

    const drain = setTimeout(
      () => fail(new Error(`requests were still unanswered ${DRAIN_MS / 1000} s after the round's end`)),
      (plan.seconds ?? 120) * 1000 + DRAIN_MS,
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
        seconds: Number(process.hrtime.bigint() - started) / 1e9,
        statuses,
        chunked,
        bodyBytes,
        cpu: (used.user + used.system) / 1e6,
        latency: Object.fromEntries(
          [["p50", 0.5], ["p90", 0.9], ["p99", 0.99], ["p999", 0.999], ["max", 1]].map(([name, share]) => [name, latency.percentile(share)]),
        ),
      });
    }

    let open = plan.connections;
    for (let index = 0; index < plan.connections; index += 1) connect();

    function connect() {
      let begun = 0;
      let status = 0;
      const reader = new MessageReader(
        (head) => {
          status = Number(head.slice(9, 12));
        },
        (message) => {
          // An informational answer is not the one that is waited for.
          if (status < 200) return;
          latency.record((performance.now() - begun) * 1000);
          completed += 1;
          bodyBytes += message.bytes;
          if (message.chunked) chunked += 1;
          statuses[status] = (statuses[status] ?? 0) + 1;
          if (status !== plan.expect) return fail(new Error(`expected status ${plan.expect}, got ${status}`));
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
      socket.on("connect", next);
      socket.on("error", (error) => fail(new Error(`connection failed: ${error.message}`)));
      socket.on("close", () => fail(new Error("the server closed a keep-alive connection")));

      function next() {
        if (settled) return;
        if (sent >= limit || performance.now() >= stopAt) {
          open -= 1;
          if (open === 0) finish();
          return;
        }
        const head = heads[sent % heads.length];
        sent += 1;
        begun = performance.now();
        if (plan.unique) socket.write(head.join(String((serial += 1))), "latin1");
        else socket.write(head);
        if (body) socket.write(body);
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
