// The command line of the benchmark.

import path from "node:path";
import { parseArgs } from "node:util";
import { SCENARIOS } from "./scenarios.mjs";

export const HELP = `npm run bench -- [options]

Compares the gateway with a JavaScript pass-through Worker and with a constant answer, on
\`workerd serve\`, everything on loopback. Prints a table and writes bench/results.json.

  --scenario NAME    only this one; may be given several times
                     (${SCENARIOS.map((scenario) => scenario.name).join(", ")})
  --rounds N         rounds for each scenario (default 7)
  --seconds N        seconds for each entry of a round (default 1.5)
  --connections N    keep-alive connections (default 16; bodies of 1 and 16 MiB use at most 4)
  --build DIR        the build to measure (default build)
  --json             print the results as JSON instead of a table
  --strict           exit with 1 if a target is not met
  --instructions     count instructions a request under valgrind instead; slow, but repeatable
  --compile          measure what compiling a policy costs instead, by the number of its routes
  --addresses        measure address lookups in WebAssembly instead, beside public crates
  --lookups          measure lookups among 100 to 100,000 stored answers in WebAssembly instead
  --limits           measure what limits admit, and what they cost, over four isolates instead
  --repeats N        with --limits: how often the limit is run into (default 100)
  --keys N           with --limits: keys of one object (default 1000000)
  --samples N        with --instructions: samples for each server (default 5)
  --keep DIR         with --instructions: keep callgrind's files there
  --help             this text

Targets that are not met do not fail the run unless --strict is given: requests/s and CPU vary by a
quarter from run to run on a shared machine.
`;

export function readOptions(argv, root) {
  const values = parse(argv, root);
  const names = values.scenario ?? SCENARIOS.map((scenario) => scenario.name);
  const unknown = names.find((name) => !SCENARIOS.some((scenario) => scenario.name === name));
  if (unknown !== undefined) throw new UsageError(`no scenario is called ${unknown}`);
  const seconds = number(values.seconds, "seconds", 0.2, 60);
  return {
    ...values,
    build: path.resolve(values.build),
    scenarios: SCENARIOS.filter((scenario) => names.includes(scenario.name)),
    partial: values.scenario !== undefined,
    rounds: integer(values.rounds, "rounds", 1, 100),
    connections: integer(values.connections, "connections", 1, 256),
    samples: integer(values.samples, "samples", 1, 50),
    repeats: integer(values.repeats, "repeats", 1, 1_000),
    keys: integer(values.keys, "keys", 1, 2_000_000),
    seconds,
    warmUp: Math.max(1, seconds),
  };
}

export class UsageError extends Error {}

function parse(args, root) {
  try {
    return parseArgs({
      args,
      options: {
        scenario: { type: "string", multiple: true },
        rounds: { type: "string", default: "7" },
        seconds: { type: "string", default: "1.5" },
        connections: { type: "string", default: "16" },
        samples: { type: "string", default: "5" },
        build: { type: "string", default: path.join(root, "build") },
        keep: { type: "string" },
        json: { type: "boolean", default: false },
        strict: { type: "boolean", default: false },
        instructions: { type: "boolean", default: false },
        compile: { type: "boolean", default: false },
        addresses: { type: "boolean", default: false },
        lookups: { type: "boolean", default: false },
        limits: { type: "boolean", default: false },
        repeats: { type: "string", default: "100" },
        keys: { type: "string", default: "1000000" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error.message);
  }
}

function number(text, name, least, most) {
  const value = Number(text);
  if (!(value >= least && value <= most))
    throw new UsageError(`--${name} is ${text}: expected a number from ${least} to ${most}`);
  return value;
}

function integer(text, name, least, most) {
  const value = number(text, name, least, most);
  if (!Number.isInteger(value))
    throw new UsageError(`--${name} is ${text}: expected a whole number`);
  return value;
}
