// The request as Rust reads it: its head in one go, and what the platform says about it.

import { current } from "./exchange.js";

// The names of the fields that are read in one go, with their indices, by a
// hash of ours. To find a name in a Map, the runtime would first look for the
// one string that stands for it: the names that it gives are new ones.
const WANTED = 2048;
let wanted = [];

const slotOf = (name) => {
  const last = name.length - 1;
  return (last * 7 + name.charCodeAt(0) * 31 + name.charCodeAt(last) * 131) & (WANTED - 1);
};

/** From now on these fields, one a line, are read in one go. */
export function want(names) {
  wanted = new Array(WANTED).fill(undefined);
  names.split("\n").forEach((name, index) => (wanted[slotOf(name)] ??= []).push({ name, index }));
}

/**
 * Method, URL and those of the wanted fields that are there, as "index=value",
 * a line each. Asking which names there are is cheaper than asking for names
 * that are not.
 */
export function readHead() {
  const { request } = current;
  const { headers } = request;
  let text = `${request.method}\n${request.url}`;
  for (const name of headers.keys()) {
    const found = wanted[slotOf(name)];
    if (found === undefined) continue;
    for (const one of found) {
      if (one.name === name) text += `\n${one.index}=${headers.get(one.name)}`;
    }
  }
  return text;
}

/** One field of the request; nothing where the runtime refuses the name. */
export function requestField(name) {
  try {
    return current.request.headers.get(name) ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * What the platform says about the request, as `RequestMetadata::parse` reads
 * it: a line for each part, empty where it says nothing.
 */
export function requestMetadata() {
  const { cf } = current.request;
  if (!cf) return undefined;
  const { country, continent, asn, tlsVersion, tlsCipher, verifiedBotCategory } = cf;
  const { score, verifiedBot } = cf.botManagement ?? {};
  const parts = [
    country,
    continent,
    asn,
    tlsVersion,
    tlsCipher,
    score,
    verifiedBot,
    verifiedBotCategory,
  ];
  return parts.map((part) => part ?? "").join("\n");
}

/** The location that has the request. */
export function location() {
  return current.request?.cf?.colo ?? "";
}

/** The location that runs this. */
export function colo() {
  return current.request.cf?.colo ?? undefined;
}
