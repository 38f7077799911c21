import { describe, expect, it } from "vitest";
import { toneOf } from "./phases";

describe("tone", () => {
  it("marks a failed workspace as bad", () => {
    const failure = { step: "boot", cause: "", action: "" } as const;
    expect(toneOf({ phase: "terminated", failure })).toBe("bad");
    expect(toneOf({ phase: "terminated" })).toBe("rest");
    expect(toneOf({ phase: "provisioning", failure })).toBe("busy");
  });
});
