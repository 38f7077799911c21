import { describe, expect, it } from "vitest";
import type { LanguageServer } from "../api/agent";
import { serverOf } from "./language-client";
import { statusLabel, statusSentence } from "./language-status-text";

const server: LanguageServer = {
  language: "python",
  label: "Python",
  files: [".py", ".pyi"],
  server: "basedpyright",
  state: "ready",
  completion_triggers: [],
  signature_triggers: [],
  features: [],
};

describe("language status", () => {
  it("names the server and its state", () => {
    expect(statusLabel(server)).toEqual({ text: "basedpyright", level: "good" });
    expect(statusLabel({ ...server, message: "Indexing 4 %" }).text).toBe("basedpyright: Indexing 4 %");
    expect(statusLabel({ ...server, state: "failed", message: "x" })).toEqual({
      text: "basedpyright failed",
      level: "bad",
    });
    expect(statusSentence({ ...server, state: "failed", message: "it has ended" })).toBe(
      "basedpyright has failed too often: it has ended.",
    );
  });

  it("is that of the file's server", () => {
    expect(serverOf([server], "a/B.PY")).toBe(server);
    expect(serverOf([server], "a/.py")).toBeUndefined();
    expect(serverOf([server], "a.ts")).toBeUndefined();
  });
});
