// The set-up does what is missing, once, and what is there not at all.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { withLock } from "../../scripts/lib/lock.mjs";
import { inRoot } from "../../scripts/lib/paths.mjs";
import { isInstalled } from "../../scripts/lib/npm.mjs";
import {
  cargoEnv,
  installToolchain,
  missingParts,
  readToolchain,
  requireCompiler,
  which,
} from "../../scripts/lib/rust.mjs";
import { bindgenVersion, findTool, installTool, toolList } from "../../scripts/lib/tools.mjs";
import { program, scratch } from "./helpers.mjs";

describe("npm packages", () => {
  const entry = (version, more = {}) => ({ version, integrity: `sha512-${version}`, ...more });
  const lock = {
    packages: {
      "": { name: "edgeweir" },
      "node_modules/a": entry("1.0.0"),
      "node_modules/b-win": entry("2.0.0", { optional: true }),
    },
  };
  const installed = (packages) => ({ packages });

  it("are installed when npm's own record equals the lock", () => {
    assert.equal(isInstalled(lock, installed({ "node_modules/a": entry("1.0.0") })), true);
  });

  it("a package for another system may be absent, a different one not be there", () => {
    const b = { "node_modules/a": entry("1.0.0"), "node_modules/b-win": entry("2.0.1") };
    assert.equal(isInstalled(lock, installed(b)), false);
  });

  it("are not when one is missing, older, changed or too many", () => {
    assert.equal(isInstalled(lock, undefined), false);
    assert.equal(isInstalled(lock, installed({})), false);
    assert.equal(isInstalled(lock, installed({ "node_modules/a": entry("0.9.0") })), false);
    const changed = { ...entry("1.0.0"), integrity: "sha512-other" };
    assert.equal(isInstalled(lock, installed({ "node_modules/a": changed })), false);
    const extra = { "node_modules/a": entry("1.0.0"), "node_modules/c": entry("1.0.0") };
    assert.equal(isInstalled(lock, installed(extra)), false);
  });
});

describe("the Rust toolchain", () => {
  const text = `[toolchain]\nchannel = "1.95.0"\ncomponents = ["clippy", "rustfmt"]\ntargets = [\n  "wasm32-unknown-unknown",\n]\n`;

  it("is what rust-toolchain.toml says", () => {
    assert.deepEqual(readToolchain(text), {
      channel: "1.95.0",
      components: ["clippy", "rustfmt"],
      targets: ["wasm32-unknown-unknown"],
    });
  });

  it("lacks what its sysroot does not hold", () => {
    const has = new Set(["/s/bin/rustfmt"]);
    const missing = missingParts("/s", readToolchain(text), (path) => has.has(path));
    assert.deepEqual(missing, { targets: ["wasm32-unknown-unknown"], components: ["clippy"] });
  });

  /** A rustup whose toolchain is complete only after it was told to install what is missing. */
  function fakeRustup(folder, { toolchain = true, fails = false } = {}) {
    const log = join(folder, "calls");
    const home = join(folder, "sysroot");
    writeFileSync(log, "");
    program(join(folder, "cargo"), "");
    program(
      join(folder, "rustc"),
      `const fs = require("node:fs");
      if (!${toolchain} && !fs.existsSync(${JSON.stringify(home)})) process.exit(1);
      console.log(${JSON.stringify(home)});`,
    );
    program(
      join(folder, "rustup"),
      `const fs = require("node:fs");
      const args = process.argv.slice(2);
      fs.appendFileSync(${JSON.stringify(log)}, args.join(" ") + "\\n");
      if (${fails}) process.exit(1);
      const home = ${JSON.stringify(home)};
      fs.mkdirSync(home + "/bin", { recursive: true });
      if (args[0] !== "component") fs.mkdirSync(home + "/lib/rustlib/wasm32-unknown-unknown/lib", { recursive: true });
      if (args[0] !== "target") for (const name of ["cargo-clippy", "rustfmt"]) fs.writeFileSync(home + "/bin/" + name, "");`,
    );
    return {
      env: { PATH: folder },
      calls: () => readFileSync(log, "utf8").trim().split("\n").filter(Boolean),
    };
  }

  it("is installed as a whole when it is missing, and then left alone", async (test) => {
    const { env, calls } = fakeRustup(scratch(test), { toolchain: false });
    await installToolchain(env);
    await installToolchain(env);
    assert.deepEqual(calls(), [
      "toolchain install 1.95.0 --profile minimal --component clippy --component rustfmt --target wasm32-unknown-unknown",
    ]);
  });

  it("gets the target and the components that it lacks", async (test) => {
    const { env, calls } = fakeRustup(scratch(test));
    await installToolchain(env);
    assert.deepEqual(calls(), [
      "target add --toolchain 1.95.0 wasm32-unknown-unknown",
      "component add --toolchain 1.95.0 clippy rustfmt",
    ]);
  });

  it("a rustup that fails, or none, is one line with the mend", async (test) => {
    const { env } = fakeRustup(scratch(test), { fails: true });
    await assert.rejects(installToolchain(env), /rustup could not install wasm32-unknown-unknown/);
    await assert.rejects(installToolchain({ PATH: "/nowhere" }), {
      message:
        "No Rust: cargo was not found. Install Rust with rustup (rustup.rs), then try again.",
    });
  });

  it("a missing C compiler is one line with the mend", () => {
    assert.throws(() => requireCompiler({ PATH: "/nowhere" }), {
      message: /^No C compiler: cc was not found\. Install one \(.*\)\.$/,
    });
    assert.throws(
      () => requireCompiler({ PATH: "/nowhere", CC: "gcc-99 -m64" }),
      /gcc-99 was not found/,
    );
  });

  it("cargo is found in its own folder before the next login", (test) => {
    const home = scratch(test);
    mkdirSync(join(home, "bin"));
    program(join(home, "bin", "cargo"), "");
    const env = cargoEnv({ PATH: "/nowhere", CARGO_HOME: home });
    assert.equal(which("cargo", env), join(home, "bin", "cargo"));
  });
});

