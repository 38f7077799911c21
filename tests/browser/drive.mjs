// The main job in a real browser: from the one-time link to a home that has survived a stop. Keeps a picture of each page at two
// widths.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  content,
  editorText,
  end,
  inTheStore,
  link,
  makeDirectory,
  narrowPicture,
  onDisk,
  origin,
  patience,
  PERSON,
  picture,
  put,
  remove,
  sees,
  step,
  treeItem,
  type,
  visitor,
} from "./visit.mjs";

const ada = await visitor("ada");
let workspace;

await step("the link signs in, and a password is set", async () => {
  await ada.goto(link);
  await ada.getByRole("heading", { name: "Welcome" }).waitFor();
  await picture(ada, "welcome");
  await ada.getByLabel("Name").fill(PERSON.name);
  await ada.getByLabel("E-mail").fill(PERSON.email);
  await ada.getByLabel("Password").fill(PERSON.password);
  await ada.getByRole("button", { name: "Save and go on" }).click();
  await ada.getByRole("button", { name: "Create a workspace" }).waitFor();
  assert.ok(!ada.url().includes("#"), "the token has left the address");
  await picture(ada, "no-workspaces");
});

await step("the link does it once only", async () => {
  const thief = await visitor("thief");
  await thief.goto(link);
  await thief.getByRole("heading", { name: "The link does not sign you in" }).waitFor();
  await thief.context().close();
});

await step("a workspace is made and its steps are shown until the editor opens", async () => {
  await ada.getByRole("button", { name: "Create a workspace" }).click();
  await ada.getByLabel("Name").fill("demo");
  await picture(ada, "new-workspace");
  await ada.getByRole("dialog").getByRole("button", { name: /^Create/ }).click();
  await ada.waitForURL(/\/workspaces\/[0-9a-f-]{36}$/);
  workspace = ada.url().split("/").at(-1);
  await ada.getByRole("tree", { name: "Files of the home" }).waitFor();
  await ada.locator(".state[data-phase=running]").first().waitFor();
});

