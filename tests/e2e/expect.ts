// Expectations that every spec shares.

import assert from "node:assert/strict";
import type { Gateway } from "./mf.ts";
import type { Access, Stage } from "./log.ts";
import type { RawResponse } from "./raw.ts";

/** The answer is a problem of ours (RFC 9457): well formed, named, and not to be stored. */
export function assertProblem(response: RawResponse, status: number, label: string): void {
  assert.equal(response.status, status, response.text);
  assert.equal(response.field("content-type"), "application/problem+json");
  assert.equal(response.field("cache-control"), "no-store");
  const problem = response.json as Record<string, unknown>;
  assert.equal(problem.type, `urn:edgeweir:problem:${label}`);
  assert.equal(problem.status, status);
  assert.equal(typeof problem.title, "string");
  assert.ok(response.field("x-request-id"), "the answer has no request id");
  assert.equal(problem.request_id, response.field("x-request-id"));
}

/** The one log line of the request that this answers. */
export async function lineOf(gateway: Gateway, response: RawResponse): Promise<Access> {
  return gateway.log.line(response.field("x-request-id"));
}

/** What one stage noted, in order. */
export function stages(line: Access, name: string): Stage[] {
  return (line.stages ?? []).filter(({ stage }) => stage === name);
}

/** The problem, and the line that names the same reason; nothing else is logged for the request. */
export async function assertRefused(
  gateway: Gateway,
  response: RawResponse,
  status: number,
  label: string,
): Promise<Access> {
  assertProblem(response, status, label);
  const line = await lineOf(gateway, response);
  assert.equal(line.reason, label);
  assert.equal(line.status, status);
  assert.ok(["refused", "failed"].includes(line.verdict), line.verdict);
  return line;
}

/** The answer where there is no policy; the reason stands in the log alone. */
export async function assertNoPolicy(
  gateway: Gateway,
  response: RawResponse,
  reason: RegExp,
): Promise<Access> {
  assertProblem(response, 503, "no-policy");
  assert.ok(Number(response.field("retry-after")) >= 1, "Retry-After is missing");
  assert.doesNotMatch(response.text, reason);
  const line = await lineOf(gateway, response);
  assert.deepEqual([line.verdict, line.reason, line.status], ["failed", "no-policy", 503]);
  assert.match(line.error ?? "", reason);
  return line;
}

/** Exactly one line has been logged for each of these requests. */
export async function assertOneLineEach(gateway: Gateway, responses: RawResponse[]): Promise<void> {
  // Lines of one process come in order: once this one is there, all before it are.
  await lineOf(gateway, await gateway.fetch("/_weir/health"));
  for (const response of responses) {
    const id = response.field("x-request-id");
    const lines = gateway.log.access.filter((line) => line.request_id === id);
    assert.equal(lines.length, 1, `request ${id} has ${lines.length} lines`);
  }
}

/** Repeats until the result is good, for what goes on after a response; bounded in time. */
export async function eventually<T>(
  what: string,
  attempt: () => Promise<T>,
  good: (result: T) => boolean,
  milliseconds = 5_000,
): Promise<T> {
  const deadline = Date.now() + milliseconds;
  for (;;) {
    const result = await attempt();
    if (good(result)) return result;
    if (Date.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The promise, for so long; what has not come by then fails the test instead of hanging it. */
export async function within<T>(
  what: string,
  promise: Promise<T>,
  milliseconds = 5_000,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`not within ${milliseconds} ms: ${what}`)),
      milliseconds,
    );
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits; only where time itself is under test. */
export const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