describe("cargo tools", () => {
  it("wasm-bindgen is of the version in Cargo.lock", () => {
    const lock =
      '[[package]]\nname = "wasm-bindgen"\nversion = "0.2.77"\n\n[[package]]\nname = "wasm-bindgen-futures"\nversion = "0.4.1"\n';
    assert.equal(bindgenVersion(lock), "0.2.77");
    assert.equal(bindgenVersion(undefined), "0.2.130");
    assert.equal(toolList(lock).bindgen.version, "0.2.77");
  });

  const tool = { crate: "made-up-tool", version: "1.2.3", bins: ["made-up"], minutes: 1 };

  /** A cargo that notes how it was called and installs a program of the version it was asked for. */
  function fakeCargo(folder, { failWhenLocked = false } = {}) {
    const log = join(folder, "calls");
    writeFileSync(log, "");
    program(
      join(folder, "cargo"),
      `const fs = require("node:fs"), path = require("node:path");
      const args = process.argv.slice(2);
      fs.appendFileSync(${JSON.stringify(log)}, args.join(" ") + "\\n");
      if (${failWhenLocked} && args.includes("--locked")) {
        console.error("error: failed to select a version for the requirement");
        process.exit(101);
      }
      const bin = path.join(args[args.indexOf("--root") + 1], "bin");
      const version = args.at(-1).split("@")[1];
      setTimeout(() => {
        fs.mkdirSync(bin, { recursive: true });
        fs.writeFileSync(path.join(bin, "made-up"), "#!/bin/sh\\necho made-up " + version + "\\n", { mode: 0o755 });
      }, 400);`,
    );
    const calls = () => readFileSync(log, "utf8").trim().split("\n").filter(Boolean);
    const env = {
      ...process.env,
      PATH: `${folder}:${process.env.PATH}`,
      XDG_CACHE_HOME: join(folder, "cache"),
      CARGO_HOME: join(folder, "home"),
    };
    return { env, calls };
  }

  it("is compiled once, by its lock, into the user's cache", async (test) => {
    const { env, calls } = fakeCargo(scratch(test));
    const first = await installTool(tool, env);
    assert.equal(
      first["made-up"],
      join(env.XDG_CACHE_HOME, "edgeweir/tools/made-up-tool-1.2.3/bin/made-up"),
    );
    assert.deepEqual(await installTool(tool, env), first);
    assert.equal(calls().length, 1);
    assert.match(calls()[0], /^install --locked --force --root .* made-up-tool@1\.2\.3$/);
  });

  it("two set-ups at once compile it once", async (test) => {
    const { env, calls } = fakeCargo(scratch(test));
    const found = await Promise.all([
      installTool(tool, env),
      installTool(tool, env),
      installTool(tool, env),
    ]);
    assert.deepEqual(found[0], found[1]);
    assert.deepEqual(found[0], found[2]);
    assert.equal(calls().length, 1);
  });

  it("a lock that the registry cannot serve is left aside", async (test) => {
    const { env, calls } = fakeCargo(scratch(test), { failWhenLocked: true });
    await installTool(tool, env);
    assert.equal(calls().length, 2);
    assert.doesNotMatch(calls()[1], /--locked/);
  });

  it("one that is on PATH at the version is taken, at another version not", async (test) => {
    const folder = scratch(test);
    const { env, calls } = fakeCargo(folder);
    program(join(folder, "made-up"), 'console.log("made-up 1.2.3")');
    assert.deepEqual(await findTool(tool, env), { "made-up": join(folder, "made-up") });
    program(join(folder, "made-up"), 'console.log("made-up 1.2.4")');
    assert.equal(await findTool(tool, env), undefined);
    assert.equal(calls().length, 0);
  });

  it("one in the cache that no longer runs is compiled again", async (test) => {
    const { env, calls } = fakeCargo(scratch(test));
    const { "made-up": path } = await installTool(tool, env);
    writeFileSync(path, "not a program");
    assert.deepEqual(await installTool(tool, env), { "made-up": path });
    assert.equal(calls().length, 2);
  });

  it("a compilation that fails is a refusal", async (test) => {
    const folder = scratch(test);
    const { env } = fakeCargo(folder);
    program(join(folder, "cargo"), "process.exit(101)");
    await assert.rejects(installTool(tool, env), /made-up-tool 1\.2\.3 did not compile/);
  });
});

