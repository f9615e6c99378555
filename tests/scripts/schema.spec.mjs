// The JSON Schema of the policy, read by an independent validator, agrees with the compiler: about
// the policies of this repository, and about every document that the host tests make.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import Ajv2020 from "ajv/dist/2020.js";
import { toolEnv } from "../../scripts/lib/node.mjs";
import { inRoot, root } from "../../scripts/lib/paths.mjs";
import { run } from "../../scripts/lib/run.mjs";

const schema = JSON.parse(readFileSync(inRoot("www", "policy.schema.json"), "utf8"));
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, strictRequired: false });
for (const keyword of ["x-type", "x-range"]) ajv.addKeyword(keyword);
const takes = ajv.compile(schema);

// What a schema cannot tell, by what the compiler says it expected.
const BEYOND_A_SCHEMA = [
  /an id of its own|a name of its own|each host once|each once$/,
  /the name of one of/,
  /one most specific route/,
  /weights that add up to 100|variants; expected 2 to 32/,
  /at least "interval"/,
  /a field that the platform sets|a field that has no other meaning/,
  // Bytes are not characters.
  /bytes; expected at most/,
  // Host bits; an IPv6 address of too many groups; one that embeds another.
  /without host bits|an IP address/,
  /the IPv4 prefix|not one of 6to4 or NAT64/,
  // Names of digits that are no IPv4 address; dot segments and more than 64 segments.
  /a host name such as|a URL of scheme, host and port|a path such as/,
  // Addresses, and names that no public server has.
  /https, a public host by name/,
  // How many sets of all have a feed.
  /feeds; expected at most/,
  // 1.0 is an integer.
  /a whole number/,
  /with at most two decimals/,
  /each field once/,
  // One number against another; what a part of a key is of elsewhere in the document.
  /no more than the burst|no more than "max"/,
  /in a route only|of the route's path/,
];

// What the compiler does not look at, and the schema does: what stands in `defaults` and is replaced
// in each route, or is there for no route.
const unused = (error) => error.instancePath.startsWith("/defaults");

describe("the JSON Schema", () => {
  /** @type {{document: any, problems: {path: string, value: string, expected: string}[]}[]} */
  let corpus = [];

  const folder = mkdtempSync(join(tmpdir(), "edgeweir-test-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  before(async () => {
    const file = join(folder, "corpus.jsonl");
    const env = { ...process.env, ...toolEnv(), EDGEWEIR_CORPUS: file };
    const code = await run(
      "cargo",
      ["test", "--quiet", "--test", "it", "--", "policy::", "route::"],
      {
        cwd: root,
        env,
        show: "progress",
        timeout: 20 * 60_000,
      },
    );
    assert.equal(code, 0);
    const lines = new Set(readFileSync(file, "utf8").trimEnd().split("\n"));
    corpus = [...lines].map((line) => JSON.parse(line));
  });

  it("takes the policies of this repository, which name it", () => {
    const files = readdirSync(inRoot("policies")).map((name) => inRoot("policies", name));
    assert.ok(files.length >= 3);
    for (const file of [...files, inRoot("bench", "policy.json")]) {
      const policy = JSON.parse(readFileSync(file, "utf8"));
      assert.equal(policy.$schema, "../www/policy.schema.json", file);
      assert.ok(takes(policy), `${file}: ${ajv.errorsText(takes.errors)}`);
    }
  });

  it("takes every document that the compiler takes", () => {
    const good = corpus.filter(({ problems }) => problems.length === 0);
    assert.ok(good.length > 150, String(good.length));
    for (const { document } of good) {
      const errors = takes(document) ? [] : takes.errors.filter((error) => !unused(error));
      assert.deepEqual(errors, [], JSON.stringify(document).slice(0, 2000));
    }
  });

  it("refuses what the compiler refuses for its form", () => {
    const formal = corpus
      .map(({ document, problems }) => ({
        document,
        problems: problems.filter(
          ({ expected }) => !BEYOND_A_SCHEMA.some((kind) => kind.test(expected)),
        ),
      }))
      .filter(({ problems }) => problems.length > 0);
    assert.ok(formal.length > 300, String(formal.length));
    for (const { document, problems } of formal)
      assert.ok(!takes(document), `${JSON.stringify(problems[0])} is no problem of the schema`);
  });

  // An exception that nothing needs hides what it was not made for.
  it("has no exception that nothing needs", () => {
    const loose = corpus.filter(({ document, problems }) => problems.length > 0 && takes(document));
    for (const kind of BEYOND_A_SCHEMA) {
      const needed = loose.some(({ problems }) =>
        problems.some(({ expected }) => kind.test(expected)),
      );
      assert.ok(needed, String(kind));
    }
  });
});
