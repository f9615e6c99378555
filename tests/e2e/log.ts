// What the gateway writes: its access log, one JSON line a request, and everything else.

/** One line of the access log. */
export interface Access {
  schema: number;
  time: string;
  request_id?: string;
  trace_id?: string;
  client?: string;
  method: string;
  host?: string;
  path?: string;
  route?: string;
  verdict: string;
  reason?: string;
  status: number;
  stages?: Stage[];
  tags?: string[];
  cache?: string;
  variant?: string;
  upstream?: string;
  upstream_status?: number;
  duration_ms: number;
  upstream_ms?: number;
  revision?: string;
  error?: string;
}

export interface Stage {
  stage: string;
  verdict: string;
  rule?: string;
  prefix?: string;
  shadow?: boolean;
  error?: string;
}

export interface Line {
  level: string;
  message: string;
}

/** How long to wait for a line that has to come. */
const PATIENCE = 5_000;

export class Log {
  /** Every line, in order. */
  readonly lines: Line[] = [];
  #waiters = new Set<() => void>();

  /** Takes a line in. */
  take({ level, message }: Line): void {
    this.lines.push({ level, message });
    for (const wake of this.#waiters) wake();
  }

  /** The access log so far. */
  get access(): Access[] {
    return this.lines.flatMap(({ message }) => {
      const line = parse(message);
      return line ? [line] : [];
    });
  }

  /** What is not access log. */
  get notes(): Line[] {
    return this.lines.filter(({ message }) => !parse(message));
  }

  /** The line of a request, once it is there. */
  line(requestId: string | undefined): Promise<Access> {
    return this.find(`a line for request ${requestId}`, () =>
      this.access.find((line) => line.request_id === requestId),
    );
  }

  /** A note that holds this text, once it is there. */
  note(text: string | RegExp): Promise<Line> {
    return this.find(`a note of ${text}`, () =>
      this.notes.find(({ message }) =>
        typeof text === "string" ? message.includes(text) : text.test(message),
      ),
    );
  }

  /** What the search gives, as soon as it gives something. */
  async find<T>(what: string, search: () => T | undefined): Promise<T> {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const found = search();
      if (found !== undefined) return found;
      const left = deadline - Date.now();
      if (left <= 0)
        throw new Error(`the log does not hold ${what}:\n${JSON.stringify(this.lines.slice(-5))}`);
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#waiters.delete(done);
          resolve();
        };
        const timer = setTimeout(done, left);
        this.#waiters.add(done);
      });
    }
  }

  /** Lines that only a panic or an exception that nobody caught leaves. */
  crashes(): string[] {
    return (
      this.lines
        .map(({ message }) => message)
        .filter((message) => /panicked|RuntimeError|Uncaught|code had hung/.test(message))
        // A stand-in that was told to throw says so.
        .filter((message) => !message.includes("told to fail"))
    );
  }
}

function parse(message: string): Access | undefined {
  if (!message.startsWith("{")) return undefined;
  try {
    const line = JSON.parse(message) as Record<string, unknown>;
    // Lines about the gateway itself name an event.
    return "schema" in line && !("event" in line) ? (line as unknown as Access) : undefined;
  } catch {
    return undefined;
  }
}
