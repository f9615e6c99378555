// `npm run policy -- import` of a long list: how it gets there, and what becomes of it where it does not.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { describe, it } from "node:test";
import { upload } from "../../scripts/lib/admin-upload.mjs";
import { script } from "../../scripts/lib/node.mjs";
import { inRoot, root } from "../../scripts/lib/paths.mjs";
import {
  breaking,
  clean,
  DEAF,
  early,
  json,
  listFile,
  oneLine,
  problem,
  standIn,
} from "./admin-stand-in.mjs";
import { scratch } from "./helpers.mjs";

const imported = () => {
  const step = { changed: true, read: 2, prefixes: 2, v4: 2, v6: 0, before: 2 };
  return {
    "PUT /address-sets/drop": json(200, {
      name: "drop",
      generation: 13,
      state: "published",
      ...step,
    }),
  };
};

/** A list of about so many bytes. */
function longList(test, size) {
  const path = join(scratch(test), "long.txt");
  const file = openSync(path, "w");
  const block = "198.51.100.17\n".repeat(80_000);
  for (let written = 0; written < size; written += block.length) writeSync(file, block);
  closeSync(file);
  truncateSync(path, size);
  return path;
}

describe("a long list", () => {
  const SIZE = 60 << 20;

  /** As `api.run`, with the most memory that the command had, in MiB. */
  async function measured(test, api, args) {
    const report = join(scratch(test), "report.mjs");
    writeFileSync(
      report,
      `process.on("exit", () => process._rawDebug("max " + process.resourceUsage().maxRSS));`,
    );
    const all = ["--import", report, script("policy"), ...args, "--env", "staging"];
    const env = { ...process.env, EDGEWEIR_PREPARED: root, ...api.env };
    const child = spawn(process.execPath, all, { cwd: inRoot(), env });
    let out = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (it) => (out += it));
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 0, out);
    return Number(/max (\d+)/.exec(out)[1]) / 1_024;
  }

  it("is sent piece by piece: whole, and never held", async (test) => {
    const api = await standIn(test, imported());
    const path = longList(test, SIZE);
    const few = await measured(test, api, ["import", "drop", listFile(test, "192.0.2.0/24\n")]);
    const many = await measured(test, api, ["import", "drop", path]);
    const { bytes, sha256, headers } = api.requests[1];
    assert.equal(bytes, SIZE);
    const hash = createHash("sha256");
    const block = Buffer.from("198.51.100.17\n".repeat(80_000));
    for (let left = SIZE; left > 0; left -= block.length) hash.update(block.subarray(0, left));
    assert.equal(sha256, hash.digest("hex"));
    assert.equal(headers["content-length"], String(SIZE));
    assert.equal(headers.expect, "100-continue");
    assert.ok(many - few < 24, `${few.toFixed(0)} MiB, with the long list ${many.toFixed(0)} MiB`);
  });

  it("is not sent to whom does not want it", async (test) => {
    const answer = early(problem(401, "unauthenticated"), 0);
    const api = await standIn(test, { "*": answer });
    const { code, stderr } = clean(await api.run(["import", "drop", longList(test, SIZE)]));
    assert.equal(code, 3);
    assert.match(stderr, /does not know this token/);
    assert.equal(api.requests[0].bytes, 0);
  });

  it("that is refused on the way: the answer is heard, each time", async (test) => {
    const path = longList(test, SIZE);
    for (const bytes of [1, 100_000, 3_000_000, 20_000_000]) {
      const refused = problem(422, "invalid-list", { list_reason: "malformed", detail: "line 3" });
      const api = await standIn(test, { "*": early(refused, bytes) });
      for (let times = 0; times < 5; times += 1) {
        const { code, stderr } = clean(await api.run(["import", "drop", path]));
        assert.equal(code, 1, stderr);
        assert.match(stderr, /Refused \(422 invalid-list, malformed: line 3/);
      }
      assert.ok(api.requests.every((it) => it.bytes < SIZE));
    }
  });

  it("stops within a few pieces of an answer", async (test) => {
    const server = createServer((request, response) => {
      request.once("data", () => {
        request.pause();
        response.writeHead(422);
        response.end("no", () => request.socket.destroy());
      });
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    test.after(() => server.close());
    const url = new URL(`http://127.0.0.1:${server.address().port}/`);
    for (let times = 0; times < 5; times += 1) {
      let asked = 0;
      // Nothing of it is waited for, as if the file were in memory.
      async function* chunks() {
        for (; asked < 1_024; asked += 1) yield Buffer.alloc(64 << 10);
      }
      const body = { size: 64 << 20, chunks };
      const response = await upload(url, { method: "PUT", headers: {}, timeout: 5_000, body });
      let text = "";
      for await (const chunk of response.body) text += chunk;
      assert.equal(`${response.status} ${text}`, "422 no");
      assert.ok(asked <= 10, `${asked} pieces`);
    }
  });

  it("that the other side stops reading: how far it came, and that nothing was changed", async (test) => {
    const api = await standIn(test, { "*": DEAF });
    const args = ["import", "drop", longList(test, SIZE), "--timeout", "0.5"];
    const { code, stderr } = clean(await api.run(args));
    assert.equal(code, 3);
    assert.match(
      stderr,
      /took \d+\.\d MiB of 60\.0 MiB, then nothing for 0\.5 s\. Nothing was changed/,
    );
    assert.ok(oneLine(stderr), stderr);
  });

  it("whose connection breaks once: is sent again", async (test) => {
    const answers = [breaking(5_000_000), imported()["PUT /address-sets/drop"]];
    const api = await standIn(test, {
      get "*"() {
        return answers.shift();
      },
    });
    const { code, stderr } = clean(await api.run(["import", "drop", longList(test, SIZE)]));
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      api.requests.map((it) => it.bytes === SIZE),
      [false, true],
    );
  });

  it("whose connection breaks each time: how far it came", async (test) => {
    const api = await standIn(test, { "*": breaking(5_000_000) });
    const { code, stderr } = clean(await api.run(["import", "drop", longList(test, SIZE)]));
    assert.equal(code, 3);
    assert.match(stderr, /took \d+\.\d MiB of 60\.0 MiB, then the connection broke\. Nothing was/);
    assert.equal(api.requests.length, 3);
  });
});
