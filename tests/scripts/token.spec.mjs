// `npm run token`: a token is shown once, and the gateway's part holds its digest only.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { expiryOf, isToken, makeToken } from "../../scripts/lib/admin-token.mjs";
import { lifeOf, makeBypassToken, makeKey } from "../../scripts/lib/bypass-token.mjs";
import { command, scratch } from "./helpers.mjs";

const digest = (text) => createHash("sha256").update(text).digest("hex");
const NOW = Date.parse("2026-01-01T00:00:00.123Z");

describe("a token", () => {
  it("is 32 random bytes, and its entry their digest", () => {
    const asked = [];
    const random = (bytes) => (asked.push(bytes), Buffer.alloc(bytes, 0xfb));
    const { token, entry } = makeToken({ name: "ops", role: "reader" }, random);
    assert.deepEqual(asked, [32]);
    assert.equal(token, `weir_${Buffer.alloc(32, 0xfb).toString("base64url")}`);
    assert.ok(isToken(token));
    assert.deepEqual(entry, { name: "ops", role: "reader", sha256: digest(token) });
    assert.notEqual(makeToken({ name: "a", role: "b" }).token, makeToken({ name: "a" }).token);
  });

  it("expires after days, as RFC 3339 has it, or never", () => {
    assert.equal(expiryOf("90d", NOW), "2026-04-01T00:00:00Z");
    assert.equal(expiryOf("1d", NOW), "2026-01-02T00:00:00Z");
    assert.equal(expiryOf("never", NOW), undefined);
    for (const text of ["", "0d", "90", "3651d", "1.5d", "-1d", "90D", "soon", "9999d"]) {
      assert.throws(() => expiryOf(text, NOW), /no time until a token expires/, text);
    }
  });
});

describe("npm run token", () => {
  it("shows the token once, its entry, and the line that puts the secret", async () => {
    const args = ["--name", "ops", "--role", "operator", "--env", "staging"];
    const { code, stdout, stderr } = await command("token", args);
    assert.equal(code, 0);
    const [token, entry, line, rest] = stdout.split("\n");
    assert.ok(isToken(token));
    assert.equal(rest, "");
    assert.ok(!stderr.includes(token) && !entry.includes(token) && !line.includes(token));
    const read = JSON.parse(entry);
    assert.equal(read.sha256, digest(token));
    assert.deepEqual([read.name, read.role], ["ops", "operator"]);
    const days = (Date.parse(read.expires) - Date.now()) / 86_400_000;
    assert.ok(days > 89 && days <= 90, read.expires);
    const put = "npx wrangler secret put ADMIN_TOKENS --env staging";
    assert.equal(line, `printf %s '[${entry}]' | ${put}`);
  });

  it("--json: both, and nothing else", async () => {
    const args = ["--name", "ci", "--role", "reader", "--expires", "never", "--json"];
    const { code, stdout, stderr } = await command("token", args);
    assert.equal(code, 0);
    assert.equal(stderr, "");
    const { token, entry } = JSON.parse(stdout);
    assert.deepEqual(entry, { name: "ci", role: "reader", sha256: digest(token) });
  });

  it("--list: adds the entry to those of the other tokens", async (test) => {
    const path = join(scratch(test), "tokens.json");
    const digests = [];
    for (const name of ["ada", "ben", "ada-2"]) {
      const args = ["--name", name, "--role", "owner", "--list", path, "--env", "staging"];
      const { code, stdout } = await command("token", args);
      assert.equal(code, 0);
      const [token, , line] = stdout.split("\n");
      digests.push(digest(token));
      assert.equal(line, `npx wrangler secret put ADMIN_TOKENS --env staging < ${path}`);
      assert.ok(!readFileSync(path, "utf8").includes(token));
    }
    const list = JSON.parse(readFileSync(path, "utf8"));
    assert.deepEqual(
      list.map(({ name, sha256 }) => [name, sha256]),
      ["ada", "ben", "ada-2"].map((name, at) => [name, digests[at]]),
    );
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(existsSync(`${path}.tmp`), false);
    const again = await command("token", ["--name", "ben", "--role", "owner", "--list", path]);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /has an entry ben already\. .*name this one ben-2/);
    assert.equal(again.stdout, "");
    assert.equal(JSON.parse(readFileSync(path, "utf8")).length, 3);
  });

  it("leaves a list alone that it cannot read", async (test) => {
    const path = join(scratch(test), "tokens.json");
    for (const text of ["{}", "[7]", "[", '[{"name":"a"}]']) {
      writeFileSync(path, text);
      const args = ["--name", "a", "--role", "owner", "--list", path];
      const { code, stdout, stderr } = await command("token", args);
      assert.equal(code, 1);
      assert.match(stderr, /is not a list of tokens/);
      assert.equal(stdout, "");
      assert.equal(readFileSync(path, "utf8"), text);
    }
  });

  it("wants a name, a role that there is, and days", async () => {
    for (const [args, words] of [
      [[], /needs a name/],
      [["--name", "a b", "--role", "owner"], /not a name for a token/],
      [["--name", "ops"], /needs a role.*--role reader or operator or owner/],
      [["--name", "ops", "--role", "admin"], /There is no role "admin"/],
      [["--name", "ops", "--role", "owner", "--expires", "1y"], /no time until a token expires/],
      [["--name", "ops", "--role", "owner", "--env", "a;b"], /not the name of an environment/],
    ]) {
      const { code, stdout, stderr } = await command("token", args);
      assert.equal(code, 1);
      assert.match(stderr, words);
      assert.equal(stdout, "");
    }
  });
});

