// Figures as people read them. What is no figure is shown as it came: a server may say anything.
import { printable } from "./term.mjs";

const THOUSANDS = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

const isFigure = (value) => typeof value === "number" && Number.isFinite(value);

/** `1,234,567`. */
export function count(value) {
  return isFigure(value) ? THOUSANDS.format(value) : printable(value ?? "");
}

/** `1 prefix`, `1,200 prefixes`. */
export function counted(value, one, many) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `512 B`, `42.2 KiB`, `3.0 MiB`. */
export function bytes(value) {
  if (!isFigure(value)) return printable(value ?? "");
  if (value < 1 << 10) return `${Math.round(value)} B`;
  if (value < 1 << 20) return `${(value / (1 << 10)).toFixed(1)} KiB`;
  return `${(value / (1 << 20)).toFixed(1)} MiB`;
}

const UNITS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
];

/** How far a time is from now, in its largest unit: `3 h ago`, `in 12 min`, `now`. */
export function distance(time, now) {
  const span = Math.abs(now - time);
  const [unit, name] = UNITS.find(([unit]) => span >= unit) ?? [];
  if (unit === undefined) return "now";
  const text = `${count(Math.floor(span / unit))} ${name}`;
  return time > now ? `in ${text}` : `${text} ago`;
}

const RFC3339 =
  /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/**
 * A time as in RFC 3339, 5.6, in milliseconds since 1970; undefined where it is none. `Date.parse`
 * takes more, and takes the 30th of February for the 2nd of March.
 */
export function parseTime(text) {
  const [whole, ...parts] = RFC3339.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const [year, month, day, hour, minute, second] = parts.slice(0, 6).map(Number);
  const [fraction = "", sign, hours = "0", minutes = "0"] = parts.slice(6);
  const local = Date.UTC(year, month - 1, day, hour, minute, second);
  const date = new Date(local);
  const isDate =
    date.getUTCFullYear() === year &&
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    hour < 24 &&
    minute < 60 &&
    second < 60 &&
    Number(hours) < 24 &&
    Number(minutes) < 60;
  if (!isDate) return undefined;
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
  return local - offset + Number(fraction.padEnd(3, "0").slice(0, 3));
}

/** Whole seconds of a time, as in RFC 3339. */
const plain = (time) => new Date(time).toISOString().replace(/\.\d+Z$/, "Z");

/** A time of the API with how far it is: `2026-11-28T03:00:00Z (3 h ago)`. */
export function moment(text, now) {
  const time = typeof text === "string" ? parseTime(text) : undefined;
  if (time === undefined) return printable(text ?? "");
  return `${plain(time)} (${distance(time, now)})`;
}

/** How far a time of the API is; the text itself, where it is none. */
export function age(text, now) {
  const time = typeof text === "string" ? parseTime(text) : undefined;
  return time === undefined ? printable(text ?? "") : distance(time, now);
}

const SPAN_UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const LONGEST_SPAN = 366 * 86_400_000;

/** A duration as policies have it, `90s`, `12h`, `7d`, in milliseconds; undefined where it is none. */
export function parseSpan(text) {
  const [, digits, unit] = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text) ?? [];
  if (unit === undefined) return undefined;
  const span = Number(digits) * SPAN_UNITS[unit];
  return span > 0 && span <= LONGEST_SPAN ? span : undefined;
}
