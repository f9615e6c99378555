// The quick way into a `Limiter` object, and its accounts. Nearly every message
// is about counts and waits for nothing: it is answered here without the
// promises and closures that the class of worker-build makes for each.

const FIELD = "weir-message";

/** The class that the runtime makes the objects of; `Inner` is the module's. */
export function limiterClass(Inner) {
  return class Limiter {
    constructor(state, env) {
      this.inner = new Inner(state, env);
    }

    fetch(request) {
      const message = request.headers.get(FIELD);
      const answer = message === null ? undefined : this.inner.answer(message);
      if (answer === undefined) return this.inner.fetch(request);
      return new Response(null, { headers: { [FIELD]: answer } });
    }

    alarm() {
      return this.inner.alarm();
    }
  };
}

/** Makes the tables where they are not there. */
export function createAccounts(storage) {
  storage.sql.exec(
    "CREATE TABLE IF NOT EXISTS accounts (key BLOB PRIMARY KEY, ends INTEGER NOT NULL, text TEXT NOT NULL) WITHOUT ROWID",
  );
  storage.sql.exec("CREATE INDEX IF NOT EXISTS accounts_by_end ON accounts (ends)");
}

/** An account by key. The bytes are the module's memory, so they are copied. */
export function storedAccount(storage, key) {
  const sql = "SELECT text FROM accounts WHERE key = ?";
  return storage.sql.exec(sql, key.slice()).toArray()[0]?.text;
}

/** Writes one. */
export function keepAccount(storage, key, ends, text) {
  const sql = "INSERT OR REPLACE INTO accounts (key, ends, text) VALUES (?, ?, ?)";
  storage.sql.exec(sql, key.slice(), ends, text);
}
