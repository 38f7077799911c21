import { describe, expect, it, vi } from "vitest";
import { keyBinding, workbenchCommands, type Key, type WorkbenchActions } from "./workbench-commands";

const actions = new Proxy<Record<string, () => void>>(
  {},
  {
    get: (known, name: string) => (known[name] ??= vi.fn()),
  },
) as unknown as WorkbenchActions;
const key = (code: string, more: Partial<Key> = {}): Key => ({
  key: code,
  code,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  shiftKey: false,
  ...more,
});
const editor = {
  writable: true,
  isTerminalFocused: false,
  isFullScreen: false,
  hasFile: true,
  isInFindPanel: false,
  tabCount: 2,
  altTypes: false,
};
const terminal = { ...editor, isTerminalFocused: true };

describe("key bindings", () => {
  it("leave shell keys to the terminal", () => {
    const toggle = key("KeyB", { ctrlKey: true });
    expect(keyBinding(toggle, actions, editor)).toBe(actions.toggleSideBar);
    expect(keyBinding(toggle, actions, terminal)).toBeNull();
    expect(keyBinding(key("F1"), actions, terminal)).toBeNull();
  });

  it("lead out of the terminal", () => {
    const backquote = key("Backquote", { ctrlKey: true });
    expect(keyBinding(backquote, actions, terminal)).toBe(actions.focusEditor);
    expect(keyBinding(backquote, actions, editor)).toBe(actions.focusTerminal);
    expect(keyBinding(key("F6"), actions, terminal)).not.toBeNull();
    expect(keyBinding(key("F6"), actions, { ...terminal, isFullScreen: true })).toBeNull();
  });
});

describe("keys of the terminal", () => {
  const ctrl = (code: string, more: Partial<Key> = {}) => key(code, { ctrlKey: true, ...more });

  it("find, split and jump as in VS Code", () => {
    expect(keyBinding(ctrl("KeyF"), actions, terminal)).toBe(actions.findInTerminal);
    expect(keyBinding(ctrl("Digit5", { shiftKey: true }), actions, terminal)).toBe(actions.splitTerminal);
    expect(keyBinding(ctrl("ArrowUp"), actions, terminal)).not.toBeNull();
    expect(keyBinding(ctrl("KeyF"), actions, editor)).toBeNull();
  });

  it("stay with full-screen programs, and change nothing for viewers", () => {
    const full = { ...terminal, isFullScreen: true };
    for (const code of ["KeyF", "ArrowUp", "ArrowDown"])
      expect(keyBinding(ctrl(code), actions, full), code).toBeNull();
    const viewer = { ...terminal, writable: false };
    expect(keyBinding(ctrl("Digit5", { shiftKey: true }), actions, viewer)).toBeNull();
  });
});

describe("keys of symbols", () => {
  it("list those of a file only if one is in front", () => {
    const inFile = key("KeyO", { ctrlKey: true, shiftKey: true });
    expect(keyBinding(inFile, actions, editor)).toBe(actions.openSymbolPalette);
    expect(keyBinding(inFile, actions, { ...editor, hasFile: false })).toBeNull();
    const inWorkspace = key("KeyT", { ctrlKey: true });
    expect(keyBinding(inWorkspace, actions, editor)).toBe(actions.openWorkspaceSymbolPalette);
    expect(keyBinding(inWorkspace, actions, terminal)).toBeNull();
  });
});

describe("Alt+W", () => {
  it("closes the tab, but not from the find widget", () => {
    const closeKey = key("KeyW", { altKey: true });
    expect(keyBinding(closeKey, actions, editor)).toBe(actions.closeTab);
    expect(keyBinding(closeKey, actions, { ...editor, isInFindPanel: true })).toBeNull();
  });
});

describe("keys with Alt", () => {
  it("pass if there is no such tab", () => {
    expect(keyBinding(key("Digit2", { altKey: true }), actions, editor)).not.toBeNull();
    expect(keyBinding(key("Digit3", { altKey: true }), actions, editor)).toBeNull();
  });

  it("type the characters of Option", () => {
    const mac = { ...editor, altTypes: true };
    const option = (code: string, typed: string, more: Partial<Key> = {}) =>
      keyBinding(key(code, { key: typed, altKey: true, ...more }), actions, mac);
    expect([option("Digit1", "¡"), option("KeyW", "∑"), option("KeyZ", "Ω")]).toEqual([null, null, null]);
    expect(option("KeyT", "ˇ", { shiftKey: true })).toBeNull();
    expect(option("KeyW", "w")).toBe(actions.closeTab);
    expect(option("Digit1", "1")).not.toBeNull();
  });

  it("are known by their place elsewhere", () => {
    const french = key("Digit1", { key: "&", altKey: true });
    expect(keyBinding(french, actions, editor)).not.toBeNull();
  });
});

describe("keys of VS Code", () => {
  it("search, go to a line and replace", () => {
    const run = (code: string, more: Partial<Key> = {}, context = editor) =>
      keyBinding(key(code, { ctrlKey: true, ...more }), actions, context);
    expect(run("KeyG")).toBe(actions.openLinePalette);
    expect(run("KeyH", {}, { ...editor, hasFile: false })).toBeNull();
    run("KeyH")?.();
    expect(actions.openFind).toHaveBeenCalledWith(true);
    run("KeyF", { shiftKey: true }, terminal)?.();
    expect(actions.focusSearch).toHaveBeenCalledWith(false);
    expect(run("KeyH", { shiftKey: true }, { ...editor, writable: false })).toBeNull();
    // Readline needs these.
    expect([run("KeyG", {}, terminal), run("KeyH", {}, terminal)]).toEqual([null, null]);
    keyBinding(key("F8", { shiftKey: true }), actions, editor)?.();
    expect(actions.nextProblem).toHaveBeenCalledWith(-1);
    expect(keyBinding(key("F8"), actions, terminal)).toBeNull();
    keyBinding(key("Digit2", { altKey: true }), actions, editor)?.();
    expect(actions.showTab).toHaveBeenCalledWith(1);
  });
});

describe("commands", () => {
  it("hide what a viewer cannot do", () => {
    const context = {
      writable: false,
      sideBar: true,
      panel: true,
      isDark: false,
      isWrapped: false,
      file: null,
      hasClosedTabs: false,
      hasTerminal: false,
      ports: [],
    };
    const labels = workbenchCommands(actions, context).map(({ label }) => label);
    expect(labels).not.toContain("New terminal");
    expect(labels).not.toContain("History of this file");
    expect(labels).not.toContain("Replace in files");
    expect(labels).toContain("Hide side bar");
  });
});
