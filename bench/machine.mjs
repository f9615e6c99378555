// What a figure has to be read with: the machine and the versions.

import { existsSync } from "node:fs";
import os from "node:os";

export function machineFacts(workerd) {
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model.trim() ?? "unknown CPU",
    cores: cpus.length,
    platform: os.platform(),
    architecture: os.arch(),
    kernel: os.release(),
    node: process.versions.node,
    workerd: workerd.version,
    cpu_measured: existsSync("/proc/self/stat"),
    load_average_at_start: os.loadavg()[0],
    date: new Date().toISOString().slice(0, 10),
  };
}
