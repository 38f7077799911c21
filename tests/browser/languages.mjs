// Language servers in a real browser, with a real one: problems, completion with an import, what is under
// the pointer, signatures, the way to a definition in another file, references, renaming, symbols, quick
// fixes and sorted imports; and with a server of the test, formatting. Takes a screenshot of each at two
// widths and in both themes.
//
// BURROW_BASEDPYRIGHT: the directory of the server's programs.
import assert from "node:assert/strict";
import {
  createWorkspace,
  editorText,
  finish,
  makeDirectory,
  openPage,
  screenshot,
  signIn,
  step,
  waitForContent,
  writeFile,
} from "./harness.mjs";

const SERVER = process.env.BURROW_BASEDPYRIGHT;
const FORMATTER = new URL("./servers", import.meta.url).pathname;
const MAIN = 'from shapes import area\n\nname: int = "😀 one"\nprint("😀", area(2))\n';
const SHAPES =
  'def area(width: int, height: int = 1) -> int:\n    """Returns the *area* of a `rectangle`. ' +
  '[x](javascript:alert(1)) <b>y</b>"""\n' +
  "    return width * height\n\n\nclass Circle:\n    radius = 1\n";

const ada = await openPage("ada");
await signIn(ada);
const workspace = await createWorkspace(ada, "languages");
await ada.getByRole("tree", { name: "Files" }).waitFor();
const status = ada.locator(".language-status");
const palette = ada.getByRole("combobox", { name: "Command or file" });
const line = (text) => editorText(ada).locator(".cm-line").filter({ hasText: text });
const errors = editorText(ada).locator(".cm-lintRange-error");
const name = (text) => editorText(ada).getByText(text, { exact: true });
const tab = (name) => ada.getByRole("tab", { name, selected: true });

async function openFile(path) {
  await ada.locator(".status-bar").focus();
  await ada.keyboard.press("Control+p");
  await palette.fill(path);
  await ada
    .getByRole("option", { name: path.split("/").at(-1) })
    .first()
    .waitFor();
  await ada.keyboard.press("Enter");
}

await step("a missing server names its installation", async () => {
  await makeDirectory(ada, workspace, "project");
  await writeFile(ada, workspace, ".profile", "PATH=/usr/bin:/bin\n");
  await writeFile(ada, workspace, "project/pyproject.toml", "");
  await writeFile(ada, workspace, "project/shapes.py", SHAPES);
  await writeFile(ada, workspace, "project/main.py", MAIN);
  await openFile("project/main.py");
  await status.filter({ hasText: "No language server" }).click();
  const dialog = ada.getByRole("dialog");
  await dialog.getByText("pip install").waitFor();
  await screenshot(ada, "language-missing", { dark: true });
  // As the command does.
  await writeFile(ada, workspace, ".profile", `PATH=${SERVER}:${FORMATTER}:/usr/bin:/bin\n`);
  await dialog.getByRole("button", { name: "Restart" }).click();
  await status.filter({ hasText: /^basedpyright$/ }).waitFor();
});

await step("a problem is marked until it is solved", async () => {
  await errors.filter({ hasText: "one" }).waitFor();
  await ada.locator(".cm-gutter-lint .cm-lint-marker-error").waitFor();
  await errors.hover();
  await ada.locator(".cm-diagnostic").getByText("is not assignable").waitFor();
  await screenshot(ada, "language-problem", { dark: true });
  await ada.mouse.move(0, 0);
  await writeFile(ada, workspace, "project/later.py", "x = 1\n\nwidth: str = 2\n");
  await openFile("project/later.py");
  await errors.filter({ hasText: "2" }).waitFor();
  await ada.keyboard.press("Control+Shift+m");
  const problems = ada.getByRole("tree", { name: "Problems" });
  await ada.getByText("2 errors, 0 warnings").waitFor();
  await problems.getByRole("treeitem", { name: /^main.py/ }).waitFor();
  await ada.getByRole("button", { name: "Problems, 2 problems" }).waitFor();
  await screenshot(ada, "language-problems", { dark: true });
  await ada.keyboard.press("F8");
  await tab("later.py").waitFor();
  await ada.locator(".status-bar").getByText(/^3:15/).waitFor();
  await ada.keyboard.press("F8");
  await tab("main.py").waitFor();
  await ada.locator(".status-bar").getByText(/^3:21/).waitFor();
  await ada.keyboard.press("Shift+F8");
  await tab("later.py").waitFor();
  await ada.keyboard.press("Shift+F8");
  await tab("main.py").waitFor();
  await line("name: int").click();
  await ada.keyboard.press("End");
  await ada.keyboard.press("Shift+Home");
  await ada.keyboard.type("name: str = 'one'");
  await errors.waitFor({ state: "detached" });
});

