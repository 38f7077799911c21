// The signature of the call that is being typed.
import { StateEffect, StateField, type Extension } from "@codemirror/state";
import { EditorView, keymap, showTooltip, ViewPlugin, type Tooltip, type ViewUpdate } from "@codemirror/view";
import type { Signature } from "../api/agent";
import type { FileLanguage } from "./file-language";
import { renderMarkdown } from "./markdown";
import { positionOf, presentText } from "./positions";

interface ShownSignature {
  pos: number;
  signature: Signature;
  count: number;
}

const setSignature = StateEffect.define<ShownSignature | null>();

const shownSignature = StateField.define<Tooltip | null>({
  create: () => null,
  update(tooltip, transaction) {
    for (const effect of transaction.effects)
      if (effect.is(setSignature)) return effect.value ? tooltipOf(effect.value) : null;
    if (!tooltip || !transaction.docChanged) return tooltip;
    return { ...tooltip, pos: transaction.changes.mapPos(tooltip.pos) };
  },
  provide: (field) => showTooltip.from(field),
});

function tooltipOf({ pos, signature, count }: ShownSignature): Tooltip {
  return { pos, above: true, create: () => ({ dom: render(signature, count) }) };
}

function render(signature: Signature, count: number): HTMLElement {
  const { label, active_parameter: active } = signature;
  const dom = document.createElement("div");
  dom.className = "language-signature";
  const line = document.createElement("code");
  const [from, to] = active ?? [0, 0];
  const strong = document.createElement("strong");
  strong.textContent = label.slice(from, to);
  line.append(label.slice(0, from), strong, label.slice(to));
  dom.append(line);
  if (count > 1) {
    const more = document.createElement("span");
    more.className = "soft small";
    more.textContent = `One of ${count} signatures`;
    dom.append(more);
  }
  const text = signature.parameter_documentation ?? signature.documentation;
  if (text) dom.append(renderMarkdown(text));
  return dom;
}

export function languageSignature(file: FileLanguage): Extension {
  const plugin = ViewPlugin.define((view) => new SignatureAsker(view, file));
  const close = (view: EditorView) => {
    if (!view.state.field(shownSignature, false)) return false;
    view.dispatch({ effects: setSignature.of(null) });
    return true;
  };
  return [
    shownSignature,
    plugin,
    keymap.of([
      { key: "Escape", run: close },
      {
        key: "Mod-Shift-Space",
        run: (view) => {
          view.plugin(plugin)?.ask();
          return true;
        },
      },
    ]),
  ];
}

class SignatureAsker {
  private asked: AbortController | null = null;

  constructor(
    private readonly view: EditorView,
    private readonly file: FileLanguage,
  ) {}

  update(update: ViewUpdate): void {
    const isShown = Boolean(update.state.field(shownSignature, false));
    if (isShown && (update.selectionSet || update.docChanged)) return this.ask();
    if (update.docChanged && this.hasTrigger(update)) this.ask();
  }

  destroy(): void {
    this.asked?.abort();
  }

  /** Whether a character was typed that begins or separates parameters. */
  private hasTrigger(update: ViewUpdate): boolean {
    if (!update.transactions.some((transaction) => transaction.isUserEvent("input"))) return false;
    const triggers = this.file.server()?.signature_triggers ?? [];
    const { head } = update.state.selection.main;
    // A closing bracket may follow that the editor has added.
    return triggers.includes(update.state.sliceDoc(Math.max(0, head - 1), head));
  }

  ask(): void {
    this.asked?.abort();
    if (!this.file.can("signature")) return;
    const controller = new AbortController();
    this.asked = controller;
    const place = () => this.view.state.selection.main.head;
    const present = () => {
      const { state } = this.view;
      return presentText(state, { type: "signature", position: positionOf(state.doc, place()) });
    };
    // An update is running, in which nothing may be read or changed.
    queueMicrotask(() => void this.show(present, place, controller.signal));
  }

  private async show(
    present: Parameters<FileLanguage["ask"]>[0],
    place: () => number,
    signal: AbortSignal,
  ): Promise<void> {
    const answer = await this.file.ask(present, signal).catch(() => null);
    if (signal.aborted || answer?.type !== "signature") return;
    const signature = answer.signatures[answer.active];
    const isShown = Boolean(this.view.state.field(shownSignature, false));
    if (!signature && !isShown) return;
    const shown = signature ? { pos: place(), signature, count: answer.signatures.length } : null;
    this.view.dispatch({ effects: setSignature.of(shown) });
  }
}
