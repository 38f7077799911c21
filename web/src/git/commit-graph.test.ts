import { describe, expect, it } from "vitest";
import { layoutGraph } from "./commit-graph";

const commit = (id: string, ...parents: string[]) => ({ id, parents });

describe("layoutGraph", () => {
  it("keeps a line of commits in one lane", () => {
    expect(layoutGraph([commit("b", "a"), commit("a")])).toEqual([
      { lane: 0, lines: [[0, 0]], width: 1 },
      { lane: 0, lines: [], width: 1 },
    ]);
  });

  it("joins the branches of a merge again", () => {
    const rows = layoutGraph([commit("m", "a", "b"), commit("b", "o"), commit("a", "o"), commit("o")]);
    expect(rows.map(({ lane, lines }) => [lane, lines])).toEqual([
      [
        0,
        [
          [0, 0],
          [0, 1],
        ],
      ],
      [
        1,
        [
          [0, 0],
          [1, 1],
        ],
      ],
      [
        0,
        [
          [0, 0],
          [1, 0],
        ],
      ],
      [0, []],
    ]);
  });
});
