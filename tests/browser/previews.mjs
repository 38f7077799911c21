// Ports and previews in a real browser: a server with a WebSocket and an event stream runs in the workspace.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import {
  createWorkspace,
  finish,
  openPage,
  origin,
  screenshot,
  signIn,
  step,
  typeLine,
  waitForTerminalText,
  writeFile,
} from "./harness.mjs";

const SERVER = `
import { createHash } from "node:crypto";
import { createServer } from "node:http";
const port = Number(process.argv[2]);
const page = \`<!doctype html><title>Shop</title><h1>Hello from \${port}</h1>
<p id="path"></p><p id="socket"></p><p id="events"></p><p id="cookie"></p><script>
path.textContent = "path: " + location.pathname + location.search;
const show = (place, name) => (event) => { place.textContent = name + ": " + event.data };
new WebSocket("ws://" + location.host + "/hmr").onmessage = show(socket, "socket");
new EventSource("/events").onmessage = show(events, "events");
cookie.textContent = "cookies: " + document.cookie;
</script>\`;
const server = createServer((request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: first\\n\\n");
  } else if (request.url === "/seen") {
    response.end(JSON.stringify(request.headers));
  } else {
    response.writeHead(200, { "content-type": "text/html", "x-frame-options": "DENY" });
    response.end(page);
  }
});
server.on("upgrade", (request, socket) => {
  const accept = createHash("sha1")
    .update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    .digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nupgrade: websocket\\r\\nconnection: upgrade\\r\\n" +
    "sec-websocket-accept: " + accept + "\\r\\n\\r\\n");
  const text = Buffer.from(request.headers.origin);
  socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
});
server.listen(port, "::1", () => console.log("up at http://localhost:" + port + "/start?a=b"));
`;

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

const ada = await openPage("ada");
const port = await freePort();
const pane = ada.getByRole("region", { name: `Preview of port ${port}` });
const frame = ada.frameLocator(".preview-frame");
const row = ada.locator(`.port-row[data-port="${port}"]`);
let workspace;
let address;

const focusTerminal = () => ada.locator(".xterm-helper-textarea").first().focus();

