import { SearchQuery } from "@codemirror/search";
import { EditorSelection, EditorState } from "@codemirror/state";
import { describe, expect, it } from "vitest";
import { countMatches, countText } from "./find-panel";

const find = (doc: string, search: string, from: number, to: number, regexp = false) => {
  const state = EditorState.create({ doc, selection: EditorSelection.single(from, to) });
  const query = new SearchQuery({ search, regexp });
  return countText(query, countMatches(state, query));
};

describe("the count of the find widget", () => {
  it("tells which match is selected", () => {
    expect(find("one two one", "one", 8, 11)).toBe("2 of 2");
    expect(find("one two one", "one", 0, 0)).toBe("? of 2");
    expect(find("one", "two", 0, 0)).toBe("No results");
    expect(find("one", "", 0, 0)).toBe("");
    expect(find("one", "(", 0, 0, true)).toBe("Invalid expression");
    expect(find("x".repeat(1500), "x", 0, 1)).toBe("1 of 1000+");
  });
});
