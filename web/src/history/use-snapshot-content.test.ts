import { describe, expect, it } from "vitest";
import { decodeText } from "./use-snapshot-content";

describe("decodeText", () => {
  it("accepts only valid UTF-8 without zero bytes", () => {
    const bytes = (...all: number[]) => new Uint8Array(all);
    expect(decodeText(new TextEncoder().encode("grün\r\n"))).toBe("grün\r\n");
    expect(decodeText(bytes())).toBe("");
    expect([decodeText(bytes(0x61, 0)), decodeText(bytes(0xff, 0xfe))]).toEqual([null, null]);
  });
});
