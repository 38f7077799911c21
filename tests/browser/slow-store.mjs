// What a user sees when something goes wrong: a slow start, an object store that stalls, fails and
// recovers, a home that fills up, a start that fails. Takes screenshots of each, light and dark, at
// two widths.
import assert from "node:assert/strict";
import {
  createWorkspace,
  finish,
  origin,
  screenshot,
  waitForTerminalText,
  signIn,
  step,
  typeLine,
  openPage,
  requestFromTest,
} from "./harness.mjs";

/** Prints a number every quarter second, after it is on the home's disk, until the file `stop` exists. */
const NUMBERED = `python3 -uc 'import os, time
log = open("log", "a")
for number in range(100000):
    print(number, file=log, flush=True); os.fsync(log.fileno()); print("at", number)
    if os.path.exists("stop"): break
    time.sleep(0.25)'`;

const ada = await openPage("ada");
const banner = (name) => ada.locator(`[data-banner=${name}]`);
const terminal = () => ada.locator(".xterm-rows").first();
const focusTerminal = () => ada.locator(".xterm-helper-textarea").first().focus();
const numberNow = async () => {
  const numbers = [...(await terminal().innerText()).matchAll(/at (\d+)/g)].map((match) => Number(match[1]));
  return Math.max(-1, ...numbers);
};
/** Waits until the guest's log has grown by so many numbers. */
async function grows(by) {
  const wanted = (await numberNow()) + by;
  await ada.waitForFunction(
    (wanted) =>
      [...document.querySelector(".xterm-rows").innerText.matchAll(/at (\d+)/g)].some(
        (match) => match[1] >= wanted,
      ),
    wanted,
  );
}

async function create(name) {
  await ada.goto(origin);
  await createWorkspace(ada, name);
}

await step("a start shows its steps with their times", async () => {
  await signIn(ada);
  await create("demo");
  const steps = ada.getByRole("list", { name: "Steps" });
  const now = steps.locator("li.running").filter({ hasText: "Booting" });
  await now.waitFor();
  for (const done of await steps.locator("li.done").all()) assert.match(await done.innerText(), /\d s/);
  await now.filter({ hasText: /\d s/ }).waitFor();
  await screenshot(ada, "starting", { dark: true });
  await ada.getByRole("tree", { name: "Files" }).waitFor();
});

