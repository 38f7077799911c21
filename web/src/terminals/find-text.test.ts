import { expect, it } from "vitest";
import { findText, isValidExpression } from "./find-text";

it("says which match is selected", () => {
  expect(findText("", { resultIndex: 0, resultCount: 3 })).toBe("");
  expect(findText("x", null)).toBe("No results");
  expect(findText("x", { resultIndex: -1, resultCount: 0 })).toBe("No results");
  expect(findText("x", { resultIndex: 1, resultCount: 3 })).toBe("2 of 3");
  expect(findText("x", { resultIndex: -1, resultCount: 1000 })).toBe("? of 1000+");
  expect([isValidExpression("a+"), isValidExpression("(")]).toEqual([true, false]);
});
