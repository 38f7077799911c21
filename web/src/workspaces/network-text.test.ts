import { describe, expect, it } from "vitest";
import { policyText } from "./network-text";

describe("network policy", () => {
  it("says what is allowed", () => {
    expect(policyText({ mode: "open" })).toContain("all public addresses");
    expect(policyText({ mode: "none" })).toContain("not connect anywhere");
    expect(policyText({ mode: "allowlist", names: [] })).toContain("not connect anywhere");
    expect(policyText({ mode: "allowlist", names: ["pypi.org"] })).toContain("only to");
  });
});
