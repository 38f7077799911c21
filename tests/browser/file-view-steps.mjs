// Files that are no text, in the editor area. Their content is hostile: nothing of it may run. Part of
// drive.mjs: the page shows a running workspace.
import assert from "node:assert/strict";
import { editorText, origin, removeDirectory, screenshot, step, treeItem } from "./harness.mjs";

/** Writes bytes to the home. */
const writeBytes = async (page, id, path, bytes) =>
  assert.ok(
    await page.evaluate(
      async ([id, path, bytes]) => {
        const address = `/api/v1/workspaces/${id}/agent/files/content?path=${encodeURIComponent(path)}`;
        return (await fetch(address, { method: "PUT", body: Uint8Array.from(bytes) })).ok;
      },
      [id, path, bytes],
    ),
    `${path} is written`,
  );
const bytesOf = (text) => [...new TextEncoder().encode(text)];

export async function fileViewSteps(page, workspace) {
  const open = async (name) => {
    await treeItem(page, name).first().dblclick();
    await page.getByRole("tab", { name, exact: false }).waitFor();
  };
  const close = () => page.keyboard.press("Alt+w");

  await step("an image is shown with its size, zoomed and as bytes", async () => {
    await page.evaluate(async (id) => {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ path: "views", parents: true });
      await fetch(`/api/v1/workspaces/${id}/agent/files/directory`, { method: "POST", headers, body });
    }, workspace);
    const png = await page.evaluate(async () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [320, 200];
      const context = canvas.getContext("2d");
      context.fillStyle = "#2a64b0";
      context.fillRect(40, 40, 240, 120);
      const blob = await new Promise((done) => canvas.toBlob(done));
      return [...new Uint8Array(await blob.arrayBuffer())];
    });
    await writeBytes(page, workspace, "views/picture.png", png);
    await treeItem(page, "views").first().click();
    await open("picture.png");
    await page.getByText("320 × 200 ·").waitFor();
    await screenshot(page, "image-view", { dark: true });
    const width = () => page.locator(".image-place img").evaluate((image) => image.clientWidth);
    await page.getByRole("button", { name: "100 %" }).click();
    assert.equal(await width(), 320);
    await page.getByRole("group", { name: "Image picture.png" }).focus();
    await page.keyboard.press("+");
    await page.getByText("· 125 %").waitFor();
    assert.equal(await width(), 400);
    await page.getByRole("button", { name: "Show bytes" }).click();
    await page
      .getByRole("group", { name: "Bytes of picture.png" })
      .filter({ hasText: "89 50 4e 47" })
      .waitFor();
    await page.getByRole("button", { name: "Show image" }).click();
    await page.getByText("320 × 200 ·").waitFor();
    await close();
  });

  await step("other bytes are shown page by page", async () => {
    const bytes = Array.from({ length: 9000 }, (_, at) => at % 251);
    await writeBytes(page, workspace, "views/data.bin", bytes);
    await open("data.bin");
    const hex = page.getByRole("group", { name: "Bytes of data.bin" });
    await hex.filter({ hasText: "00000000 00 01 02 03" }).waitFor();
    await page.getByText("Page 1 of 3").waitFor();
    await page.getByRole("button", { name: "Next page" }).click();
    await hex.filter({ hasText: "00001000" }).waitFor();
    await page.getByLabel("Go to offset").fill("0x2300");
    await page.keyboard.press("Enter");
    await page.getByText("Page 3 of 3").waitFor();
    await hex.filter({ hasText: "00002320" }).waitFor();
    await screenshot(page, "hex-view", { dark: true });
    await close();
  });

  await step("scripts in files do not run", async () => {
    const script = "<script>window.parent.ranByFile = window.ranByFile = true</script>";
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" onload="window.ranByFile = true">${script}</svg>`;
    await writeBytes(page, workspace, "views/evil.svg", bytesOf(svg));
    await writeBytes(page, workspace, "views/evil.html", bytesOf(`<body onload="ranByFile = 1">${script}`));
    // An SVG and a page that say they are images.
    await writeBytes(page, workspace, "views/svg.png", [...bytesOf(svg), 0]);
    await writeBytes(page, workspace, "views/page.gif", [...bytesOf(`<html>${script}`), 0]);
    for (const name of ["evil.svg", "evil.html"]) {
      await open(name);
      await editorText(page).filter({ hasText: "ranByFile" }).waitFor();
      await close();
    }
    for (const name of ["svg.png", "page.gif"]) {
      await open(name);
      await page.getByText("The browser cannot show it as an image.").waitFor();
      await page.getByRole("group", { name: `Bytes of ${name}` }).waitFor();
      await close();
    }
    assert.equal(await page.evaluate(() => "ranByFile" in window), false);
    // The address of a file is a download of bytes, whatever they are.
    const answer = await page.request.get(
      `${origin}/api/v1/workspaces/${workspace}/agent/files/content?path=views/evil.html`,
    );
    assert.equal(answer.headers()["content-type"], "application/octet-stream");
    assert.match(answer.headers()["content-security-policy"], /sandbox/);
    await removeDirectory(page, workspace, "views");
    await treeItem(page, "views").waitFor({ state: "detached" });
  });
}
