import { createServer } from "node:net";
import { Refusal } from "./term.mjs";

const HOST = "127.0.0.1";

/** Can this port be listened on? */
export function isFree(port) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => {
      if (error.code === "EADDRINUSE" || error.code === "EACCES") resolve(false);
      else reject(error);
    });
    server.listen({ host: HOST, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/**
 * Refuses ports that are taken, with the flag that chooses others.
 *
 * @param {{port: number, flag: string, first?: number}[]} wanted `first`: the port that the flag
 *   names, where it stands for more than one
 */
export async function requireFree(wanted) {
  const seen = new Set();
  for (const { port, flag, first = port } of wanted) {
    const again = `npm start -- --${flag} N`;
    if (port > 65_535)
      throw new Refusal(`Port ${port} does not exist.`, `Choose another: ${again}`);
    if (seen.has(port))
      throw new Refusal(`Port ${port} is wanted twice.`, `Choose others: ${again}`);
    seen.add(port);
    if (!(await isFree(port))) {
      const range = first === port ? "" : ` (--${flag} ${first} takes it too)`;
      throw new Refusal(`Port ${port} is in use${range}.`, `Choose another: ${again}`);
    }
  }
}
