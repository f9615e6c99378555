import { launch } from "./lib/node-version.mjs";

launch(() => import("./commands/token.mjs"));
