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
const editor = { writable: true, isTerminalFocused: false, isFullScreen: false };
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

describe("commands", () => {
  it("hide what a viewer cannot do", () => {
    const context = { writable: false, sideBar: true, panel: true, isDark: false, file: null };
    const labels = workbenchCommands(actions, context).map(({ label }) => label);
    expect(labels).not.toContain("New terminal");
    expect(labels).not.toContain("History of this file");
    expect(labels).toContain("Hide side bar");
  });
});
