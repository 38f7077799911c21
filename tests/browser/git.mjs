// Source Control in a real browser: from a clone to a push, with changes staged line by line, a discard that
// is undone, branches and a conflict. Takes a screenshot of each view at two widths and in both themes.
import assert from "node:assert/strict";
import {
  createWorkspace,
  editorText,
  finish,
  openPage,
  screenshot,
  signIn,
  step,
  typeLine,
  waitForContent,
  waitForTerminalText,
  writeFile,
} from "./harness.mjs";

const ada = await openPage("ada");
await signIn(ada);
const workspace = await createWorkspace(ada, "git");
await ada.getByRole("tree", { name: "Files" }).waitFor();

const changes = ada.getByRole("tree", { name: "Changes" });
const change = (name) => changes.getByRole("treeitem", { name });
const group = (name) => changes.getByRole("treeitem", { name: new RegExp(`^${name}`) });
const statusBar = ada.locator(".status-bar");
const toasts = ada.locator(".toasts");
const message = ada.getByRole("textbox", { name: "Commit message" });
const palette = (label) => ada.getByRole("combobox", { name: label });

async function runInTerminal(line, mark) {
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, `clear; ${line}; echo ${mark}-$((20+2))`);
  await waitForTerminalText(ada, `${mark}-22`);
}

async function runCommand(label) {
  await ada.locator(".status-bar").focus();
  await ada.keyboard.press("F1");
  await palette("Command or file").fill(`>${label}`);
  await ada.getByRole("option", { name: label }).first().waitFor();
  await ada.keyboard.press("Enter");
}

async function openFile(path) {
  await ada.locator(".status-bar").focus();
  await ada.keyboard.press("Control+p");
  await palette("Command or file").fill(path);
  await ada
    .getByRole("option", { name: path.split("/").at(-1) })
    .first()
    .waitFor();
  await ada.keyboard.press("Enter");
}

