import { readdirSync } from "node:fs";
import { join } from "node:path";
import { checkDependencies } from "../lib/deny.mjs";
import { build, buildPrevious } from "../lib/build.mjs";
import { readFlags } from "../lib/flags.mjs";
import { toolEnv } from "../lib/node.mjs";
import { inRoot, nodeBin, root } from "../lib/paths.mjs";
import { findTools, prepare } from "../lib/prepare.mjs";
import { run } from "../lib/run.mjs";
import { green, headline, main, note, red, Refusal, seconds } from "../lib/term.mjs";

const MINUTE = 60_000;
const WASM = "wasm32-unknown-unknown";

/** The compiled tools that each group needs. */
const TOOLS = {
  host: [],
  wasm: ["bindgen"],
  e2e: ["workerBuild", "bindgen"],
  scripts: ["workerBuild", "bindgen", "deny"],
  deny: ["deny"],
};

const help = `npm test [-- FLAGS]

Sets up what is missing, then runs every test. All of them run even if one fails.

  --only GROUP   one of the groups below; may be given more than once
  --help         this text

  host           cargo test: the pure stages, on this machine
  wasm           the adapter's conversions, compiled to WebAssembly, under Node
  e2e            build, type check, and the specs that drive the gateway in workerd
  scripts        the commands themselves
  deny           licences, sources and known vulnerabilities of the dependencies
`;

/** Files of a folder with this ending; a folder without any is a mistake, not a success. */
function specs(folder, ending) {
  const files = readdirSync(inRoot(folder)).filter((name) => name.endsWith(ending));
  if (files.length === 0) throw new Refusal(`No ${ending} in ${folder}.`);
  return files.sort().map((name) => join(folder, name));
}

function nodeTest(files, concurrency, timeout) {
  const args = ["--test", "--test-reporter=spec", `--test-concurrency=${concurrency}`, ...files];
  return run(process.execPath, args, { cwd: root, env: toolEnv(), timeout, label: "node --test" });
}

/** @returns {{group: string, title: string, body: () => Promise<number>}[]} */
function steps(programs) {
  const env = toolEnv();
  const cargo = (args, extra, minutes) =>
    run("cargo", args, { cwd: root, env: { ...env, ...extra }, timeout: minutes * MINUTE });
  return [
    { group: "host", title: "cargo test", body: () => cargo(["test", "--no-fail-fast"], {}, 40) },
    {
      group: "wasm",
      title: "wasm-bindgen-test",
      body: () =>
        cargo(
          ["test", "--target", WASM, "--test", "wasm"],
          { CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER: programs["wasm-bindgen-test-runner"] },
          20,
        ),
    },
    { group: "e2e", title: "build", body: () => build(programs).then(() => 0) },
    {
      group: "e2e",
      title: "build of the previous protocol",
      body: () => buildPrevious(programs).then(() => 0),
    },
    {
      group: "e2e",
      title: "type check",
      body: () =>
        run(nodeBin("tsc"), ["--project", "tsconfig.json"], {
          cwd: root,
          env,
          timeout: 5 * MINUTE,
        }),
    },
    {
      group: "e2e",
      title: "end-to-end specs",
      body: async () => nodeTest(specs("tests/e2e", ".spec.ts"), 2, 15 * MINUTE),
    },
    {
      group: "scripts",
      title: "tests of the commands",
      body: async () => nodeTest(specs("tests/scripts", ".spec.mjs"), 2, 8 * MINUTE),
    },
    {
      group: "deny",
      title: "licences and advisories",
      body: () => checkDependencies(programs["cargo-deny"]),
    },
  ];
}

async function runStep({ title, body }) {
  headline(title);
  const started = Date.now();
  let code;
  try {
    code = await body();
  } catch (error) {
    note(error instanceof Refusal ? `error: ${error.message}` : (error?.stack ?? String(error)));
    code = 1;
  }
  return { title, passed: code === 0, took: Date.now() - started };
}

await main(async () => {
  const args = process.argv.slice(2);
  const flags = readFlags(args, { only: { type: "string", multiple: true } });
  if (flags.help) {
    process.stdout.write(help);
    return;
  }
  const known = Object.keys(TOOLS);
  const wanted = flags.only ?? known;
  const unknown = wanted.find((group) => !known.includes(group));
  if (unknown) throw new Refusal(`There is no group ${unknown}.`, `Groups: ${known.join(" ")}`);

  const tools = [...new Set(wanted.flatMap((group) => TOOLS[group]))];
  const code = await prepare("test", args, tools);
  if (code !== undefined) return code;
  const found = await findTools(tools);

  const results = [];
  for (const step of steps(found)) {
    if (wanted.includes(step.group)) results.push(await runStep(step));
  }
  headline("summary");
  for (const { title, passed, took } of results) {
    const word = passed ? green("passed", process.stderr) : red("FAILED", process.stderr);
    note(`${word}  ${title} (${seconds(took)})`);
  }
  return results.every(({ passed }) => passed) ? 0 : 1;
});
