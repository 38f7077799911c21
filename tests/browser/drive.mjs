// The main job in a real browser: from the one-time link to a home that survives a stop. Takes a
// screenshot of each page at two widths.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  readContent,
  editorText,
  finish,
  waitForStored,
  link,
  makeDirectory,
  narrowScreenshot,
  waitForContent,
  origin,
  timeout,
  USER,
  screenshot,
  writeFile,
  removeDirectory,
  waitForTerminalText,
  step,
  treeItem,
  typeLine,
  openPage,
} from "./harness.mjs";
import { fileViewSteps } from "./file-view-steps.mjs";
import { terminalSteps } from "./terminal-steps.mjs";
import { workbenchSteps } from "./workbench-steps.mjs";

const ada = await openPage("ada");
let workspace;

await step("a one-time link signs in and the user sets a password", async () => {
  await ada.goto(link);
  await ada.getByRole("heading", { name: "Welcome" }).waitFor();
  await screenshot(ada, "welcome");
  await ada.getByLabel("Name").fill(USER.name);
  await ada.getByLabel("Email").fill(USER.email);
  await ada.getByLabel("Password").fill(USER.password);
  await ada.getByRole("button", { name: "Save and continue" }).click();
  await ada.getByRole("button", { name: "Create workspace" }).waitFor();
  assert.ok(!ada.url().includes("#"), "the token is no longer in the address");
  await screenshot(ada, "no-workspaces");
});

await step("a one-time link works once", async () => {
  const thief = await openPage("thief");
  await thief.goto(link);
  await thief.getByRole("heading", { name: "Cannot sign in with this link" }).waitFor();
  await thief.context().close();
});

await step("a new workspace shows its steps until the editor opens", async () => {
  await ada.getByRole("button", { name: "Create workspace" }).click();
  await ada.getByLabel("Name").fill("demo");
  await screenshot(ada, "new-workspace");
  await ada
    .getByRole("dialog")
    .getByRole("button", { name: /^Create/ })
    .click();
  await ada.waitForURL(/\/workspaces\/[0-9a-f-]{36}$/);
  workspace = ada.url().split("/").at(-1);
  await ada.getByRole("tree", { name: "Files" }).waitFor();
  await ada.locator(".state[data-phase=running]").first().waitFor();
});