await step("a terminal is a login shell, in colour and UTF-8", async () => {
  await ada.locator(".xterm-rows").first().waitFor();
  // Keys are taken from the first prompt on: before it nobody is there to read them.
  await sees(ada, /[$#]/);
  await ada.locator(".xterm-helper-textarea").first().focus();
  await type(ada, "printf '%s-%d\\n' answer $((6*7))");
  await sees(ada, "answer-42");
  await type(ada, "printf '\\033[31mgr\\303\\274n \\346\\227\\245\\346\\234\\254\\033[0m\\n'");
  await sees(ada, "grün 日本");
  assert.ok((await ada.locator(".xterm-rows .xterm-fg-1").count()) > 0, "red is red");
  await type(ada, "printf '\\033[48;2;10;90;60;38;2;250;250;250m%s-%s\\033[0m\\n' true colour");
  const coloured = ada.locator(".xterm-rows span").filter({ hasText: /^true-colour$/ }).first();
  await coloured.waitFor();
  assert.equal(await coloured.evaluate((span) => getComputedStyle(span).backgroundColor), "rgb(10, 90, 60)");
  // Said by the program itself: a Ctrl-C that comes while bash still makes its child can cost the shell.
  await type(ada, "bash -c 'echo begun-$((1+2)); exec sleep 1000'");
  await sees(ada, "begun-3");
  await ada.keyboard.press("Control+c");
  // What is typed while a shell takes the terminal back is the shell's to lose.
  await sees(ada, /\^C.*[$#]/s);
  await type(ada, "echo after-$((1+1))");
  await sees(ada, "after-2");
});

await step("the page loaded again shows the same shell with its output", async () => {
  // A page that goes takes what is on its way with it: the shell's word is waited for.
  await type(ada, "KEPT=here-it-is; echo kept-$((2+2))");
  await sees(ada, "kept-4");
  await ada.reload();
  await sees(ada, "kept-4");
  await ada.locator(".xterm-helper-textarea").first().focus();
  await type(ada, "echo $KEPT-still");
  await sees(ada, "here-it-is-still");
  const cut = await ada.evaluate(() => {
    const bottom = (selector) => document.querySelector(selector).getBoundingClientRect().bottom;
    return bottom(".xterm-rows") - bottom(".terminal-place");
  });
  assert.ok(cut <= 0, `the last line is whole: ${cut} px are not`);
});

await step("a second terminal is another shell", async () => {
  await ada.getByRole("button", { name: "New terminal" }).first().click();
  const tabs = ada.getByRole("tablist", { name: "Terminals" }).getByRole("tab");
  await tabs.nth(1).waitFor();
  await ada.locator(".xterm-rows").nth(1).filter({ hasText: /[$#]/ }).waitFor();
  await ada.locator(".xterm-helper-textarea").nth(1).focus();
  await type(ada, "echo second[$KEPT]");
  await ada.locator(".xterm-rows").nth(1).filter({ hasText: "second[]" }).waitFor();
  await tabs.nth(0).click();
});

await step("a new file is written as it is typed, within a second", async () => {
  await ada.getByRole("button", { name: "New file" }).click();
  await ada.getByLabel("Name").fill("main.py");
  await ada.keyboard.press("Enter");
  await editorText(ada).waitFor();
  await editorText(ada).click();
  await ada.keyboard.type("print('first line')\n");
  const since = Date.now();
  await onDisk(ada, workspace, "main.py", "print('first line')\n");
  console.log(`  on disk ${Date.now() - since} ms after the last key`);
});

await step("what a program writes shows in the open editor", async () => {
  await ada.locator(".xterm-helper-textarea").first().focus();
  await type(ada, "echo '# by a program' >> ~/main.py");
  await editorText(ada).filter({ hasText: "# by a program" }).waitFor();
  await type(ada, "clear; python3 main.py");
  await ada.locator(".xterm-rows").first().filter({ hasNotText: "answer-42", hasText: /first line.*[$#]/s }).waitFor();
  await picture(ada, "workspace");
  for (const pane of ["Files", "Terminal", "Editor"]) await narrowPicture(ada, pane);
});

// Only a machine is sure to have them.
const onMachines = process.env.BURROW_RUNTIME === "microvm";
if (onMachines) await step("full-screen programs have the whole terminal and give it back", async () => {
  await ada.locator(".xterm-helper-textarea").first().focus();
  await type(ada, "vim -u NONE made-by-vim.txt");
  await sees(ada, /~\s*~/);
  await ada.keyboard.type("iwritten in vim");
  await sees(ada, "written in vim");
  await ada.keyboard.press("Escape");
  await type(ada, ":wq");
  await onDisk(ada, workspace, "made-by-vim.txt", "written in vim\n");
  await type(ada, "htop");
  await sees(ada, /PID.*USER/s);
  await picture(ada, "htop", { narrow: false });
  await ada.keyboard.press("q");
  await type(ada, "rm made-by-vim.txt; echo back-$((3*3))");
  await sees(ada, "back-9");
});

await step("a flood ends with Ctrl-C, and what is too large for the editor says so", async () => {
  await ada.locator(".xterm-helper-textarea").first().focus();
  await type(ada, "yes flood");
  await sees(ada, /flood\s*flood/);
  await ada.keyboard.press("Control+c");
  await sees(ada, /\^C.*[$#]/s);
  await type(ada, "clear; truncate -s 200M huge.log");
  await treeItem(ada, "huge.log").dblclick();
  await ada.getByRole("heading", { name: "The file is too large for the editor" }).waitFor();
  await picture(ada, "too-large");
  await ada.getByRole("tabpanel", { name: "huge.log" }).getByRole("button", { name: "Close" }).click();
  await ada.locator(".xterm-helper-textarea").first().focus();
  await type(ada, "rm huge.log");
  await treeItem(ada, "huge.log").waitFor({ state: "detached" });
});

await step("two browsers see each other's edits and cursors", async () => {
  const other = await visitor("other", "dark");
  await other.goto(`${origin}/sign-in`);
  await other.getByLabel("E-mail").waitFor();
  await picture(other, "sign-in-dark");
  await other.getByLabel("E-mail").fill(PERSON.email);
  await other.getByLabel("Password").fill(PERSON.password);
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByRole("heading", { name: "Workspaces" }).waitFor();
  await picture(other, "workspaces-dark");
  await other.getByRole("link", { name: "demo", exact: true }).click();
  // A double click goes to the text.
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
  await picture(other, "two-editors-dark");
  await onDisk(ada, workspace, "main.py", "# from the other\nprint('first line')\n# by a program\n# from ada\n");
  await other.context().close();
});

await step("files come and go: folder, rename, upload, download, delete", async () => {
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
  // A click shows the file; the keys stay with the tree.
  await treeItem(ada, "up.txt").click();
  await editorText(ada).filter({ hasText: "uploaded" }).waitFor();
  await ada.keyboard.press("Delete");
  await ada.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await treeItem(ada, "up.txt").waitFor({ state: "detached" });
});

await step("a stop saves the home, a start brings it back", async () => {
  const before = await content(ada, workspace, "app.py");
  await ada.getByRole("button", { name: "More for demo" }).click();
  await ada.getByRole("menuitem", { name: "Stop…" }).click();
  await ada.getByRole("dialog").getByRole("button", { name: "Stop" }).click();
  await ada.locator(".state[data-phase=terminated]").first().waitFor();
  await picture(ada, "stopped");
  await ada.getByRole("button", { name: "Start" }).click();
  await ada.getByRole("tree", { name: "Files of the home" }).waitFor();
  await treeItem(ada, "app.py").waitFor();
  assert.equal(await content(ada, workspace, "app.py"), before);
});

// The fake runtime's homes are archives: only a machine's home has a past that can be read.
if (process.env.BURROW_RUNTIME === "microvm") {
  const then = "# as it was\n";
  await step("the home's past: kept, looked at, compared, a file brought back", async () => {
    await put(ada, workspace, "past.txt", then);
    await ada.getByRole("link", { name: /^Safe up to/ }).click();
    await ada.getByRole("slider", { name: "Time" }).waitFor();
    await ada.getByRole("button", { name: "Take a snapshot now" }).click();
    const tree = ada.getByRole("tree", { name: "Files of the home as it was" });
    await tree.getByRole("treeitem", { name: "past.txt" }).waitFor();
    await put(ada, workspace, "past.txt", "# another\n");
    await tree.getByRole("treeitem", { name: "past.txt" }).click();
    await ada.locator(".past-file .cm-content").filter({ hasText: "# as it was" }).waitFor();
    await picture(ada, "history");
    await ada.getByRole("button", { name: /^Restore/ }).filter({ hasText: "this file" }).click();
    const dialog = ada.getByRole("dialog");
    await dialog.getByText("1 file is overwritten").waitFor();
    await dialog.getByRole("button", { name: "Restore it" }).click();
    await onDisk(ada, workspace, "past.txt", then);
    await ada.locator(".thin-banner").getByRole("button", { name: "Dismiss" }).click();
  });

  await step("a folder of the past: downloaded, looked at before it is brought back, taken back", async () => {
    await makeDirectory(ada, workspace, "course/parts");
    await put(ada, workspace, "course/one.txt", "one\n");
    await put(ada, workspace, "course/parts/two.txt", "two\n");
    await ada.getByRole("button", { name: "Take a snapshot now" }).click();
    const tree = ada.getByRole("tree", { name: "Files of the home as it was" });
    const folder = tree.getByRole("treeitem", { name: "course" });
    await folder.click();
    await folder.and(ada.locator("[aria-expanded=true]")).waitFor();
    await folder.click({ button: "right" });
    const [download] = await Promise.all([
      ada.waitForEvent("download"),
      ada.getByRole("menuitem", { name: "Download (.tar)" }).click(),
    ]);
    const unpacked = execFileSync("tar", ["--to-stdout", "-xf", await download.path(), "course/parts/two.txt"]);
    assert.equal(`${unpacked}`, "two\n");
    await put(ada, workspace, "course/one.txt", "changed\n");
    await remove(ada, workspace, "course/parts");
    await inTheStore(ada, workspace, "course/one.txt", "changed\n");
    // By the keyboard alone.
    await folder.focus();
    await ada.keyboard.press("Shift+F10");
    await ada.getByRole("menuitem", { name: "Restore this folder…" }).press("Enter");
    await ada.getByText("1 file is overwritten, 2 come back").waitFor();
    await picture(ada, "restore-folder", { dark: true });
    await ada.getByRole("button", { name: "Restore 3 entries" }).press("Enter");
    await ada.getByText(/^course was restored as of/).waitFor();
    await onDisk(ada, workspace, "course/one.txt", "one\n");
    await onDisk(ada, workspace, "course/parts/two.txt", "two\n");
    await picture(ada, "restored-folder");
    await ada.locator(".thin-banner").getByRole("button", { name: "Undo" }).click();
    await ada.getByText("course is as it was before.").waitFor();
    await ada.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
    await onDisk(ada, workspace, "course/one.txt", "changed\n");
    assert.equal(await content(ada, workspace, "course/parts/two.txt"), null);
  });

  await step("a home is checked from its page", async () => {
    await ada.getByRole("button", { name: "More for this point" }).click();
    await ada.getByRole("menuitem", { name: "Check this home…" }).click();
    await ada.getByRole("button", { name: "All snapshots" }).click();
    await ada.getByRole("button", { name: "Check it" }).click();
    await ada.getByText("The home is sound.").waitFor();
    await picture(ada, "checked", { dark: true });
    await ada.getByRole("dialog").getByRole("button", { name: "Close" }).last().click();
  });

  await step("a fork from the past is a workspace of its own", async () => {
    await ada.getByRole("button", { name: "Fork from here…" }).click();
    const dialog = ada.getByRole("dialog");
    await dialog.getByLabel("Name").fill("demo-then");
    await picture(ada, "fork", { narrow: false });
    await dialog.getByRole("button", { name: /^Fork/ }).click();
    await ada.waitForURL((url) => !url.pathname.includes(workspace));
    await ada.getByRole("tree", { name: "Files of the home", exact: true }).waitFor();
    await treeItem(ada, "past.txt").waitFor();
    const fork = ada.url().match(/workspaces\/([0-9a-f-]{36})/)[1];
    assert.notEqual(fork, workspace);
    assert.equal(await content(ada, fork, "past.txt"), then);
  });
}

await step("an owner sets how long snapshots are kept", async () => {
  await ada.goto(`${origin}/settings`);
  const days = ada.getByLabel("One an hour, for");
  await days.fill("nonsense");
  await ada.getByText("A whole number.").waitFor();
  await days.fill("10");
  await picture(ada, "settings", { dark: true });
  await ada.getByRole("button", { name: "Save" }).click();
  await ada.getByRole("dialog").getByText("10 days instead of 30 days").waitFor();
  await ada.getByRole("button", { name: "Keep less" }).click();
  await ada.locator(".retention").getByText("Saved", { exact: true }).waitFor();
  await ada.reload();
  await ada.waitForFunction(() => document.querySelectorAll(".retention input")[2]?.value === "10");
  await ada.getByRole("button", { name: "Defaults" }).click();
  await ada.getByRole("button", { name: "Save" }).click();
  await ada.locator(".retention").getByText("Saved", { exact: true }).waitFor();
});

await step("a workspace is deleted, and the deletion taken back", async () => {
  await ada.goto(`${origin}/`);
  const link = ada.locator(".workspace-name").filter({ hasText: /^demo$/ });
  await link.waitFor();
  await ada.getByRole("button", { name: "More for demo", exact: true }).click();
  await ada.getByRole("menuitem", { name: "Delete…" }).click();
  await ada.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  // At once: its machine is still ending, and what is heard of it is no news.
  await ada.getByRole("button", { name: "Undo" }).waitFor();
  assert.equal(await link.count(), 0);
  await picture(ada, "deleted");
  assert.equal(await link.count(), 0);
  await ada.getByRole("button", { name: "Undo" }).click();
  await link.waitFor();
});

await step("a class: a roster with a bad row, all started, one watched", async () => {
  await ada.goto(`${origin}/classes`);
  await ada.getByRole("button", { name: "Create a class" }).click();
  await ada.getByLabel("Name").fill("algo");
  await ada.getByRole("button", { name: "Create", exact: true }).click();
  await ada.getByRole("heading", { name: "algo" }).waitFor();
  await ada.getByRole("button", { name: "Add students" }).first().click();
  await ada.getByLabel(/^Roster/).fill("name,email\nBea Student,bea@example.org\nbroken row\n");
  await picture(ada, "roster");
  await ada.getByRole("button", { name: "Add", exact: true }).click();
  await ada.getByText("1 student added").waitFor();
  await ada.getByText("Line 3:").waitFor();
  await picture(ada, "roster-added");
  await ada.getByRole("button", { name: "Copy the link for Bea Student" }).click();
  const invitation = await ada.evaluate(() => navigator.clipboard.readText());
  await ada.getByRole("button", { name: "Done" }).click();
  await ada.getByRole("button", { name: "Start all" }).click();
  await ada.getByText("1 student: 1 running").waitFor();
  await picture(ada, "class");

  const bea = await visitor("bea");
  await bea.goto(invitation);
  await bea.getByLabel("Password").fill("another long password");
  await bea.getByRole("button", { name: /^Join/ }).click();
  await bea.getByRole("heading", { name: "Workspaces" }).waitFor();
  await bea.getByRole("link", { name: "algo", exact: false }).first().click();
  await sees(bea, /[$#]/);
  await bea.locator(".xterm-helper-textarea").first().focus();
  await type(bea, "echo bea-was-$((2*21))");
  await sees(bea, "bea-was-42");

  await ada.getByRole("link", { name: "Watch the terminals of Bea Student" }).click();
  await ada.locator(".xterm-rows").filter({ hasText: "bea-was-42" }).first().waitFor();
  await picture(ada, "watch");
  await bea.context().close();
});

await end();
