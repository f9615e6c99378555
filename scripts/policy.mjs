import { launch } from "./lib/node-version.mjs";

launch(() => import("./commands/policy.mjs"));
