// The cargo tools, each at one version, compiled once for each user.
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { withLock } from "./lock.mjs";
import { cacheDir, inRoot, root } from "./paths.mjs";
import { output, run } from "./run.mjs";
import { which } from "./rust.mjs";
import { note, Refusal } from "./term.mjs";

/** The command-line tool and the crate must be one version: the format between them is theirs. */
export function bindgenVersion(lockText) {
  const match = /\[\[package\]\]\nname = "wasm-bindgen"\nversion = "([^"]+)"/.exec(lockText ?? "");
  return match?.[1] ?? "0.2.130";
}

function lockText() {
  try {
    return readFileSync(inRoot("Cargo.lock"), "utf8");
  } catch {
    return undefined;
  }
}

/** Times are for two cores. */
export function toolList(lock = lockText()) {
  return {
    workerBuild: { crate: "worker-build", version: "0.8.7", bins: ["worker-build"], minutes: 4 },
    bindgen: {
      crate: "wasm-bindgen-cli",
      version: bindgenVersion(lock),
      bins: ["wasm-bindgen", "wasm-bindgen-test-runner"],
      minutes: 4,
    },
    deny: { crate: "cargo-deny", version: "0.20.2", bins: ["cargo-deny"], minutes: 6 },
  };
}

const folder = (tool, env) => join(cacheDir(env), "tools", `${tool.crate}-${tool.version}`);

async function saysVersion(path, version) {
  if (!path || !existsSync(path)) return false;
  const answer = await output(path, ["--version"]);
  // "0.8.7" or "wasm-bindgen 0.2.130"; a build from a commit adds more, and is another version.
  return answer?.code === 0 && answer.stdout.trim().split(/\s+/).pop() === version;
}

async function allSayVersion(paths, version) {
  const answers = await Promise.all(paths.map((path) => saysVersion(path, version)));
  return answers.every(Boolean);
}

/** The tool's programs by name, or undefined: the cache first, then PATH, then cargo's own folder. */
export async function findTool(tool, env = process.env) {
  const cargoHome = env.CARGO_HOME || join(env.HOME || homedir(), ".cargo");
  const places = [
    (bin) => join(folder(tool, env), "bin", bin),
    (bin) => which(bin, env),
    (bin) => join(cargoHome, "bin", bin),
  ];
  for (const place of places) {
    const paths = tool.bins.map(place);
    if (await allSayVersion(paths, tool.version)) {
      return Object.fromEntries(tool.bins.map((bin, index) => [bin, paths[index]]));
    }
  }
  return undefined;
}

/** The tools run for a second at a time: what one waits for is their compilation. */
const QUICK_TO_COMPILE = {
  CARGO_PROFILE_RELEASE_OPT_LEVEL: "1",
  CARGO_PROFILE_RELEASE_LTO: "off",
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16",
};

async function compile(tool, env) {
  const goal = folder(tool, env);
  const staging = `${goal}.partial`;
  // A build folder of its own lets an interrupted compilation go on where it stopped.
  const target = join(cacheDir(env), "build", `${tool.crate}-${tool.version}`);
  const clean = { ...env, ...QUICK_TO_COMPILE, CARGO_TARGET_DIR: target };
  delete clean.CARGO_BUILD_TARGET;
  let lockIsStale = false;
  const attempt = (locked) =>
    run(
      "cargo",
      ["install", ...locked, "--force", "--root", staging, `${tool.crate}@${tool.version}`],
      {
        cwd: root,
        env: clean,
        show: "progress",
        label: tool.crate,
        onLine: (line) => {
          if (/^error: failed to select a version/.test(line)) lockIsStale = true;
        },
        forgive: () => locked.length > 0 && lockIsStale,
      },
    );

  note(`Compiling ${tool.crate} ${tool.version}, once, about ${tool.minutes} minutes …`);
  rmSync(staging, { recursive: true, force: true });
  let code = await attempt(["--locked"]);
  if (code !== 0 && lockIsStale) {
    note(
      `   its own lock names a release that the registry does not serve: choosing versions anew`,
    );
    code = await attempt([]);
  }
  if (code === 127) throw new Refusal("cargo was not found.", "Install Rust with rustup.");
  if (code !== 0) {
    throw new Refusal(
      `${tool.crate} ${tool.version} did not compile.`,
      "cargo's last lines are above.",
    );
  }
  rmSync(goal, { recursive: true, force: true });
  renameSync(staging, goal);
  rmSync(target, { recursive: true, force: true });
}

/** Finds or compiles one tool. Two set-ups that need it at once compile it once. */
export async function installTool(tool, env = process.env) {
  const found = await findTool(tool, env);
  if (found) return found;
  const lock = join(cacheDir(env), "locks", `${tool.crate}-${tool.version}`);
  return withLock(
    lock,
    async () => {
      if (!(await findTool(tool, env))) await compile(tool, env);
      const built = await findTool(tool, env);
      if (!built) throw new Refusal(`${tool.crate} ${tool.version} was built but does not run.`);
      return built;
    },
    { what: `another set-up to compile ${tool.crate}` },
  );
}
