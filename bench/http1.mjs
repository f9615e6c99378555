// Reads HTTP/1.1 messages off a socket, just enough for the two ends of this benchmark: no header
// objects, no body copies. The load generator and the origin share the machine's cores with the
// process under test, so each instruction here is one that is missing there.

const HEAD_END = Buffer.from("\r\n\r\n");
const CONTENT_LENGTH = /\r\ncontent-length:[ \t]*(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding:[ \t]*chunked/i;
const MAX_HEAD = 64 * 1024;

const HEAD = 0;
const LENGTH = 1; // a body with Content-Length
const CHUNK_SIZE = 2; // the line with a chunk's size
const CHUNK_DATA = 3; // a chunk and the line break after it
const TRAILER = 4; // lines after the last chunk, up to an empty one

export class MessageReader {
  #state = HEAD;
  #left = 0;
  #line = "";
  #pending = null;
  #bytes = 0;
  #chunked = false;

  /**
   * @param onHead called with the head as a string, before its body
   * @param onEnd  called with ({ bytes, chunked }) once the message is complete
   * @param bodyless a function of the head: true where no body follows whatever the fields say
   */
  constructor(onHead, onEnd, bodyless = () => false) {
    this.onHead = onHead;
    this.onEnd = onEnd;
    this.bodyless = bodyless;
  }

  /** True between messages: the peer may close here without having broken one off. */
  get idle() {
    return this.#state === HEAD && this.#pending === null;
  }

  push(data) {
    if (this.#pending !== null) {
      data = Buffer.concat([this.#pending, data]);
      this.#pending = null;
    }
    let at = 0;
    while (at < data.length) {
      switch (this.#state) {
        case HEAD: {
          const end = data.indexOf(HEAD_END, at);
          if (end < 0) {
            if (data.length - at > MAX_HEAD) throw new Error("a message head passed 64 KiB");
            // The buffer belongs to the socket and is reused: keep a copy of the part.
            this.#pending = Buffer.from(data.subarray(at));
            return;
          }
          const head = data.latin1Slice(at, end);
          at = end + 4;
          this.#begin(head);
          break;
        }
        case LENGTH: {
          const taken = Math.min(this.#left, data.length - at);
          this.#bytes += taken;
          this.#left -= taken;
          at += taken;
          if (this.#left === 0) this.#finish();
          break;
        }
        case CHUNK_SIZE:
        case TRAILER: {
          const feed = data.indexOf(10, at);
          const end = feed < 0 ? data.length : feed + 1;
          this.#line += data.latin1Slice(at, end);
          at = end;
          if (feed >= 0) this.#endLine();
          break;
        }
        case CHUNK_DATA: {
          const taken = Math.min(this.#left, data.length - at);
          this.#left -= taken;
          at += taken;
          if (this.#left === 0) this.#state = CHUNK_SIZE;
          break;
        }
      }
    }
  }

  #begin(head) {
    this.#bytes = 0;
    this.#chunked = false;
    this.onHead(head);
    if (this.bodyless(head)) return this.#finish();
    if (CHUNKED.test(head)) {
      this.#chunked = true;
      this.#state = CHUNK_SIZE;
      return;
    }
    const length = CONTENT_LENGTH.exec(head);
    this.#left = length === null ? 0 : Number(length[1]);
    if (this.#left === 0) this.#finish();
    else this.#state = LENGTH;
  }

  #endLine() {
    const line = this.#line.trimEnd();
    this.#line = "";
    if (this.#state === TRAILER) {
      if (line === "") this.#finish();
      return;
    }
    const size = Number.parseInt(line, 16);
    if (!(size >= 0)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`);
    if (size === 0) {
      this.#state = TRAILER;
      return;
    }
    this.#bytes += size;
    this.#left = size + 2;
    this.#state = CHUNK_DATA;
  }

  #finish() {
    this.#state = HEAD;
    this.onEnd({ bytes: this.#bytes, chunked: this.#chunked });
  }
}
