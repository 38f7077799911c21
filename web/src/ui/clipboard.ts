// Writes text to the clipboard, also on pages that were loaded by plain http.

/** Fails if the browser does not allow it. */
export async function writeClipboard(text: string): Promise<void> {
  // Browsers offer this only on https and loopback pages.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  area.style.opacity = "0";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  if (!copied) throw new Error("the browser refused");
}
