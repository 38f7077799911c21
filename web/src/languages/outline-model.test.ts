import { describe, expect, it } from "vitest";
import type { DocumentSymbol } from "../api/agent";
import { outlineRows, rowAt } from "./outline-model";

const symbol = (name: string, depth: number, first: number, last: number): DocumentSymbol => ({
  name,
  kind: "class",
  depth,
  range: { start: { line: first, column: 0 }, end: { line: last, column: 9 } },
  name_range: { start: { line: first, column: 6 }, end: { line: first, column: 7 } },
});
const symbols = [
  symbol("A", 0, 1, 9),
  symbol("f", 1, 2, 5),
  symbol("x", 2, 3, 3),
  symbol("f", 1, 6, 8),
  symbol("B", 0, 11, 12),
];

describe("outlineRows", () => {
  it("hides what is below collapsed symbols", () => {
    const names = (...collapsed: string[]) =>
      outlineRows(symbols, new Set(collapsed)).map(({ symbol, level }) => `${symbol.name}${level}`);
    expect(names()).toEqual(["A0", "f1", "x2", "f1", "B0"]);
    expect(names("A\nf")).toEqual(["A0", "f1", "f1", "B0"]);
    expect(names("A")).toEqual(["A0", "B0"]);
    expect(names("A", "A\nf")).toEqual(["A0", "B0"]);
  });

  it("gives each symbol a key of its own", () => {
    expect(new Set(outlineRows(symbols, new Set()).map(({ key }) => key)).size).toBe(symbols.length);
  });
});

describe("rowAt", () => {
  it("follows a place to the innermost symbol that is shown", () => {
    const rows = outlineRows(symbols, new Set());
    const nameAt = (line: number) => rowAt(rows, { line, column: 0 })?.symbol.name ?? null;
    expect([1, 3, 4, 7, 10, 11].map(nameAt)).toEqual(["A", "x", "f", "f", null, "B"]);
    const collapsed = outlineRows(symbols, new Set(["A"]));
    expect(rowAt(collapsed, { line: 3, column: 0 })?.symbol.name).toBe("A");
  });
});
