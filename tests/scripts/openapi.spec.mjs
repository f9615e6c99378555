// The OpenAPI document of the admin API, read by an independent validator: its schemas are good ones,
// and every answer that the host tests get is as it says.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import Ajv2020 from "ajv/dist/2020.js";
import { toolEnv } from "../../scripts/lib/node.mjs";
import { inRoot, root } from "../../scripts/lib/paths.mjs";
import { run } from "../../scripts/lib/run.mjs";

const text = readFileSync(inRoot("www", "openapi.json"), "utf8");
const document = JSON.parse(text);

const BASE = "https://openapi.invalid/";

/** What is written has no member that is not described; what is read says so itself. */
function closed(node) {
  if (Array.isArray(node)) return node.map(closed);
  if (node === null || typeof node !== "object") return node;
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, closed(value)]));
  const isObject = node.type === "object" && node.properties !== undefined;
  return isObject && node.additionalProperties === undefined
    ? { ...copy, additionalProperties: false }
    : copy;
}

/** A schema of the document, as the validator finds what it refers to. */
const there = (schema) =>
  JSON.parse(JSON.stringify(schema).replaceAll('"#/components/schemas/', `"${BASE}#/$defs/`));

function validator(schemas) {
  const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false });
  for (const keyword of ["x-type", "x-range"]) ajv.addKeyword(keyword);
  ajv.addSchema(there({ $id: BASE, $defs: schemas }));
  return ajv;
}

describe("the OpenAPI document", () => {
  /** @type {{what: string, schema: object, body: any}[]} */
  let answers = [];
  const folder = mkdtempSync(join(tmpdir(), "edgeweir-test-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  before(async () => {
    const file = join(folder, "answers.jsonl");
    const env = { ...process.env, ...toolEnv(), EDGEWEIR_ANSWERS: file };
    const code = await run("cargo", ["test", "--quiet", "--test", "it", "--", "admin::"], {
      cwd: root,
      env,
      show: "progress",
      timeout: 20 * 60_000,
    });
    assert.equal(code, 0);
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    answers = lines.map((line) => JSON.parse(line));
  });

  it("has schemas of JSON Schema 2020-12", () => {
    const ajv = validator(document.components.schemas);
    const names = Object.keys(document.components.schemas);
    assert.ok(names.length > 60);
    for (const name of names) assert.ok(ajv.getSchema(`${BASE}#/$defs/${name}`), name);
  });

  it("describes every answer that the host tests get, member by member", () => {
    const ajv = validator(closed(document.components.schemas));
    const compiled = new Map();
    const counts = new Map();
    for (const { what, schema, body } of answers) {
      const key = JSON.stringify(schema);
      if (!compiled.has(key)) compiled.set(key, ajv.compile(there(schema)));
      const takes = compiled.get(key);
      assert.ok(takes(body), `${what}: ${ajv.errorsText(takes.errors)}`);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    assert.ok(answers.length > 1_000, String(answers.length));
    // Each operation's success, and each way to refuse, was there; assets too.
    const described = new Set();
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, { responses }] of Object.entries(methods)) {
        for (const [status, response] of Object.entries(responses)) {
          const name = response.$ref?.slice("#/components/responses/".length);
          const { content } = name ? document.components.responses[name] : response;
          if (content === undefined) continue;
          const [{ schema }] = Object.values(content);
          described.add(JSON.stringify(schema));
          const seen = counts.has(JSON.stringify(schema));
          assert.ok(seen, `no test gets ${status} of ${method} ${path}`);
        }
      }
    }
    assert.ok(described.size > 20);
  });

  it("takes the bodies that it asks for, and no others", () => {
    const ajv = validator(document.components.schemas);
    const schema = (name) => ajv.getSchema(`${BASE}#/$defs/${name}`);
    const policy = { version: 1 };
    for (const [name, good, bad] of [
      ["RollbackRequest", [{ to: "r1" }, { to: "r1", message: "why" }], [{}, { to: 1 }, { x: 1 }]],
      [
        "ExplainCall",
        [
          { url: "https://a.example/" },
          { url: "http://a.example", document: policy, headers: { a: "b" } },
          { url: "https://a.example/", revision: "r1", headers: [["a", "b"]], client: null },
        ],
        [{}, { url: "a.example" }, { url: "https://a.example/", headers: [["a"]] }],
      ],
      [
        "ReplayCall",
        [{ records: "" }, { records: "", document: policy }, { records: "", document: null }],
        [{}, { records: [] }, { records: "", document: 1 }, { records: "", x: 1 }],
      ],
    ]) {
      const takes = schema(name);
      for (const body of good) assert.ok(takes(body), `${name}: ${ajv.errorsText(takes.errors)}`);
      for (const body of bad) assert.ok(!takes(body), `${name}: ${JSON.stringify(body)}`);
    }
  });
});
