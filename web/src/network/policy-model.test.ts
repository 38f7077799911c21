import { describe, expect, it } from "vitest";
import { inputOf, policyOf, policySummary } from "./policy-model";

describe("network policy form", () => {
  it("keeps a policy that is not changed", () => {
    const policy = { mode: "allowlist" as const, names: ["a.org", "*.b.org"], presets: ["git" as const] };
    expect(policyOf(inputOf(policy))).toEqual(policy);
    expect(policyOf(inputOf({ mode: "none" }))).toEqual({ mode: "none", names: [], presets: [] });
  });

  it("splits names at spaces, commas and lines", () => {
    const input = { mode: "allowlist" as const, names: " a.org, b.org\n\n*.c.org ", presets: [] };
    expect(policyOf(input).names).toEqual(["a.org", "b.org", "*.c.org"]);
  });

  it("drops names of another mode", () => {
    const input = { mode: "open" as const, names: "a.org", presets: ["git" as const] };
    expect(policyOf(input)).toEqual({ mode: "open", names: [], presets: [] });
  });
});

describe("summary of a network policy", () => {
  it("is short", () => {
    expect(policySummary({ mode: "open" })).toBe("All public addresses");
    expect(policySummary({ mode: "none", names: [] })).toBe("Nothing");
    expect(policySummary({ mode: "allowlist" })).toBe("Nothing");
    expect(policySummary({ mode: "allowlist", presets: ["git"], names: ["a.org"] })).toBe("Only git, a.org");
    const names = ["a", "b", "c", "d", "e", "f"].map((name) => `${name}.org`);
    expect(policySummary({ mode: "allowlist", names })).toBe("Only a.org, b.org, c.org, d.org and 2 more");
  });
});
