// Gestures that users of VS Code expect of the workbench, on a repository of 300 files in five languages.
// Part of drive.mjs: the page shows a running workspace.
import assert from "node:assert/strict";
import {
  editorText,
  removeDirectory,
  screenshot,
  step,
  treeItem,
  typeLine,
  waitForContent,
  waitForTerminalText,
  writeFile,
} from "./harness.mjs";

const palette = (page) => page.getByRole("combobox", { name: "Command or file" });
const statusBar = (page) => page.locator(".status-bar");

/** Runs a command of the palette. */
async function runCommand(page, label) {
  await page.keyboard.press("F1");
  await palette(page).fill(`>${label}`);
  await page.getByRole("option", { name: label }).first().waitFor();
  await page.keyboard.press("Enter");
  await palette(page).waitFor({ state: "detached" });
}

export async function workbenchSteps(page, workspace) {
  const results = page.getByRole("tree", { name: "Search results" });
  const result = (name) => results.getByRole("treeitem", { name });
  const tab = (name) => page.getByRole("tab", { name, exact: false });

  await step("Ctrl+P opens a file of a fresh repository at a line", async () => {
    await page.locator(".xterm-helper-textarea").first().focus();
    const make =
      "clear; for l in py rs go ts c; do mkdir -p repo/$l/src; for i in $(seq 60); do" +
      " printf 'first line\\nvalue = needle_%s\\nlast\\n' $i > repo/$l/src/mod_$i.$l; done; done;" +
      " mkdir -p repo/out; echo needle_7 > repo/out/made.txt; echo out/ > repo/.gitignore;" +
      " printf 'needle_7\\0' > repo/binary; echo made-$(find repo -name 'mod_*' | wc -l)";
    await typeLine(page, make);
    await waitForTerminalText(page, "made-300");
    await treeItem(page, "repo").first().focus();
    await page.keyboard.press("Control+p");
    await palette(page).fill("rsmod42:2:9");
    await page.getByRole("option", { name: "mod_42.rs repo/rs/src" }).waitFor();
    await screenshot(page, "quick-open", { dark: true });
    await page.keyboard.press("Enter");
    await editorText(page).filter({ hasText: "needle_42" }).waitFor();
    await statusBar(page).getByText("2:9").waitFor();
    // Ignored files are found on request only.
    await page.keyboard.press("Control+p");
    await palette(page).fill("made.txt");
    await page.getByText("No results").waitFor();
    await page.getByLabel("Include ignored files").check();
    await page.getByRole("option", { name: "made.txt repo/out" }).waitFor();
    await page.getByLabel("Include ignored files").uncheck();
    await page.keyboard.press("Escape");
  });

  await step("Ctrl+G goes to a line and F1 runs commands", async () => {
    await page.keyboard.press("Control+g");
    await palette(page).fill(":3");
    await page.keyboard.press("Enter");
    await statusBar(page).getByText("3:1").waitFor();
    assert.ok(await editorText(page).evaluate((text) => text === document.activeElement));
    await page.keyboard.press("F1");
    await page.getByRole("option", { name: "Go to file…" }).waitFor();
    await screenshot(page, "command-palette", { dark: true });
    await page.keyboard.press("Escape");
    await runCommand(page, "Turn word wrap on");
    await page.locator(".editor:not([hidden]) .cm-lineWrapping").waitFor();
    await page.keyboard.press("Alt+z");
    await page.locator(".editor:not([hidden]) .cm-lineWrapping").waitFor({ state: "detached" });
  });

  await step("find in the file counts matches and replaces", async () => {
    await writeFile(page, workspace, "repo/words.md", "one two one\ntwo one\n");
    await page.keyboard.press("Control+p");
    await palette(page).fill("words.md");
    await page.getByRole("option", { name: "words.md repo" }).waitFor();
    await page.keyboard.press("Enter");
    await editorText(page).filter({ hasText: "one two one" }).waitFor();
    await page.keyboard.press("Control+h");
    const find = page.getByRole("search").getByLabel("Find", { exact: true });
    await find.fill("one");
    await page.keyboard.press("Enter");
    await page.getByRole("search").getByText("1 of 3").waitFor();
    await page.keyboard.press("Enter");
    await page.getByRole("search").getByText("2 of 3").waitFor();
    await page.getByRole("search").getByLabel("Replace", { exact: true }).first().fill("1");
    await screenshot(page, "find-widget", { dark: true });
    await page.getByRole("search").getByRole("button", { name: "Replace all" }).click();
    await page.keyboard.press("Escape");
    await waitForContent(page, workspace, "repo/words.md", "1 two 1\ntwo 1\n");
    assert.ok(await editorText(page).evaluate((text) => text === document.activeElement));
  });

  await step("search in files, with a regular expression and a glob", async () => {
    await page.keyboard.press("Control+Shift+f");
    const field = page.getByRole("textbox", { name: "Search", exact: true });
    await field.fill("NEEDLE_7");
    await page.getByText("5 results in 5 files").waitFor();
    assert.equal(await result("made.txt").count(), 0, "ignored files are not searched");
    await screenshot(page, "search", { dark: true });
    await page.getByRole("button", { name: "Match case" }).click();
    await page.getByText("No results").waitFor();
    await page.getByRole("button", { name: "Match case" }).click();
    await page.getByRole("button", { name: "Use regular expression" }).click();
    await field.fill("needle_(4[0-9])$");
    await page.getByText("50 results in 50 files").waitFor();
    await page.getByRole("button", { name: "Search options" }).click();
    await page.getByLabel("Files to include").fill("*.go, *.ts");
    await page.getByText("20 results in 20 files").waitFor();
    await result(/mod_41\.go/).waitFor();
    await field.fill("(");
    await page.getByRole("alert").filter({ hasText: "not a regular expression" }).waitFor();
    await field.fill("needle_(4[12])$");
    await page.getByText("4 results in 4 files").waitFor();
    // With the keyboard: the first file, its match, the editor.
    await field.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await editorText(page).filter({ hasText: "needle_41" }).waitFor();
    await statusBar(page).getByText("(9 selected)").waitFor();
  });

  await step("replace in files with a preview, and undo it", async () => {
    await page.keyboard.press("Control+Shift+h");
    await page.getByRole("textbox", { name: "Search", exact: true }).fill("needle_(4[12])$");
    await page.getByRole("textbox", { name: "Replace", exact: true }).fill("pin-$1");
    await results.locator("ins").filter({ hasText: "pin-42" }).first().waitFor();
    await screenshot(page, "replace-in-files", { dark: true });
    // A file that has changed since keeps what is new.
    await writeFile(page, workspace, "repo/ts/src/mod_42.ts", "first line\nnew = needle_42\nlast\n");
    await page.getByRole("button", { name: "Replace all" }).click();
    await page.getByText("Replaced 3 matches in 4 files. 1 match had changed and was left.").waitFor();
    await editorText(page).filter({ hasText: "pin-41" }).waitFor();
    await waitForContent(page, workspace, "repo/go/src/mod_42.go", "first line\nvalue = pin-42\nlast\n");
    await waitForContent(page, workspace, "repo/ts/src/mod_42.ts", "first line\nnew = needle_42\nlast\n");
    await page.locator(".search-view").getByRole("button", { name: "Undo" }).click();
    await page.getByText("Restored 3 matches in 3 files.").waitFor();
    await waitForContent(page, workspace, "repo/go/src/mod_42.go", "first line\nvalue = needle_42\nlast\n");
    await editorText(page).filter({ hasText: "needle_41" }).waitFor();
    // The options are kept; the next steps need none.
    await page.getByRole("button", { name: "Use regular expression" }).click();
    await page.getByRole("button", { name: "Clear results" }).click();
  });

  await step("tabs: preview, split, move, close and reopen", async () => {
    await runCommand(page, "Close all tabs");
    await page.keyboard.press("Control+p");
    await palette(page).fill("mod_1.py");
    await page.getByRole("option", { name: "mod_1.py repo/py/src" }).waitFor();
    await page.keyboard.press("Enter");
    await editorText(page).filter({ hasText: "needle_1" }).waitFor();
    await page.getByRole("group", { name: "Breadcrumbs" }).getByRole("button", { name: "src" }).click();
    await treeItem(page, "mod_2.py").first().waitFor();
    await page.locator('[data-path="repo/py/src/mod_2.py"]').click();
    await page.locator(".tab.preview").filter({ hasText: "mod_2.py" }).waitFor();
    await page.locator('[data-path="repo/py/src/mod_3.py"]').click();
    await page.locator(".tab.preview").filter({ hasText: "mod_3.py" }).waitFor();
    assert.equal(await tab("mod_2.py").count(), 0, "a preview takes over the tab of the last one");
    await editorText(page).filter({ hasText: "needle_3" }).click();
    await page.keyboard.press("Control+End");
    await page.keyboard.type("more");
    await page.locator(".tab.preview").waitFor({ state: "detached" });
    await page.keyboard.press("Control+\\");
    const groups = page.locator(".editor-group");
    await groups.nth(1).locator(".cm-content").filter({ hasText: "needle_3" }).waitFor();
    await page.keyboard.press("Control+End");
    await page.keyboard.type("!");
    await groups.nth(0).locator(".cm-content").filter({ hasText: "more!" }).waitFor();
    await groups.nth(0).locator(".tab").filter({ hasText: "mod_1.py" }).dragTo(groups.nth(1).locator(".tab"));
    await groups.nth(1).getByRole("tab").nth(1).waitFor();
    await screenshot(page, "editor-groups", { dark: true });
    await page.keyboard.press("Alt+w");
    await page.keyboard.press("Alt+w");
    await groups.nth(1).waitFor({ state: "detached" });
    await page.keyboard.press("Alt+Shift+t");
    await page.keyboard.press("Alt+1");
    await page.locator(".tab.chosen").filter({ hasText: "mod_3.py" }).waitFor();
    await runCommand(page, "Close all tabs");
    await page.getByText("Open a file in the Explorer").waitFor();
  });

  await step("the Explorer selects, moves and creates several entries", async () => {
    const row = (path) => page.locator(`[data-path="${path}"]`);
    await row("repo/py/src/mod_10.py").click();
    await row("repo/py/src/mod_12.py").click({ modifiers: ["Shift"] });
    await row("repo/py/src/mod_14.py").click({ modifiers: ["Control"] });
    assert.equal(await page.locator(".tree-row.selected").count(), 4);
    await page.keyboard.press("Control+x");
    await row("repo/go").click();
    await page.keyboard.press("Control+v");
    await page.getByText("4 entries moved to go").waitFor();
    await row("repo/go/mod_14.py").waitFor();
    await screenshot(page, "explorer-moved", { dark: true });
    await page.locator(".toasts").getByRole("button", { name: "Undo" }).click();
    await row("repo/py/src/mod_14.py").waitFor();
    await row("repo/go/mod_14.py").waitFor({ state: "detached" });
    await row("repo/py/src/mod_10.py").click();
    await page.keyboard.press("Control+c");
    await page.keyboard.press("Control+v");
    await row("repo/py/src/mod_10 copy.py").waitFor();
    // A name with slashes creates the folders.
    await row("repo").click({ button: "right" });
    await page.getByRole("menuitem", { name: "New file…" }).click();
    await page.getByLabel("Name").fill("docs/guide/intro.md");
    await page.keyboard.press("Enter");
    await row("repo/docs/guide/intro.md").waitFor();
    await page.locator(".tab.chosen").filter({ hasText: "intro.md" }).waitFor();
    await runCommand(page, "Close all tabs");
    await page.getByRole("button", { name: "Collapse folders" }).click();
    await page.locator('[data-path="repo/py"]').waitFor({ state: "detached" });
    await removeDirectory(page, workspace, "repo");
    await treeItem(page, "repo").waitFor({ state: "detached" });
  });
}