describe("the lock", () => {
  it("lets one in at a time", async (test) => {
    const path = join(scratch(test), "lock");
    let inside = 0;
    let most = 0;
    const body = async () => {
      inside += 1;
      most = Math.max(most, inside);
      await sleep(30);
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 5 }, () => withLock(path, body, { poll: 10 })));
    assert.equal(most, 1);
  });

  it("is free again after a failure", async (test) => {
    const path = join(scratch(test), "lock");
    await assert.rejects(
      withLock(path, () => Promise.reject(new Error("told to fail"))),
      /told to fail/,
    );
    assert.equal(await withLock(path, async () => 7), 7);
  });

  it("is taken over from a holder that died, not from one that lives", async (test) => {
    const path = join(scratch(test), "lock");
    writeFileSync(path, "dead");
    const old = new Date(Date.now() - 60_000);
    utimesSync(path, old, old);
    assert.equal(await withLock(path, async () => 7, { poll: 10 }), 7);

    let released = false;
    const options = { poll: 10, stale: 120, beat: 20 };
    const holder = withLock(path, () => sleep(500).then(() => (released = true)), options);
    await withLock(path, async () => assert.equal(released, true), options);
    await holder;
  });
});

describe("an interrupted set-up", () => {
  it("ends what it started, starts nothing more and lets go of its lock", async (test) => {
    const folder = scratch(test);
    const file = (name) => join(folder, name);
    const url = (name) => pathToFileURL(inRoot("scripts", "lib", name)).href;
    writeFileSync(
      file("set-up.mjs"),
      `import { withLock } from ${JSON.stringify(url("lock.mjs"))};
      import { run } from ${JSON.stringify(url("run.mjs"))};
      import { writeFileSync } from "node:fs";
      await withLock("lock", async () => {
        await run("sh", ["-c", "echo $$ > step; exec sleep 60"]);
        await run("sh", ["-c", "echo > second"]);
        writeFileSync("after", "");
      });`,
    );
    const child = spawn(process.execPath, ["set-up.mjs"], { cwd: folder, stdio: "ignore" });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const content = () =>
      existsSync(file("step")) ? readFileSync(file("step"), "utf8").trim() : "";
    for (let tries = 0; tries < 200 && content() === ""; tries += 1) await sleep(25);
    const step = Number(content());
    assert.ok(step > 0 && existsSync(file("lock")));
    child.kill("SIGTERM");
    assert.equal(await ended, 143);
    assert.throws(() => process.kill(step, 0), { code: "ESRCH" });
    for (const name of ["lock", "second", "after"])
      assert.equal(existsSync(file(name)), false, name);
  });
});
