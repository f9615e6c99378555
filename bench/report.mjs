// Prints the figures as a table that fits a terminal.

export function render(results) {
  const { machine, options, harness_requests_per_second: harness, upload } = results;
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.platform} ${machine.kernel}, workerd ${machine.workerd}, Node ${machine.node}, ${machine.date}`,
    `${options.rounds} rounds of ${options.seconds} s an entry, interleaved; ${options.connections} connections; medians; ratios to the first row of a block,`,
    `taken within a round. CPU: user and system time of the workerd process${machine.cpu_measured ? "" : ": not measured, this platform has no /proc"}.`,
    "The gateway's process includes its Durable Objects; the stand-in for the location's cache is a process of its own.",
  ];
  lines.push(`Load generator and origin with nothing between them: ${whole(harness)} requests/s.`);
  if (machine.load_average_at_start > machine.cores / 2) {
    lines.push(
      `Load average ${machine.load_average_at_start.toFixed(1)} at the start: other work ran beside, so mind the ratios of CPU, not requests/s.`,
    );
  }
  for (const scenario of results.scenarios) {
    lines.push(
      "",
      `${scenario.name}: ${scenario.title} (${scenario.connections} connections)`,
      ...table(scenario.rows),
    );
  }
  lines.push(
    "",
    `the upload: ${kib(upload.gzip)} KiB gzip, ${kib(upload.bytes)} KiB plain, ${upload.modules.length} modules`,
  );
  lines.push("", "targets", ...results.targets.map(targetLine));
  return lines.join("\n");
}

const whole = (value) => (value === null ? "-" : Math.round(value).toLocaleString("en-GB"));
const kib = (bytes) => (bytes / 1024).toFixed(1);
const fixed = (value, digits) =>
  value === null || value === undefined ? "-" : value.toFixed(digits);
const percent = (value) => (value === null ? "-" : `${Math.round(value * 100)} %`);

const COLUMNS = [
  ["", (row) => row.entry],
  [
    "requests/s",
    (row) =>
      row.requests_per_second < 1000
        ? fixed(row.requests_per_second, 1)
        : whole(row.requests_per_second),
  ],
  ["ratio", (row) => fixed(row.ratio.requests.median, 2)],
  ["CPU µs/req", (row) => whole(row.cpu_us_per_request)],
  ["ratio", (row) => fixed(row.ratio.cpu?.median, 2)],
  [
    "(least-most)",
    (row) =>
      row.ratio.cpu === null
        ? "-"
        : `${fixed(row.ratio.cpu.least, 2)}-${fixed(row.ratio.cpu.most, 2)}`,
  ],
  ["p50 ms", (row) => fixed(row.latency_ms.p50, 2)],
  ["p99 ms", (row) => fixed(row.latency_ms.p99, 2)],
  ["workerd", (row) => percent(row.core_share.server)],
  ["load", (row) => percent(row.core_share.generator)],
  ["origin", (row) => percent(row.core_share.origin)],
];

function table(rows) {
  const cells = [
    COLUMNS.map(([title]) => title),
    ...rows.map((row) => COLUMNS.map(([, value]) => value(row))),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  return cells.map((line) =>
    line
      .map((cell, column) =>
        column === 0 ? `  ${cell.padEnd(widths[column])}` : cell.padStart(widths[column]),
      )
      .join("  "),
  );
}

function targetLine({ what, value, at_least: least, at_most: most, unit, met }) {
  const show = unit === "bytes" ? (bytes) => `${kib(bytes)} KiB` : (number) => number.toFixed(2);
  const verdict = met === null ? "not measured" : met ? "met" : "NOT MET";
  const wanted = least === undefined ? `at most ${show(most)}` : `at least ${show(least)}`;
  return `  ${verdict.padEnd(12)}  ${what}: ${value === null ? "-" : show(value)}, ${wanted}`;
}
