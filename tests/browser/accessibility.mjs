// Every page without a mouse, in a small window, at twice the size, and with reduced motion. axe-core checks
// what is on each page in both themes.
import assert from "node:assert/strict";
import {
  createWorkspace,
  editorText,
  finish,
  makeDirectory,
  openPage,
  origin,
  screenshot,
  signIn,
  step,
  treeItem,
  USER,
  waitForContent,
  waitForPaint,
  writeFile,
} from "./harness.mjs";

/** A window of 1280 × 900 at 200 %, and a small phone. */
const SMALL_WINDOWS = [
  { width: 640, height: 450 },
  { width: 375, height: 667 },
];

const ada = await openPage("ada");
await signIn(ada);
const id = await createWorkspace(ada, "reach");
await ada.getByRole("tree", { name: "Files" }).waitFor();

const focused = () =>
  ada.evaluate(() => {
    const { tagName, textContent } = document.activeElement ?? document.body;
    return tagName === "BODY" ? "BODY" : textContent;
  });
/** Waits until the focus is in `place`. */
const waitForFocus = (place) =>
  ada.waitForFunction((place) => document.activeElement?.closest(place) !== null, place);

async function checkSizes(name) {
  for (const size of SMALL_WINDOWS) {
    await ada.setViewportSize(size);
    await waitForPaint(ada);
    const [content, window] = await ada.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ]);
    assert.ok(content <= window, `${name} is ${content} px wide in a window of ${window} px`);
  }
  await ada.setViewportSize({ width: 1440, height: 900 });
}

const PAGES = {
  workspaces: ["/", "Workspaces"],
  classes: ["/classes", "Classes"],
  account: ["/account", "Account"],
  tokens: ["/tokens", "Tokens"],
  users: ["/users", "Users"],
  budgets: ["/budgets", "Budgets"],
  usage: ["/usage", "Usage"],
  audit: ["/audit", "Audit log"],
  settings: ["/settings", "Settings"],
  device: ["/device", null],
  nowhere: ["/nowhere", "Page not found"],
};

await step("every page has no barriers and fits into small windows", async () => {
  for (const [name, [path, heading]] of Object.entries(PAGES)) {
    await ada.goto(`${origin}${path}`);
    await ada
      .getByRole("heading", heading === null ? {} : { name: heading })
      .first()
      .waitFor();
    await screenshot(ada, name, { dark: true });
    await checkSizes(name);
  }
});

await step("a link moves the focus to its page", async () => {
  await ada.goto(`${origin}/`);
  const pages = ada.getByRole("navigation", { name: "Pages" });
  for (const name of ["Classes", "Users", "Workspaces"]) {
    await pages.getByRole("link", { name }).focus();
    await ada.keyboard.press("Enter");
    await ada.getByRole("heading", { name, exact: true }).waitFor();
    await waitForFocus("main");
  }
});

await step("dialogs keep the focus, and give it back", async () => {
  const button = ada.getByRole("button", { name: /^(Create|New) workspace/ }).first();
  await button.focus();
  await ada.keyboard.press("Enter");
  await ada.getByRole("dialog").waitFor();
  await screenshot(ada, "dialog", { dark: true });
  for (let presses = 0; presses < 12; presses += 1) {
    await ada.keyboard.press("Tab");
    const isIn = await ada.evaluate(
      () => document.activeElement === document.body || document.activeElement.closest("dialog") !== null,
    );
    assert.ok(isIn, "the focus is in the dialog, or in the browser's own buttons");
  }
  await ada.keyboard.press("Escape");
  await waitForFocus("main button");
  await ada.getByRole("button", { name: "Actions for reach" }).focus();
  await ada.keyboard.press("Enter");
  await screenshot(ada, "menu", { dark: true });
  await ada.keyboard.press("Escape");
  assert.ok(
    await ada
      .getByRole("button", { name: "Actions for reach" })
      .evaluate((it) => it === document.activeElement),
  );
});

await step("the workbench works without a mouse", async () => {
  await ada.getByRole("link", { name: "reach", exact: true }).focus();
  await ada.keyboard.press("Enter");
  await ada.getByRole("tree", { name: "Files" }).waitFor();
  await makeDirectory(ada, id, "src");
  await writeFile(ada, id, "src/one.py", "print(1)\n");
  await writeFile(ada, id, "two.py", "print(2)\n");
  await treeItem(ada, "two.py").waitFor();
  for (const name of ["one.py", "two.py"]) {
    await ada.keyboard.press("Control+p");
    await ada.getByRole("combobox", { name: "Command or file" }).fill(name);
    await ada.getByRole("option", { name }).first().waitFor();
    await screenshot(ada, "palette", { dark: true });
    await ada.keyboard.press("Enter");
    await editorText(ada).filter({ hasText: "print" }).waitFor();
    await waitForFocus(".cm-content");
  }
  await screenshot(ada, "workbench", { dark: true });
  await checkSizes("workbench");
  await ada.keyboard.press("Control+h");
  await ada.getByRole("search").waitFor();
  await screenshot(ada, "find", { dark: true });
  await ada.keyboard.press("Escape");
  await waitForFocus(".cm-content");
  for (const [keys, view] of [
    ["Control+Shift+f", "Search"],
    ["Control+Shift+g", "Source Control"],
    ["Control+Shift+e", "Explorer"],
  ]) {
    await ada.keyboard.press(keys);
    await ada.getByRole("complementary", { name: view }).waitFor();
    await screenshot(ada, view.toLowerCase().replace(" ", "-"), { dark: true });
  }
});

