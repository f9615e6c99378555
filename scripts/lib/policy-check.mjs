// Checks documents without a gateway: by the crate's own compiler, run on this machine.
import { readdirSync } from "node:fs";
import { relative, sep } from "node:path";
import { NO, UNREACHABLE, USAGE } from "./admin-refusal.mjs";
import { readText } from "./input.mjs";
import { isPrepared } from "./node.mjs";
import { inRoot, root, userPath } from "./paths.mjs";
import { setUpRust } from "./prepare.mjs";
import { output, run } from "./run.mjs";
import { printable, Refusal } from "./term.mjs";

/**
 * @typedef {object} Checked
 * @property {string} file as it was named
 * @property {boolean} valid
 * @property {string} [module] the least version of the module that can read it
 * @property {{path: string, value: string, expected: string}[]} problems
 */

export const allPolicies = () =>
  readdirSync(inRoot("policies"))
    .filter((name) => name.endsWith(".json"))
    .sort()
    .map((name) => inRoot("policies", name));

/** A file of this clone by its place in it. */
const shown = (file) => (file.startsWith(root + sep) ? relative(root, file) : file);

const cannot = (answer) => {
  const said = answer ? `\n${(answer.stderr || answer.stdout).trim()}` : " cargo was not found.";
  return new Refusal(`The checker does not run:${said}`, undefined, UNREACHABLE);
};

/** Compiles the checker, which takes minutes once and nothing after that. */
async function makeChecker() {
  if (!isPrepared()) await setUpRust();
  const args = ["build", "--example", "policy"];
  const code = await run("cargo", args, { cwd: root, show: "progress", label: "cargo" });
  if (code !== 0) throw new Refusal("The checker does not compile.", undefined, UNREACHABLE);
}

async function checkHere(file) {
  const args = ["run", "--quiet", "--example", "policy", "--", "check", userPath(file), "--json"];
  const answer = await output("cargo", args, { cwd: root });
  try {
    const { valid, module, problems } = JSON.parse(answer.stdout);
    return { valid, module, problems };
  } catch {
    throw cannot(answer);
  }
}

/** By the module of a gateway, which may be older than this clone. */
async function checkThere(call, body) {
  try {
    const known = (answer) => typeof answer.json?.module === "string";
    const { json } = await call("POST", "policy/validate", { body, known });
    return { valid: true, module: json.module, problems: [] };
  } catch (error) {
    if (error.reason !== "invalid-policy") throw error;
    return { valid: false, problems: error.body.problems ?? [] };
  }
}

/**
 * @param {string[]} files
 * @param {import("./admin-client.mjs").Call} [call] the gateway to ask, in place of this machine
 * @returns {Promise<Checked[]>}
 */
export async function checkFiles(files, call) {
  const texts = new Map();
  const unusable = new Map();
  for (const file of files) {
    if (file === "-") throw new Refusal("check wants files.", undefined, USAGE);
    try {
      texts.set(file, await readText(file));
    } catch (error) {
      if (error.exitCode !== NO) throw error;
      unusable.set(file, [{ path: "", value: "", expected: error.message }]);
    }
  }
  if (!call) await makeChecker();
  const checked = [];
  for (const file of files) {
    const problems = unusable.get(file);
    const result = problems
      ? { valid: false, problems }
      : await (call ? checkThere(call, texts.get(file)) : checkHere(file));
    checked.push({ file: shown(file), ...result });
  }
  return checked;
}

/** A problem on one line, as the crate writes it. */
export function problemLine(file, { path, value, expected }) {
  const found = value ? `found ${value}; ` : "";
  return printable(`${file}: ${path || "(document)"}: ${found}${expected}`);
}

/** Shows what was found; the exit code. @param {Checked[]} checked */
export function showChecked(checked, { json = false } = {}) {
  if (json) {
    process.stdout.write(`${JSON.stringify({ files: checked })}\n`);
  } else {
    for (const { file, valid, module, problems } of checked) {
      if (valid) process.stdout.write(`${printable(file)}: good (module ${module} or newer)\n`);
      for (const problem of problems) process.stderr.write(`${problemLine(file, problem)}\n`);
    }
  }
  return checked.every(({ valid }) => valid) ? 0 : NO;
}
