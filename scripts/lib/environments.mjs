// Where the gateway of an environment is, and the token for it. Both come from the user's own
// settings: variables first, then a file in the home folder. Nothing is read from the repository, and
// nothing that is said about a setting repeats it: it may hold a token.
import { join } from "node:path";
import { isToken } from "./admin-token.mjs";
import { readLocalRun } from "./local-run.mjs";
import { configDir } from "./paths.mjs";
import { readPrivate } from "./private-file.mjs";
import { Refusal } from "./term.mjs";

export const LOCAL = "local";

const UNREACHABLE = 3;

const usage = (problem, mend) => new Refusal(problem, mend, 2);

export const settingsPath = (env = process.env) => join(configDir(env), "environments.json");

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** This machine, whatever its network does. */
export function isLoopback(hostname) {
  return hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** The origin of a gateway: `https`, or `http` on this machine. */
function originOf(text, where) {
  let url;
  try {
    url = new URL(text.trim());
  } catch {
    throw usage(`${where} is not a URL.`, "Give one such as https://www.example.org");
  }
  if (url.username || url.password || url.search || url.hash || url.pathname !== "/") {
    throw usage(`${where} is more than scheme, host and port.`, "Leave the rest out.");
  }
  if (url.protocol === "https:") return url.origin;
  if (url.protocol === "http:" && isLoopback(url.hostname)) return url.origin;
  throw usage(
    `${where} would send the token over the network in the clear.`,
    "Use https; http is for this machine only (127.0.0.1, [::1], localhost).",
  );
}

function tokenOf(text, where) {
  const token = text.trim();
  if (isToken(token)) return token;
  throw usage(`${where} is not a token (weir_ and 43 characters).`, "npm run token makes one.");
}

/** The entry of an environment in the settings file; empty where there is none. */
function entryOf(name, path) {
  const text = readPrivate(path);
  if (text === undefined) return {};
  let all;
  try {
    all = JSON.parse(text);
  } catch {
    // The parser's message would quote the text.
    throw usage(`${path} is not JSON.`, 'Expected {"staging":{"url":"https://…","token":"…"}}.');
  }
  const entry = isObject(all) && Object.hasOwn(all, name) ? all[name] : {};
  const isEntry =
    isObject(all) &&
    isObject(entry) &&
    Object.entries(entry).every(
      ([key, value]) => ["url", "token"].includes(key) && typeof value === "string",
    );
  if (isEntry) return entry;
  throw usage(
    `The entry ${name} of ${path} cannot be used.`,
    'Expected {"url":"https://…","token":"…"}.',
  );
}

/** `EDGEWEIR_STAGING_URL` and `EDGEWEIR_STAGING_TOKEN`. */
export function variablesOf(name) {
  const stem = `EDGEWEIR_${name.toUpperCase().replaceAll("-", "_")}`;
  return { url: `${stem}_URL`, token: `${stem}_TOKEN` };
}

function localSettings(env) {
  const run = readLocalRun(env);
  if (run) return { settings: run, source: "what npm start left" };
  throw new Refusal(
    "The local gateway is not running.",
    "Start it in another terminal: npm start",
    UNREACHABLE,
  );
}

/**
 * @param {string} name
 * @returns {{name: string, url: string, token: string}} the URL without a final slash
 */
export function environment(name, env = process.env) {
  if (!/^[a-z0-9][a-z0-9_-]{0,31}$/.test(name)) {
    throw usage("That is not the name of an environment.", "Names are of a-z 0-9 _ -");
  }
  const variables = variablesOf(name);
  const given = { url: env[variables.url] || undefined, token: env[variables.token] || undefined };
  // A token of the file goes to the URL of the file only.
  if (given.url !== undefined) {
    if (given.token === undefined) {
      throw usage(`${variables.url} is set, ${variables.token} is not.`, "Set both.");
    }
    const url = originOf(given.url, variables.url);
    return { name, url, token: tokenOf(given.token, variables.token) };
  }
  const path = settingsPath(env);
  const { settings, source } =
    name === LOCAL ? localSettings(env) : { settings: entryOf(name, path), source: path };
  if (settings.url === undefined) {
    throw usage(
      `Nothing says where ${name} is.`,
      `Set ${variables.url} and ${variables.token}, or write {"${name}":{"url":"https://…","token":"…"}} into ${path} (chmod 600).`,
    );
  }
  const url = originOf(settings.url, `The url of ${name} in ${source}`);
  if (given.token !== undefined) return { name, url, token: tokenOf(given.token, variables.token) };
  if (settings.token === undefined) {
    throw usage(
      `There is no token for ${name}.`,
      `Set ${variables.token}, or write it into ${path}.`,
    );
  }
  return { name, url, token: tokenOf(settings.token, `The token of ${name} in ${source}`) };
}
