// Where the keyboard focus goes. It is never lost: without it, keys do nothing and a screen reader begins
// at the top of the page again.

/** Focuses the content of the page, if there is any. */
export function focusPage(): void {
  const page = document.querySelector<HTMLElement>("main");
  if (page) focusPlace(page);
}

/** Focuses the chosen tab of a strip, once React has rendered the choice. */
export function focusSelectedTab(strip: Element): void {
  requestAnimationFrame(() => strip.querySelector<HTMLElement>('[aria-selected="true"]')?.focus());
}

/**
 * Moves the focus when its element is removed from the page: to what is left around that element, else to the
 * content of the page. Called once.
 */
export function keepFocus(): void {
  let around: HTMLElement[] = [];
  document.addEventListener("focusin", ({ target }) => {
    around = target instanceof HTMLElement ? ancestorsOf(target) : [];
  });
  new MutationObserver(() => {
    const isLost = document.activeElement === null || document.activeElement === document.body;
    if (!isLost || around.length === 0 || around[0]?.isConnected) return;
    const place = around.find((element) => element.isConnected && isPlace(element));
    if (place) focusPlace(place);
    else focusPage();
  }).observe(document.body, { childList: true, subtree: true });
}

function ancestorsOf(element: HTMLElement): HTMLElement[] {
  const ancestors = [];
  for (let at: HTMLElement | null = element; at; at = at.parentElement) ancestors.push(at);
  return ancestors;
}

/** What users know as a part of the page: a region of the workbench, a dialog, the content. */
function isPlace(element: HTMLElement): boolean {
  return element.matches("[data-region], dialog, main");
}

function focusPlace(place: HTMLElement): void {
  if (!place.hasAttribute("tabindex")) place.tabIndex = -1;
  place.focus({ preventScroll: true });
}
