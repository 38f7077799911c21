import { describe, expect, it } from "vitest";
import type { CodeAction } from "../api/agent";
import { actionMenu } from "./action-menu";

const action = (title: string, kind: string, more: Partial<CodeAction> = {}): CodeAction => ({
  id: title,
  title,
  kind,
  ...more,
});

describe("actionMenu", () => {
  it("groups actions, and begins with the preferred fix", () => {
    const chosen: string[] = [];
    const menu = actionMenu(
      [
        action("sort", "source.organizeImports"),
        action("other", "quickfix"),
        action("best", "quickfix", { is_preferred: true }),
        action("extract", "refactor.extract", { disabled: "Select something." }),
        action("else", ""),
        action("no", "quickfixes"),
      ],
      ({ id }) => chosen.push(id),
    );
    const labels = menu.map((entry) => (entry === "line" ? "-" : entry.label));
    expect(labels).toEqual(["best", "other", "-", "extract", "-", "sort", "-", "else", "no"]);
    expect(menu[3]).toMatchObject({ reason: "Select something." });
    const [first] = menu;
    if (first && first !== "line") first.run?.();
    expect(chosen).toEqual(["best"]);
    expect(actionMenu([], () => undefined)).toEqual([]);
  });
});
