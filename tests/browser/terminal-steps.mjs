// What users of VS Code expect of a terminal. Part of drive.mjs: the page shows a running workspace.
import assert from "node:assert/strict";
import {
  editorText,
  makeDirectory,
  removeDirectory,
  screenshot,
  step,
  typeLine,
  waitForPaint,
  writeFile,
} from "./harness.mjs";

const shown = (page) => page.locator("[data-terminal]:not([hidden])");
const lines = (page) => shown(page).last().locator(".xterm-rows");
const tabs = (page) => page.getByRole("tablist", { name: "Terminals" }).getByRole("tab");
const waitForLines = (page, text) => lines(page).filter({ hasText: text }).waitFor();
const focusTerminal = (page) => shown(page).last().locator(".xterm-helper-textarea").focus();
const isTerminalFocused = (page) =>
  page.evaluate(() => document.activeElement?.classList.contains("xterm-helper-textarea") ?? false);
const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());

/** Puts text into the clipboard and presses Ctrl+V. */
async function paste(page, text) {
  await page.evaluate((text) => navigator.clipboard.writeText(text), text);
  await page.keyboard.press("Control+v");
}

/** Opens the settings with the palette, which the terminal does not take the key of. */
async function openSettings(page) {
  await page.keyboard.press("Control+Shift+p");
  await page.getByRole("combobox", { name: "Command or file" }).fill(">Settings…");
  await page.getByRole("option", { name: "Settings…" }).waitFor();
  await page.keyboard.press("Enter");
}

/** The middle of a text on the screen. */
async function centreOf(page, text) {
  const row = lines(page).locator("> div").filter({ hasText: text }).last();
  await row.waitFor();
  return row.evaluate((row, text) => {
    const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walker.nextNode()) nodes.push(walker.currentNode);
    // The text may be in several spans: find its middle character.
    let index =
      nodes
        .map((node) => node.data)
        .join("")
        .indexOf(text) + Math.floor(text.length / 2);
    const node = nodes.find((node) => index < node.length || ((index -= node.length), false));
    const range = document.createRange();
    range.setStart(node, index);
    range.setEnd(node, index + 1);
    const { left, top, width, height } = range.getBoundingClientRect();
    return { x: left + width / 2, y: top + height / 2 };
  }, text);
}

