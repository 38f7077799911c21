import { expect, test } from "vitest";
import { stableOrder } from "./workspace-order";

const workspace = (id: string, day: number, used?: number) => ({
  id,
  created_at: `2026-01-0${day}T00:00:00Z`,
  last_used_at: used ? `2026-01-0${used}T00:00:00Z` : null,
});

test("order stays when workspace is used", () => {
  const first = stableOrder([], [workspace("a", 1), workspace("b", 2), workspace("c", 1, 3)]);
  expect(first).toEqual(["c", "b", "a"]);
  const used = stableOrder(first, [workspace("a", 1, 9), workspace("b", 2), workspace("c", 1, 3)]);
  expect(used).toEqual(["c", "b", "a"]);
});

test("new workspace comes first and deleted one goes", () => {
  expect(stableOrder(["c", "b"], [workspace("b", 2), workspace("n", 1)])).toEqual(["n", "b"]);
});