await step("the pointer shows what a name is", async () => {
  await name("area").last().hover();
  const hover = ada.locator(".language-hover");
  await hover.getByText("width: int").first().waitFor();
  await hover.getByText("Returns the *area* of a").waitFor();
  assert.equal(await hover.locator("code").textContent(), "rectangle");
  assert.equal(await hover.locator("a, b").count(), 0, "there are no addresses of scripts and no HTML");
  await screenshot(ada, "language-hover", { dark: true, narrow: false });
  await ada.mouse.move(0, 0);
  await hover.waitFor({ state: "detached" });
});

await step("completion imports what it inserts", async () => {
  await line("print").click();
  await ada.keyboard.press("Control+End");
  await ada.keyboard.type("Circ");
  const option = ada.locator(".cm-tooltip-autocomplete").getByRole("option", { name: /^Circle/ });
  await option.first().waitFor();
  await screenshot(ada, "language-completion", { dark: true });
  await ada.keyboard.press("Enter");
  await line("import").filter({ hasText: "Circle" }).waitFor();
  await ada.keyboard.type(".");
  await ada
    .locator(".cm-tooltip-autocomplete")
    .getByRole("option", { name: /^radius/ })
    .click();
  await line("Circle.radius").waitFor();
});

await step("a call shows its parameters", async () => {
  await ada.keyboard.press("Enter");
  await ada.keyboard.type("area(");
  const signature = ada.locator(".language-signature");
  await signature.locator("strong").filter({ hasText: "width" }).waitFor();
  await ada.keyboard.type("1, ");
  await signature.locator("strong").filter({ hasText: "height" }).waitFor();
  await screenshot(ada, "language-signature", { dark: true, narrow: false });
  await ada.keyboard.press("Escape");
  await signature.waitFor({ state: "detached" });
  await ada.keyboard.type("2");
});

await step("F12 and Ctrl+click lead to the definition", async () => {
  await name("area").last().click();
  await ada.keyboard.press("F12");
  await tab("shapes.py").waitFor();
  await line("def area").waitFor();
  await ada.locator(".status-bar").getByText("1:5").waitFor();
  await openFile("project/main.py");
  await tab("main.py").waitFor();
  await line("Circle.radius").click({ modifiers: ["Control"], position: { x: 12, y: 8 } });
  await tab("shapes.py").waitFor();
  await ada.locator(".status-bar").getByText("6:7").waitFor();
});

await step("the server has read what is not saved, and the file has it soon", async () => {
  const expected =
    "from shapes import Circle, area\n\nname: str = 'one'\nprint(\"😀\", area(2))\nCircle.radius\narea(1, 2)";
  await waitForContent(ada, workspace, "project/main.py", expected);
});

const toast = (text) => ada.locator(".toast").filter({ hasText: text });

