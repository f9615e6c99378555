// Stands in for the location's cache. workerd's Cache API speaks HTTP to it: GET with
// `only-if-cached` asks, PUT carries a whole response as it would stand on the wire, PURGE deletes.
// It keeps the newest entries only, so a run of unique URLs stays bounded.

const KEEP = 2048;
const entries = new Map();

export default {
  async fetch(request) {
    switch (request.method) {
      case "GET": {
        const entry = entries.get(request.url);
        if (entry === undefined)
          return new Response(null, { status: 504, headers: { "CF-Cache-Status": "MISS" } });
        return new Response(entry.body, entry);
      }
      case "PUT": {
        entries.set(request.url, parse(new Uint8Array(await request.arrayBuffer())));
        if (entries.size > KEEP) entries.delete(entries.keys().next().value);
        return new Response(null, { status: 204 });
      }
      case "PURGE":
        return new Response(null, { status: entries.delete(request.url) ? 200 : 404 });
      default:
        return new Response(null, { status: 405 });
    }
  },
};

function parse(bytes) {
  let end = 0;
  while (!(
    bytes[end] === 13 &&
    bytes[end + 1] === 10 &&
    bytes[end + 2] === 13 &&
    bytes[end + 3] === 10
  )) {
    end += 1;
    if (end + 3 >= bytes.length) throw new Error("no end of head in a PUT to the cache");
  }
  const [first, ...lines] = new TextDecoder().decode(bytes.subarray(0, end)).split("\r\n");
  const headers = lines.map((line) => [
    line.slice(0, line.indexOf(":")),
    line.slice(line.indexOf(":") + 1).trim(),
  ]);
  headers.push(["CF-Cache-Status", "HIT"]);
  return {
    status: Number(first.split(" ")[1]),
    headers,
    body: dechunk(bytes.subarray(end + 4), headers),
  };
}

// A response whose length was not known when it was put arrives in chunks.
function dechunk(body, headers) {
  const index = headers.findIndex(
    ([name, value]) => name.toLowerCase() === "transfer-encoding" && value === "chunked",
  );
  if (index < 0) return body;
  headers.splice(index, 1);
  const text = new TextDecoder("latin1");
  const whole = new Uint8Array(body.length);
  let length = 0;
  for (let at = 0; ;) {
    const start = body.indexOf(10, at) + 1;
    const size = Number.parseInt(text.decode(body.subarray(at, start)), 16);
    if (!(size > 0)) return whole.slice(0, length);
    whole.set(body.subarray(start, start + size), length);
    length += size;
    at = start + size + 2;
  }
}
