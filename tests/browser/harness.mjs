// What the browser scripts share: a browser, its pages, screenshots, and helpers that wait. They
// wait for what a user would see, never for a fixed time.
//
// BURROW_LINK: the one-time sign-in link. BURROW_SCREENSHOTS: the directory for screenshots.
// BURROW_RUNTIME: `fake` or `microvm`. BURROW_PATIENCE: the timeout of each wait, in seconds.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { findBarriers } from "./axe.mjs";

export const link = process.env.BURROW_LINK;
const screenshots = process.env.BURROW_SCREENSHOTS;
export const timeout = Number(process.env.BURROW_PATIENCE ?? 60) * 1000;
export const origin = new URL(link).origin;
const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 420, height: 800 };
export const USER = { name: "Ada Owner", email: "ada@example.org", password: "correct horse battery" };

mkdirSync(screenshots, { recursive: true });
export const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  // Names of the tests' own servers lead to this computer.
  args: ["--no-sandbox", "--host-resolver-rules=MAP *.example.test 127.0.0.1"],
});
export const pageErrors = [];
/** What axe-core has found in the states that screenshots show. */
const barriers = new Set();
/** The last messages of all pages, for the report of a failure. */
const consoleLines = [];
const MAX_CONSOLE_LINES = 50;

export async function openPage(name, colorScheme = "light") {
  const context = await browser.newContext({
    viewport: WIDE,
    colorScheme,
    acceptDownloads: true,
    // Proxies of the tests have certificates that nobody signed.
    ignoreHTTPSErrors: true,
    permissions: ["clipboard-read", "clipboard-write"],
  });
  context.setDefaultTimeout(timeout);
  const page = await context.newPage();
  page.on("console", (message) => {
    consoleLines.push(`${name}: ${message.type()}: ${message.text()}`);
    if (consoleLines.length > MAX_CONSOLE_LINES) consoleLines.shift();
  });
  page.on("pageerror", (error) => pageErrors.push(`${name}: ${error.message}`));
  page.on("console", (message) => {
    // Failed requests are expected (the session check before sign-in). CSP violations and script
    // errors are not.
    const refusal = message.text().startsWith("Failed to load resource");
    // Browsers apply this header on https and loopback pages only, and say so on every other page.
    const plainHttp = message.text().startsWith("The Cross-Origin-Opener-Policy header has been ignored");
    if (message.type() === "error" && !refusal && !plainHttp) pageErrors.push(`${name}: ${message.text()}`);
  });
  return page;
}

let number = 0;
/**
 * Takes a screenshot at two widths, and with `dark` also in the dark theme. What is shown is checked for
 * barriers, if the page `isOurs`; `finish` fails if there were any.
 */
export async function screenshot(page, name, { narrow = true, dark = false, isOurs = true } = {}) {
  number += 1;
  const shoot = async (what) => {
    await page.screenshot({
      path: join(screenshots, `${String(number).padStart(2, "0")}-${name}-${what}.png`),
    });
    if (!isOurs) return;
    for (const barrier of await findBarriers(page)) barriers.add(`${name}, ${what}: ${barrier}`);
  };
  const widths = async (ending) => {
    await shoot(`wide${ending}`);
    if (!narrow) return;
    await page.setViewportSize(NARROW);
    await waitForPaint(page);
    await shoot(`narrow${ending}`);
    await page.setViewportSize(WIDE);
    await waitForPaint(page);
  };
  await widths("");
  if (!dark) return;
  // Reduced motion, so that no screenshot catches a colour in transition.
  await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
  await waitForPaint(page);
  await widths("-dark");
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
}

/** Takes a screenshot of one pane of the workspace at phone width. */
export async function narrowScreenshot(page, pane) {
  await page.setViewportSize(NARROW);
  await page.getByRole("navigation", { name: "Panes" }).getByRole("button", { name: pane }).click();
  await waitForPaint(page);
  await page.screenshot({
    path: join(screenshots, `${String(number).padStart(2, "0")}-${pane.toLowerCase()}-narrow.png`),
  });
  await page.setViewportSize(WIDE);
  await waitForPaint(page);
}

/** Waits two frames, until the last change is drawn. */
export const waitForPaint = (page) =>
  page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

export async function step(name, work) {
  const since = Date.now();
  try {
    await work();
  } catch (error) {
    for (const [at, page] of browser
      .contexts()
      .flatMap((context) => context.pages())
      .entries())
      await page.screenshot({ path: join(screenshots, `failed-${at}.png`) });
    console.error(`Failed: ${name}\n${[...pageErrors, ...consoleLines].join("\n")}`);
    throw error;
  }
  console.log(`${name} (${((Date.now() - since) / 1000).toFixed(1)} s)`);
}

