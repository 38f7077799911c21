import { describe, expect, it } from "vitest";
import { textVersion } from "./text-version";

describe("text version", () => {
  it("is the agent's", () => {
    expect(textVersion("")).toBe("0-811c9dc5");
    expect(textVersion("a")).toBe("1-e40c292c");
    expect(textVersion("x = 1 # 😀\n")).toBe("11-8345d587");
    expect(textVersion("ab")).not.toBe(textVersion("ba"));
  });
});
