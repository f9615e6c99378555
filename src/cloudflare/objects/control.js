// The storage of the `Control` object, and the policy store as it writes it.
// Everything but the policy store is synchronous: nothing else runs in the
// object between a read and the write that is decided on it.

const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS control_values (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
  "CREATE TABLE IF NOT EXISTS revisions (number INTEGER PRIMARY KEY, text TEXT NOT NULL)",
  "CREATE TABLE IF NOT EXISTS audit (number INTEGER PRIMARY KEY, text TEXT NOT NULL)",
  "CREATE TABLE IF NOT EXISTS objects (hash TEXT, piece INTEGER, bytes BLOB NOT NULL, PRIMARY KEY (hash, piece))",
  "CREATE TABLE IF NOT EXISTS bans (key TEXT PRIMARY KEY, kind INTEGER NOT NULL, until INTEGER NOT NULL, " +
    "short TEXT NOT NULL, text TEXT NOT NULL) WITHOUT ROWID",
  "CREATE INDEX IF NOT EXISTS bans_by_end ON bans (kind, until)",
];

/** A row holds at most 2 MB. */
const PIECE = 1 << 20;

/** Makes the tables where they are not there. */
export function createTables(storage) {
  for (const statement of SCHEMA) storage.sql.exec(statement);
}

/** A value by name. */
export function storedValue(storage, name) {
  const rows = storage.sql.exec("SELECT text FROM control_values WHERE name = ?", name).toArray();
  return rows[0]?.text;
}

/** A row by number. The table's name is one of ours. */
export function storedRow(storage, table, number) {
  const rows = storage.sql.exec(`SELECT text FROM ${table} WHERE number = ?`, number).toArray();
  return rows[0]?.text;
}

/** The rows before a number, the greatest first; all where it is negative. */
export function storedRows(storage, table, before, limit) {
  const sql = `SELECT text FROM ${table} WHERE ? < 0 OR number < ? ORDER BY number DESC LIMIT ?`;
  return storage.sql
    .exec(sql, before, before, limit)
    .toArray()
    .map(({ text }) => text);
}

/** Bytes by hash. */
export function storedObject(storage, hash) {
  const sql = "SELECT bytes FROM objects WHERE hash = ? ORDER BY piece";
  const pieces = storage.sql.exec(sql, hash).toArray();
  if (pieces.length === 0) return undefined;
  const whole = new Uint8Array(pieces.reduce((size, { bytes }) => size + bytes.byteLength, 0));
  let at = 0;
  for (const { bytes } of pieces) {
    whole.set(new Uint8Array(bytes), at);
    at += bytes.byteLength;
  }
  return whole;
}

/** A row of the bans. */
export function storedBan(storage, key) {
  return storage.sql.exec("SELECT text FROM bans WHERE key = ?", key).toArray()[0]?.text;
}

/** The bans behind a key that hold at that moment, each its key, its end and its text. */
export function storedBans(storage, after, now, limit) {
  const sql =
    "SELECT key, until, text FROM bans WHERE key > ? AND kind < 2 AND until > ? ORDER BY key LIMIT ?";
  return storage.sql
    .exec(sql, after, now, limit)
    .toArray()
    .map(({ key, until, text }) => `${key} ${until} ${text}`);
}

/** How many rows of a kind have not ended. */
export function banCount(storage, kind, now) {
  const sql = "SELECT COUNT(*) AS count FROM bans WHERE kind = ? AND until > ?";
  return storage.sql.exec(sql, kind, now).one().count;
}

/** The rows of a kind that end first, each its key and its end. */
export function firstBans(storage, kind, now, limit) {
  const sql =
    "SELECT key, until FROM bans WHERE kind = ? AND until > ? ORDER BY until, key LIMIT ?";
  return storage.sql
    .exec(sql, kind, now, limit)
    .toArray()
    .map(({ key, until }) => `${key} ${until}`);
}

/** Every row that has not ended as one text: a hundred thousand in one crossing. */
export function allBans(storage, now) {
  let text = "";
  for (const [key, short] of storage.sql
    .exec("SELECT key, short FROM bans WHERE until > ?", now)
    .raw()) {
    text += `${key} ${short}\n`;
  }
  return text;
}

/**
 * Stores everything or nothing. Each write is a list that begins with its
 * kind. The alarm is part of the same transaction: nothing is awaited in it.
 */
export function applyWrites(storage, writes) {
  const { sql } = storage;
  storage.transactionSync(() => {
    for (const [kind, ...write] of writes) {
      if (kind === "value") {
        sql.exec("INSERT OR REPLACE INTO control_values (name, text) VALUES (?, ?)", ...write);
      } else if (kind === "row") {
        const [table, number, text] = write;
        sql.exec(`INSERT INTO ${table} (number, text) VALUES (?, ?)`, number, text);
      } else if (kind === "object") {
        putObject(sql, ...write);
      } else if (kind === "forget") {
        sql.exec("DELETE FROM objects WHERE hash = ?", ...write);
      } else if (kind === "ban") {
        const columns = "(key, kind, until, short, text) VALUES (?, ?, ?, ?, ?)";
        sql.exec(`INSERT OR REPLACE INTO bans ${columns}`, ...write);
      } else if (kind === "forget-ban") {
        sql.exec("DELETE FROM bans WHERE key = ?", ...write);
      } else if (kind === "sweep-bans") {
        sql.exec("DELETE FROM bans WHERE until <= ?", ...write);
      } else if (kind === "alarm") {
        // Rejects only where the storage has failed as a whole, and with it
        // everything above.
        storage.setAlarm(write[0]).catch(() => {});
      } else {
        throw new Error(`no such write: ${kind}`);
      }
    }
  });
}

function putObject(sql, hash, bytes) {
  const known = sql.exec("SELECT 1 FROM objects WHERE hash = ? LIMIT 1", hash).toArray();
  if (known.length > 0) return;
  for (let at = 0; at === 0 || at < bytes.byteLength; at += PIECE) {
    const piece = bytes.slice(at, at + PIECE);
    sql.exec("INSERT INTO objects (hash, piece, bytes) VALUES (?, ?, ?)", hash, at / PIECE, piece);
  }
}

/** Writes a key, or fails within so many milliseconds. */
export async function putKey(namespace, key, value, metadata, milliseconds) {
  const options = metadata === undefined ? undefined : { metadata: JSON.parse(metadata) };
  await within(namespace.put(key, value, options), milliseconds);
}

/** Removes a key, or fails within so many milliseconds. */
export async function deleteKey(namespace, key, milliseconds) {
  await within(namespace.delete(key), milliseconds);
}

/** Value and metadata of a key as [text, JSON text], past the location's copy as far as may be. */
export async function getKey(namespace, key, milliseconds) {
  const read = namespace.getWithMetadata(key, { type: "text", cacheTtl: 30 });
  const { value, metadata } = await within(read, milliseconds);
  if (value === null) return undefined;
  return [value, metadata === null ? undefined : JSON.stringify(metadata)];
}

function within(promise, milliseconds) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer in time")), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