await step("references are listed in all files", async () => {
  await openFile("project/main.py");
  await tab("main.py").waitFor();
  await name("area").last().click();
  await ada.keyboard.press("Shift+F12");
  const references = ada.getByRole("tree", { name: "References" });
  await ada.getByText("4 references to area in 2 files").waitFor();
  await references.getByRole("treeitem", { name: /^def area\(width/ }).waitFor();
  await screenshot(ada, "language-references", { dark: true });
  await references.getByRole("treeitem", { name: /^main.py/ }).press("End");
  await ada.keyboard.press("Enter");
  await tab("shapes.py").waitFor();
  await ada.locator(".status-bar").getByText(/^1:9/).waitFor();
  await ada.getByRole("button", { name: "Show problems" }).click();
  await references.waitFor({ state: "detached" });
});

await step("a new name is used in all files, and undone in all", async () => {
  const before = await editorText(ada).locator(".cm-line").allTextContents();
  await openFile("project/main.py");
  await name("area").last().click();
  await ada.keyboard.press("F2");
  const dialog = ada.getByRole("dialog", { name: "Rename area" });
  await dialog.getByLabel("New name").waitFor();
  await screenshot(ada, "language-rename", { dark: true });
  await dialog.getByLabel("New name").fill("1 is no name");
  await ada.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await name("area").last().click();
  await ada.keyboard.press("F2");
  await dialog.getByLabel("New name").fill("surface");
  await ada.keyboard.press("Enter");
  await toast("Renamed 4 places in main.py and shapes.py.").waitFor();
  await line("surface(1, 2)").waitFor();
  await waitForContent(ada, workspace, "project/shapes.py", SHAPES.replace("area(", "surface("));
  await screenshot(ada, "language-renamed", { dark: true });
  await toast("Renamed").getByRole("button", { name: "Undo" }).click();
  await toast("Restored 4 places in main.py and shapes.py.").waitFor();
  await line("area(1, 2)").waitFor();
  await waitForContent(ada, workspace, "project/shapes.py", SHAPES);
  await openFile("project/shapes.py");
  await line("def area").waitFor();
  assert.deepEqual(await editorText(ada).locator(".cm-line").allTextContents(), before);
});

await step("symbols are found in the file and in the workspace", async () => {
  await ada.keyboard.press("Control+Shift+o");
  await ada.getByRole("option", { name: /^Circle class/ }).waitFor();
  await screenshot(ada, "language-symbols", { dark: true });
  await palette.fill("@rad");
  await ada.getByRole("option", { name: /^radius/ }).waitFor();
  await ada.keyboard.press("Enter");
  await ada.locator(".status-bar").getByText("7:5").waitFor();
  await openFile("project/main.py");
  await ada.keyboard.press("Control+p");
  await palette.fill("#Circ");
  await ada.getByRole("option", { name: /^Circle class/ }).waitFor();
  await screenshot(ada, "language-workspace-symbols", { dark: true });
  await ada.keyboard.press("Enter");
  await tab("shapes.py").waitFor();
  await ada.locator(".status-bar").getByText("6:7").waitFor();
});

await step("a quick fix imports a name, and Ctrl+Z undoes it", async () => {
  await writeFile(ada, workspace, "project/fix.py", "print('😀', Circle())\n");
  await openFile("project/fix.py");
  await tab("fix.py").waitFor();
  await errors
    .filter({ hasText: "Circle" })
    .or(ada.locator(".cm-lintRange").filter({ hasText: "Circle" }))
    .first()
    .waitFor();
  await name("Circle").click();
  await ada.keyboard.press("Control+.");
  const menu = ada.getByRole("menu", { name: "Code actions" });
  await menu.getByRole("menuitem", { name: /from shapes import Circle/ }).waitFor();
  await screenshot(ada, "language-fix", { dark: true, narrow: false });
  await menu.getByRole("menuitem", { name: /from shapes import Circle/ }).click();
  await line("from shapes import Circle").waitFor();
  await ada.keyboard.press("Control+z");
  await line("from shapes import Circle").waitFor({ state: "detached" });
  await ada.locator(".cm-lintRange").filter({ hasText: "Circle" }).first().hover();
  await ada
    .getByRole("button", { name: /Quick fix/ })
    .first()
    .click();
  await menu.waitFor();
  await ada.keyboard.press("Escape");
  await menu.waitFor({ state: "detached" });
  assert.ok(await editorText(ada).evaluate((text) => text.contains(document.activeElement)));
});

await step("imports are organized by a command of the server", async () => {
  await writeFile(ada, workspace, "project/order.py", "import sys\nimport os\n\nprint(os, sys)\n");
  await openFile("project/order.py");
  await tab("order.py").waitFor();
  await line("import sys").click();
  await ada.keyboard.press("Shift+Alt+O");
  await waitForContent(ada, workspace, "project/order.py", "import os\nimport sys\n\nprint(os, sys)\n");
});

await step("the outline follows the cursor", async () => {
  await openFile("project/shapes.py");
  await ada.getByRole("button", { name: "Explorer", exact: true }).click();
  await ada.getByRole("button", { name: "Outline" }).click();
  const outline = ada.getByRole("tree", { name: "Outline" });
  await outline.getByRole("treeitem", { name: /^Circle/ }).waitFor();
  await line("radius").click({ position: { x: 50, y: 8 } });
  await outline.locator("[aria-current]").filter({ hasText: "radius" }).waitFor();
  await screenshot(ada, "language-outline", { dark: true, narrow: false });
  await outline.getByRole("treeitem", { name: /^area/ }).press("Enter");
  await ada.locator(".status-bar").getByText("1:5").waitFor();
  await outline.locator("[aria-current]").filter({ hasText: "area" }).waitFor();
  await ada.keyboard.press("End");
  await ada.keyboard.press("Control+End");
  await ada.keyboard.type("\nclass Later: ...");
  await outline.getByRole("treeitem", { name: /^Later/ }).waitFor();
});

await step("a text is formatted by key and on save", async () => {
  await writeFile(ada, workspace, "project/run.sh", "echo   one\necho two  three\n");
  await openFile("project/run.sh");
  await status.filter({ hasText: /^bash-language-server$/ }).waitFor();
  await line("echo two").click();
  await ada.keyboard.press("Shift+Alt+F");
  await waitForContent(ada, workspace, "project/run.sh", "echo one\necho two three\n");
  await ada.keyboard.press("Control+z");
  await waitForContent(ada, workspace, "project/run.sh", "echo   one\necho two  three\n");
  await ada.keyboard.press("Control+,");
  await ada.getByRole("dialog").getByRole("switch", { name: "Format on save" }).check();
  await ada.keyboard.press("Escape");
  await line("echo two").click();
  await ada.keyboard.press("Control+s");
  await waitForContent(ada, workspace, "project/run.sh", "echo one\necho two three\n");
});

await finish();
