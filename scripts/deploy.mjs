import { launch } from "./lib/node-version.mjs";

launch(() => import("./commands/deploy.mjs"));