export const terminalText = (page) => page.locator(".xterm-rows").first();
export async function typeLine(page, line) {
  await page.keyboard.type(line);
  await page.keyboard.press("Enter");
}
export const waitForTerminalText = (page, text) => terminalText(page).filter({ hasText: text }).waitFor();

/** Content of a file in the running home; null if it does not exist. */
export const readContent = (page, id, path) =>
  page.evaluate(
    async ([id, path]) => {
      const answer = await fetch(
        `/api/v1/workspaces/${id}/agent/files/content?path=${encodeURIComponent(path)}`,
      );
      return answer.ok ? await answer.text() : null;
    },
    [id, path],
  );
/** Writes a file to the home, as an upload does. */
export const writeFile = async (page, id, path, text) =>
  assert.ok(
    await page.evaluate(
      async ([id, path, body]) => {
        const address = `/api/v1/workspaces/${id}/agent/files/content?path=${encodeURIComponent(path)}`;
        return (await fetch(address, { method: "PUT", body })).ok;
      },
      [id, path, text],
    ),
    `${path} is written`,
  );
/** Creates a directory in the home, with its parents. */
export const makeDirectory = async (page, id, path) =>
  assert.ok(
    await page.evaluate(
      async ([id, path]) => {
        const body = JSON.stringify({ path, parents: true });
        const headers = { "content-type": "application/json" };
        return (
          await fetch(`/api/v1/workspaces/${id}/agent/files/directory`, { method: "POST", headers, body })
        ).ok;
      },
      [id, path],
    ),
    `${path} is created`,
  );
/** Deletes a directory of the home and everything in it. */
export const removeDirectory = async (page, id, path) =>
  assert.ok(
    await page.evaluate(
      async ([id, path]) => {
        const query = new URLSearchParams({ path, recursive: "true" });
        return (await fetch(`/api/v1/workspaces/${id}/agent/files?${query}`, { method: "DELETE" })).ok;
      },
      [id, path],
    ),
    `${path} is deleted`,
  );
/** Waits until the newest snapshot has the file with this content. */
export const waitForStored = (page, id, path, expected) =>
  page.waitForFunction(
    async ([id, path, expected]) => {
      const query = new URLSearchParams({ path });
      const answer = await fetch(`/api/v1/workspaces/${id}/snapshots/latest/content?${query}`);
      return answer.ok && (await answer.text()) === expected;
    },
    [id, path, expected],
    { polling: 500 },
  );
export async function waitForContent(page, id, path, expected) {
  const end = Date.now() + timeout;
  let found;
  do found = await readContent(page, id, path);
  while (found !== expected && Date.now() < end);
  assert.equal(found, expected, `${path} on the guest's disk`);
}
export const editorText = (page) => page.locator(".editor:not([hidden]) .cm-content");
export const treeItem = (page, name) =>
  page.getByRole("treeitem", { name, exact: false }).filter({ hasText: name });

/** Signs in with the one-time link, sets a password, and waits for the list of workspaces. */
export async function signIn(page) {
  await page.goto(link);
  await page.getByLabel("Name").fill(USER.name);
  await page.getByLabel("Email").fill(USER.email);
  await page.getByLabel("Password").fill(USER.password);
  await page.getByRole("button", { name: "Save and continue" }).click();
  await page.getByRole("button", { name: "Create workspace" }).waitFor();
}

/** Creates a workspace from the list of workspaces, and waits for its page. Returns its id. */
export async function createWorkspace(page, name) {
  await page
    .getByRole("button", { name: /^(Create|New) workspace/ })
    .first()
    .click();
  await page.getByLabel("Name").fill(name);
  await page
    .getByRole("dialog")
    .getByRole("button", { name: /^Create/ })
    .click();
  await page.waitForURL(/\/workspaces\/[0-9a-f-]{36}$/);
  return page.url().split("/").at(-1);
}

const replies = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/**
 * Asks the Rust test that started this script for something outside the browser, and waits until it
 * is done.
 */
export async function requestFromTest(what) {
  console.log(`> ${what}`);
  assert.ok(!(await replies.next()).done, `the test did not answer: ${what}`);
}

/** Closes the browser, and fails if any page reported an error or had a barrier. */
export async function finish() {
  await browser.close();
  process.stdin.destroy();
  assert.deepEqual(pageErrors, [], "no page reported an error");
  assert.deepEqual([...barriers], [], "everyone can use what was shown");
  console.log("all done");
}
