// The API reference at /docs: every operation is shown, a request can be tried with the session of the
// browser, and nothing is loaded from another host.
import assert from "node:assert/strict";
import {
  finish,
  openPage,
  origin,
  screenshot,
  signIn,
  step,
  timeout,
  USER,
  waitForPaint,
} from "./harness.mjs";

/** Methods of operations in an OpenAPI document. */
const METHODS = ["get", "put", "post", "delete", "patch", "options", "head", "trace"];

const ada = await openPage("ada");

await step("sign in", () => signIn(ada));

/** Addresses of other hosts, failed requests and console errors of the reference. */
const faults = [];
const reference = await ada.context().newPage();
reference.on("request", (request) => {
  const url = new URL(request.url());
  const isInline = url.protocol === "data:" || url.protocol === "blob:";
  if (!isInline && url.origin !== origin) faults.push(`request to ${url.href}`);
});
reference.on("requestfailed", (request) => faults.push(`failed request: ${request.url()}`));
reference.on("response", (response) => {
  if (response.status() >= 400) faults.push(`status ${response.status()}: ${response.url()}`);
});
reference.on("console", (message) => {
  if (message.type() === "error") faults.push(`console: ${message.text()}`);
});
reference.on("pageerror", (error) => faults.push(`script: ${error.message}`));

/** Scrolls from the top until `isThere`: of a long document, only what is in view is drawn. */
async function scrollUntil(isThere) {
  const end = Date.now() + timeout;
  await reference.locator(".opblock").first().waitFor();
  await reference.evaluate(() => window.scrollTo(0, 0));
  await waitForPaint(reference);
  while (!(await isThere())) {
    assert.ok(Date.now() < end, "it is not there");
    await reference.evaluate(() => window.scrollBy(0, window.innerHeight / 2));
    await waitForPaint(reference);
  }
}

await step("every operation of the document is shown", async () => {
  await reference.goto(`${origin}/docs`);
  const expected = await reference.evaluate(async (methods) => {
    const { paths } = await (await fetch("/openapi.json")).json();
    return Object.values(paths).flatMap((path) =>
      Object.entries(path)
        .filter(([method]) => methods.includes(method))
        .map(([, operation]) => operation.summary),
    );
  }, METHODS);
  assert.ok(expected.length > 50, `the document has ${expected.length} operations`);
  const shown = new Set();
  await scrollUntil(async () => {
    const texts = await reference.locator(".opblock-summary-description").allTextContents();
    for (const text of texts) shown.add(text.trim());
    return shown.size >= expected.length;
  });
  assert.deepEqual([...shown].sort(), expected.sort());
  await screenshot(reference, "operations", { isOurs: false });
});

await step("an operation shows its answers, and runs with the session of the browser", async () => {
  const operation = reference.locator("#operations-users-get_current_user");
  await scrollUntil(async () => (await operation.count()) > 0);
  await operation.locator(".opblock-summary").click();
  await operation.locator(".responses-wrapper").getByText("200").first().waitFor();
  await operation.getByRole("button", { name: "Try it out" }).click();
  await operation.getByRole("button", { name: "Execute" }).click();
  await operation.locator(".live-responses-table").getByText(USER.email).first().waitFor();
  await screenshot(reference, "operation", { narrow: false, dark: true, isOurs: false });
});

await step("nothing came from another host, and nothing failed", async () => {
  assert.deepEqual(faults, []);
});

await finish();
