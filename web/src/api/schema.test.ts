import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

/** The generator takes seconds on a busy host. */
const TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

test(
  "schema.ts is generated from openapi.json",
  () => {
    const generated = spawnSync("node_modules/.bin/openapi-typescript", ["src/api/openapi.json"], {
      encoding: "utf8",
      maxBuffer: MAX_OUTPUT_BYTES,
    });
    expect(generated.status).toBe(0);
    // If this fails, run `cargo xtask prepare` and commit what it writes.
    expect(readFileSync("src/api/schema.ts", "utf8").trim()).toBe(generated.stdout.trim());
  },
  TIMEOUT_MS,
);
