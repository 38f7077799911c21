import { describe, expect, it } from "vitest";
import { groupCommands, rankTexts, type Command } from "./commands";
import { readPreferences } from "./preferences";
import { withRecent } from "./recent";

const command = (group: string, label: string): Command => ({ group, label, run: () => undefined });
const commands = [
  command("File", "Go to file…"),
  command("View", "Toggle word wrap"),
  command("View", "Show terminals"),
  command("File", "Reopen closed editor"),
];
const shape = (query: string, recent: string[] = []) =>
  groupCommands(query, commands, recent).map(({ heading, commands }) => [
    heading,
    ...commands.map(({ label }) => label),
  ]);

describe("groupCommands", () => {
  it("lists recent commands once, before the groups", () => {
    expect(shape("", ["Show terminals", "gone"])).toEqual([
      ["Recently used", "Show terminals"],
      ["File", "Go to file…", "Reopen closed editor"],
      ["View", "Toggle word wrap"],
    ]);
  });

  it("puts the group of the best match first", () => {
    expect(shape("term", ["Go to file…"])).toEqual([["View", "Show terminals"]]);
    expect(shape("wrap")[0]).toEqual(["View", "Toggle word wrap"]);
    expect(shape("qqq")).toEqual([]);
  });
});

describe("rankTexts", () => {
  it("prefers runs and beginnings of words", () => {
    expect(rankTexts("main", ["domain/router.rs", "src/main.rs"])[0]).toBe("src/main.rs");
  });
});

describe("remembered values", () => {
  it("are checked when they are read", () => {
    const found = {
      wordWrap: true,
      searchCase: "yes",
      editorFontSize: 99,
      tabWidth: 2,
      theme: "pink",
      other: 1,
    };
    expect(readPreferences(found)).toEqual({ wordWrap: true, tabWidth: 2 });
    expect(readPreferences(null)).toEqual({});
    expect(readPreferences("text")).toEqual({});
  });

  it("are the newest, each once", () => {
    expect(withRecent(["a", "b"], "b")).toEqual(["b", "a"]);
    expect(withRecent(Array.from({ length: 60 }, String), "x")).toHaveLength(50);
  });
});
