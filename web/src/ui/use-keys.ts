// Key bindings of a whole page. They run before any element sees the key, but not while a dialog is open.
import { useEffect, useRef } from "react";

/** `handlerFor` returns the action for a key, or null to let the key pass. */
export function useKeyBindings(handlerFor: (event: KeyboardEvent) => (() => void) | null): void {
  const latest = useRef(handlerFor);
  useEffect(() => {
    latest.current = handlerFor;
  });
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      const run = document.querySelector("dialog[open]") ? null : latest.current(event);
      if (!run) return;
      event.preventDefault();
      event.stopPropagation();
      run();
    };
    window.addEventListener("keydown", listen, true);
    return () => window.removeEventListener("keydown", listen, true);
  }, []);
}
