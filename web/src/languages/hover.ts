// What a language server says about the text under the pointer.
import type { Extension } from "@codemirror/state";
import { hoverTooltip } from "@codemirror/view";
import type { FileLanguage } from "./file-language";
import { renderMarkdown } from "./markdown";
import { positionOf, presentText, rangeOf } from "./positions";

const HOVER_MS = 350;
/** A hover that takes longer is about a place that the pointer has left. */
const TIMEOUT_MS = 5_000;

export function languageHover(file: FileLanguage): Extension {
  return hoverTooltip(
    async (view, pos) => {
      if (!file.can("hover")) return null;
      const asked = view.state;
      const present = () =>
        view.state.doc === asked.doc
          ? presentText(asked, { type: "hover", position: positionOf(asked.doc, pos) })
          : null;
      const answer = await file.ask(present, AbortSignal.timeout(TIMEOUT_MS));
      if (answer?.type !== "hover" || answer.markdown === "" || view.state.doc !== asked.doc) return null;
      const { from, to } = answer.range ? rangeOf(asked.doc, answer.range) : { from: pos, to: pos };
      return {
        pos: from,
        end: to,
        above: true,
        create: () => {
          const dom = renderMarkdown(answer.markdown);
          dom.classList.add("language-hover");
          return { dom };
        },
      };
    },
    { hoverTime: HOVER_MS },
  );
}
