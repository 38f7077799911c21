// Makes xterm.js work under the page's CSP. It creates <style> elements, which need a nonce, and
// writes style attributes, which are forbidden. Here new <style> elements get the nonce, and the
// style attribute of a <span> is set as style properties, which are allowed. The global document is
// patched, because parts of xterm.js always use it.
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