export async function terminalSteps(page, workspace) {
  await step("a terminal of its own for what follows", async () => {
    const before = await tabs(page).count();
    await page.getByRole("button", { name: "New terminal" }).first().click();
    await tabs(page).nth(before).waitFor();
    await waitForLines(page, /[$#]\s*$/);
    await focusTerminal(page);
  });

  await step("find in the terminal reads all lines above and gives the focus back", async () => {
    await typeLine(page, "for i in $(seq 300); do echo line-$i-x; done; echo Line-$((3+4))-X");
    await waitForLines(page, "Line-7-X");
    await page.keyboard.press("Control+f");
    const find = page.getByRole("search", { name: "Find in terminal" });
    const field = find.getByLabel("Find", { exact: true });
    await field.fill("line-7-x");
    // The command that was typed has no such text; both lines are found, the newest first.
    await find.getByText("2 of 2").waitFor();
    await page.keyboard.press("Enter");
    await find.getByText("1 of 2").waitFor();
    await waitForLines(page, "line-7-x");
    await page.keyboard.press("Shift+Enter");
    await find.getByText("2 of 2").waitFor();
    await screenshot(page, "terminal-find", { dark: true });
    await page.keyboard.press("Alt+c");
    await find.getByText("1 of 1").waitFor();
    await find.getByRole("button", { name: "Use regular expression" }).click();
    await field.fill("line-(29|30)\\d-x");
    await find.getByText(/of 11$/).waitFor();
    await field.fill("line-(");
    await find.getByText("Invalid expression").waitFor();
    await find.getByRole("button", { name: "Use regular expression" }).click();
    await field.fill("nowhere");
    await find.getByText("No results").waitFor();
    await page.keyboard.press("Alt+c");
    await page.keyboard.press("Escape");
    await find.waitFor({ state: "detached" });
    assert.ok(await isTerminalFocused(page));
  });

  await step("a full-screen program keeps Ctrl+F", async () => {
    await typeLine(page, "printf '\\033[?1049h'; cat -v; printf '\\033[?1049l'");
    await lines(page).filter({ hasNotText: "line-" }).waitFor();
    await page.keyboard.press("Control+f");
    await page.keyboard.press("Enter");
    await waitForLines(page, "^F");
    await page.keyboard.press("Control+d");
    await waitForLines(page, "Line-7-X");
    await waitForLines(page, /[$#]\s*$/);
  });

  await step("pasted lines and control characters are asked about", async () => {
    const dialog = page.getByRole("dialog");
    // bash takes pasted lines as one text: no question.
    await paste(page, "echo one-$((1+0))\necho two-$((1+1))");
    await waitForLines(page, "echo two-$((1+1))");
    assert.equal(await dialog.count(), 0);
    await page.keyboard.press("Enter");
    await waitForLines(page, "two-2");
    // A program that does not.
    await typeLine(page, "printf '\\033[?2004l'; echo reading-$((1+1)); cat > pasted.txt");
    await waitForLines(page, "reading-2");
    await paste(page, "first line\n  second line");
    await dialog.getByRole("heading", { name: "Paste 2 lines into the terminal?" }).waitFor();
    await screenshot(page, "paste-lines", { dark: true });
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "detached" });
    assert.ok(await isTerminalFocused(page));
    await paste(page, "first line\n  second line");
    await dialog.getByRole("button", { name: "Paste as one line" }).click();
    await waitForLines(page, "first line second line");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Control+d");
    await waitForLines(page, /[$#]\s*$/);
    await paste(page, "echo \u001b[201~safe");
    await dialog.getByText("The text has control characters").waitFor();
    await dialog.getByText("echo ␛[201~safe").waitFor();
    await dialog.getByLabel("Do not ask again").check();
    await dialog.getByRole("button", { name: "Paste without them" }).click();
    await waitForLines(page, "echo [201~safe");
    await page.keyboard.press("Control+c");
    // The setting can be found and reset.
    await openSettings(page);
    await dialog.getByLabel("Paste warning", { exact: true }).selectOption("Always");
    await page.keyboard.press("Escape");
    await focusTerminal(page);
    await paste(page, "one\ntwo");
    await dialog.getByRole("heading", { name: "Paste 2 lines" }).waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await openSettings(page);
    await dialog.getByRole("button", { name: "Reset Paste warning" }).click();
    await page.keyboard.press("Escape");
    await focusTerminal(page);
  });

  await step("paths of files open the editor with Ctrl+click", async () => {
    await makeDirectory(page, workspace, "links/src");
    await writeFile(page, workspace, "links/src/main.rs", "fn main() {\n    one();\n    two();\n}\n");
    await typeLine(page, 'cd links; clear; echo "  --> src/main.rs:3:5"');
    await typeLine(page, "echo src/gone.rs:1:1; echo done-$((4+4))");
    await waitForLines(page, /done-8.*[$#]\s*$/);
    const existing = await centreOf(page, "src/main.rs:3:5");
    await page.mouse.move(existing.x - 5, existing.y);
    await page.mouse.move(existing.x, existing.y);
    await page.locator(".terminal-place[title^='Follow link']").waitFor();
    await screenshot(page, "terminal-link", { narrow: false });
    // Without Ctrl nothing is opened.
    await page.mouse.click(existing.x, existing.y);
    assert.equal(await page.getByRole("tab", { name: "main.rs" }).count(), 0);
    await page.keyboard.down("Control");
    await page.mouse.click(existing.x, existing.y);
    await page.keyboard.up("Control");
    await editorText(page).filter({ hasText: "two();" }).waitFor();
    await page.locator(".status-bar").getByText("3:5").waitFor();
    // What does not exist is no link.
    const gone = await centreOf(page, "src/gone.rs:1:1");
    await page.mouse.move(gone.x, gone.y);
    await page.locator(".terminal-place[title]").waitFor({ state: "detached" });
    await page.keyboard.press("Alt+w");
    // Closing the last tab gives the focus to the empty editor.
    await page.getByText("Open a file in the Explorer").waitFor();
    await waitForPaint(page);
    await focusTerminal(page);
  });

  await step("commands have marks with their status, also after a reload", async () => {
    const mark = (state) => shown(page).last().locator(`.command-mark[data-state=${state}]`);
    await typeLine(page, "clear");
    await typeLine(page, "sleep 0.1; false");
    await mark("failed").first().waitFor();
    await typeLine(page, "printf 'an\\noutput\\n'");
    await mark("ok").first().waitFor();
    assert.match(await mark("failed").first().getAttribute("title"), /^Exit status 1 after \d+ ms/);
    await screenshot(page, "command-marks", { dark: true });
    await page.reload();
    await waitForLines(page, "output");
    await mark("failed").first().waitFor();
    await mark("ok").first().waitFor();
    assert.match(await mark("failed").first().getAttribute("title"), /^Exit status 1 after \d+ ms/);
    await focusTerminal(page);
    await typeLine(page, "sleep 1000");
    await mark("running").waitFor();
    await page.keyboard.press("Control+c");
    await mark("running").waitFor({ state: "detached" });
  });

  await step("keys jump between commands and the menu copies output", async () => {
    await typeLine(page, "seq 200");
    // The command itself has the last number too.
    await waitForLines(page, /199.*200.*[$#]\s*$/);
    await page.keyboard.press("Control+ArrowUp");
    await waitForLines(page, /seq 200/);
    await page.locator(".command-chosen").first().waitFor();
    await page.keyboard.press("Control+ArrowUp");
    await page.keyboard.press("Control+ArrowUp");
    await page.keyboard.press("Control+ArrowUp");
    await waitForLines(page, "sleep 0.1; false");
    for (let at = 0; at < 5; at++) await page.keyboard.press("Control+ArrowDown");
    await page.locator(".command-chosen").waitFor({ state: "detached" });
    await typeLine(page, "printf 'an\\n  output'");
    await waitForLines(page, /output.*[$#]\s*$/);
    await shown(page).last().click({ button: "right" });
    await screenshot(page, "terminal-menu", { narrow: false, dark: true });
    await page.getByRole("menuitem", { name: "Copy output of last command" }).click();
    await page.getByText("Output copied").waitFor();
    assert.equal(await clipboard(page), "an\n  output");
    assert.ok(await isTerminalFocused(page));
  });

  await step("the menu clears for all viewers", async () => {
    await typeLine(page, "echo before-$((3+4))");
    await waitForLines(page, /before-7.*[$#]\s*$/);
    await shown(page).last().click({ button: "right" });
    await page.getByRole("menuitem", { name: "Clear" }).click();
    await lines(page).filter({ hasNotText: "before-7" }).waitFor();
    await page.reload();
    await waitForLines(page, /[$#]\s*$/);
    assert.doesNotMatch(await lines(page).textContent(), /before-7/);
    await focusTerminal(page);
    await typeLine(page, "echo after-$((2+3))");
    await waitForLines(page, "after-5");
  });

  await step("a terminal is renamed and split in its directory", async () => {
    const before = await tabs(page).count();
    await shown(page).last().click({ button: "right" });
    await page.getByRole("menuitem", { name: "Rename…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name").fill("server");
    await dialog.getByRole("button", { name: "Rename" }).click();
    await page.getByRole("tab", { name: "server" }).waitFor();
    await page.reload();
    await page.getByRole("tab", { name: "server" }).waitFor();
    await waitForLines(page, "after-5");
    await focusTerminal(page);
    await page.keyboard.press("Control+Shift+5");
    await shown(page).nth(1).waitFor();
    await waitForLines(page, /[$#]\s*$/);
    // The new one has the keyboard.
    await shown(page).nth(1).locator(".xterm.focus").waitFor();
    await typeLine(page, "pwd; echo beside-$((2+5))");
    await waitForLines(page, /\/links\s*beside-7/);
    await screenshot(page, "terminal-split", { dark: true });
    // Both are still there after a reload.
    await page.reload();
    await shown(page).nth(1).waitFor();
    await waitForLines(page, /\/links\b/);
    // The one beside, then the one of these steps.
    for (const left of [before, before - 1]) {
      await tabs(page).last().focus();
      await page.keyboard.press("Delete");
      await dialog.getByRole("button", { name: "Close terminal" }).click();
      await dialog.waitFor({ state: "detached" });
      await tabs(page).nth(left).waitFor({ state: "detached" });
    }
    assert.equal(await tabs(page).count(), before - 1);
    await waitForPaint(page);
    await removeDirectory(page, workspace, "links");
  });
}
