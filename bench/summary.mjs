// From samples to figures: medians, ratios and targets. Pure functions of the samples.

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Ratios are taken within a round and then the median: two neighbours in time share what the
 * machine did to them, two medians of a whole run need not.
 */
function ratio(samples, baseline, field) {
  if (samples.some((sample) => sample[field] === null)) return null;
  const ratios = samples.map((sample, round) => sample[field] / baseline[round][field]);
  return { median: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) };
}

export function summarise(scenario, { connections, entries }) {
  const baseline = entries[0].samples;
  const rows = entries.map(({ entry, samples }) => {
    const middle = (field) =>
      samples.some((sample) => sample[field] === null)
        ? null
        : median(samples.map((sample) => sample[field]));
    return {
      entry: entry.name,
      status: entry.expect,
      requests_per_second: middle("requestsPerSecond"),
      cpu_us_per_request: middle("cpuMicros"),
      latency_ms: Object.fromEntries(
        Object.keys(samples[0].latencyMs).map((name) => [
          name,
          median(samples.map((sample) => sample.latencyMs[name])),
        ]),
      ),
      ratio: {
        requests: ratio(samples, baseline, "requestsPerSecond"),
        cpu: ratio(samples, baseline, "cpuMicros"),
      },
      chunked_share: middle("chunkedShare"),
      core_share: {
        server: middle("serverLoad"),
        generator: middle("generatorLoad"),
        origin: middle("originLoad"),
      },
      samples: samples.map(({ requests, seconds, cpuMicros }) => ({
        requests,
        seconds,
        cpu_us_per_request: cpuMicros,
      })),
    };
  });
  const targets = (scenario.targets ?? []).map((target) => {
    const value =
      rows.find((row) => row.entry === target.entry).ratio[target.metric]?.median ?? null;
    return judge({
      what: `${scenario.name}: ${target.metric} of ${target.entry} against ${rows[0].entry}`,
      value,
      ...bound(target),
      unit: "ratio",
    });
  });
  return {
    name: scenario.name,
    title: scenario.title,
    connections,
    baseline: rows[0].entry,
    rows,
    targets,
  };
}

export function sizeTarget(bytes, most) {
  return judge({ what: "upload, gzip", value: bytes, at_most: most, unit: "bytes" });
}

function bound({ atLeast, atMost }) {
  return atLeast === undefined ? { at_most: atMost } : { at_least: atLeast };
}

// A value that could not be measured is neither met nor missed.
function judge(target) {
  const { value, at_least: least = -Infinity, at_most: most = Infinity } = target;
  return { ...target, met: value === null ? null : value >= least && value <= most };
}
