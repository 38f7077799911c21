import { expect, it } from "vitest";
import { groupOf, keepGroups, orderTabs, parseGroups, splitBeside } from "./split-model";

const tabs = ["a", "b", "c", "d"].map((id) => ({ id }));
const order = (groups: readonly (readonly string[])[]) =>
  orderTabs(tabs, groups)
    .map(({ id }) => id)
    .join("");

it("shows a new terminal beside another", () => {
  let groups = splitBeside([], "a", "c");
  expect(groups).toEqual([["a", "c"]]);
  groups = splitBeside(groups, "a", "d");
  expect(groupOf(groups, "c")).toEqual(["a", "d", "c"]);
  expect(groupOf(groups, "b")).toEqual(["b"]);
  expect(order(groups)).toBe("adcb");
  expect(order([])).toBe("abcd");
});

it("forgets terminals that are gone", () => {
  expect(
    keepGroups(
      [
        ["a", "c"],
        ["b", "d"],
      ],
      ["a", "b", "d"],
    ),
  ).toEqual([["b", "d"]]);
});

it("reads only groups that make sense", () => {
  expect(parseGroups([["a", "b"], ["b", "c"], [1, "x"], "y", null])).toEqual([["a", "b"]]);
  expect(parseGroups({})).toEqual([]);
});
