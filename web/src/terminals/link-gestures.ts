// How links in a terminal are followed: with Ctrl, as in VS Code, because a plain click belongs to the
// program and the selection. With a finger there is no Ctrl. Says so while the pointer is over a link.
import { isApple } from "../ui/platform";

interface LinkEvents {
  activate: (event: MouseEvent, text: string) => void;
  hover: () => void;
  leave: () => void;
}

export interface LinkGestures {
  /** What a link does whose text, or address, is passed on. */
  handler: (follow: (text: string) => void) => LinkEvents;
}

/** `element`: that of the terminal, which shows the hint. */
export function linkGestures(element: HTMLElement): LinkGestures {
  const isFollowed = (event: MouseEvent) =>
    event.ctrlKey || event.metaKey || window.matchMedia("(pointer: coarse)").matches;
  return {
    handler: (follow) => ({
      activate: (event, text) => {
        if (isFollowed(event)) follow(text);
      },
      hover: () => {
        element.title = isApple() ? "Follow link (⌘ + click)" : "Follow link (Ctrl + click)";
      },
      leave: () => element.removeAttribute("title"),
    }),
  };
}
