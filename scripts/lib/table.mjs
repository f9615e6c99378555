// Columns for people.
import { printable } from "./term.mjs";

/** A cell that is longer would push all others out of sight; the last one of a row may be. */
const CELL_LIMIT = 100;

const clip = (text) => (text.length > CELL_LIMIT ? `${text.slice(0, CELL_LIMIT - 1)}…` : text);

/**
 * Rows with all columns but the last padded to one width. Whoever wrote the cells, they are printable.
 *
 * @param {any[][]} rows
 * @param {{right?: number[]}} [options] the columns of figures, which end in line
 * @returns {string[][]}
 */
export function columns(rows, { right = [] } = {}) {
  const last = (rows[0]?.length ?? 0) - 1;
  const clean = rows.map((row) =>
    row.map((cell, at) => (at === last ? printable(cell ?? "") : clip(printable(cell ?? "")))),
  );
  const widths = clean[0]?.map((_, at) => Math.max(...clean.map((row) => row[at].length))) ?? [];
  return clean.map((row) =>
    row.map((cell, at) => {
      if (right.includes(at)) return cell.padStart(widths[at]);
      return at === last ? cell : cell.padEnd(widths[at]);
    }),
  );
}

/** The lines of a table. */
export const lines = (rows, options) =>
  columns(rows, options).map((row) => row.join("  ").trimEnd());
