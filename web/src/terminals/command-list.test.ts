import { describe, expect, it } from "vitest";
import {
  CommandList,
  describeCommand,
  durationText,
  parseDirectory,
  parseMark,
  type Place,
} from "./command-list";

function place(line: number): () => Place {
  return () => ({ line, dispose: () => undefined });
}

function run(list: CommandList, marks: [payload: string, line: number][]) {
  for (const [payload, line] of marks) {
    const mark = parseMark(payload);
    if (mark) list.apply(mark, place(line), 0);
  }
}

describe("command list", () => {
  it("follows a shell from prompt to exit status", () => {
    const changes: string[] = [];
    const list = new CommandList((command, isGone) => changes.push(`${command.prompt.line} ${isGone}`));
    list.directory = "/home/dev";
    run(list, [
      ["A", 0],
      ["B", 0],
      ["C;start=5", 1],
      ["D;2;duration=1500", 4],
      ["A", 4],
      ["B", 4],
    ]);
    const [first, second] = list.all;
    expect(first).toMatchObject({ status: 2, duration: 1500, startedAt: 5, directory: "/home/dev" });
    expect(second?.output).toBeNull();
    expect(list.lastRun()).toBe(first);
    expect(changes).toEqual(["0 false", "0 false"]);
    // The prompt is drawn again, as after Ctrl+L or without a command.
    run(list, [["A", 5]]);
    expect(list.all.map(({ prompt }) => prompt.line)).toEqual([0, 5]);
    expect(changes.at(-1)).toBe("4 true");
    expect([list.next(5, -1)?.prompt.line, list.next(0, 1)?.prompt.line, list.next(0, -1)]).toEqual([
      0,
      5,
      null,
    ]);
    list.directory = "/tmp";
    expect(list.directoriesAt(3)).toEqual(["/home/dev"]);
    expect(list.directoriesAt(9)).toEqual(["/home/dev", "/tmp"]);
  });

  it("ignores marks without their beginning, and keeps a bounded number", () => {
    const list = new CommandList(() => undefined);
    run(list, [
      ["D;0", 0],
      ["C", 0],
      ["X", 0],
      ["", 0],
    ]);
    expect(list.all).toEqual([]);
    for (let at = 0; at < 400; at++)
      run(list, [
        ["A", at],
        ["C", at],
        ["D;0", at],
      ]);
    expect(list.all.length).toBe(300);
    list.clear();
    expect(list.all).toEqual([]);
  });

  it("describes results and times", () => {
    const list = new CommandList(() => undefined);
    run(list, [
      ["A", 0],
      ["C", 1],
    ]);
    const command = list.all[0];
    expect(command && describeCommand(command)).toBe("Running");
    run(list, [["D;1;duration=20", 2]]);
    expect(command && describeCommand(command)).toBe("Exit status 1 after 20 ms");
    expect([999, 1250, 61_000, 3_700_000].map(durationText)).toEqual([
      "999 ms",
      "1.3 s",
      "1 min 1 s",
      "1 h 1 min",
    ]);
  });

  it("reads the working directory", () => {
    expect(parseDirectory("file://host/home/dev/a%20%C3%A9")).toBe("/home/dev/a é");
    for (const wrong of ["", "/home", "file://host", "file://host/%ff", "https://host/x"])
      expect(parseDirectory(wrong), wrong).toBeNull();
  });
});
