// A small router on the browser's History API. Knows no page.
import { useEffect, useState, useSyncExternalStore, type AnchorHTMLAttributes, type MouseEvent } from "react";

const listeners = new Set<() => void>();
function notifyListeners(): void {
  for (const listener of listeners) listener();
}
if (typeof window !== "undefined") window.addEventListener("popstate", notifyListeners);

export function navigate(to: string, { replace = false } = {}): void {
  if (replace) window.history.replaceState(null, "", to);
  else window.history.pushState(null, "", to);
  window.scrollTo(0, 0);
  notifyListeners();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function usePath(): string {
  return useSyncExternalStore(subscribe, () => window.location.pathname);
}

export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!plain || event.defaultPrevented) return;
    event.preventDefault();
    navigate(href);
  };
  return <a href={href} onClick={follow} {...rest} />;
}

/**
 * The secret after `#`. A second link that is opened on the same page changes it: browsers then load
 * nothing, and only report the new fragment.
 */
export function useFragment(): string {
  const [fragment, setFragment] = useState(consumeFragment);
  useEffect(() => {
    const take = () => {
      if (window.location.hash.length > 1) setFragment(consumeFragment());
    };
    window.addEventListener("hashchange", take);
    return () => window.removeEventListener("hashchange", take);
  }, []);
  return fragment;
}

/**
 * Returns the secret after `#` and removes it from the address, which keeps it out of the browser's
 * history. The value is
 * kept for later calls, because React may render twice.
 */
const taken = new Map<string, string>();
export function consumeFragment(): string {
  const path = window.location.pathname;
  const fragment = window.location.hash.slice(1);
  if (fragment) {
    taken.set(path, decodeURIComponent(fragment));
    window.history.replaceState(null, "", path + window.location.search);
  }
  return taken.get(path) ?? "";
}
