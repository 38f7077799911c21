// xterm.js makes <style> elements and writes style attributes, both of which the page's policy forbids without a nonce or
// altogether. The document that it is given adds the nonce, and turns the attributes into style properties, which are allowed.
// Its scrollbar takes the page's own document whatever it is given, so that one adds the nonce too.
import { nonce } from "../ui/nonce";

let made: Document | null = null;

const plain = (name: string): HTMLElement => Document.prototype.createElement.call(document, name);

function withNonce(name: string): HTMLElement {
  const element = plain(name);
  if (element instanceof HTMLStyleElement) element.nonce = nonce();
  return element;
}

export function terminalDocument(): Document {
  document.createElement = withNonce;
  made ??= new Proxy(document, {
    get(target, key) {
      if (key === "createElement") return createElement;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
    set(target, key, value) {
      return Reflect.set(target, key, value, target);
    },
  });
  return made;
}

function createElement(name: string): HTMLElement {
  const element = withNonce(name);
  const setAttribute = element.setAttribute.bind(element);
  element.setAttribute = (attribute: string, value: string) => {
    if (attribute === "style") element.style.cssText = value;
    else setAttribute(attribute, value);
  };
  return element;
}
