// Addresses and prefixes, as the gateway reads them: what it would refuse is refused here, with what
// was meant.
import { isIP } from "node:net";
import { USAGE } from "./admin-refusal.mjs";
import { printable, Refusal } from "./term.mjs";

/** Bits of an address. */
const WIDTH = { 4: 32, 6: 128 };

/** 4 or 6; 0 where it is no address. Node takes a zone with an address (`fe80::1%eth0`), the gateway not. */
export const familyOf = (text) => (text.includes("%") ? 0 : isIP(text));

/** The number of an address that is one. */
function numberOf(text, family) {
  if (family === 4) return text.split(".").reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
  // Its last 32 bits may be written as IPv4.
  const plain = text.replace(/[^:]+\.[^:]+$/, (dotted) => {
    const number = numberOf(dotted, 4);
    return `${(number >> 16n).toString(16)}:${(number & 0xffffn).toString(16)}`;
  });
  const [before, after] = plain.split("::").map((half) => (half ? half.split(":") : []));
  const left = after === undefined ? [] : Array(8 - before.length - after.length).fill("0");
  const groups = [...before, ...left, ...(after ?? [])];
  return groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

function textOf(number, family) {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (number >> shift) & 255n).join(".");
  const groups = Array.from({ length: 8 }, (_, at) =>
    ((number >> BigInt(16 * (7 - at))) & 0xffffn).toString(16),
  );
  // The URL standard writes addresses as RFC 5952 does.
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

/** An address without a length. */
export function requireAddress(text, what) {
  if (familyOf(text) !== 0) return text;
  const problem = `${what} wants an address such as 192.0.2.7 or 2001:db8::7.`;
  throw new Refusal(problem, undefined, USAGE);
}

/** An address, or a prefix without host bits. */
export function requireNetwork(text, what) {
  const refuse = (problem, mend) => new Refusal(problem, mend, USAGE);
  const [address, ...rest] = text.split("/");
  const family = familyOf(address);
  if (family === 0 || rest.length > 1) {
    const example = "192.0.2.7 or 2001:db8:1::/48";
    throw refuse(`${what} wants an address or a prefix such as ${example}.`);
  }
  if (rest.length === 0) return text;
  const width = WIDTH[family];
  const length = /^(0|[1-9]\d{0,2})$/.test(rest[0]) ? Number(rest[0]) : Infinity;
  if (length > width) {
    throw refuse(`The length of ${printable(text)} is none from 0 to ${width}.`);
  }
  const number = numberOf(address, family);
  const hostBits = BigInt(width - length);
  const first = (number >> hostBits) << hostBits;
  if (first === number) return text;
  throw refuse(
    `${text} has bits set behind its length.`,
    `Give ${textOf(first, family)}/${length} for the network, or ${address} for the one address.`,
  );
}
