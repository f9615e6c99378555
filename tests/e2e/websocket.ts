// The little of WebSocket (RFC 6455) that an echo takes: handshake, and frames of up to 64 KiB.

import { createHash } from "node:crypto";

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;

export interface Frame {
  opcode: number;
  payload: Buffer;
}

/** What a server answers to a Sec-WebSocket-Key (4.2.2). */
export function accept(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

/** One final frame (5.2); a client's frames are masked. */
export function encode(frame: Frame, mask?: Buffer): Buffer {
  const { opcode, payload } = frame;
  const bit = mask ? 0x80 : 0;
  const length =
    payload.length < 126
      ? Buffer.from([bit | payload.length])
      : Buffer.from([bit | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([
    Buffer.from([0x80 | opcode]),
    length,
    mask ?? Buffer.alloc(0),
    masked(payload, mask),
  ]);
}

function masked(payload: Buffer, mask: Buffer | undefined): Buffer {
  return mask ? Buffer.from(payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))) : payload;
}

/** Reads one frame. */
export async function decode(exactly: (length: number) => Promise<Buffer>): Promise<Frame> {
  const [first = 0, second = 0] = await exactly(2);
  let length = second & 127;
  if (length === 127) throw new Error("a longer frame than this reader takes");
  if (length === 126) length = (await exactly(2)).readUInt16BE();
  const mask = second & 128 ? await exactly(4) : undefined;
  return { opcode: first & 15, payload: masked(await exactly(length), mask) };
}
