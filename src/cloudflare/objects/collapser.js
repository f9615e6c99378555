// What a `Collapser` object does by itself: it holds answers back until their
// time is over or their key wakes, and asks again then what to say.

const FIELD = "weir-message";

/** The class that the runtime makes the objects of; `Inner` is the module's. */
export function collapserClass(Inner) {
  return class Collapser {
    constructor() {
      this.inner = new Inner();
      // What lets go of those that wait, by key.
      this.parked = new Map();
    }

    async fetch(request) {
      const message = request.headers.get(FIELD) ?? "";
      let told = this.inner.tell(message);
      if (told === undefined) return new Response(null, { status: 400 });
      let [answer, key, park, wakes] = told.split("\n");
      if (wakes === "1") this.parked.get(key)?.forEach((wake) => wake());
      if (park !== "0") {
        await this.park(key, Number(park));
        told = this.inner.tell(message);
        [answer] = told.split("\n");
      }
      return new Response(null, { headers: { [FIELD]: answer } });
    }

    async park(key, milliseconds) {
      const waiting = this.parked.get(key) ?? new Set();
      this.parked.set(key, waiting);
      let wake;
      const woken = new Promise((resolve) => (wake = resolve));
      const timer = setTimeout(wake, milliseconds);
      waiting.add(wake);
      await woken;
      clearTimeout(timer);
      waiting.delete(wake);
      if (waiting.size === 0) this.parked.delete(key);
    }
  };
}
