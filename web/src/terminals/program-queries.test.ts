import { expect, test } from "vitest";
import { asksForColor, themeBytes } from "./program-queries";
import { darkTheme } from "./terminal-themes";

test("only commands that ask for a colour are left to the agent", () => {
  expect(asksForColor("?")).toBe(true);
  expect(asksForColor("1;?")).toBe(true);
  expect(asksForColor("1;#ffffff")).toBe(false);
  expect(asksForColor("rgb:1/2/3")).toBe(false);
});

test("a theme has 19 colours of three bytes", () => {
  const bytes = themeBytes(darkTheme);
  expect(bytes.length).toBe(57);
  expect([...bytes.slice(0, 6)]).toEqual([0xe6, 0xe8, 0xe6, 0x1c, 0x1f, 0x21]);
});
