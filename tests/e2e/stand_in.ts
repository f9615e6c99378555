// Durable Object classes that stand in for ours: one in the place of the Limiter, and one each between
// the isolates and the real Control and Collapser objects. All count, and can be told to fail.

import type { WorkerOptions } from "miniflare";
import { exchange } from "./raw.ts";

/** The name of the Worker that has them. */
export const STAND_IN = "stand-in";

/** How the stand-in for the Limiter behaves. */
export type LimiterMood = "throw" | "hang" | "garbage" | "status";

/** How what stands before the Control object behaves: `work` hands everything on, `forget` too, and
 * then loses the answer; `age` tells of feeds as if they had last been tried a day earlier. */
export type ControlMood =
  "work" | "throw" | "hang" | "garbage" | "nothing" | "status" | "forget" | "age";

/** How what stands before the Collapser objects behaves: `work` hands everything on, `forget` all but
 * what the next leader says, so that it is as good as dead. */
export type CollapserMood = "work" | "throw" | "hang" | "garbage" | "status" | "forget";

const SCRIPT = `
import { DurableObject } from "cloudflare:workers";

const moods = { limiter: "throw", control: "work", collapser: "work" };
const calls = { limiter: [], control: [], collapser: [] };
// The number of the leader that is not heard.
let dead;
const forever = () => new Promise((resolve) => setTimeout(resolve, 30_000));

export class Limiter extends DurableObject {
  async fetch(request) {
    calls.limiter.push(request.headers.get("weir-message") ?? "");
    const mood = moods.limiter;
    if (mood === "hang") await forever();
    if (mood === "status") return new Response("told to fail", { status: 500 });
    if (mood === "garbage") return new Response("told to fail", { headers: { "weir-message": "{" } });
    throw new Error("told to fail");
  }
}

export class Control extends DurableObject {
  async fetch(request) {
    const message = await request.text();
    calls.control.push(JSON.parse(message).action);
    const mood = moods.control;
    if (mood === "hang") await forever();
    if (mood === "hang" || mood === "throw") throw new Error("told to fail");
    if (mood === "status") return new Response("told to fail", { status: 500 });
    if (mood === "garbage") return new Response('{"version": 2, "result": {"revis');
    if (mood === "nothing") return new Response('{"version": 2}');
    const real = this.env.REAL;
    const stub = real.get(real.idFromName("control-v1"));
    const answer = await stub.fetch(request.url, { method: "POST", body: message });
    let text = await answer.text();
    if (mood === "age") {
      text = text.replace(/"checked":(\\d+)/g, (_, at) => '"checked":' + (at - 86_400_000));
    }
    if (mood === "forget") throw new Error("told to fail");
    return new Response(text, { status: answer.status });
  }
}

export class Collapser extends DurableObject {
  async fetch(request) {
    const message = request.headers.get("weir-message") ?? "";
    calls.collapser.push(message);
    const mood = moods.collapser;
    const say = (text) => new Response(null, { headers: { "weir-message": text } });
    if (mood === "hang") await forever();
    if (mood === "throw") throw new Error("told to fail");
    if (mood === "status") return new Response("told to fail", { status: 500 });
    if (mood === "garbage") return say("{");
    if (mood === "forget" && /^1 (renew|end) /.test(message) && message.split(" ")[3] === dead)
      return say("noted");
    const real = this.env.REAL_COLLAPSER;
    const stub = real.get(real.idFromName("v1"));
    const answer = await stub.fetch(request.url, { headers: request.headers });
    if (mood === "forget") dead ??= /^lead (.*)/.exec(answer.headers.get("weir-message"))?.[1];
    return answer;
  }
}

export default {
  fetch(request) {
    const [, object, mood] = new URL(request.url).pathname.split("/");
    if (!mood) return Response.json(calls[object].splice(0));
    moods[object] = mood;
    return new Response(mood);
  },
};`;

/** The Worker. `objects` is the one that has the real objects. */
export function standInWorker(objects: string | undefined): WorkerOptions {
  const own = {
    LIMITER: { className: "Limiter", useSQLite: true },
    CONTROL: { className: "Control", useSQLite: true },
    COLLAPSER: { className: "Collapser", useSQLite: true },
  };
  const real = {
    REAL: { className: "Control", scriptName: objects, useSQLite: true },
    REAL_COLLAPSER: { className: "Collapser", scriptName: objects, useSQLite: true },
  };
  return {
    name: STAND_IN,
    modules: true,
    script: SCRIPT,
    compatibilityDate: "2026-07-30",
    durableObjects: objects === undefined ? own : { ...own, ...real },
    unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
  } as WorkerOptions;
}

class StandIn<Mood extends string> {
  readonly #port: number;
  readonly #object: string;

  constructor(port: number, object: string) {
    this.#port = port;
    this.#object = object;
  }

  /** Says how it is to behave from now on. */
  async fail(mood: Mood): Promise<void> {
    await exchange(this.#port, `/${this.#object}/${mood}`);
  }

  /** What it was asked since the last time. */
  async calls(): Promise<string[]> {
    return (await exchange(this.#port, `/${this.#object}`)).json as string[];
  }
}

export class LimiterStandIn extends StandIn<LimiterMood> {
  constructor(port: number) {
    super(port, "limiter");
  }
}

export class CollapserStandIn extends StandIn<CollapserMood> {
  constructor(port: number) {
    super(port, "collapser");
  }
}

export class ControlRelay extends StandIn<ControlMood> {
  constructor(port: number) {
    super(port, "control");
  }
}
