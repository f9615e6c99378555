// The check of the dependencies can fail, and knows what it has not looked up.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as advisories from "../../scripts/lib/advisories.mjs";
import { checkDependencies, readSnapshot } from "../../scripts/lib/deny.mjs";
import { inRoot } from "../../scripts/lib/paths.mjs";
import { findTools } from "../../scripts/lib/prepare.mjs";
import { scratch } from "./helpers.mjs";

const lock = readFileSync(inRoot("Cargo.lock"), "utf8");

describe("the advisory snapshot", () => {
  it("covers every crate of Cargo.lock, and says so when one is not", () => {
    const crates = advisories.lockedCrates(lock);
    assert.ok(crates.includes("worker") && !crates.includes("edgeweir"));
    advisories.requireCoverage(readSnapshot(), crates);
    assert.throws(
      () => advisories.requireCoverage(readSnapshot(), [...crates, "never-heard-of"]),
      /does not cover never-heard-of\. npm run advisories/,
    );
  });

  it("a planted advisory against a crate of ours turns the check red", async (test) => {
    const { "cargo-deny": program } = await findTools(["deny"]);
    const snapshot = structuredClone(readSnapshot());
    assert.equal(await checkDependencies(program, { snapshot, folder: scratch(test) }), 0);
    const planted = {
      id: "RUSTSEC-2026-9999",
      date: "2026-01-01",
      title: "planted",
      patched: [">= 999.0.0"],
      unaffected: [],
    };
    snapshot.crates.worker.push(planted);
    assert.notEqual(await checkDependencies(program, { snapshot, folder: scratch(test) }), 0);
  });

  it("tells its date, and when it is old how to renew it", () => {
    const snapshot = {
      taken: "2026-01-01",
      newest_seen: "RUSTSEC-2025-0001",
      crates: { a: [], b: [{}] },
    };
    const day = (date) => advisories.describe(snapshot, Date.parse(date));
    assert.equal(
      day("2026-01-11"),
      "Advisory snapshot of 2026-01-01 (10 days old): 2 crates, 1 advisories, none newer than RUSTSEC-2025-0001.",
    );
    assert.match(day("2026-06-01"), /It is old\. npm run advisories -- --from FOLDER/);
  });

  it("is renewed from a clone of the database", (test) => {
    const folder = scratch(test);
    const put = (crate, id, more = "") => {
      mkdirSync(join(folder, "crates", crate), { recursive: true });
      writeFileSync(
        join(folder, "crates", crate, `${id}.md`),
        `\`\`\`toml\n[advisory]\nid = "${id}"\npackage = "${crate}"\ndate = "2026-02-03"\n${more}\n[versions]\npatched = [\n  ">= 1.1.0",\n  "^0.9.2",\n]\n\`\`\`\n\n# A title\n\nWords.\n`,
      );
    };
    put("serde", "RUSTSEC-2026-0007", 'informational = "unsound"');
    put("serde", "RUSTSEC-2026-0008", 'withdrawn = "2026-03-01"');
    put("serde", "RUSTSEC-0000-0000");
    put("unrelated", "RUSTSEC-2026-0300");
    const snapshot = advisories.takeSnapshot(folder, ["serde", "worker"], "2026-04-01");
    assert.deepEqual(snapshot, {
      taken: "2026-04-01",
      newest_seen: "RUSTSEC-2026-0300",
      crates: {
        serde: [
          {
            id: "RUSTSEC-2026-0007",
            date: "2026-02-03",
            title: "A title",
            patched: [">= 1.1.0", "^0.9.2"],
            unaffected: [],
            informational: "unsound",
          },
        ],
        worker: [],
      },
    });
    assert.deepEqual(JSON.parse(advisories.asText(snapshot)), snapshot);
    const [serde] = snapshot.crates.serde;
    assert.deepEqual(advisories.readAdvisory(advisories.asMarkdown("serde", serde)), serde);
    assert.throws(
      () => advisories.takeSnapshot(scratch(test), [], "2026-04-01"),
      /no clone of the advisory database/,
    );
  });

  it("is written as it is kept", () => {
    const text = readFileSync(inRoot("deny/advisories/snapshot.json"), "utf8");
    assert.equal(advisories.asText(JSON.parse(text)), text);
  });
});
