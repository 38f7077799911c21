import { expect, it } from "vitest";
import { claimReveal } from "./reveal";

it("shows each request once", () => {
  const first = { line: 3, column: 0, length: 2 };
  expect(claimReveal(first)).toBe(first);
  expect(claimReveal(first)).toBeNull();
  expect(claimReveal(null)).toBeNull();
  // The user asks for the same place again.
  const again = { ...first };
  expect(claimReveal(again)).toBe(again);
});
