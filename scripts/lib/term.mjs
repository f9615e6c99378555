// What a person sees: colours only on a terminal, one line for each refusal, and questions.
import { createInterface } from "node:readline";

/** A refusal that a person can mend: one line, no stack. */
export class Refusal extends Error {
  /**
   * @param {string} problem what is wrong
   * @param {string} [mend] what to do about it
   * @param {number} [exitCode] the command's
   */
  constructor(problem, mend, exitCode = 1) {
    super(mend ? `${problem} ${mend}` : problem);
    this.name = "Refusal";
    this.exitCode = exitCode;
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

/** Asks a person; without one, or without an answer, it is no. */
export function ask(question, input = process.stdin, output = process.stderr) {
  if (!input.isTTY) return Promise.resolve(false);
  const reader = createInterface({ input, output });
  return new Promise((resolve) => {
    // Ctrl-C and Ctrl-D close it, and leave the cursor behind the question.
    const closed = () => {
      output.write("\n");
      resolve(false);
    };
    reader.once("close", closed);
    reader.question(`${question} [y/N] `, (answer) => {
      reader.off("close", closed);
      reader.close();
      resolve(/^y(es)?$/i.test(answer.trim()));
    });
  });
}

/** Control characters, line separators, and what changes the direction of writing. */
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;
const escaped = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;

/**
 * Text that others wrote, for a terminal: what would move its cursor, colour it or reverse it is
 * shown as an escape. Line feeds stay where `lines` says so.
 */
export function printable(text, { lines = false } = {}) {
  return String(text).replace(UNSAFE, (it) => (lines && it === "\n" ? it : escaped(it)));
}

/** Runs a command's body; a refusal ends it with one line and its exit code. */
export async function main(body) {
  try {
    const code = await body();
    if (typeof code === "number") process.exitCode = code;
  } catch (error) {
    if (error instanceof Refusal) {
      note(red(`error: ${error.message}`, process.stderr));
      process.exitCode = error.exitCode;
    } else {
      note(error?.stack ?? String(error));
      process.exitCode = 1;
    }
  }
}
