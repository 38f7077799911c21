import { describe, expect, it } from "vitest";
import { asksBeforePaste, asOneLine, pasteRisk, shownText, withoutControls } from "./paste";

describe("paste", () => {
  it("asks before several lines unless they are taken as one text", () => {
    const risk = pasteRisk("one\ntwo");
    expect(risk).toEqual({ lines: 2, hasControls: false });
    expect(asksBeforePaste(risk, "auto", false)).toBe(true);
    expect(asksBeforePaste(risk, "auto", true)).toBe(false);
    expect(asksBeforePaste(risk, "always", true)).toBe(true);
    expect(asksBeforePaste(risk, "never", false)).toBe(false);
  });

  it("does not ask before one line with its end", () => {
    for (const text of ["ls", "ls\n", "ls\r\n", "ls\n  ", "a\tb"])
      expect(asksBeforePaste(pasteRisk(text), "auto", false), JSON.stringify(text)).toBe(false);
  });

  it("asks before control characters whatever the program takes", () => {
    for (const text of ["\x1b[201~rm -rf ~\r", "a\x03b", "a\x9bb", "\x7f"])
      expect(asksBeforePaste(pasteRisk(text), "auto", true), JSON.stringify(text)).toBe(true);
    expect(asksBeforePaste(pasteRisk("\x03"), "never", false)).toBe(false);
  });

  it("shows and removes control characters", () => {
    expect(shownText("a\x1b[1m\r\nb\x7f\x9b")).toBe("a␛[1m\nb␡\ufffd");
    expect(shownText("x".repeat(5000)).length).toBe(4001);
    expect(withoutControls("a\x1b[201~\tb\n")).toBe("a[201~\tb\n");
  });

  it("joins lines as one command", () => {
    expect(asOneLine("  cd a \r\n\r\n  make\x1b all\n")).toBe("cd a make all");
  });
});
