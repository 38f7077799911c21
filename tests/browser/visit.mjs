// What the scripts share: a browser and its visitors, pictures of what they see, and what a person waits for. Waits for what a
// person would see, never for a time.
//
// BURROW_LINK is the one-time link, BURROW_SCREENSHOTS a directory, BURROW_RUNTIME what the machines are.
// BURROW_PATIENCE: how long anything may take, in seconds.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

export const link = process.env.BURROW_LINK;
const pictures = process.env.BURROW_SCREENSHOTS;
export const patience = Number(process.env.BURROW_PATIENCE ?? 60) * 1000;
export const origin = new URL(link).origin;
const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 420, height: 800 };
export const PERSON = { name: "Ada Owner", email: "ada@example.org", password: "correct horse battery" };

mkdirSync(pictures, { recursive: true });
export const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
export const complaints = [];

export async function visitor(name, colorScheme = "light") {
  const context = await browser.newContext({
    viewport: WIDE,
    colorScheme,
    acceptDownloads: true,
    permissions: ["clipboard-read", "clipboard-write"],
  });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`${name}: ${error.message}`));
  page.on("console", (message) => {
    // Refusals are the pages' own business (who am I, before anyone is signed in); what the policy forbids is not.
    const refusal = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !refusal) complaints.push(`${name}: ${message.text()}`);
  });
  return page;
}

let number = 0;
/** What is seen now at two widths, and in the dark too where that is asked for. */
export async function picture(page, name, { narrow = true, dark = false } = {}) {
  number += 1;
  const shoot = (what) =>
    page.screenshot({ path: join(pictures, `${String(number).padStart(2, "0")}-${name}-${what}.png`) });
  const widths = async (ending) => {
    await shoot(`wide${ending}`);
    if (!narrow) return;
    await page.setViewportSize(NARROW);
    await settled(page);
    await shoot(`narrow${ending}`);
    await page.setViewportSize(WIDE);
    await settled(page);
  };
  await widths("");
  if (!dark) return;
  // Without motion: no picture of a colour on its way.
  await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
  await settled(page);
  await widths("-dark");
  await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
}

/** One pane of the workspace, as a phone shows it. */
export async function narrowPicture(page, pane) {
  await page.setViewportSize(NARROW);
  await page.getByRole("navigation", { name: "Panes" }).getByRole("button", { name: pane }).click();
  await settled(page);
  await page.screenshot({ path: join(pictures, `${String(number).padStart(2, "0")}-${pane.toLowerCase()}-narrow.png`) });
  await page.setViewportSize(WIDE);
  await settled(page);
}

/** Two frames: what changed with the last event is drawn. */
export const settled = (page) =>
  page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

export async function step(name, work) {
  const since = Date.now();
  try {
    await work();
  } catch (error) {
    for (const [at, page] of browser.contexts().flatMap((context) => context.pages()).entries())
      await page.screenshot({ path: join(pictures, `failed-${at}.png`) });
    throw error;
  }
  console.log(`${name} (${((Date.now() - since) / 1000).toFixed(1)} s)`);
}

export const terminalText = (page) => page.locator(".xterm-rows").first();
export async function type(page, line) {
  await page.keyboard.type(line);
  await page.keyboard.press("Enter");
}
export const sees = (page, text) => terminalText(page).filter({ hasText: text }).waitFor();

/** A file of the home as the server has it; null where it is not there. */
export const content = (page, id, path) =>
  page.evaluate(
    async ([id, path]) => {
      const answer = await fetch(
        `/api/v1/workspaces/${id}/agent/files/content?path=${encodeURIComponent(path)}`,
      );
      return answer.ok ? await answer.text() : null;
    },
    [id, path],
  );
/** Writes a file of the home, as an upload does. */
export const put = async (page, id, path, text) =>
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
/** Makes a directory of the home, with those above it. */
export const makeDirectory = async (page, id, path) =>
  assert.ok(
    await page.evaluate(
      async ([id, path]) => {
        const body = JSON.stringify({ path, parents: true });
        const headers = { "content-type": "application/json" };
        return (await fetch(`/api/v1/workspaces/${id}/agent/files/directory`, { method: "POST", headers, body })).ok;
      },
      [id, path],
    ),
    `${path} is made`,
  );
/** Deletes a directory of the home with all below it. */
export const remove = async (page, id, path) =>
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
/** Waits until the newest snapshot has the file so. */
export const inTheStore = (page, id, path, expected) =>
  page.waitForFunction(
    async ([id, path, expected]) => {
      const query = new URLSearchParams({ path });
      const answer = await fetch(`/api/v1/workspaces/${id}/snapshots/latest/content?${query}`);
      return answer.ok && (await answer.text()) === expected;
    },
    [id, path, expected],
    { polling: 500 },
  );
export async function onDisk(page, id, path, expected) {
  const end = Date.now() + patience;
  let found;
  do found = await content(page, id, path);
  while (found !== expected && Date.now() < end);
  assert.equal(found, expected, `${path} on the guest's disk`);
}
export const editorText = (page) => page.locator(".editor:not([hidden]) .cm-content");
export const treeItem = (page, name) => page.getByRole("treeitem", { name, exact: false }).filter({ hasText: name });

/** The one-time link's way in: a password is set, and the list is there. */
export async function signedIn(page) {
  await page.goto(link);
  await page.getByLabel("Name").fill(PERSON.name);
  await page.getByLabel("E-mail").fill(PERSON.email);
  await page.getByLabel("Password").fill(PERSON.password);
  await page.getByRole("button", { name: "Save and go on" }).click();
  await page.getByRole("button", { name: "Create a workspace" }).waitFor();
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** Asks whoever started this for what lies outside the browser, and waits until it is so. */
export async function wish(what) {
  console.log(`> ${what}`);
  assert.ok(!(await answers.next()).done, `nobody grants ${what}`);
}

/** All is done: nothing may have been complained of. */
export async function end() {
  await browser.close();
  process.stdin.destroy();
  assert.deepEqual(complaints, [], "the browser had nothing to complain about");
  console.log("all done");
}