await step("a process that opens a port raises a notice, and Open shows its preview", async () => {
  await signIn(ada);
  workspace = await createWorkspace(ada, "shop");
  address = `http://${port}--${workspace}.localhost:${new URL(origin).port}`;
  await waitForTerminalText(ada, /[$#]/);
  await writeFile(ada, workspace, "server.mjs", SERVER);
  await focusTerminal();
  await typeLine(ada, `clear; node server.mjs ${port}`);
  await waitForTerminalText(ada, "up at http");
  const notice = ada.locator(".toast").filter({ hasText: `listens on port ${port}` });
  await notice.waitFor();
  await notice.getByRole("button", { name: "Open" }).click();
  await frame.getByRole("heading", { name: `Hello from ${port}` }).waitFor();
});

await step("WebSockets and event streams work, and the server is at localhost", async () => {
  await frame.getByText(`socket: http://localhost:${port}`).waitFor();
  await frame.getByText("events: first").waitFor();
  assert.equal(await frame.locator("#cookie").textContent(), "cookies: ", "the cookie is not for scripts");
  await screenshot(ada, "preview", { dark: true });
});

await step("the preview has a path, reload, and widths of devices", async () => {
  const path = pane.getByRole("textbox", { name: "Path" });
  await path.fill("/shop?x=1");
  await path.press("Enter");
  await frame.getByText("path: /shop?x=1").waitFor();
  await pane.getByRole("combobox", { name: "Width" }).selectOption("390");
  assert.equal((await pane.locator("iframe").boundingBox()).width, 390);
  await pane.getByRole("button", { name: "Reload" }).click();
  await frame.getByText("path: /shop?x=1").waitFor();
  await pane.getByRole("combobox", { name: "Width" }).selectOption("");
});

await step("the page says when nothing listens, and loads when something does", async () => {
  await focusTerminal();
  await ada.keyboard.press("Control+c");
  await pane.getByRole("button", { name: "Reload" }).click();
  await frame.getByRole("heading", { name: `Nothing listens on port ${port}` }).waitFor();
  await screenshot(ada, "preview-nothing-listens", { dark: true, narrow: false });
  await focusTerminal();
  await typeLine(ada, `clear; node server.mjs ${port}`);
  await frame.getByRole("heading", { name: `Hello from ${port}` }).waitFor();
});

await step("a link to localhost in a terminal opens the preview", async () => {
  await pane.getByRole("button", { name: "Close preview" }).click();
  await pane.waitFor({ state: "detached" });
  await waitForTerminalText(ada, "up at http");
  const line = ada.locator(".xterm-rows > div").filter({ hasText: "up at http" }).first();
  // The layer above the text takes the pointer.
  const { x, y, height } = await line.boundingBox();
  await ada.mouse.move(x + 90, y + height / 2);
  await ada.keyboard.down("Control");
  await ada.mouse.click(x + 110, y + height / 2);
  await ada.keyboard.up("Control");
  await frame.getByText("path: /start?a=b").waitFor();
});

await step("the Ports view shows process and visibility", async () => {
  await ada.getByRole("navigation", { name: "Views" }).getByRole("button", { name: "Ports" }).click();
  await row.getByText("node").waitFor();
  await row.getByText("Private").waitFor();
  await screenshot(ada, "ports", { dark: true });
  const visitor = await openPage("visitor");
  await visitor.goto(`${address}/`);
  await visitor.waitForURL(/\/sign-in\?/);
  await visitor.context().close();
});

await step("a public port is open to everybody, until it is private again", async () => {
  const share = async (visibility) => {
    await row.getByRole("button", { name: `Actions of port ${port}` }).click();
    await ada.getByRole("menuitem", { name: "Visibility and label…" }).click();
    const dialog = ada.getByRole("dialog");
    await dialog.getByLabel("Label").fill("Web shop");
    await dialog.getByRole("button", { name: visibility }).click();
    if (visibility === "Public") await screenshot(ada, "port-dialog", { dark: true, narrow: false });
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
  };
  await share("Public");
  await row.getByText("Public until").waitFor();
  await row.getByText("Web shop").waitFor();
  const visitor = await openPage("visitor");
  await visitor.goto(`${address}/a?b`);
  await visitor.getByText("path: /a?b").waitFor();
  await visitor.getByText(`socket: http://localhost:${port}`).waitFor();
  await share("Private");
  await row.getByText("Private").waitFor();
  await visitor.waitForFunction(async () => (await fetch("/seen").catch(() => null))?.status === 401);
  await visitor.context().close();
});

await step("a preview opens in a tab, and knows no secret", async () => {
  const opened = ada.context().waitForEvent("page");
  await row.getByRole("button", { name: `Actions of port ${port}` }).click();
  await ada.getByRole("menuitem", { name: "Open in a tab" }).click();
  const tab = await opened;
  await tab.getByRole("heading", { name: `Hello from ${port}` }).waitFor();
  assert.equal(tab.url(), `${address}/`, "no ticket in the address");
  const seen = await tab.evaluate(async () => (await fetch("/seen")).text());
  const cookies = await ada.context().cookies();
  assert.ok(
    cookies.some(({ name }) => name.includes("burrow-preview")),
    "there is a cookie of the preview",
  );
  for (const { name, value } of cookies.filter(({ name }) => name.includes("burrow")))
    assert.ok(!seen.includes(value) && !seen.includes(name), `${name} reaches the server: ${seen}`);
  await tab.close();
});

await step("the palette opens a preview with the keyboard", async () => {
  await pane.getByRole("button", { name: "Close preview" }).click();
  await ada.keyboard.press("F1");
  await ada.getByRole("combobox", { name: "Command or file" }).fill(`>preview of port ${port}`);
  await ada.getByRole("option", { name: `Open preview of port ${port}` }).waitFor();
  await ada.keyboard.press("Enter");
  await frame.getByRole("heading", { name: `Hello from ${port}` }).waitFor();
});

await finish();
