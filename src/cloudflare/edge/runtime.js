// What the runtime gives at once: random bits, variables and bindings by name, the log.

import { current } from "./exchange.js";

/** 128 random bits as hex. */
export function randomSeed() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A variable as text, JSON where it is none; nothing where it is not there. */
export function variable(name) {
  const value = current.env[name];
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Whether there is such a binding. */
export function isBound(binding) {
  return (current.env[binding] ?? null) !== null;
}

/** Writes a line. One string: an object costs twice as much to write. */
export function log(line) {
  console.log(line);
}

/** Writes a line that an operator should see. */
export function warn(line) {
  console.warn(line);
}
