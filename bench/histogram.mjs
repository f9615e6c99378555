// Latencies in log-linear buckets, as HdrHistogram keeps them: 64 steps for each power of two, so a
// percentile is off by less than 1.6 % whatever its size, and recording is two shifts and an add.

const STEPS = 64;
const STEP_BITS = 6;

export class Histogram {
  #counts = new Float64Array(STEPS * 40);
  total = 0;

  /** @param micros a latency in whole microseconds */
  record(micros) {
    this.#counts[bucket(micros)] += 1;
    this.total += 1;
  }

  /** The latency in milliseconds that a share (0 to 1) of the requests did not pass. */
  percentile(share) {
    const wanted = Math.ceil(this.total * share);
    let seen = 0;
    for (let index = 0; index < this.#counts.length; index += 1) {
      seen += this.#counts[index];
      if (seen >= wanted && seen > 0) return middle(index) / 1000;
    }
    return 0;
  }
}

// Below 64 a bucket is one microsecond; above, the top six bits after the leading one choose it.
function bucket(micros) {
  const value = Math.min(Math.max(micros | 0, 0), 0x7fffffff);
  if (value < STEPS) return value;
  const shift = 31 - Math.clz32(value) - STEP_BITS;
  return (shift + 1) * STEPS + ((value >> shift) - STEPS);
}

function middle(index) {
  if (index < STEPS) return index;
  const shift = Math.floor(index / STEPS) - 1;
  const base = (index % STEPS) + STEPS;
  return base * 2 ** shift + 2 ** shift / 2;
}
