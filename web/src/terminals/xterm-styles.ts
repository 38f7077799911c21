// xterm.js makes <style> elements and writes style attributes, both of which the page's policy forbids without a nonce or
// altogether. Elements get the nonce, and the attribute of a <span> becomes style properties, which are allowed. The page's own
// document is told so, since parts of xterm.js take that one whatever they are given.
import { nonce } from "../ui/nonce";

let allowed = false;

export function allowTerminalStyles(): void {
  if (allowed) return;
  allowed = true;
  const createElement = document.createElement.bind(document);
  document.createElement = (name: string, options?: ElementCreationOptions): HTMLElement => {
    const element = createElement(name, options);
    if (element instanceof HTMLStyleElement) element.nonce = nonce();
    return element;
  };
  HTMLSpanElement.prototype.setAttribute = function (name: string, value: string): void {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };
}
