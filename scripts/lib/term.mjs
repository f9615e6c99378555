// What a person sees: colours only on a terminal, one line for each refusal.

/** A refusal that a person can mend: one line, no stack. */
export class Refusal extends Error {
  /**
   * @param {string} problem what is wrong
   * @param {string} [mend] what to do about it
   */
  constructor(problem, mend) {
    super(mend ? `${problem} ${mend}` : problem);
    this.name = "Refusal";
  }
}

export function usesColour(stream = process.stdout, env = process.env) {
  return Boolean(stream.isTTY) && !env.NO_COLOR && env.TERM !== "dumb";
}

function paint(code, text, stream) {
  return usesColour(stream) ? `\u001b[${code}m${text}\u001b[0m` : text;
}

export const dim = (text, stream) => paint("2", text, stream);
export const bold = (text, stream) => paint("1", text, stream);
export const red = (text, stream) => paint("31", text, stream);
export const green = (text, stream) => paint("32", text, stream);

/** Progress goes to stderr, so that stdout stays what the command is asked for. */
export function note(text) {
  process.stderr.write(`${text}\n`);
}

export function headline(text) {
  note(`\n${bold(`== ${text}`, process.stderr)}`);
}

export function seconds(milliseconds) {
  if (milliseconds < 1_000) return `${Math.round(milliseconds)} ms`;
  const whole = Math.round(milliseconds / 1_000);
  if (whole < 60) return `${(milliseconds / 1_000).toFixed(1)} s`;
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Runs a command's body; a refusal ends it with one line and exit code 1. */
export async function main(body) {
  try {
    const code = await body();
    if (typeof code === "number") process.exitCode = code;
  } catch (error) {
    if (error instanceof Refusal) {
      note(red(`error: ${error.message}`, process.stderr));
    } else {
      note(error?.stack ?? String(error));
    }
    process.exitCode = 1;
  }
}
