// Two browsers with the y-websocket package of npm, and one with Burrow's editor, on one file.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { build } from "../../web/node_modules/vite/dist/node/index.js";
import {
  createWorkspace,
  editorText,
  finish,
  openPage,
  origin,
  screenshot,
  signIn,
  step,
  treeItem,
  USER,
  waitForContent,
  writeFile,
} from "./harness.mjs";

const PATH = "shared.txt";
const LINES = 40;
const ada = await openPage("ada");
let workspace;

/** The client's code with its packages, as one script that sets `stock`. */
async function bundleClient() {
  const entry = fileURLToPath(new URL("stock-client.js", import.meta.url));
  const [{ output }] = await build({
    configFile: false,
    logLevel: "silent",
    build: { write: false, lib: { entry, formats: ["iife"], name: "stock" } },
  });
  return output[0].code;
}

const script = await bundleClient();

/** A browser of the signed-in user with a page that is not Burrow's app, on Burrow's origin. */
async function openStockClient(name) {
  const page = await openPage(name);
  await page.context().addCookies(await ada.context().cookies());
  await page.goto(`${origin}/openapi.json`);
  await page.evaluate(`${script}; window.stock = stock`);
  const server = `${origin.replace("http", "ws")}/api/v1/workspaces/${workspace}/agent`;
  await page.evaluate(
    ([server, path, name]) => {
      window.client = window.stock.open(server, path, name);
    },
    [server, PATH, name],
  );
  await page.waitForFunction(() => window.client.isSynced());
  return page;
}

/** Waits until a stock client has a text that contains these lines, and returns it. */
async function textWith(page, lines) {
  await page.waitForFunction((lines) => lines.every((line) => window.client.text().includes(line)), lines);
  return page.evaluate(() => window.client.text());
}

const append = (page, line) => page.evaluate((line) => window.client.append(line), line);
const waitForNames = (page, names) =>
  page.waitForFunction((names) => window.client.names().join() === names, names.join());

await step("Burrow's editor opens the file", async () => {
  await signIn(ada);
  workspace = await createWorkspace(ada, "demo");
  await ada.getByRole("tree", { name: "Files" }).waitFor();
  await writeFile(ada, workspace, PATH, "first line\n");
  await treeItem(ada, PATH).dblclick();
  await editorText(ada).filter({ hasText: "first line" }).waitFor();
});

let bea, cem;
await step("stock clients in two browsers show the text and everyone's presence", async () => {
  bea = await openStockClient("Bea");
  cem = await openStockClient("Cem");
  for (const page of [bea, cem]) {
    assert.equal(await textWith(page, ["first line\n"]), "first line\n");
    await waitForNames(page, [USER.name, "Bea", "Cem"].sort());
  }
});

await step("all edit at once, and all have the same text", async () => {
  const lines = ["first line\n"];
  await editorText(ada).click();
  await ada.keyboard.press("Control+End");
  for (let number = 0; number < LINES; number += 1) {
    for (const [page, name] of [
      [bea, "bea"],
      [cem, "cem"],
    ]) {
      lines.push(`${name} ${number}\n`);
      await append(page, `${name} ${number}\n`);
    }
    if (number % 10 === 0) {
      lines.push(`ada ${number}\n`);
      await ada.keyboard.type(`ada ${number}\n`);
    }
  }
  const text = await textWith(bea, lines);
  assert.equal(text.length, lines.join("").length);
  await cem.waitForFunction((text) => window.client.text() === text, text);
  await waitForContent(ada, workspace, PATH, text);
  await editorText(ada)
    .filter({ hasText: text.split("\n").at(-2) })
    .waitFor();
  for (const name of ["Bea", "Cem"]) {
    await ada.locator(".peer-caret").filter({ hasText: name }).first().waitFor({ state: "attached" });
  }
  await screenshot(ada, "with-stock-clients", { narrow: false });
});

await step("a stock client that was away gets and sends what it missed", async () => {
  await bea.evaluate(() => window.client.disconnect());
  await waitForNames(cem, [USER.name, "Cem"].sort());
  await append(bea, "typed offline\n");
  await append(cem, "typed at that time\n");
  await bea.evaluate(() => window.client.connect());
  const text = await textWith(bea, ["typed offline\n", "typed at that time\n"]);
  await cem.waitForFunction((text) => window.client.text() === text, text);
  await editorText(ada).filter({ hasText: "typed offline" }).waitFor();
  await waitForContent(ada, workspace, PATH, text);
  await append(bea, "back again\n");
  await waitForNames(cem, [USER.name, "Bea", "Cem"].sort());
});

await step("a document with a long history begins again, and Burrow's editor keeps its place", async () => {
  await editorText(ada).click();
  await ada.keyboard.press("Control+End");
  const scroller = ada.locator(".cm-scroller").first();
  const distanceToEnd = () => scroller.evaluate((element) => element.scrollHeight - element.scrollTop);
  const atEnd = await distanceToEnd();
  await scroller.evaluate((element) => element.scrollBy(0, -300));
  const distance = await distanceToEnd();
  assert.ok(distance > atEnd + 200, `${atEnd} ${distance}`);
  await bea.evaluate(() => {
    window.client.disconnect();
    window.client.insertInManyPlaces(150_000);
    window.client.connect();
  });
  // A stock client cannot begin again by itself.
  for (const page of [bea, cem]) await page.waitForFunction(() => window.client.closeCode() === 4409);
  const dan = await openStockClient("Dan");
  const text = await textWith(dan, ["back again\n"]);
  assert.equal(text, await bea.evaluate(() => window.client.text()));
  await append(dan, "from dan\n");
  await editorText(ada).filter({ hasText: "from dan" }).waitFor();
  const drift = Math.abs((await distanceToEnd()) - distance);
  assert.ok(drift < 100, `the text has moved by ${drift} pixels`);
  await ada.keyboard.type("from ada\n");
  await waitForContent(ada, workspace, PATH, `${text}from ada\nfrom dan\n`);
});

await finish();
