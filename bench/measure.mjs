// Runs a scenario: proves each entry once, warms it up, then measures the entries in turn, round by
// round, so that whatever else the machine does falls on all of them.

import { cpuSeconds } from "./processes.mjs";
import { heads, requestPlan, send, sendForEachClient } from "./requests.mjs";

// A server's first load: V8 needs some ten thousand requests until it has optimised the WebAssembly
// that they pass through, and compiles it meanwhile on threads whose CPU counts.
const FIRST_SECONDS = 6;

// Time for what the gateway does after an answer, such as storing it.
const SETTLE_MS = 300;

export async function measureScenario(scenario, running, options, progress) {
  const connections = Math.min(options.connections, scenario.connections ?? Infinity);
  const entries = scenario.entries.map((entry) => ({
    ...entry,
    request: { ...scenario.request, ...entry.request },
  }));
  for (const entry of entries) await proveEntry(entry, running);
  for (const entry of entries) await warmUp(entry, running, options, connections);

  const samples = entries.map(() => []);
  for (let round = 0; round < options.rounds; round += 1) {
    // There and back: an entry does not always follow the same neighbour.
    const order = [...entries.keys()];
    if (round % 2 === 1) order.reverse();
    for (const index of order) {
      samples[index].push(
        await load(entries[index], running, { connections, seconds: options.seconds }),
      );
    }
    progress(`${scenario.name}: round ${round + 1} of ${options.rounds}`);
  }
  return {
    connections,
    entries: entries.map((entry, index) => ({ entry, samples: samples[index] })),
  };
}

async function warmUp(entry, running, options, connections) {
  const isFirst = !running.warm.has(entry.server);
  running.warm.add(entry.server);
  const seconds = isFirst ? Math.max(FIRST_SECONDS, options.warmUp) : options.warmUp;
  await load(entry, running, { connections, seconds });
}

/** Looks at one answer of an entry, and at those it shows: is it what the scenario is about? */
export async function proveEntry(entry, running) {
  const { servers, origin, cookie, timeoutMs } = running;
  const { port } = servers[entry.server];
  const answer = async () => send(port, entry.request, { cookie, timeoutMs });
  if (entry.primed) {
    await prime(entry, running);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  }
  if (entry.exhausted) await sendForEachClient(port, entry.request, { cookie, timeoutMs });
  const got = await answer();
  let wrong =
    got.status === entry.expect
      ? entry.proves?.(got)
      : `status is ${got.status}, not ${entry.expect}`;
  if (wrong === undefined && entry.expect === 200 && entry.origin !== undefined) {
    const direct = await send(origin.ready, entry.request);
    if (!direct.body.equals(got.body)) wrong = "the body differs from the origin's";
  }
  for (const { path, client, expect } of entry.shows?.(running) ?? []) {
    const { status } = await send(port, { path }, { client, timeoutMs });
    if (status !== expect) wrong ??= `${client} at ${path} gets ${status}, not ${expect}`;
  }
  if (wrong !== undefined)
    throw new Error(`${entry.name}: ${wrong}\n${got.body.toString("utf8").slice(0, 500)}`);
}

/** Has everything asked for once that the entry's requests name, so that it is stored. */
async function prime({ request, server, expect }, { servers, load: generator, ...running }) {
  const plan = { ...requestPlan(request, running), port: servers[server].port, expect };
  const count = request.among ?? 1;
  await generator.ask({ plan: { ...plan, connections: 1, count } });
}

/** One stretch of load on one entry, with the CPU that each process used meanwhile. */
async function load(entry, running, { connections, seconds }) {
  const { servers, origin, load: generator } = running;
  const { port, pid } = servers[entry.server];
  const originBefore = await origin.ask();
  const cpuBefore = cpuSeconds(pid);
  const result = await generator.ask({
    plan: {
      ...requestPlan(entry.request, running),
      port,
      connections,
      seconds,
      expect: entry.expect,
    },
  });
  const cpuAfter = cpuSeconds(pid);
  const originAfter = await origin.ask();

  const reached = originAfter.requests - originBefore.requests;
  const expected = entry.origin === "all" ? result.completed : 0;
  if (reached !== expected) {
    throw new Error(
      `${entry.name}: ${reached} requests reached the origin, expected ${expected} of ${result.completed}`,
    );
  }
  const originCpu =
    originAfter.cpu.user + originAfter.cpu.system - originBefore.cpu.user - originBefore.cpu.system;
  return {
    requests: result.completed,
    seconds: result.seconds,
    requestsPerSecond: result.completed / result.seconds,
    cpuMicros: cpuBefore === null ? null : ((cpuAfter - cpuBefore) * 1e6) / result.completed,
    latencyMs: result.latency,
    chunkedShare: result.chunked / result.completed,
    // Shares of one core.
    generatorLoad: result.cpu / result.seconds,
    originLoad: originCpu / 1e6 / result.seconds,
    serverLoad: cpuBefore === null ? null : (cpuAfter - cpuBefore) / result.seconds,
  };
}

/** What the load generator and the origin reach with nothing between them. */
export async function measureHarness(
  { origin, load: generator, cookie },
  { connections, seconds },
) {
  const plan = {
    port: origin.ready,
    connections,
    requests: heads({ path: "/v1/plain" }, cookie),
    expect: 200,
  };
  await generator.ask({ plan: { ...plan, seconds: 0.5 } });
  const result = await generator.ask({ plan: { ...plan, seconds } });
  return result.completed / result.seconds;
}
