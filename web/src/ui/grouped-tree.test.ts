import { expect, test } from "vitest";
import { groupedKeyAction } from "./grouped-tree";

const row = (key: string, isExpanded = true) => ({ key, isExpanded });
const rows = [row("a"), row("a/1"), row("a/2"), row("b", false)];
const isGroup = ({ key }: { key: string }) => !key.includes("/");
const press = (at: number, key: string) => groupedKeyAction(rows, at, key, isGroup);

test("arrows, Home and End stay inside the rows", () => {
  expect([press(0, "ArrowDown"), press(3, "ArrowDown")]).toEqual([1, 3]);
  expect([press(2, "ArrowUp"), press(0, "ArrowUp")]).toEqual([1, 0]);
  expect([press(2, "Home"), press(1, "End")]).toEqual([0, 3]);
});

test("right opens a group and moves on elsewhere", () => {
  expect([press(3, "ArrowRight"), press(0, "ArrowRight"), press(1, "ArrowRight")]).toEqual(["open", 1, 2]);
});

test("left closes a group and leads to it from its rows", () => {
  expect([press(0, "ArrowLeft"), press(2, "ArrowLeft")]).toEqual(["close", 0]);
});

test("other keys and an empty tree do nothing", () => {
  expect([press(0, "Enter"), groupedKeyAction([], 0, "ArrowDown", isGroup)]).toEqual([null, null]);
});

test("left leads to what contains a row of a deep tree", () => {
  const deep = [
    { key: "a", level: 0, isExpanded: true },
    { key: "b", level: 1, isExpanded: false },
    { key: "c", level: 1, isExpanded: false },
    { key: "d", level: 0, isExpanded: false },
  ];
  const left = (at: number) => groupedKeyAction(deep, at, "ArrowLeft", ({ key }) => key < "c");
  expect([0, 1, 2, 3].map(left)).toEqual(["close", 0, 0, -1]);
});
