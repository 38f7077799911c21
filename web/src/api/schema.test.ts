import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

test("the API's types are what its description says", () => {
  const made = spawnSync("node_modules/.bin/openapi-typescript", ["src/api/openapi.json"], {
    encoding: "utf8",
  });
  expect(made.status).toBe(0);
  // Not so? `cargo xtask prepare`, and commit what it writes.
  expect(readFileSync("src/api/schema.ts", "utf8").trim()).toBe(made.stdout.trim());
});
