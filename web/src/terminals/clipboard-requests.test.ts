import { expect, test } from "vitest";
import { copiedText } from "./clipboard-requests";

test("text to copy is decoded as UTF-8", () => {
  const payload = Buffer.from("copied by OSC 52: äöü 漢字").toString("base64");
  expect(copiedText(`c;${payload}`)).toBe("copied by OSC 52: äöü 漢字");
});

test("reads, clears and garbage copy nothing", () => {
  for (const sequence of ["c;?", ";?", "pc;?x", "c;", "c", "c;%%%", "c;/w==", `c;${"A".repeat(2_000_000)}`]) {
    expect(copiedText(sequence)).toBeNull();
  }
});
