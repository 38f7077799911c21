// Whether the window is too narrow for more than one pane.
import { useSyncExternalStore } from "react";

/** Same breakpoint as in workbench.css. */
const NARROW = "(max-width: 720px)";

export function useNarrow(): boolean {
  return useSyncExternalStore(
    (listener) => {
      const query = window.matchMedia(NARROW);
      query.addEventListener("change", listener);
      return () => query.removeEventListener("change", listener);
    },
    () => window.matchMedia(NARROW).matches,
  );
}
