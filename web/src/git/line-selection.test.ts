import { describe, expect, it } from "vitest";
import { selectedChanges, touchedChanges } from "./line-selection";

const change = (old_start: number, old_lines: number, new_start: number, new_lines: number) => ({
  old_start,
  old_lines,
  new_start,
  new_lines,
});

describe("selectedChanges", () => {
  it("means the whole change without a selection in it", () => {
    expect(selectedChanges(change(3, 2, 5, 4), null)).toEqual([change(3, 2, 5, 4)]);
    expect(selectedChanges(change(3, 2, 5, 4), [1, 4])).toEqual([change(3, 2, 5, 4)]);
    expect(selectedChanges(change(3, 2, 5, 4), [1, 20])).toEqual([change(3, 2, 5, 4)]);
  });

  it("pairs new lines with the old ones beside them", () => {
    expect(selectedChanges(change(3, 2, 5, 4), [6, 6])).toEqual([change(4, 1, 6, 1)]);
    expect(selectedChanges(change(3, 2, 5, 4), [7, 9])).toEqual([change(5, 0, 7, 2)]);
  });
});

describe("touchedChanges", () => {
  it("finds deletions at their place", () => {
    const changes = [change(1, 1, 1, 0), change(5, 1, 4, 1), change(9, 0, 8, 2)];
    expect(touchedChanges(changes, 4, 1)).toEqual([changes[1]]);
    expect(touchedChanges(changes, 1, 0)).toEqual([changes[0]]);
    expect(touchedChanges(changes, 9, 1)).toEqual([changes[2]]);
  });
});
