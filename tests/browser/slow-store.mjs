// What a person sees when things go badly: a start with its steps, a store that is slow and gone and back, a home that fills up,
// a start that fails. Keeps a picture of each, light and dark, at two widths.
import assert from "node:assert/strict";
import { end, origin, picture, sees, signedIn, step, type, visitor, wish } from "./visit.mjs";

/** Says each number once it is on the home's disk; a quarter of a second apart, until told to stop. */
const NUMBERED = `python3 -uc 'import os, time
log = open("log", "a")
for number in range(100000):
    print(number, file=log, flush=True); os.fsync(log.fileno()); print("at", number)
    if os.path.exists("stop"): break
    time.sleep(0.25)'`;

const ada = await visitor("ada");
const banner = (name) => ada.locator(`[data-banner=${name}]`);
const terminal = () => ada.locator(".xterm-rows").first();
const focusTerminal = () => ada.locator(".xterm-helper-textarea").first().focus();
const numberNow = async () => {
  const numbers = [...(await terminal().innerText()).matchAll(/at (\d+)/g)].map((match) => Number(match[1]));
  return Math.max(-1, ...numbers);
};
/** Until the log in the machine has grown by so many numbers. */
async function grows(by) {
  const wanted = (await numberNow()) + by;
  await ada.waitForFunction(
    (wanted) =>
      [...document.querySelector(".xterm-rows").innerText.matchAll(/at (\d+)/g)].some((match) => match[1] >= wanted),
    wanted,
  );
}

async function create(name) {
  await ada.goto(origin);
  await ada.getByRole("button", { name: /^(Create a|New) workspace/ }).first().click();
  await ada.getByLabel("Name").fill(name);
  await ada.getByRole("dialog").getByRole("button", { name: /^Create/ }).click();
}

await step("a start shows its steps with their times", async () => {
  await signedIn(ada);
  await create("demo");
  const steps = ada.getByRole("list", { name: "Steps" });
  const now = steps.locator("li.now").filter({ hasText: "Booting" });
  await now.waitFor();
  for (const done of await steps.locator("li.done").all()) assert.match(await done.innerText(), /\d s/);
  await now.filter({ hasText: /\d s/ }).waitFor();
  await picture(ada, "starting", { dark: true });
  await ada.getByRole("tree", { name: "Files of the home" }).waitFor();
});

await step("while the store is well, no banner is shown", async () => {
  await sees(ada, /[$#]/);
  await focusTerminal();
  await type(ada, NUMBERED.replaceAll("\n", "\x16\n"));
  await grows(8);
  assert.equal(await ada.locator(".thin-banner").count(), 0);
});

await step("a store that stalls is told, and the machine goes on", async () => {
  await wish("the store stalls");
  await banner("store").filter({ hasText: /The store is slow|More is written/ }).waitFor();
  await grows(4);
  await picture(ada, "store-slow", { dark: true });
});

await step("a store that is gone is told so", async () => {
  await wish("the store is gone");
  await banner("store").filter({ hasText: "The store takes nothing" }).waitFor();
  await grows(2);
  await picture(ada, "store-gone", { dark: true });
  const before = await ada.locator(".status-bar .safe-at").getAttribute("datetime");
  await grows(4);
  const after = await ada.locator(".status-bar .safe-at").getAttribute("datetime");
  assert.equal(after, before, "nothing is said to be safe that is not");
});

await step("the history says it too", async () => {
  await ada.getByRole("link", { name: /^Safe up to/ }).click();
  await ada.getByRole("slider", { name: "Time" }).waitFor();
  await banner("store").waitFor();
  await picture(ada, "store-gone-history");
  await ada.goBack();
  await terminal().waitFor();
});

await step("the banner goes when the store is back", async () => {
  await wish("the store is back");
  await banner("store").waitFor({ state: "detached" });
  await ada.locator(".status-bar .safe-at:not(.late)").waitFor();
  await picture(ada, "store-back", { narrow: false });
  await ada.getByRole("button", { name: "New terminal" }).first().click();
  await ada.locator(".xterm-rows").nth(1).filter({ hasText: /[$#]/ }).waitFor();
  await ada.locator(".xterm-helper-textarea").nth(1).focus();
  await type(ada, "touch stop; sync");
});

await step("a home that fills up is told at 80 and at 95 per cent, and when there is room again", async () => {
  const fill = "room() { df --output=$1 -B1M ~ | tail -1; }; fill() { fallocate -l $(( $(room size) * $1 / 100 - $(room used) ))M big$1; }";
  await type(ada, `clear; ${fill}`);
  await type(ada, "fill 83");
  await banner("full").filter({ hasText: /8\d\s% full/ }).waitFor();
  await picture(ada, "home-filling", { dark: true });
  await type(ada, "fill 97");
  await banner("full").and(ada.locator(".bad")).waitFor();
  await picture(ada, "home-full", { dark: true });
  await type(ada, "rm big83 big97; sync");
  await banner("full").waitFor({ state: "detached" });
});

await step("a start that fails says which step, why, and what to do next", async () => {
  await create("unlucky");
  const now = ada.getByRole("list", { name: "Steps" }).locator("li.now");
  for (const attempt of [1, 2, 3]) {
    await now.filter({ hasText: "Booting" }).waitFor();
    // At once: a moment later it runs.
    await wish("the machine dies");
    if (attempt < 3) await now.filter({ hasText: "Waiting for a place" }).waitFor();
    if (attempt === 2) await picture(ada, "tried-again", { narrow: false });
  }
  const alert = ada.getByRole("alert");
  await alert.filter({ hasText: /failed/ }).waitFor();
  await ada.getByRole("button", { name: "Try again" }).waitFor();
  await ada.getByText("unlucky did not start").waitFor();
  await ada.getByRole("list", { name: "Steps" }).locator("li.failed").filter({ hasText: "Booting" }).waitFor();
  await ada.getByRole("link", { name: "Open the history" }).waitFor();
  await picture(ada, "failed-start", { dark: true });
  await ada.goto(origin);
  await ada.locator(".state").filter({ hasText: "Failed" }).waitFor();
  await picture(ada, "failed-start-listed");
  await ada.getByRole("link", { name: "unlucky", exact: true }).click();
  await ada.getByRole("button", { name: "Try again" }).click();
  await ada.getByRole("tree", { name: "Files of the home" }).waitFor();
});

// What a console says differs from machine to machine: here the page is told.
await step("the last lines of a console are in sight, and copied with the details", async () => {
  const id = ada.url().match(/[0-9a-f-]{36}/)[0];
  const workspace = await ada.evaluate(async (id) => (await fetch(`/api/v1/workspaces/${id}`)).json(), id);
  const log = Array.from({ length: 40 }, (_, line) => `[    ${line}.000000] a line of the kernel's`);
  log.push("Kernel panic - not syncing: VFS: Unable to mount root fs");
  const failure = { step: "boot", cause: "The machine ended before it was ready.", action: "Start it again.", log };
  const told = { ...workspace, revision: workspace.revision + 1, phase: "terminated", steps: [], failure };
  await ada.route("**/events", (route) =>
    route.fulfill({ contentType: "text/event-stream", body: `event: workspace\ndata: ${JSON.stringify(told)}\n\n` }),
  );
  await ada.reload();
  await ada.locator("pre.console").first().filter({ hasText: "Kernel panic" }).waitFor();
  await ada.getByText("All 41 lines").waitFor();
  await picture(ada, "console", { dark: true });
  await ada.getByRole("button", { name: "Copy the details" }).click();
  assert.match(await ada.evaluate(() => navigator.clipboard.readText()), /Kernel panic/);
});

await end();
