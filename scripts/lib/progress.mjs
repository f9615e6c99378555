// How far a long upload is: a line that changes on a terminal, a line now and then elsewhere.
import { dim } from "./term.mjs";
import { bytes } from "./units.mjs";

/** What is done sooner needs no sign of life. */
const FROM = 1_000;
const EVERY = { terminal: 200, other: 10_000 };

/**
 * @param {number} size bytes
 * @param {{stream?: NodeJS.WriteStream | any, clock?: () => number}} [options]
 */
export function progress(size, { stream = process.stderr, clock = Date.now } = {}) {
  const isTerminal = Boolean(stream.isTTY);
  const every = isTerminal ? EVERY.terminal : EVERY.other;
  const started = clock();
  let last = started;
  let shown = false;
  const show = (text) => {
    shown = true;
    stream.write(isTerminal ? `\r\u001b[K   ${text}` : `${dim(`   ${text}`, stream)}\n`);
  };
  return {
    /** So many bytes were sent. */
    sent(done) {
      const now = clock();
      const isDone = done === size && shown;
      if (!isDone && (now - started < FROM || now - last < every)) return;
      last = now;
      const percent = Math.floor((100 * done) / size);
      const speed = `${bytes((done * 1_000) / Math.max(now - started, 1))}/s`;
      show(
        done === size
          ? `${bytes(size)} sent; the gateway reads it`
          : `${bytes(done)} of ${bytes(size)} sent (${percent} %, ${speed})`,
      );
    },
    /** It is over, in whatever way. */
    end() {
      if (shown && isTerminal) stream.write("\r\u001b[K");
    },
  };
}
