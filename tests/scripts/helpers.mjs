import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { script } from "../../scripts/lib/node.mjs";
import { root } from "../../scripts/lib/paths.mjs";

/** A folder that goes when the test ends. */
export function scratch(test) {
  const folder = mkdtempSync(join(tmpdir(), "edgeweir-test-"));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A program that runs this JavaScript. */
export function program(path, body) {
  writeFileSync(path, `#!${process.execPath}\n${body}\n`);
  chmodSync(path, 0o755);
}

/** Listens on a free port until the test ends. */
export async function busyPort(test) {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.after(() => server.close());
  return server.address().port;
}

/** Free ports in a row. Others may take them before they are used, so callers use them soon. */
export async function freePorts(count) {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const first = 20_000 + Math.floor(Math.random() * 12_000);
    const servers = [];
    try {
      for (let offset = 0; offset < count; offset += 1) {
        const server = createServer();
        await new Promise((resolve, reject) => {
          server.once("error", reject);
          server.listen(first + offset, "127.0.0.1", resolve);
        });
        servers.push(server);
      }
      return Array.from({ length: count }, (_, offset) => first + offset);
    } catch {
      // Taken: another row.
    } finally {
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    }
  }
  throw new Error("no free ports");
}

/** Runs one of the commands to its end, without set-up. `input` is what it reads; by default nothing. */
export function command(name, args, env = {}, { input, cwd = root } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script(name), ...args], {
      cwd,
      env: { ...process.env, EDGEWEIR_PREPARED: root, NO_COLOR: "1", ...env },
      stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    const out = { stdout: "", stderr: "" };
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
    child.stdout.on("data", (chunk) => (out.stdout += chunk));
    child.stderr.on("data", (chunk) => (out.stderr += chunk));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, ...out }));
  });
}
