// Where the address and the token of an environment come from, and that neither goes where it should
// not.
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { environment, isLoopback, settingsPath } from "../../scripts/lib/environments.mjs";
import { localRunPath, publishLocalRun, readLocalRun } from "../../scripts/lib/local-run.mjs";
import { root } from "../../scripts/lib/paths.mjs";
import { json, standIn, TOKEN } from "./admin-stand-in.mjs";
import { command, scratch } from "./helpers.mjs";

const OTHER = `weir_${"x".repeat(43)}`;

/** A home folder with these settings. */
function home(test, settings, mode = 0o600) {
  const folder = scratch(test);
  const env = { XDG_CONFIG_HOME: folder, XDG_STATE_HOME: folder };
  if (settings !== undefined) {
    const path = settingsPath(env);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof settings === "string" ? settings : JSON.stringify(settings));
    chmodSync(path, mode);
  }
  return env;
}

const staging = (more = {}) => ({
  staging: { url: "https://www.weir.site", token: TOKEN, ...more },
});

const refused = (name, env, words, exitCode = 2) =>
  assert.throws(
    () => environment(name, env),
    (error) => {
      assert.match(error.message, words);
      assert.ok(
        !error.message.includes(TOKEN) && !error.message.includes("hunter2"),
        error.message,
      );
      assert.equal(error.exitCode, exitCode);
      return true;
    },
  );

describe("an environment", () => {
  it("is what the file says", (test) => {
    assert.deepEqual(environment("staging", home(test, staging())), {
      name: "staging",
      url: "https://www.weir.site",
      token: TOKEN,
    });
  });

  it("is what the variables say before that; a dash is an underscore in them", (test) => {
    const variables = {
      EDGEWEIR_STAGING_EU_URL: "https://eu.weir.site:8443/",
      EDGEWEIR_STAGING_EU_TOKEN: `${OTHER}\n`,
    };
    const env = { ...home(test, { "staging-eu": staging().staging }), ...variables };
    assert.deepEqual(environment("staging-eu", env), {
      name: "staging-eu",
      url: "https://eu.weir.site:8443",
      token: OTHER,
    });
  });

  it("takes the token alone from a variable, but sends the file's token to no other URL", (test) => {
    const env = home(test, staging({ token: undefined }));
    const token = { EDGEWEIR_STAGING_TOKEN: OTHER };
    assert.equal(environment("staging", { ...env, ...token }).token, OTHER);
    const url = { EDGEWEIR_STAGING_URL: "https://elsewhere.weir.site" };
    refused("staging", { ...home(test, staging()), ...url }, /_URL is set, EDGEWEIR_STAGING_TOKEN/);
  });

  it("is unknown where nothing says", (test) => {
    refused("staging", home(test), /Nothing says where staging is\. Set EDGEWEIR_STAGING_URL/);
    refused("production", home(test, staging()), /Nothing says where production is/);
    refused("constructor", home(test, staging()), /Nothing says where constructor is/);
    refused("staging", home(test, { staging: { url: "https://a.b" } }), /There is no token/);
    for (const name of ["", "../x", "Staging", "a b"]) refused(name, home(test), /not the name of/);
  });
});

describe("the settings file", () => {
  it("is refused where others may open it", (test) => {
    for (const mode of [0o640, 0o604, 0o660, 0o644, 0o620]) {
      refused(
        "staging",
        home(test, staging(), mode),
        /others may open it \(mode 6\d\d\)\. Run chmod/,
      );
    }
    assert.ok(environment("staging", home(test, staging(), 0o400)));
  });

  it("is looked at itself where its name is a link", (test) => {
    const env = home(test, staging(), 0o644);
    const linked = home(test);
    mkdirSync(dirname(settingsPath(linked)));
    symlinkSync(settingsPath(env), settingsPath(linked));
    refused("staging", linked, /others may open it/);
  });

  it("is refused where it is no settings, without a word of it", (test) => {
    for (const text of [
      `{"staging":"${TOKEN}"`,
      `["hunter2"]`,
      `{"staging":"hunter2"}`,
      "null",
      "",
    ]) {
      refused("staging", home(test, text), /is not JSON|cannot be used/);
    }
    refused("staging", home(test, staging({ tokn: "hunter2" })), /cannot be used/);
    refused("staging", home(test, staging({ url: 7 })), /cannot be used/);
  });
});

