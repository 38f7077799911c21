// Language servers in a real browser, with a real one: problems, completion with an import, what is under
// the pointer, signatures, and the way to a definition in another file. Takes a screenshot of each at two
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
  await writeFile(ada, workspace, ".profile", `PATH=${SERVER}:/usr/bin:/bin\n`);
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

await finish();
