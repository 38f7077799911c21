import { describe, expect, it } from "vitest";
import { freeName, nameProblem } from "./names";

describe("workspace names", () => {
  it("accepts the names that the server accepts", () => {
    for (const good of ["a", "algo-2", "0", "a".repeat(63)]) expect(nameProblem(good)).toBe("");
    for (const bad of ["", "-a", "a-", "A", "a b", "ü", "a".repeat(64)])
      expect(nameProblem(bad)).not.toBe("");
  });

  it("finds a free name", () => {
    expect(freeName("base", new Set())).toBe("base");
    expect(freeName("base", new Set(["base", "base-2"]))).toBe("base-3");
  });
});