describe("an address", () => {
  it("is https, or http on this machine", (test) => {
    for (const url of ["http://127.0.0.1:8787", "http://localhost:1", "http://[::1]:8787"]) {
      assert.equal(environment("staging", home(test, staging({ url }))).url, url);
    }
    for (const url of [
      "http://www.weir.site",
      "http://127.0.0.1.weir.site",
      "http://localhost.weir.site",
      "http://10.0.0.1",
      "ftp://127.0.0.1",
    ]) {
      refused("staging", home(test, staging({ url })), /in the clear/);
    }
    assert.equal(isLoopback("127.1.2.3"), true);
  });

  it("is no more than scheme, host and port, and is not repeated where it is", (test) => {
    for (const url of [
      "https://ada:hunter2@www.weir.site",
      "https://www.weir.site/hunter2",
      "https://www.weir.site/?hunter2",
      "https://www.weir.site/#hunter2",
    ]) {
      refused("staging", home(test, staging({ url })), /more than scheme, host and port/);
    }
    refused("staging", home(test, staging({ url: "hunter2" })), /is not a URL/);
  });
});

describe("a token", () => {
  it("has its form, or is not sent", (test) => {
    for (const token of ["hunter2", `Bearer ${TOKEN}`, `${TOKEN}=`, `${TOKEN}\r\nX: y`, ""]) {
      refused("staging", home(test, staging({ token })), /is not a token/);
    }
  });
});

describe("the local environment", () => {
  it("is the running npm start, for this user's eyes only, and goes with it", (test) => {
    const env = home(test);
    refused("local", env, /not running\. Start it in another terminal: npm start/, 3);
    const run = { url: "http://127.0.0.1:9687", token: TOKEN };
    const end = publishLocalRun(run, env);
    assert.deepEqual(environment("local", env), { name: "local", ...run });
    assert.equal(statSync(localRunPath(env)).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(localRunPath(env))).mode & 0o077, 0);
    assert.ok(!localRunPath(env).startsWith(root));
    end();
    end();
    refused("local", env, /not running/, 3);
  });

  it("is the later of two runs, whichever ends first", (test) => {
    const env = home(test);
    const first = publishLocalRun({ url: "http://127.0.0.1:1", token: TOKEN }, env);
    const second = publishLocalRun({ url: "http://127.0.0.1:2", token: OTHER }, env);
    first();
    assert.equal(readLocalRun(env).token, OTHER);
    second();
    assert.equal(readLocalRun(env), undefined);
  });

  it("is not what somebody else could have read, or a broken file", (test) => {
    const env = home(test);
    publishLocalRun({ url: "http://127.0.0.1:1", token: TOKEN }, env);
    chmodSync(localRunPath(env), 0o644);
    refused("local", env, /others may open it/);
    writeFileSync(localRunPath(env), "{");
    chmodSync(localRunPath(env), 0o600);
    refused("local", env, /not running/, 3);
  });

  it("is where npm run policy goes without --env", async (test) => {
    const api = await standIn(test, {
      "GET /health": json(200, { status: "ok", version: "0.2.0" }),
    });
    const env = { XDG_CONFIG_HOME: api.home, XDG_STATE_HOME: api.home };
    const before = await command("policy", ["health"], env);
    assert.equal(before.code, 3);
    assert.match(before.stderr, /^error: The local gateway is not running\./);
    publishLocalRun({ url: api.url, token: TOKEN }, env);
    const { code } = await command("policy", ["health"], env);
    assert.equal(code, 0);
    assert.equal(api.requests[0].headers.authorization, `Bearer ${TOKEN}`);
  });
});

describe("the repository", () => {
  it("says nothing of where environments are", async (test) => {
    const api = await standIn(test);
    const env = { XDG_CONFIG_HOME: api.home, XDG_STATE_HOME: api.home };
    const folder = scratch(test);
    const text = JSON.stringify({ staging: { url: api.url, token: TOKEN } });
    writeFileSync(join(folder, "environments.json"), text, { mode: 0o600 });
    const args = ["health", "--env", "staging"];
    const { code, stderr } = await command("policy", args, env, { cwd: folder });
    assert.equal(code, 2);
    assert.match(stderr, /Nothing says where staging is/);
    assert.deepEqual(api.requests, []);
    assert.equal(readFileSync(join(folder, "environments.json"), "utf8"), text);
  });
});
