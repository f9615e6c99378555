// The Rust toolchain that rust-toolchain.toml names, with its target and components.
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { inRoot, root } from "./paths.mjs";
import { output, run } from "./run.mjs";
import { note, Refusal } from "./term.mjs";

/** Finds a program the way a shell does. */
export function which(name, env = process.env) {
  if (name.includes("/")) return existsSync(name) ? name : undefined;
  return (env.PATH ?? "")
    .split(delimiter)
    .filter(Boolean)
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

/** rustup's own folder is on PATH only after a new login: look there too. */
export function cargoEnv(env = process.env) {
  if (which("cargo", env)) return env;
  const home = env.CARGO_HOME || join(env.HOME || homedir(), ".cargo");
  return { ...env, PATH: `${env.PATH ?? ""}${delimiter}${join(home, "bin")}` };
}

/** The few keys of rust-toolchain.toml that matter here. */
export function readToolchain(text) {
  const list = (key) => {
    const body = new RegExp(`^${key}\\s*=\\s*\\[([^\\]]*)\\]`, "m").exec(text)?.[1] ?? "";
    return [...body.matchAll(/"([^"]+)"/g)].map((match) => match[1]);
  };
  const channel = /^channel\s*=\s*"([^"]+)"/m.exec(text)?.[1];
  return { channel, targets: list("targets"), components: list("components") };
}

/** What a toolchain at `sysroot` still lacks. */
export function missingParts(sysroot, toolchain, exists = existsSync) {
  const programs = { clippy: "cargo-clippy", rustfmt: "rustfmt" };
  return {
    targets: toolchain.targets.filter(
      (target) => !exists(join(sysroot, "lib", "rustlib", target, "lib")),
    ),
    components: toolchain.components.filter(
      (name) => !exists(join(sysroot, "bin", programs[name] ?? name)),
    ),
  };
}

export function requireCompiler(env = process.env) {
  const compiler = env.CC?.split(" ")[0] || "cc";
  if (which(compiler, env)) return;
  throw new Refusal(
    `No C compiler: ${compiler} was not found.`,
    "Install one (Debian: apt-get install build-essential; macOS: xcode-select --install).",
  );
}

async function sysroot(env) {
  const answer = await output("rustc", ["--print", "sysroot"], { cwd: root, env });
  return answer?.code === 0 ? answer.stdout.trim() : undefined;
}

export async function installToolchain(env = process.env) {
  const mend = "Install Rust with rustup (rustup.rs), then try again.";
  if (!which("cargo", env) || !which("rustc", env))
    throw new Refusal("No Rust: cargo was not found.", mend);
  const toolchain = readToolchain(readFileSync(inRoot("rust-toolchain.toml"), "utf8"));
  const rustup = async (args, what) => {
    if (!which("rustup", env))
      throw new Refusal(`${what} is missing and there is no rustup.`, mend);
    note(`Installing ${what} with rustup, about a minute …`);
    const code = await run("rustup", args, { cwd: root, env, show: "progress", label: "rustup" });
    if (code !== 0)
      throw new Refusal(`rustup could not install ${what}.`, "Its last lines are above.");
  };

  let home = await sysroot(env);
  if (home === undefined) {
    const extras = toolchain.components.flatMap((name) => ["--component", name]);
    const targets = toolchain.targets.flatMap((name) => ["--target", name]);
    const args = ["toolchain", "install", toolchain.channel, "--profile", "minimal"];
    await rustup([...args, ...extras, ...targets], `Rust ${toolchain.channel}`);
    home = await sysroot(env);
    if (home === undefined) throw new Refusal(`Rust ${toolchain.channel} does not run.`, mend);
  }
  const missing = missingParts(home, toolchain);
  const of = ["--toolchain", toolchain.channel];
  if (missing.targets.length > 0) {
    await rustup(["target", "add", ...of, ...missing.targets], missing.targets.join(", "));
  }
  if (missing.components.length > 0) {
    await rustup(["component", "add", ...of, ...missing.components], missing.components.join(", "));
  }
}
