// Keys of a whole page, before anything in it sees them. While a dialog is open they are the dialog's.
import { useEffect, useRef } from "react";

/** `does` gives what a key does, or none where it means nothing here. */
export function useKeys(does: (event: KeyboardEvent) => (() => void) | null): void {
  const latest = useRef(does);
  useEffect(() => {
    latest.current = does;
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