describe("npm run token -- bypass", () => {
  const key = "k".repeat(43);

  it("signs what the gateway takes: tests/it/cache/bypass_token.rs knows these two", () => {
    const expires = 1_767_229_200;
    assert.equal(
      makeBypassToken({ key, expires }),
      "v1.1767229200..oUvwZIAlUjIR25p9K0WkOWkqjHta-jn8kODxjL6SKPM",
    );
    assert.equal(
      makeBypassToken({ key, expires, scope: "app.example/blog" }),
      "v1.1767229200.YXBwLmV4YW1wbGUvYmxvZw.yMh0gvUhFE6I7zfbf__fFF4SXlPeQRI_4jiUv8HEj8M",
    );
  });

  it("lives for seconds to a day", () => {
    assert.deepEqual(["1s", "15m", "24h", "1d"].map(lifeOf), [1, 900, 86_400, 86_400]);
    for (const text of ["", "0s", "25h", "2d", "1", "1.5h", "500ms", "-1h"]) {
      assert.throws(() => lifeOf(text), /no life for a token/, text);
    }
  });

  it("takes the key from the environment or a file, and never shows it", async (test) => {
    const path = join(scratch(test), "key");
    writeFileSync(path, `${key}\n`);
    for (const [args, env] of [
      [["--key-file", path], {}],
      [[], { CACHE_BYPASS_KEY: key }],
    ]) {
      const all = ["bypass", "--for", "10m", "--scope", "app.example", "--json", ...args];
      const { code, stdout, stderr } = await command("token", all, env);
      assert.equal(code, 0, stderr);
      const { token, expires } = JSON.parse(stdout);
      const seconds = Date.parse(expires) / 1_000;
      assert.equal(token, makeBypassToken({ key, expires: seconds, scope: "app.example" }));
      assert.ok(Math.abs(seconds - Date.now() / 1_000 - 600) < 30, expires);
      assert.ok(!`${stdout}${stderr}`.includes(key));
    }
    const { stdout } = await command("token", ["bypass"], { CACHE_BYPASS_KEY: key });
    assert.match(stdout, /^Weir-Cache-Bypass: v1\.\d+\.\.[\w-]{43}\n$/);
  });

  it("refuses what the gateway would not take", async () => {
    const env = { CACHE_BYPASS_KEY: key };
    for (const [args, environment, words] of [
      [[], {}, /There is no key.*bypass-key makes one/],
      [[], { CACHE_BYPASS_KEY: "short" }, /needs 32 to 1,024 bytes/],
      [["--for", "2d"], env, /no life for a token/],
      [["--scope", "https://app.example"], env, /is no scope/],
      [["--scope", "/blog"], env, /is no scope/],
      [["--key", key], env, /Known flags/],
    ]) {
      const { code, stdout, stderr } = await command("token", ["bypass", ...args], environment);
      assert.equal(code, 1);
      assert.match(stderr, words);
      assert.equal(stdout, "");
    }
  });

  it("makes a key of 32 random bytes, and says how to put it", async () => {
    const { code, stdout, stderr } = await command("token", ["bypass-key", "--env", "staging"]);
    assert.equal(code, 0);
    assert.match(stdout, /^[\w-]{43}\n$/);
    assert.match(stderr, /npx wrangler secret put CACHE_BYPASS_KEY --env staging/);
    assert.equal(
      makeKey((bytes) => Buffer.alloc(bytes)),
      "A".repeat(43),
    );
  });
});
