// A client of the admin API: tokens, pushes, and what came of them.

import { createHash } from "node:crypto";
import type { FetchOptions, Gateway } from "./mf.ts";
import type { Fields, RawResponse } from "./raw.ts";

export type Role = "reader" | "operator" | "owner";

/** Where the API is. */
export const API = "/_weir/admin/v1";

/** A token, and its entry in `ADMIN_TOKENS`. */
export interface Token {
  text: string;
  entry: { name: string; role: Role; sha256: string; expires?: string };
}

/** A token of this name. The same name gives the same one: nothing here is a secret. */
export function token(name: string, role: Role, expires?: string): Token {
  const text = `weir_${createHash("sha256").update(name).digest("base64url")}`;
  const sha256 = createHash("sha256").update(text).digest("hex");
  return { text, entry: { name, role, sha256, ...(expires === undefined ? {} : { expires }) } };
}

/** One token a role. */
export const READER = token("rita", "reader");
export const OPERATOR = token("olaf", "operator");
export const OWNER = token("oona", "owner");

/** The secret with these tokens, as a variable. */
export const tokens = (...list: Token[]): { ADMIN_TOKENS: string } => ({
  ADMIN_TOKENS: JSON.stringify(list.map(({ entry }) => entry)),
});

/** The secret with one token a role. */
export const TOKENS = tokens(READER, OPERATOR, OWNER);

/** The field that presents a token. */
export const bearer = ({ text }: Token): Fields => [["Authorization", `Bearer ${text}`]];

export const JSON_TYPE: Fields = [["Content-Type", "application/json"]];

/** `If-Match` for a revision, `If-None-Match: *` for none yet. */
export const onBase = (base: string): Fields =>
  base === "r0" ? [["If-None-Match", "*"]] : [["If-Match", `"${base}"`]];

/** The answer to a change. */
export interface Acknowledgement {
  revision: string;
  sequence: number;
  hash: string;
  state: "published" | "pending";
}

export interface AuditEntry {
  id: number;
  time: string;
  author: string;
  role?: Role;
  action: string;
  outcome: "accepted" | "refused";
  reason?: string;
  revision?: string;
  base?: string;
  to?: string;
  message?: string;
}

export interface Revision {
  revision: string;
  sequence: number;
  hash: string;
  bytes: number;
  module: string;
  author: string;
  role: Role;
  time: string;
  message: string;
  base: string;
  rollback_to?: string;
}

export interface CallOptions extends FetchOptions {
  token?: Token;
  /** Sent as JSON. */
  json?: object;
}

export class Admin {
  readonly #gateway: Gateway;
  readonly #token: Token;
  /** Which isolate is asked. */
  readonly #isolate: number;
  #calls = 0;

  constructor(gateway: Gateway, token = OPERATOR, isolate = 0) {
    this.#gateway = gateway;
    this.#token = token;
    this.#isolate = isolate;
  }

  /** One request: method, path below the API's, and what else. */
  call(method: string, path: string, options: CallOptions = {}): Promise<RawResponse> {
    const { token = this.#token, json, fields = [], ...rest } = options;
    const type = json !== undefined || rest.body !== undefined ? JSON_TYPE : [];
    const own = fields.some(([name]) => name.toLowerCase() === "content-type") ? [] : type;
    // A client each, so that the limit of what one may send here does not count.
    this.#calls += 1;
    const client = `198.18.${(this.#calls >> 8) & 255}.${this.#calls & 255}`;
    return this.#gateway.fetch(`${API}${path}`, {
      client,
      isolate: this.#isolate,
      ...rest,
      method,
      fields: [...bearer(token), ...own, ...fields],
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    });
  }

  get(path: string, options: CallOptions = {}): Promise<RawResponse> {
    return this.call("GET", path, options);
  }

  post(path: string, json: object, options: CallOptions = {}): Promise<RawResponse> {
    return this.call("POST", path, { ...options, json });
  }

  /** Pushes a document onto a base. */
  push(document: object | string, base: string, options: CallOptions = {}): Promise<RawResponse> {
    const body = typeof document === "string" ? document : JSON.stringify(document);
    const { fields = [], ...rest } = options;
    return this.call("PUT", "/policy", { body, ...rest, fields: [...onBase(base), ...fields] });
  }

  rollback(to: string, base: string, options: CallOptions = {}): Promise<RawResponse> {
    return this.post("/policy/rollback", { to }, { fields: onBase(base), ...options });
  }

  /** A push that has to be accepted. */
  async pushed(document: object | string, base: string): Promise<Acknowledgement> {
    return accepted(await this.push(document, base));
  }

  /** The audit log, newest first. */
  async audit(limit = 100): Promise<AuditEntry[]> {
    const { entries } = (await this.get(`/audit?limit=${limit}`)).json as { entries: AuditEntry[] };
    return entries;
  }

  /** The revisions, newest first. */
  async history(): Promise<Revision[]> {
    return ((await this.get("/policy/history")).json as { revisions: Revision[] }).revisions;
  }
}

/** What a change that was accepted says. */
export function accepted(response: RawResponse): Acknowledgement {
  if (response.status !== 201) throw new Error(`status ${response.status}: ${response.text}`);
  return response.json as Acknowledgement;
}
