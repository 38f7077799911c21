import { useEffect, useRef, type RefObject } from "react";

/** A ref for the chosen element of a list that scrolls. It is brought into view when `chosen` changes. */
export function useScrollIntoView<E extends HTMLElement>(chosen: unknown): RefObject<E | null> {
  const element = useRef<E>(null);
  useEffect(() => {
    // Some browsers return a promise here, which is not an effect's result.
    void element.current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [chosen]);
  return element;
}
