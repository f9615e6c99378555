// When a build is skipped.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { inputDigest, isBuilt } from "../../scripts/lib/build.mjs";
import { scratch } from "./helpers.mjs";

const inputs = ["src", "policies", "Cargo.toml"];

function sources(test) {
  const folder = scratch(test);
  mkdirSync(join(folder, "src", "stages"), { recursive: true });
  writeFileSync(join(folder, "src", "lib.rs"), "one");
  writeFileSync(join(folder, "src", "stages", "route.rs"), "two");
  writeFileSync(join(folder, "Cargo.toml"), "three");
  return folder;
}

describe("the inputs' digest", () => {
  it("stays while nothing changes, whatever the times of the files", (test) => {
    const folder = sources(test);
    const before = inputDigest(folder, inputs);
    writeFileSync(join(folder, "src", "lib.rs"), "one");
    writeFileSync(join(folder, "notes.txt"), "no input");
    assert.equal(inputDigest(folder, inputs), before);
  });

  it("changes with a content, a name, a new file and a missing one", (test) => {
    const folder = sources(test);
    const seen = new Set([inputDigest(folder, inputs)]);
    const isNew = (what) => {
      const digest = inputDigest(folder, inputs);
      assert.ok(!seen.has(digest), what);
      seen.add(digest);
    };
    writeFileSync(join(folder, "src", "stages", "route.rs"), "2");
    isNew("content");
    renameSync(join(folder, "src", "lib.rs"), join(folder, "src", "main.rs"));
    isNew("name");
    mkdirSync(join(folder, "policies"));
    writeFileSync(join(folder, "policies", "demo.json"), "{}");
    isNew("new file");
    renameSync(join(folder, "Cargo.toml"), join(folder, "Cargo.bak"));
    isNew("missing file");
  });
});

describe("a build is up to date", () => {
  const digest = (text) => createHash("sha256").update(text).digest("hex");
  function output(test) {
    const folder = scratch(test);
    writeFileSync(join(folder, "index.js"), "js");
    writeFileSync(join(folder, "index_bg.wasm"), "wasm");
    const outputs = { "index.js": digest("js"), "index_bg.wasm": digest("wasm") };
    writeFileSync(join(folder, "built.json"), JSON.stringify({ inputs: "abc", outputs }));
    return folder;
  }

  it("with the same inputs and untouched outputs", (test) => {
    assert.equal(isBuilt(output(test), "abc"), true);
  });

  it("not with other inputs, changed outputs, or no record", (test) => {
    const folder = output(test);
    assert.equal(isBuilt(folder, "abd"), false);
    writeFileSync(join(folder, "index_bg.wasm"), "other");
    assert.equal(isBuilt(folder, "abc"), false);
    assert.equal(isBuilt(scratch(test), "abc"), false);
  });
});
