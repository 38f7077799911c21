import { describe, expect, it } from "vitest";
import { failureOf, summaryOf } from "./edit-summary";

const files = (...paths: string[]) => paths.map((path) => ({ path, edits: 1 }));

describe("summaryOf", () => {
  it("names a few files and counts many", () => {
    expect(summaryOf("Renamed", { files: files("a/b.py") })).toBe("Renamed 1 place in b.py.");
    expect(summaryOf("Renamed", { files: files("a", "b", "c") })).toBe("Renamed 3 places in a, b and c.");
    expect(summaryOf("Changed", { files: files("a", "b", "c", "d") })).toBe("Changed 4 places in 4 files.");
    expect(summaryOf("Changed", { files: [] })).toBe("Changed 0 places in no file.");
  });
});

describe("failureOf", () => {
  it("gives reasons, but not all of many", () => {
    expect(failureOf({ failures: [] })).toBeNull();
    expect(failureOf({})).toBeNull();
    const failures = ["a", "b", "c", "d"].map((path) => ({ path, message: "No." }));
    expect(failureOf({ failures: failures.slice(0, 2) })).toBe("a: No. b: No.");
    expect(failureOf({ failures })).toBe("a: No. b: No. c: No. And 1 more.");
  });
});
