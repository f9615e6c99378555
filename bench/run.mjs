// npm run bench: the side-by-side table. See --help, and README.md here for the results file.

import { writeFileSync } from "node:fs";
import path from "node:path";
import { uploadSize } from "./build.mjs";
import { readRuntime } from "./config.mjs";
import { machineFacts } from "./machine.mjs";
import { measureHarness, measureScenario } from "./measure.mjs";
import { HELP, UsageError, readOptions } from "./options.mjs";
import { cleanUp, findWorkerd } from "./processes.mjs";
import { render } from "./report.mjs";
import { SIZE_TARGET } from "./scenarios.mjs";
import { startServers } from "./servers.mjs";
import { sizeTarget, summarise } from "./summary.mjs";

const ROOT = path.dirname(import.meta.dirname);

const progress = (line) => process.stderr.write(`${line}\n`);

async function main() {
  const options = readOptions(process.argv.slice(2), ROOT);
  if (options.help) return process.stdout.write(HELP);
  const workerd = findWorkerd(ROOT);
  const runtime = readRuntime(ROOT);
  const machine = machineFacts(workerd);
  if (options.instructions) {
    const { countInstructions } = await import("./instructions.mjs");
    return countInstructions(options, { workerd, runtime, machine, progress });
  }

  if (options.compile) {
    const { measureCompile } = await import("./compile.mjs");
    return measureCompile(options, { workerd, runtime, machine, progress });
  }

  if (options.addresses) {
    const { measureAddresses } = await import("./addresses.mjs");
    return measureAddresses(options, { machine, progress });
  }

  if (options.lookups) {
    const { measureLookups } = await import("./lookups.mjs");
    return measureLookups(options, { machine, progress });
  }

  if (options.limits) {
    const { measureLimits } = await import("./limits.mjs");
    return measureLimits(options, { runtime, machine, progress });
  }

  const size = uploadSize(options.build);
  progress("starting workerd, the origin and the load generator");
  const names = new Set([
    "gateway",
    ...options.scenarios.flatMap(({ entries }) => entries.map(({ server }) => server)),
  ]);
  const running = await startServers(names, {
    build: options.build,
    runtime,
    workerd,
    progress,
  });
  const harness = await measureHarness(running, options);

  const scenarios = [];
  for (const scenario of options.scenarios) {
    scenarios.push(
      summarise(scenario, await measureScenario(scenario, running, options, progress)),
    );
  }
  const results = {
    format: 1,
    machine,
    options: {
      rounds: options.rounds,
      seconds: options.seconds,
      connections: options.connections,
      scenarios: scenarios.map(({ name }) => name),
    },
    runtime,
    harness_requests_per_second: harness,
    upload: size,
    scenarios,
    targets: [...scenarios.flatMap(({ targets }) => targets), sizeTarget(size.gzip, SIZE_TARGET)],
  };
  const json = `${JSON.stringify(results, null, 2)}\n`;
  writeFileSync(path.join(import.meta.dirname, "results.json"), json);
  process.stdout.write(options.json ? json : `${render(results)}\n`);
  if (options.strict && results.targets.some(({ met }) => met === false)) process.exitCode = 1;
}

let interrupted = false;
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
]) {
  process.once(signal, () => {
    interrupted = true;
    cleanUp().finally(() => process.exit(code));
  });
}

try {
  await main();
} catch (error) {
  // Once interrupted, that the helpers are gone is no news.
  if (!interrupted) {
    const usage = error instanceof UsageError;
    process.stderr.write(
      `bench: ${error.message}\n${usage ? "See npm run bench -- --help\n" : ""}`,
    );
    process.exitCode = usage ? 2 : 1;
  }
} finally {
  await cleanUp();
}
