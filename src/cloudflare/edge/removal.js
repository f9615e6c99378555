// Removal from the cache, and the order of what happens in this isolate, so that nothing that was
// begun before it brings back what is gone.

import { current, later } from "./exchange.js";

const CACHE_NAME = "edgeweir";

// A name of our own, apart from what the zone's own cache holds.
let cache;
export async function openCache() {
  return (cache ??= await caches.open(CACHE_NAME));
}

// The order of what happens in this isolate: a request that was sent before a
// key was removed must not bring the old answer back. Bounded: when the list
// of removals is full, it is forgotten, and with it every request before it.
const REMOVALS = 10_000;
let moment = 0;
let forgotten = 0;
const removals = new Map();

/** The moment of what begins now, later than all before. */
export const nextMoment = () => ++moment;

export function noteRemoval(key) {
  if (removals.size >= REMOVALS) {
    removals.clear();
    forgotten = ++moment;
  }
  removals.set(key, ++moment);
}

export const isOvertaken = (key, begun) => begun < forgotten || begun < (removals.get(key) ?? 0);

// The keys that are being removed at the moment, how often, and until when that
// may take: the runtime may drop a request in the middle of it. What the cache
// still shows under one of them is void.
const REMOVAL_WAIT = 10_000;
const beingRemoved = new Map();

function beginRemoval(keys) {
  if (beingRemoved.size >= REMOVALS) beingRemoved.clear();
  const until = Date.now() + REMOVAL_WAIT;
  for (const key of keys) {
    beingRemoved.set(key, { count: (beingRemoved.get(key)?.count ?? 0) + 1, until });
  }
}

function endRemoval(keys) {
  for (const key of keys) {
    const removal = beingRemoved.get(key);
    if (removal !== undefined && --removal.count <= 0) beingRemoved.delete(key);
  }
}

export const isBeingRemoved = (key) => (beingRemoved.get(key)?.until ?? 0) > Date.now();

/** Removes what is stored under the keys, and under the names for all locations, one a line. */
export function remove(keys, binding, names) {
  const list = keys.split("\n");
  const namespace = current.env[binding];
  list.forEach(noteRemoval);
  beginRemoval(list);
  const near = openCache().then((opened) => Promise.all(list.map((key) => opened.delete(key))));
  const far = names === "" ? [] : names.split("\n").map(async (name) => namespace.delete(name));
  const removed = Promise.all([near, ...far]);
  current.removing = Promise.allSettled([near, ...far]).then(() => endRemoval(list));
  later(removed);
}
