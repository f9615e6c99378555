// The build: worker-build, then wasm-opt with our own flags, then build/index.js and
// build/index_bg.wasm. Skipped when nothing that goes into it has changed.
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { uploadSize } from "../../bench/build.mjs";
import { withLock } from "./lock.mjs";
import { toolEnv } from "./node.mjs";
import { buildDir, inRoot, nodeBin, root } from "./paths.mjs";
import { cloneLock } from "./prepare.mjs";
import { must } from "./run.mjs";
import { note, Refusal, seconds } from "./term.mjs";

const OUTPUTS = ["index.js", "index_bg.wasm"];
const STAMP = "built.json";
const INPUTS = [
  "src",
  "policies",
  "Cargo.toml",
  "Cargo.lock",
  "rust-toolchain.toml",
  ".cargo",
  "package-lock.json",
  "scripts/lib/build.mjs",
  "scripts/lib/esbuild-entry.mjs",
  "scripts/lib/tools.mjs",
];

/** The features of WebAssembly that rustc and wasm-bindgen emit here and workerd runs, and no more. */
const FEATURES = [
  "bulk-memory",
  "exception-handling",
  "multivalue",
  "mutable-globals",
  "nontrapping-float-to-int",
  "reference-types",
  "sign-ext",
];

/**
 * Link-time optimisation has inlined already; binaryen's own inlining of large functions makes the
 * upload a tenth larger, gzipped. Names are stripped.
 */
const OPTIMISE = ["-O3", "--one-caller-inline-max-function-size=20"];

function* files(path) {
  const entries = readdirSync(path, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const inside = join(path, entry.name);
    if (entry.isDirectory()) yield* files(inside);
    else yield inside;
  }
}

/** A digest of every file that goes into the build, by name and content. */
export function inputDigest(base = root, inputs = INPUTS) {
  const hash = createHash("sha256");
  for (const name of inputs) {
    const path = join(base, name);
    if (!existsSync(path)) continue;
    let inside;
    try {
      inside = [...files(path)];
    } catch (error) {
      if (error.code !== "ENOTDIR") throw error;
      inside = [path];
    }
    for (const file of inside) {
      const content = readFileSync(file);
      hash.update(`${file.slice(base.length)}\0${content.length}\0`).update(content);
    }
  }
  return hash.digest("hex");
}

const digest = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Is what the folder holds the output of these inputs, untouched? */
export function isBuilt(folder, inputs) {
  try {
    const stamp = JSON.parse(readFileSync(join(folder, STAMP), "utf8"));
    return (
      stamp.inputs === inputs &&
      OUTPUTS.every((name) => stamp.outputs[name] === digest(join(folder, name)))
    );
  } catch {
    return false;
  }
}

async function compile(programs, folder, features) {
  const staging = inRoot("target", "worker");
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(inRoot("target"), { recursive: true });
  const env = {
    ...toolEnv(),
    // worker-build downloads from a code host what these do not name.
    WASM_BINDGEN_BIN: programs["wasm-bindgen"],
    WASM_OPT_BIN: nodeBin("wasm-opt"),
    ESBUILD_BIN: inRoot("scripts", "lib", "esbuild-entry.mjs"),
    EDGEWEIR_ESBUILD: nodeBin("esbuild"),
  };
  const extra = features.length === 0 ? [] : [".", "--features", features.join(",")];
  await must(
    programs["worker-build"],
    ["--release", "--no-opt", "--out-dir", "target/worker", ...extra],
    { cwd: root, env, label: "worker-build" },
    new Refusal("The build failed.", "The compiler's message is above."),
  );

  const optimised = join(staging, "optimised.wasm");
  const known = ["--mvp-features", ...FEATURES.map((name) => `--enable-${name}`)];
  await must(
    nodeBin("wasm-opt"),
    [join(staging, "index_bg.wasm"), ...OPTIMISE, ...known, "--output", optimised],
    { cwd: root, env, label: "wasm-opt" },
  );

  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, STAMP), { force: true });
  put(join(staging, "index.js"), join(folder, "index.js"));
  put(optimised, join(folder, "index_bg.wasm"));
}

/** A reader never sees half a file. */
function put(from, to) {
  copyFileSync(from, `${to}.tmp`);
  renameSync(`${to}.tmp`, to);
}

const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;

/**
 * Builds where needed and tells the size of the upload.
 *
 * @param {Record<string, string>} programs paths of worker-build and wasm-bindgen
 * @param {{force?: boolean, folder?: string, features?: string[]}} [options] `folder` gets the
 *   build; `features` are those of Cargo.toml
 */
export async function build(programs, options = {}) {
  const { force = false, folder = buildDir, features = [] } = options;
  if (!existsSync(inRoot("Cargo.toml"))) throw new Refusal("Cargo.toml is missing.");
  await withLock(
    cloneLock("build"),
    async () => {
      if (!force && isBuilt(folder, inputDigest())) {
        note("The build is up to date.");
        return;
      }
      const started = Date.now();
      note("Building the gateway, about two minutes the first time …");
      await compile(programs, folder, features);
      // Read again: cargo may have written Cargo.lock.
      const outputs = Object.fromEntries(OUTPUTS.map((name) => [name, digest(join(folder, name))]));
      const stamp = { inputs: inputDigest(), outputs };
      writeFileSync(join(folder, STAMP), `${JSON.stringify(stamp, null, 2)}\n`);
      note(`Built (${seconds(Date.now() - started)}).`);
    },
    { what: "another build" },
  );
  const size = uploadSize(folder);
  note(`Upload: ${kib(size.bytes)}, gzip ${kib(size.gzip)}.`);
  return size;
}

/**
 * Builds the module that speaks the protocol before this one, for the tests that let both talk to
 * each other. It is never deployed.
 */
export function buildPrevious(programs, options = {}) {
  return build(programs, {
    ...options,
    folder: inRoot("target", "previous-protocol"),
    features: ["previous-protocol"],
  });
}
