// Looked at before anything else is imported, so written for any Node that knows modules.

export const OLDEST_NODE = 20;

/** One line for a Node that is too old, undefined for one that fits. */
export function nodeProblem(version) {
  const major = parseInt(version.replace(/^v/, ""), 10);
  if (major >= OLDEST_NODE) return undefined;
  return `Node ${version} is too old. Install Node ${OLDEST_NODE} or newer, then try again.`;
}

/** Runs a command's module if this Node can. */
export function launch(load) {
  const problem = nodeProblem(process.version);
  if (problem === undefined) return load();
  process.stderr.write(`error: ${problem}\n`);
  process.exitCode = 1;
  return undefined;
}