await step("an empty workspace offers to clone a repository", async () => {
  await ada.locator(".xterm-rows").first().filter({ hasText: /[$#]/ }).waitFor();
  const author = "-c user.name=Seed -c user.email=seed@example.org";
  await runInTerminal(
    "git config --global user.useConfigOnly true; git init -q --bare -b main remote.git;" +
      " git init -q -b main seed; cd seed; seq 40 > numbers.txt; mkdir src;" +
      " echo 'print(1)' > src/app.py; echo out/ > .gitignore; git add .;" +
      ` git ${author} commit -qm 'First commit'; git push -q ../remote.git main; cd ..; rm -rf seed`,
    "seeded",
  );
  await ada.keyboard.press("Control+Shift+g");
  const clone = ada.locator(".git-view").getByRole("button", { name: "Clone repository…" });
  await clone.waitFor();
  await ada.locator(".editor-empty").getByRole("button", { name: "Clone repository…" }).waitFor();
  await screenshot(ada, "git-empty", { dark: true });
  await clone.click();
  await ada.getByLabel("Address").fill("remote.git");
  await ada.getByLabel("Folder in the home").fill("work");
  await ada.getByRole("dialog").getByRole("button", { name: "Clone" }).click();
  await toasts.getByText("Cloned into work").waitFor();
  await statusBar.getByRole("button", { name: "main" }).waitFor();
});

await step("what is typed becomes a change, with marks", async () => {
  await openFile("work/numbers.txt");
  await editorText(ada).filter({ hasText: "12" }).click();
  await ada.keyboard.press("Control+Home");
  await ada.keyboard.type("first");
  await ada.locator(".git-mark-changed").first().waitFor();
  await ada.keyboard.press("Control+End");
  await ada.keyboard.type("last\n");
  await ada.locator(".git-mark-added").first().waitFor();
  await ada.locator(".git-gutter .git-mark-added").first().click();
  await ada.locator(".git-peek").getByText("Change 2 of 2").waitFor();
  await screenshot(ada, "git-marks", { dark: true });
  await ada.keyboard.press("Escape");
  await writeFile(ada, workspace, "work/new file.txt", "new\n");
  await ada.locator('[data-path="work/numbers.txt"].git-M').waitFor();
  await ada.locator('[data-path="work/new file.txt"].git-U').waitFor();
  await ada.keyboard.press("Control+Shift+g");
  await change("numbers.txt, Modified").waitFor();
  await change("new file.txt, Untracked").waitFor();
  await ada.getByRole("button", { name: "Source Control, 2 changes" }).waitFor();
});

await step("one of two changes is staged in the diff", async () => {
  await change("numbers.txt, Modified").click();
  const diff = ada.getByRole("tabpanel", { name: "Changes of numbers.txt" });
  await diff.getByText("2 changes").waitFor();
  await diff.getByRole("button", { name: "Stage" }).nth(1).waitFor();
  await screenshot(ada, "git-diff", { dark: true });
  await diff.getByRole("button", { name: "Inline" }).click();
  await diff.locator(".cm-deletedChunk").first().waitFor();
  await screenshot(ada, "git-diff-inline", { dark: true });
  await diff.getByRole("button", { name: "Side by side" }).click();
  await diff.getByRole("button", { name: "Stage" }).first().click();
  await group("Staged changes").waitFor();
  await diff.getByText("1 change", { exact: false }).waitFor();
  await screenshot(ada, "git-changes", { dark: true });
});

await step("a commit asks for the author and says what is staged", async () => {
  await message.fill("Name the first line");
  await message.press("Control+Enter");
  const dialog = ada.getByRole("dialog");
  await dialog.getByText("Who is the author?").waitFor();
  assert.equal(await dialog.getByLabel("Email").inputValue(), "ada@example.org");
  await screenshot(ada, "git-author", { dark: true });
  await dialog.getByRole("button", { name: "Save and commit" }).click();
  await group("Staged changes").waitFor({ state: "detached" });
  assert.equal(await message.inputValue(), "", "the message was used");
  await statusBar.getByText("↑1").waitFor();
  await runInTerminal(
    "git -C work --no-pager show --format=by-%an HEAD | grep -E '^by|^[+][a-z0-9]'",
    "shown",
  );
  // The other change was not committed.
  await waitForTerminalText(ada, /by-Ada Owner\s*\+first1\s*shown/);
});

await step("a push reaches the remote", async () => {
  await ada.getByRole("button", { name: "Synchronize ↑1" }).click();
  await toasts.getByText("Synchronized").waitFor();
  await statusBar.getByText("↑1").waitFor({ state: "detached" });
  await runInTerminal("git -C remote.git --no-pager log -1 --format='%s by %an'", "pushed");
  await waitForTerminalText(ada, "Name the first line by Ada Owner");
});

await step("the keyboard stages and unstages, and a discard is undone", async () => {
  await ada.keyboard.press("Control+Shift+g");
  await change("new file.txt, Untracked").focus();
  await ada.keyboard.press("Space");
  await change("new file.txt, Added").waitFor();
  await change("new file.txt, Added").focus();
  await ada.keyboard.press("Space");
  await change("new file.txt, Untracked").focus();
  await ada.keyboard.press("Delete");
  await toasts.getByText("Discarded the changes of 1 file").waitFor();
  await waitForContent(ada, workspace, "work/new file.txt", null);
  await toasts.getByRole("button", { name: "Undo" }).click();
  await waitForContent(ada, workspace, "work/new file.txt", "new\n");
  await change("new file.txt, Untracked").waitFor();
});

await step("branches are created and switched in the palette", async () => {
  await statusBar.getByRole("button", { name: "main" }).click();
  await palette("Branch").fill("topic");
  await ada.getByRole("option", { name: "Create branch topic" }).waitFor();
  await screenshot(ada, "git-branches", { dark: true });
  await ada.keyboard.press("Enter");
  await statusBar.getByRole("button", { name: "topic" }).waitFor();
  await ada.getByRole("button", { name: "Commits" }).click();
  await ada.locator(".git-commits").getByText("First commit").waitFor();
  await ada.getByRole("button", { name: "Commits" }).click();
});

await step("a conflict is resolved in the editor", async () => {
  await runInTerminal(
    "cd work; git add -A; git commit -qm topic; git switch -q main; sed -i '1s/.*/ours/' numbers.txt;" +
      " git commit -qam ours; git switch -q topic; sed -i '1s/.*/theirs/' numbers.txt;" +
      " git commit -qam theirs;" +
      " git switch -q main; cd ..",
    "diverged",
  );
  await statusBar.getByRole("button", { name: "main" }).waitFor();
  await runCommand("Git: Merge branch…");
  await palette("Branch to merge").fill("topic");
  await ada.getByRole("option", { name: "topic theirs" }).waitFor();
  await ada.keyboard.press("Enter");
  await ada.getByRole("alert").filter({ hasText: "there are conflicts" }).waitFor();
  await ada.keyboard.press("Control+Shift+g");
  await group("Conflicts").waitFor();
  await change("numbers.txt, Both sides have changed it").dblclick();
  await ada.locator(".git-conflict-ours").waitFor();
  await screenshot(ada, "git-conflict", { dark: true });
  await ada.getByRole("button", { name: "Accept both" }).click();
  await editorText(ada).filter({ hasText: "<<<<<<<" }).waitFor({ state: "detached" });
  await change("numbers.txt, Both sides have changed it").focus();
  await ada.keyboard.press("Space");
  await group("Conflicts").waitFor({ state: "detached" });
  assert.match(await message.inputValue(), /^Merge branch 'topic'/);
  await message.press("Control+Enter");
  await ada.getByText("Merge in progress.").waitFor({ state: "detached" });
  await runInTerminal("head -2 work/numbers.txt; git -C work log --merges --oneline | wc -l", "merged");
  await waitForTerminalText(ada, /ours\s*theirs/);
  await ada.getByRole("button", { name: "Commits" }).click();
  await ada.locator(".git-commits").getByText("Merge branch 'topic'").waitFor();
  await screenshot(ada, "git-graph", { dark: true });
});

await step("the line of the cursor names its commit", async () => {
  await openFile("work/src/app.py");
  await editorText(ada).filter({ hasText: "print" }).click();
  await ada.keyboard.press("Control+Home");
  await ada.locator(".git-blame").getByText("First commit", { exact: false }).waitFor();
  await screenshot(ada, "git-blame", { dark: true });
});

await finish();
