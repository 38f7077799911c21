import { expect, test } from "vitest";
import { classNameProblem } from "./class-name";

test.each([
  ["Algorithms, fall 2026", ""],
  ["Größe & Maß", ""],
  ["", "Enter a name."],
  ["  ", "Enter a name."],
  [" algo ", "A class with this name already exists."],
  ["x".repeat(101), "At most 100 characters."],
])("%s", (name, problem) => {
  expect(classNameProblem(name, ["algo"])).toBe(problem);
});
