import { expect, it } from "vitest";
import { EDITOR_TARGET } from "./focus-regions";

it("targets the focused editor group only", () => {
  for (const selector of EDITOR_TARGET.split(","))
    expect(selector.trim()).toMatch(/^\.editor-group\.focused /);
});