await step("settings hold at once, in a workspace, and in other browsers", async () => {
  const size = () =>
    editorText(ada).evaluate((text) => getComputedStyle(text.closest(".cm-editor")).fontSize);
  const setSize = async (scope, value) => {
    await ada.keyboard.press("Control+,");
    const dialog = ada.getByRole("dialog");
    await dialog.getByRole("button", { name: scope }).click();
    await dialog.getByLabel("Find a setting").fill("editor font size");
    await Promise.all([
      ada.waitForResponse((answer) => answer.url().endsWith("/settings") && answer.status() === 200),
      dialog.getByLabel("Font size", { exact: true }).fill(value),
    ]);
    return dialog;
  };
  let dialog = await setSize("You", "18");
  await screenshot(ada, "settings-found", { dark: true });
  await dialog.getByLabel("Find a setting").fill("");
  await screenshot(ada, "settings-dialog", { dark: true });
  await ada.keyboard.press("Escape");
  assert.equal(await size(), "18px");
  dialog = await setSize("This workspace", "22");
  await ada.keyboard.press("Escape");
  assert.equal(await size(), "22px");
  await ada.reload();
  await editorText(ada).filter({ hasText: "print" }).waitFor();
  await ada.waitForFunction(() => getComputedStyle(document.querySelector(".cm-editor")).fontSize === "22px");
  dialog = await setSize("This workspace", "23");
  await dialog.getByRole("button", { name: "Reset Font size" }).click();
  await ada.keyboard.press("Escape");
  assert.equal(await size(), "18px");
  const other = await openPage("other");
  await other.goto(`${origin}/sign-in`);
  await other.getByLabel("Email").fill(USER.email);
  await other.getByLabel("Password").fill(USER.password);
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByRole("link", { name: "reach", exact: true }).click();
  await treeItem(other, "two.py").dblclick();
  await other.waitForFunction(
    () => getComputedStyle(document.querySelector(".cm-editor") ?? document.body).fontSize === "18px",
  );
  await other.context().close();
});

await step("saving trims the ends of lines if the user wants that", async () => {
  await ada.keyboard.press("Control+,");
  await ada.getByRole("dialog").getByRole("switch", { name: "Trim on save" }).check();
  await ada.keyboard.press("Escape");
  await editorText(ada).click();
  await ada.keyboard.press("Control+End");
  await ada.keyboard.type("x = 1  ");
  await ada.keyboard.press("Control+s");
  await waitForContent(ada, id, "two.py", "print(2)\nx = 1");
});

await step("tabs are closed with the keyboard, and the focus stays in the workbench", async () => {
  const tabs = ada.getByRole("tablist", { name: "Open files" });
  await tabs.getByRole("tab", { name: "two.py" }).focus();
  await ada.keyboard.press("Delete");
  await tabs.getByRole("tab", { name: "two.py" }).waitFor({ state: "detached" });
  assert.notEqual(await focused(), "BODY");
  await tabs.getByRole("tab", { name: "one.py" }).focus();
  await ada.keyboard.press("Delete");
  await tabs.waitFor({ state: "detached" });
  assert.notEqual(await focused(), "BODY");
  const terminals = ada.getByRole("tablist", { name: "Terminals" });
  await terminals.getByRole("tab").first().focus();
  await ada.keyboard.press("Delete");
  await ada.getByRole("dialog").getByRole("button", { name: "Close terminal" }).focus();
  await ada.keyboard.press("Enter");
  await ada.getByText("No open terminals").waitFor();
  assert.notEqual(await focused(), "BODY");
});

await step("nothing moves if the user wants less motion", async () => {
  await ada.emulateMedia({ reducedMotion: "reduce" });
  await ada.keyboard.press("F1");
  await ada.getByRole("dialog").waitFor();
  const moving = await ada.evaluate(() =>
    document
      .getAnimations()
      .filter((one) => one.playState === "running" && one.effect.getComputedTiming().duration > 1)
      .map((one) => `${one.animationName ?? one.transitionProperty} of ${one.effect.target.className}`),
  );
  assert.deepEqual(moving, []);
  await ada.keyboard.press("Escape");
});

await finish();
