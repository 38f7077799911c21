// The first minutes at one address of the server, which may be behind a proxy: sign in, create a
// workspace, use its terminal, reload.
import assert from "node:assert/strict";
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
} from "./harness.mjs";

const ada = await openPage("ada");

await step(`sign in at ${origin}`, async () => {
  await signIn(ada);
  await ada.reload();
  await ada.getByRole("button", { name: "Create workspace" }).waitFor();
});

await step("a new workspace opens with a terminal", async () => {
  await createWorkspace(ada, "demo");
  await ada.getByRole("tree", { name: "Files" }).waitFor();
  await ada.locator(".xterm-rows").first().waitFor();
  await waitForTerminalText(ada, /[$#]/);
  await ada.locator(".xterm-helper-textarea").first().focus();
  await typeLine(ada, "printf '%s-%d\\n' answer $((6*7))");
  await waitForTerminalText(ada, "answer-42");
  await screenshot(ada, "workspace", { narrow: false });
});

if (process.env.BURROW_SMALL_UPLOADS)
  await step("a proxy that refuses a large upload is explained", async () => {
    const buffer = Buffer.alloc(2 << 20);
    const file = { name: "large.bin", mimeType: "application/octet-stream", buffer };
    await ada.locator('input[type="file"]').first().setInputFiles(file);
    const failure = ada.getByText("A proxy in front of Burrow refused this").first();
    await failure.waitFor();
    assert.match(await failure.textContent(), /client_max_body_size/);
    await screenshot(ada, "large-upload", { narrow: false });
  });

await finish();
