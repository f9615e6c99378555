// The static assets: the description of the admin API and the JSON Schema of the policy. Behind a
// token, in every environment, and by no other way.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { API, bearer, OWNER, READER, TOKENS } from "./admin.ts";
import { assertProblem, lineOf } from "./expect.ts";
import { policy, using, type GatewayOptions } from "./mf.ts";

const www = (name: string): Buffer =>
  readFileSync(path.resolve(import.meta.dirname, "../../www", name));

const ASSETS = [
  ["/openapi.json", "openapi.json"],
  ["/schema.json", "policy.schema.json"],
] as const;

for (const env of [undefined, "staging", "production"] as const) {
  describe(`the assets of ${env ?? "the local environment"}`, () => {
    const options: GatewayOptions = {
      ...(env === undefined ? {} : { env }),
      vars: { ...TOKENS, LOG_LEVEL: "info" },
      policy: policy("http://127.0.0.1:1", []),
      assets: true,
    };

    test("are served to whoever has a token, as they are in the repository", async () => {
      await using(options, async (gateway) => {
        for (const [target, file] of ASSETS) {
          const response = await gateway.fetch(API + target, { fields: bearer(READER) });
          assert.equal(response.status, 200, target);
          assert.ok(response.body.equals(www(file)), target);
          assert.equal(response.field("content-type"), "application/json", target);
          assert.equal(response.field("cache-control"), "no-store");
          assert.equal(response.field("x-content-type-options"), "nosniff");
          assert.ok(response.field("x-request-id"));
          assert.equal((await lineOf(gateway, response)).verdict, "answered");
          const head = await gateway.fetch(API + target, { method: "HEAD", fields: bearer(OWNER) });
          assert.deepEqual([head.status, head.body.length], [200, 0], target);
          assertProblem(await gateway.fetch(API + target), 401, "unauthenticated");
        }
      });
    });

    test("are not to be had past the gateway", async () => {
      await using(options, async (gateway) => {
        for (const [, file] of ASSETS) {
          assertProblem(await gateway.fetch(`/${file}`), 404, "no-route");
          const fields = bearer(OWNER);
          assertProblem(await gateway.fetch(`/${file}`, { fields }), 404, "no-route");
        }
        assertProblem(await gateway.fetch("/"), 404, "no-route");
      });
    });
  });
}
