// The npm packages: installed when node_modules is not what the lock file says.
import { existsSync, readFileSync } from "node:fs";
import { bareEnv, pinnedNode } from "./node.mjs";
import { inRoot, nodeBin, root } from "./paths.mjs";
import { must, output, run } from "./run.mjs";
import { note, Refusal } from "./term.mjs";

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * Does what npm says it installed equal the lock file? A package for another system may be absent.
 *
 * @param {{packages?: Record<string, any>} | undefined} lock package-lock.json
 * @param {{packages?: Record<string, any>} | undefined} installed node_modules/.package-lock.json
 */
export function isInstalled(lock, installed) {
  if (!lock?.packages || !installed?.packages) return false;
  const wanted = Object.entries(lock.packages).filter(([path]) => path !== "");
  for (const [path, entry] of wanted) {
    const found = installed.packages[path];
    if (found === undefined && entry.optional) continue;
    if (found?.version !== entry.version || found?.integrity !== entry.integrity) return false;
  }
  return Object.keys(installed.packages).every((path) => lock.packages[path] !== undefined);
}

async function ownNodeWorks() {
  if (!existsSync(nodeBin("node"))) return false;
  const answer = await output(nodeBin("node"), ["--version"]);
  return answer?.stdout.trim() === `v${pinnedNode()}`;
}

export function packagesAreInstalled() {
  return isInstalled(
    readJson(inRoot("package-lock.json")),
    readJson(inRoot("node_modules", ".package-lock.json")),
  );
}

export async function installPackages() {
  if (!packagesAreInstalled()) {
    note("Installing the npm packages of package-lock.json, about a minute …");
    const code = await run("npm", ["ci", "--no-audit", "--no-fund"], {
      cwd: root,
      env: bareEnv(),
      show: "progress",
      label: "npm ci",
    });
    if (code === 127) throw new Refusal("npm was not found.", "Install Node with npm.");
    if (code !== 0) throw new Refusal("npm ci failed.", "Its last lines are above.");
  }
  if (await ownNodeWorks()) return;
  // npm may be set not to run install scripts; this one puts the binary in its place.
  note(`Fetching Node ${pinnedNode()} …`);
  await must(
    process.execPath,
    ["installArchSpecificPackage.js"],
    { cwd: inRoot("node_modules", "node"), env: bareEnv(), show: "progress", label: "node" },
    new Refusal(`Node ${pinnedNode()} could not be installed.`, "Its last lines are above."),
  );
  if (!(await ownNodeWorks())) {
    throw new Refusal(
      `The npm package node ${pinnedNode()} gives no working binary on this system.`,
      `Run with Node ${pinnedNode()} of your own.`,
    );
  }
}