await step("no banner is shown while the store is healthy", async () => {
  await waitForTerminalText(ada, /[$#]/);
  await focusTerminal();
  await typeLine(ada, NUMBERED.replaceAll("\n", "\x16\n"));
  await grows(8);
  assert.equal(await ada.locator(".thin-banner").count(), 0);
});

await step("a stalled store shows a banner, and the workspace keeps running", async () => {
  await requestFromTest("stall the store");
  await banner("store")
    .filter({ hasText: /The object store is slow|writing faster/ })
    .waitFor();
  await grows(4);
  await screenshot(ada, "store-slow", { dark: true });
});

await step("an unavailable store shows a banner", async () => {
  await requestFromTest("stop the store");
  await banner("store").filter({ hasText: "The object store is unavailable" }).waitFor();
  await grows(2);
  await screenshot(ada, "store-gone", { dark: true });
  const before = await ada.locator(".status-bar .safe-at").getAttribute("datetime");
  await grows(4);
  const after = await ada.locator(".status-bar .safe-at").getAttribute("datetime");
  assert.equal(after, before, '"safe up to" does not advance');
});

await step("the history page shows the banner too", async () => {
  await ada.getByRole("link", { name: /^Safe up to/ }).click();
  await ada.getByRole("slider", { name: "Time" }).waitFor();
  await banner("store").waitFor();
  await screenshot(ada, "store-gone-history");
  await ada.goBack();
  await terminal().waitFor();
});

await step("the banner disappears when the store recovers", async () => {
  await requestFromTest("start the store");
  await banner("store").waitFor({ state: "detached" });
  await ada.locator(".status-bar .safe-at:not(.late)").waitFor();
  await screenshot(ada, "store-back", { narrow: false });
  await ada.getByRole("button", { name: "New terminal" }).first().click();
  await ada.locator(".xterm-rows").nth(1).filter({ hasText: /[$#]/ }).waitFor();
  await ada.locator(".xterm-helper-textarea").nth(1).focus();
  await typeLine(ada, "touch stop; sync");
});

await step("a full home shows a banner at 80 and 95 per cent, and none after cleanup", async () => {
  const fill =
    "room() { df --output=$1 -B1M ~ | tail -1; }; " +
    "fill() { fallocate -l $(( $(room size) * $1 / 100 - $(room used) ))M big$1; }";
  await typeLine(ada, `clear; ${fill}`);
  await typeLine(ada, "fill 83");
  await banner("full")
    .filter({ hasText: /8\d\s% full/ })
    .waitFor();
  await screenshot(ada, "home-filling", { dark: true });
  await typeLine(ada, "fill 97");
  await banner("full").and(ada.locator(".bad")).waitFor();
  await screenshot(ada, "home-full", { dark: true });
  await typeLine(ada, "rm big83 big97; sync");
  await banner("full").waitFor({ state: "detached" });
});

await step("a failed start names the step, the cause and the next action", async () => {
  await create("unlucky");
  const now = ada.getByRole("list", { name: "Steps" }).locator("li.running");
  for (const attempt of [1, 2, 3]) {
    await now.filter({ hasText: "Booting" }).waitFor();
    // Immediately: a moment later it runs.
    await requestFromTest("kill the VMM");
    if (attempt < 3) await now.filter({ hasText: "Waiting in the queue" }).waitFor();
    if (attempt === 2) await screenshot(ada, "tried-again", { narrow: false });
  }
  const alert = ada.getByRole("alert");
  await alert.filter({ hasText: /failed/ }).waitFor();
  await ada.getByRole("button", { name: "Retry" }).waitFor();
  await ada.getByText("unlucky failed to start").waitFor();
  await ada
    .getByRole("list", { name: "Steps" })
    .locator("li.failed")
    .filter({ hasText: "Booting" })
    .waitFor();
  await ada.getByRole("link", { name: "View history" }).waitFor();
  await screenshot(ada, "failed-start", { dark: true });
  await ada.goto(origin);
  await ada.locator(".state").filter({ hasText: "Failed" }).waitFor();
  await screenshot(ada, "failed-start-listed");
  await ada.getByRole("link", { name: "unlucky", exact: true }).click();
  await ada.getByRole("button", { name: "Retry" }).click();
  await ada.getByRole("tree", { name: "Files" }).waitFor();
});

// Console output differs between hosts, so the test serves its own.
await step("the last console lines are shown, and copied with the details", async () => {
  const id = ada.url().match(/[0-9a-f-]{36}/)[0];
  const workspace = await ada.evaluate(async (id) => (await fetch(`/api/v1/workspaces/${id}`)).json(), id);
  const log = Array.from({ length: 40 }, (_, line) => `[    ${line}.000000] a line of the kernel's`);
  log.push("Kernel panic - not syncing: VFS: Unable to mount root fs");
  const failure = {
    step: "boot",
    cause: "The sandbox ended before it was ready.",
    action: "Start it again.",
    log,
  };
  const failed = { ...workspace, revision: workspace.revision + 1, phase: "terminated", steps: [], failure };
  await ada.route("**/events", (route) =>
    route.fulfill({
      contentType: "text/event-stream",
      body: `event: workspace\ndata: ${JSON.stringify(failed)}\n\n`,
    }),
  );
  await ada.reload();
  await ada.locator("pre.console").first().filter({ hasText: "Kernel panic" }).waitFor();
  await ada.getByText("All 41 lines").waitFor();
  await screenshot(ada, "console", { dark: true });
  await ada.getByRole("button", { name: "Copy details" }).click();
  assert.match(await ada.evaluate(() => navigator.clipboard.readText()), /Kernel panic/);
});

await finish();
