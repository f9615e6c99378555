// The static origin, in a process of its own. It answers from buffers made in advance, and its
// parent asks it over IPC what it counted, so a run can prove that a forwarded request reached the
// origin and a refused or cached one did not.
//
//   /v1/plain…   small JSON, not storable        /v1/store…   small JSON, storable for an hour
//   /v1/large    16 MiB, not storable            /v1/upload   200 if exactly 16 MiB came, else 400
//   /v1/mebibyte 1 MiB, storable for an hour

import net from "node:net";
import { MessageReader } from "./http1.mjs";

const LARGE = 16 * 1024 * 1024;
const SMALL = JSON.stringify({
  id: "ord_01J9ZK3V7N8Q",
  status: "shipped",
  currency: "EUR",
  total: 12990,
  placed: "2026-01-01T09:30:00Z",
  customer: { id: "cus_8812", name: "A. Example", country: "DE" },
  lines: [
    { sku: "KB-104", title: "Keyboard", quantity: 1, price: 8990 },
    { sku: "CB-2M", title: "Cable, 2 m", quantity: 2, price: 2000 },
  ],
});
const largeBody = Buffer.alloc(LARGE, "edgeweir bench body\n");
const MEBIBYTE = largeBody.subarray(0, 1024 * 1024);

let requests = 0;
let answers = {};

// Origins send Date, and caches reckon with it: the answers are made anew each second.
function render() {
  const date = new Date().toUTCString();
  const head = (status, type, length, extra) =>
    `HTTP/1.1 ${status}\r\nDate: ${date}\r\nServer: bench-origin\r\nContent-Type: ${type}\r\n` +
    `Content-Length: ${length}\r\n${extra}\r\n`;
  const json = (status, body, extra) =>
    Buffer.from(head(status, "application/json", Buffer.byteLength(body), extra) + body);
  answers = {
    plain: json("200 OK", SMALL, "Cache-Control: no-store\r\n"),
    store: json("200 OK", SMALL, 'Cache-Control: public, max-age=3600\r\nETag: "1"\r\n'),
    large: Buffer.from(
      head("200 OK", "application/octet-stream", LARGE, "Cache-Control: no-store\r\n"),
    ),
    mebibyte: Buffer.from(
      head(
        "200 OK",
        "application/octet-stream",
        MEBIBYTE.length,
        'Cache-Control: public, max-age=3600\r\nETag: "1"\r\n',
      ),
    ),
    received: json("200 OK", '{"received":true}', "Cache-Control: no-store\r\n"),
    short: json("400 Bad Request", '{"received":false}', "Cache-Control: no-store\r\n"),
    unknown: json("404 Not Found", "{}", "Cache-Control: no-store\r\n"),
  };
}
render();
setInterval(render, 1000).unref();

function sendLarge(socket, head, body) {
  socket.cork();
  socket.write(head);
  socket.write(body);
  socket.uncork();
}

const TARGET = /^[A-Z]+ \/v1\/([a-z]+)/;

const server = net.createServer({ noDelay: true }, (socket) => {
  let name = "";
  const reader = new MessageReader(
    (head) => {
      name = TARGET.exec(head)?.[1] ?? "";
    },
    ({ bytes }) => {
      requests += 1;
      switch (name) {
        case "plain":
        case "exact": // a route of its own in policy.json, the same answer
          socket.write(answers.plain);
          break;
        case "store":
          socket.write(answers.store);
          break;
        case "large":
          sendLarge(socket, answers.large, largeBody);
          break;
        case "mebibyte":
          sendLarge(socket, answers.mebibyte, MEBIBYTE);
          break;
        case "upload":
          socket.write(bytes === LARGE ? answers.received : answers.short);
          break;
        default:
          socket.write(answers.unknown);
      }
    },
  );
  socket.on("data", (data) => {
    try {
      reader.push(data);
    } catch {
      socket.destroy();
    }
  });
  socket.on("error", () => socket.destroy());
});

server.listen(0, "127.0.0.1", () => process.send({ ready: server.address().port }));
process.on("message", ({ id }) => {
  process.send({ id, value: { requests, cpu: process.cpuUsage() } });
});
// The parent is gone: nothing is left to serve.
process.on("disconnect", () => process.exit(0));