await step("a terminal runs a login shell with colours and UTF-8", async () => {
  await ada.locator(".xterm-rows").first().waitFor();
  // Wait for the first prompt: keys typed before it are lost.
  await waitForTerminalText(ada, /[$#]/);
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, "printf '%s-%d\\n' answer $((6*7))");
  await waitForTerminalText(ada, "answer-42");
  await typeLine(ada, "printf '\\033[31mgr\\303\\274n \\346\\227\\245\\346\\234\\254\\033[0m\\n'");
  await waitForTerminalText(ada, "grün 日本");
  assert.ok((await ada.locator(".xterm-rows .xterm-fg-1").count()) > 0, "red is red");
  await typeLine(ada, "printf '\\033[48;2;10;90;60;38;2;250;250;250m%s-%s\\033[0m\\n' true colour");
  const coloured = ada
    .locator(".xterm-rows span")
    .filter({ hasText: /^true-colour$/ })
    .first();
  await coloured.waitFor();
  assert.equal(await coloured.evaluate((span) => getComputedStyle(span).backgroundColor), "rgb(10, 90, 60)");
  await typeLine(ada, "printf '\\033[7m%s-%s\\033[0m\\n' reversed text");
  const reversed = ada
    .locator(".xterm-rows span")
    .filter({ hasText: /^reversed-text$/ })
    .first();
  await reversed.waitFor();
  const [textColour, paper] = await reversed.evaluate((span) => {
    const background = (element) => getComputedStyle(element).backgroundColor;
    let around = span.parentElement;
    while (background(around) === "rgba(0, 0, 0, 0)") around = around.parentElement;
    return [getComputedStyle(span).color, background(around)];
  });
  assert.equal(textColour, paper, "reversed text has the colour of the background");
  // The program itself reports that it runs: a Ctrl-C while bash is still forking can kill the shell.
  await typeLine(ada, "bash -c 'echo begun-$((1+2)); exec sleep 1000'");
  await waitForTerminalText(ada, "begun-3");
  await ada.keyboard.press("Control+c");
  // Keys typed while the shell takes the terminal back can be lost.
  await waitForTerminalText(ada, /begun-3.*[$#]\s*$/s);
  await typeLine(ada, "echo after-$((1+1))");
  await waitForTerminalText(ada, "after-2");
});

await step("a reload shows the same shell with its output", async () => {
  // A reload drops unsent keys, so wait for the shell's output first.
  await typeLine(ada, "KEPT=here-it-is; echo kept-$((2+2))");
  await waitForTerminalText(ada, "kept-4");
  await ada.reload();
  await waitForTerminalText(ada, "kept-4");
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, "echo $KEPT-still");
  await waitForTerminalText(ada, "here-it-is-still");
  const cut = await ada.evaluate(() => {
    const bottom = (selector) => document.querySelector(selector).getBoundingClientRect().bottom;
    return bottom(".xterm-rows") - bottom(".terminal-place");
  });
  assert.ok(cut <= 0, `the last line is cut off by ${cut} px`);
});

await step("a second terminal is another shell", async () => {
  await ada.getByRole("button", { name: "New terminal" }).first().click();
  const tabs = ada.getByRole("tablist", { name: "Terminals" }).getByRole("tab");
  await tabs.nth(1).waitFor();
  await ada.locator(".xterm-rows").nth(1).filter({ hasText: /[$#]/ }).waitFor();
  await ada.locator(".xterm-helper-textarea").nth(1).focus();
  await typeLine(ada, "echo second[$KEPT]");
  await ada.locator(".xterm-rows").nth(1).filter({ hasText: "second[]" }).waitFor();
  await tabs.nth(0).click();
});

await step("a new file is saved within a second of typing", async () => {
  await ada.getByRole("button", { name: "New file" }).click();
  await ada.getByLabel("Name").fill("main.py");
  await ada.keyboard.press("Enter");
  await editorText(ada).waitFor();
  await editorText(ada).click();
  await ada.keyboard.type("print('first line')\n");
  const since = Date.now();
  await waitForContent(ada, workspace, "main.py", "print('first line')\n");
  console.log(`  on disk ${Date.now() - since} ms after the last key`);
});

await step("Ctrl+P finds a file of a folder that was never opened", async () => {
  await makeDirectory(ada, workspace, "deep/er/still");
  await writeFile(ada, workspace, "deep/er/still/needle.txt", "found it\n");
  await ada.getByRole("tree", { name: "Files" }).getByRole("treeitem", { name: "deep" }).focus();
  await ada.keyboard.press("Control+p");
  await ada.getByRole("combobox", { name: "Command or file" }).fill("stillneedle");
  await ada.getByRole("option", { name: "needle.txt deep/er/still" }).waitFor();
  await screenshot(ada, "go-to-file");
  await ada.keyboard.press("Enter");
  await editorText(ada).filter({ hasText: "found it" }).waitFor();
  await ada.keyboard.press("Alt+w");
  await removeDirectory(ada, workspace, "deep");
  await editorText(ada).filter({ hasText: "first line" }).waitFor();
});

await step("the editor shows what a program writes", async () => {
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, "echo '# by a program' >> ~/main.py");
  await editorText(ada).filter({ hasText: "# by a program" }).waitFor();
  await typeLine(ada, "clear; python3 main.py");
  await ada
    .locator(".xterm-rows")
    .first()
    .filter({ hasNotText: "answer-42", hasText: /first line.*[$#]/s })
    .waitFor();
  await screenshot(ada, "workspace");
  for (const pane of ["Explorer", "Terminal", "Editor"]) await narrowScreenshot(ada, pane);
});

// Only a microVM is sure to have these programs.
const onMicroVm = process.env.BURROW_RUNTIME === "microvm";
if (onMicroVm)
  await step("full-screen programs use the terminal and restore it", async () => {
    await ada.locator(".xterm-helper-textarea").first().focus();
    await typeLine(ada, "vim -u NONE made-by-vim.txt");
    await waitForTerminalText(ada, /~\s*~/);
    await ada.keyboard.type("iwritten in vim");
    await waitForTerminalText(ada, "written in vim");
    await ada.keyboard.press("Escape");
    await typeLine(ada, ":wq");
    await waitForContent(ada, workspace, "made-by-vim.txt", "written in vim\n");
    await typeLine(ada, "htop");
    await waitForTerminalText(ada, /PID.*USER/s);
    await screenshot(ada, "htop", { narrow: false });
    await ada.keyboard.press("q");
    await typeLine(ada, "rm made-by-vim.txt; echo back-$((3*3))");
    await waitForTerminalText(ada, "back-9");
  });

await step("Ctrl-C stops a flood, and the editor refuses a huge file", async () => {
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, "yes flood");
  await waitForTerminalText(ada, /flood\s*flood/);
  await ada.keyboard.press("Control+c");
  // The prompt is back. The kernel does not always echo ^C after a flood.
  await waitForTerminalText(ada, /flood.*[$#]\s*$/s);
  await typeLine(ada, "clear; truncate -s 200M huge.log");
  await treeItem(ada, "huge.log").dblclick();
  await ada.getByRole("heading", { name: "The file is too large for the editor" }).waitFor();
  await screenshot(ada, "too-large");
  await ada.getByRole("tabpanel", { name: "huge.log" }).getByRole("button", { name: "Close" }).click();
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, "rm huge.log");
  await treeItem(ada, "huge.log").waitFor({ state: "detached" });
});

await step("two browsers see each other's edits and cursors", async () => {
  const other = await openPage("other", "dark");
  await other.goto(`${origin}/sign-in`);
  await other.getByLabel("Email").waitFor();
  await screenshot(other, "sign-in-dark");
  await other.getByLabel("Email").fill(USER.email);
  await other.getByLabel("Password").fill(USER.password);
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByRole("heading", { name: "Workspaces" }).waitFor();
  await screenshot(other, "workspaces-dark");
  await other.getByRole("link", { name: "demo", exact: true }).click();
  // A double click moves the focus to the editor.
  await treeItem(other, "main.py").dblclick();
  await editorText(other).filter({ hasText: "# by a program" }).waitFor();
  await other.locator(".editor:not([hidden]) .cm-focused").waitFor();
  await other.keyboard.press("Control+Home");
  await other.keyboard.type("# from the other\n");
  await editorText(ada).filter({ hasText: "# from the other" }).waitFor();
  await ada.locator(".peer-caret").first().waitFor();
  await editorText(ada).click();
  await ada.keyboard.press("Control+End");
  await ada.keyboard.type("# from ada\n");
  await editorText(other).filter({ hasText: "# from ada" }).waitFor();
  await other.locator(".peer-caret").first().waitFor();
  await screenshot(other, "two-editors-dark");
  await waitForContent(
    ada,
    workspace,
    "main.py",
    "# from the other\nprint('first line')\n# by a program\n# from ada\n",
  );
  await other.context().close();
});

await step("files: create a folder, rename, upload, download, delete", async () => {
  await ada.getByRole("button", { name: "New folder" }).click();
  await ada.getByLabel("Name").fill("notes");
  await ada.keyboard.press("Enter");
  await treeItem(ada, "notes").waitFor();
  await treeItem(ada, "main.py").click();
  await ada.keyboard.press("F2");
  await ada.getByLabel("Name").fill("app.py");
  await ada.keyboard.press("Enter");
  await treeItem(ada, "app.py").waitFor();
  const [chooser] = await Promise.all([
    ada.waitForEvent("filechooser"),
    ada.getByRole("button", { name: "Upload files" }).click(),
  ]);
  await chooser.setFiles({ name: "up.txt", mimeType: "text/plain", buffer: Buffer.from("uploaded\n") });
  await treeItem(ada, "up.txt").waitFor();
  await treeItem(ada, "up.txt").click({ button: "right" });
  const [download] = await Promise.all([
    ada.waitForEvent("download"),
    ada.getByRole("menuitem", { name: "Download" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "up.txt");
  // A click opens the file, and the focus stays in the tree.
  await treeItem(ada, "up.txt").click();
  await editorText(ada).filter({ hasText: "uploaded" }).waitFor();
  await ada.keyboard.press("Delete");
  await ada.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await treeItem(ada, "up.txt").waitFor({ state: "detached" });
});

await workbenchSteps(ada, workspace);
await terminalSteps(ada, workspace);
await fileViewSteps(ada, workspace);

await step("a folder of 20,000 entries is shown, and only what is in view is drawn", async () => {
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, "clear; mkdir many; seq -f many/file-%g 20000 | xargs touch; echo touched-$((1+1))");
  await waitForTerminalText(ada, "touched-2");
  await treeItem(ada, "many").waitFor();
  const since = Date.now();
  await ada.locator("[data-path=many]").click();
  const first = ada.locator('[data-path="many/file-1"]');
  await first.waitFor();
  console.log(`  shown ${Date.now() - since} ms after the click`);
  assert.equal(await first.getAttribute("aria-setsize"), "20000");
  assert.ok((await ada.getByRole("treeitem").count()) < 200);
  await ada.locator("[data-path=many]").click();
  await first.waitFor({ state: "detached" });
  await removeDirectory(ada, workspace, "many");
  await treeItem(ada, "many").waitFor({ state: "detached" });
});

await step("a stop saves the home, and a start restores it", async () => {
  const before = await readContent(ada, workspace, "app.py");
  await ada.getByRole("button", { name: "Actions for demo" }).click();
  await ada.getByRole("menuitem", { name: "Stop…" }).click();
  await ada.getByRole("dialog").getByRole("button", { name: "Stop workspace" }).click();
  await ada.locator(".state[data-phase=terminated]").first().waitFor();
  await screenshot(ada, "stopped");
  await ada.getByRole("button", { name: "Start" }).click();
  await ada.getByRole("tree", { name: "Files" }).waitFor();
  await treeItem(ada, "app.py").waitFor();
  assert.equal(await readContent(ada, workspace, "app.py"), before);
});

// The fake runtime's homes are archives. Only a microVM's home has snapshots with a file system
// that can be browsed.
if (process.env.BURROW_RUNTIME === "microvm") {
  const original = "# original\n";
  await step("history: create a snapshot, browse it, restore a file", async () => {
    await writeFile(ada, workspace, "past.txt", original);
    await ada.getByRole("link", { name: /^Safe up to/ }).click();
    await ada.getByRole("slider", { name: "Time" }).waitFor();
    await ada.getByRole("button", { name: "Create snapshot" }).click();
    const tree = ada.getByRole("tree", { name: "Files in this snapshot" });
    await tree.getByRole("treeitem", { name: "past.txt" }).waitFor();
    await writeFile(ada, workspace, "past.txt", "# another\n");
    await tree.getByRole("treeitem", { name: "past.txt" }).click();
    await ada.locator(".snapshot-file .cm-content").filter({ hasText: "# original" }).waitFor();
    await screenshot(ada, "history");
    await ada
      .getByRole("button", { name: /^Restore/ })
      .filter({ hasText: "file…" })
      .click();
    const dialog = ada.getByRole("dialog");
    await dialog.getByText("1 entry is replaced").waitFor();
    await dialog.getByRole("button", { name: "Restore past.txt" }).click();
    await waitForContent(ada, workspace, "past.txt", original);
    await ada.locator(".thin-banner").getByRole("button", { name: "Dismiss" }).click();
  });

  await step("history: download a folder, preview and restore it, undo", async () => {
    await makeDirectory(ada, workspace, "course/parts");
    await writeFile(ada, workspace, "course/one.txt", "one\n");
    await writeFile(ada, workspace, "course/parts/two.txt", "two\n");
    await ada.getByRole("button", { name: "Create snapshot" }).click();
    const tree = ada.getByRole("tree", { name: "Files in this snapshot" });
    const folder = tree.getByRole("treeitem", { name: "course" });
    await folder.click();
    await folder.and(ada.locator("[aria-expanded=true]")).waitFor();
    await folder.click({ button: "right" });
    const [download] = await Promise.all([
      ada.waitForEvent("download"),
      ada.getByRole("menuitem", { name: "Download (.tar)" }).click(),
    ]);
    const unpacked = execFileSync("tar", [
      "--to-stdout",
      "-xf",
      await download.path(),
      "course/parts/two.txt",
    ]);
    assert.equal(`${unpacked}`, "two\n");
    await writeFile(ada, workspace, "course/one.txt", "changed\n");
    await removeDirectory(ada, workspace, "course/parts");
    await waitForStored(ada, workspace, "course/one.txt", "changed\n");
    // With the keyboard only.
    await folder.focus();
    await ada.keyboard.press("Shift+F10");
    await ada.getByRole("menuitem", { name: "Restore folder…" }).press("Enter");
    await ada.getByText("1 entry is replaced, 2 entries are added").waitFor();
    await screenshot(ada, "restore-folder", { dark: true });
    await ada.getByRole("button", { name: "Restore 3 entries" }).press("Enter");
    await ada.getByText(/^course was restored from/).waitFor();
    await waitForContent(ada, workspace, "course/one.txt", "one\n");
    await waitForContent(ada, workspace, "course/parts/two.txt", "two\n");
    await screenshot(ada, "restored-folder");
    await ada.locator(".thin-banner").getByRole("button", { name: "Undo" }).click();
    await ada.getByText("course is as it was before the restore.").waitFor();
    await ada.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
    await waitForContent(ada, workspace, "course/one.txt", "changed\n");
    assert.equal(await readContent(ada, workspace, "course/parts/two.txt"), null);
  });

  await step("history: verify the home", async () => {
    await ada.getByRole("button", { name: "Actions for this snapshot" }).click();
    await ada.getByRole("menuitem", { name: "Verify home…" }).click();
    await ada.getByRole("button", { name: "All snapshots" }).click();
    await ada.getByRole("button", { name: "Verify home" }).click();
    await ada.getByText("No damage found.").waitFor();
    await screenshot(ada, "verified", { dark: true });
    await ada.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
  });

  await step("history: fork a snapshot into a new workspace", async () => {
    await ada.getByRole("button", { name: "Fork…" }).click();
    const dialog = ada.getByRole("dialog");
    await dialog.getByLabel("Name").fill("demo-then");
    await screenshot(ada, "fork", { narrow: false });
    await dialog.getByRole("button", { name: "Create fork" }).click();
    await ada.waitForURL((url) => !url.pathname.includes(workspace));
    await ada.getByRole("tree", { name: "Files", exact: true }).waitFor();
    await treeItem(ada, "past.txt").waitFor();
    const fork = ada.url().match(/workspaces\/([0-9a-f-]{36})/)[1];
    assert.notEqual(fork, workspace);
    assert.equal(await readContent(ada, fork, "past.txt"), original);
  });
}

await step("an owner changes the retention policy", async () => {
  await ada.goto(`${origin}/settings`);
  const days = ada.getByLabel("One per hour, for");
  await days.fill("nonsense");
  await ada.getByText("Enter a whole number.").waitFor();
  await days.fill("10");
  await screenshot(ada, "settings", { dark: true });
  await ada.getByRole("button", { name: "Save" }).click();
  await ada.getByRole("dialog").getByText("10 days instead of 30 days").waitFor();
  await ada.getByRole("button", { name: "Shorten retention" }).click();
  await ada.locator(".retention").getByText("Saved", { exact: true }).waitFor();
  await ada.reload();
  await ada.waitForFunction(() => document.querySelectorAll(".retention input")[2]?.value === "10");
  await ada.getByRole("button", { name: "Restore defaults" }).click();
  await ada.getByRole("button", { name: "Save" }).click();
  await ada.locator(".retention").getByText("Saved", { exact: true }).waitFor();
});

await step("a deleted workspace can be restored", async () => {
  await ada.goto(`${origin}/`);
  const link = ada.locator(".workspace-name").filter({ hasText: /^demo$/ });
  await link.waitFor();
  await ada.getByRole("button", { name: "Actions for demo", exact: true }).click();
  await ada.getByRole("menuitem", { name: "Delete…" }).click();
  await ada.getByRole("dialog").getByRole("button", { name: "Delete workspace" }).click();
  // It disappears immediately. Events of its sandbox, which is still stopping, must not show it again.
  await ada.getByRole("button", { name: "Undo" }).waitFor();
  assert.equal(await link.count(), 0);
  await screenshot(ada, "deleted");
  assert.equal(await link.count(), 0);
  await ada.getByRole("button", { name: "Undo" }).click();
  await link.waitFor();
});

await step("a class: add a roster with a bad row, start all, watch one", async () => {
  await ada.goto(`${origin}/classes`);
  await ada.getByRole("button", { name: "Create class" }).click();
  await ada.getByLabel("Name").fill("algo");
  await ada.getByRole("dialog").getByRole("button", { name: "Create class" }).click();
  await ada.getByRole("heading", { name: "algo" }).waitFor();
  await ada.getByRole("button", { name: "Add students" }).first().click();
  await ada.getByLabel(/^Roster/).fill("name,email\nBea Student,bea@example.org\nbroken row\n");
  await screenshot(ada, "roster");
  await ada.getByRole("dialog").getByRole("button", { name: "Add students" }).click();
  await ada.getByText("1 student added").waitFor();
  await ada.getByText("Line 3:").waitFor();
  await screenshot(ada, "roster-added");
  await ada.getByRole("button", { name: "Copy link for Bea Student" }).click();
  const invitation = await ada.evaluate(() => navigator.clipboard.readText());
  await ada.getByRole("button", { name: "Done" }).click();
  await ada.getByRole("button", { name: "Start all" }).click();
  await ada.getByText("1 student: 1 running").waitFor();
  await screenshot(ada, "class");

  const bea = await openPage("bea");
  await bea.goto(invitation);
  await bea.getByLabel("Password").fill("another long password");
  await bea.getByRole("button", { name: /^Join/ }).click();
  await bea.getByRole("heading", { name: "Workspaces" }).waitFor();
  await bea.getByRole("link", { name: "algo", exact: false }).first().click();
  await waitForTerminalText(bea, /[$#]/);
  await bea.locator(".xterm-helper-textarea").first().focus();
  await typeLine(bea, "echo bea-was-$((2*21))");
  await waitForTerminalText(bea, "bea-was-42");

  await ada.getByRole("link", { name: "Watch the terminals of Bea Student" }).click();
  await ada.locator(".xterm-rows").filter({ hasText: "bea-was-42" }).first().waitFor();
  await screenshot(ada, "watch");
  await bea.context().close();
});

await finish();
