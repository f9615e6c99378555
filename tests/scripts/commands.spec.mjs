// What each command says before it does anything.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { nodeProblem } from "../../scripts/lib/node-version.mjs";
import { requireFree } from "../../scripts/lib/ports.mjs";
import { usesColour } from "../../scripts/lib/term.mjs";
import { busyPort, command, freePorts } from "./helpers.mjs";

const oneLine = (text) => text.trim().split("\n").length === 1;

describe("flags", () => {
  for (const name of ["start", "test", "build", "deploy", "setup", "advisories", "token"]) {
    it(`${name} refuses a flag it does not know, in one line that names those it does`, async () => {
      const { code, stderr, stdout } = await command(name, ["--prot", "1"]);
      assert.equal(code, 1);
      assert.match(stderr, /^error: Unknown option '--prot'\. Known flags: (--[a-z-]+ )*--help$/m);
      assert.ok(oneLine(stderr), stderr);
      assert.equal(stdout, "");
    });

    it(`${name} --help says how it is run`, async () => {
      const { code, stdout } = await command(name, ["--help"]);
      assert.equal(code, 0);
      assert.match(stdout, /^npm /);
    });
  }

  it("a port is a number from 1 to 65535", async () => {
    for (const text of ["0", "65536", "80a", ""]) {
      const { code, stderr } = await command("start", [`--port=${text}`]);
      assert.equal(code, 1, text);
      assert.match(stderr, /^error: --port .*is not a port\. Give a number from 1 to 65535\.$/m);
    }
  });

  it("a test group must exist", async () => {
    const { code, stderr } = await command("test", ["--only", "hosts"]);
    assert.equal(code, 1);
    assert.match(stderr, /^error: There is no group hosts\. Groups: host wasm e2e scripts deny$/m);
  });

  it("a policy file must be readable JSON", async () => {
    const [port] = await freePorts(1);
    const { code, stderr } = await command("start", [
      "--port",
      String(port),
      "--policy",
      "README.nowhere",
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /error: The policy README\.nowhere cannot be read/);
  });
});

describe("ports", () => {
  it("a busy port is one line with the port and the mend", async (test) => {
    const port = await busyPort(test);
    const { code, stderr } = await command("start", ["--port", String(port)]);
    assert.equal(code, 1);
    assert.equal(
      stderr.trim(),
      `error: Port ${port} is in use. Choose another: npm start -- --port N`,
    );
  });

  it("a busy port of the second origin names the flag of the first", async (test) => {
    const port = await busyPort(test);
    const wanted = [{ port, flag: "origin-port", first: port - 1 }];
    await assert.rejects(requireFree(wanted), {
      message: `Port ${port} is in use (--origin-port ${port - 1} takes it too). Choose another: npm start -- --origin-port N`,
    });
  });

  it("one port cannot serve twice", async () => {
    const [port] = await freePorts(1);
    const wanted = [
      { port, flag: "port" },
      { port, flag: "origin-port" },
    ];
    await assert.rejects(requireFree(wanted), /is wanted twice/);
  });

  it("free ports pass", async () => {
    const [port] = await freePorts(1);
    await requireFree([{ port, flag: "port" }]);
  });
});

describe("the machine", () => {
  it("an old Node is one line", () => {
    assert.match(nodeProblem("v18.19.1"), /^Node v18\.19\.1 is too old\. Install Node 20 or newer/);
    assert.equal(nodeProblem("v20.0.0"), undefined);
    assert.equal(nodeProblem("v100.1.0"), undefined);
  });

  it("colours only on terminals, and not with NO_COLOR", () => {
    assert.equal(usesColour({ isTTY: true }, {}), true);
    assert.equal(usesColour({ isTTY: true }, { NO_COLOR: "1" }), false);
    assert.equal(usesColour({ isTTY: true }, { TERM: "dumb" }), false);
    assert.equal(usesColour({}, {}), false);
  });
});
