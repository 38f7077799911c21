// Completion by a language server, in CodeMirror's own list.
import {
  autocompletion,
  pickedCompletion,
  snippet,
  type Completion,
  type CompletionContext,
  type CompletionResult,
  type CompletionSource,
} from "@codemirror/autocomplete";
import type { ChangeDesc, EditorState, Extension } from "@codemirror/state";
import { EditorView, ViewPlugin, type ViewUpdate } from "@codemirror/view";
import type { CompletionItem, RangeEdit } from "../api/agent";
import type { FileLanguage } from "./file-language";
import { renderMarkdown } from "./markdown";
import { offsetOf, positionOf, presentText, rangeOf } from "./positions";
import { toTemplate } from "./snippet";

/** Characters of a word, for all languages. */
const WORD = /[\p{L}\p{N}_$]*$/u;
const VALID_FOR = /^[\p{L}\p{N}_$]*$/u;
/** CodeMirror's icons for LSP's kinds. */
const TYPES: Record<string, string> = {
  method: "method",
  function: "function",
  constructor: "class",
  field: "property",
  variable: "variable",
  class: "class",
  interface: "interface",
  module: "namespace",
  property: "property",
  enum: "enum",
  keyword: "keyword",
  enum_member: "constant",
  constant: "constant",
  value: "constant",
  struct: "class",
  type_parameter: "type",
};

export function languageCompletion(file: FileLanguage): Extension {
  const source: CompletionSource = (context) =>
    file.can("completion") ? askServer(file, context) : askEditor(context);
  return [edits, autocompletion({ override: [source] })];
}

/** What the editor's own languages propose. */
async function askEditor(context: CompletionContext): Promise<CompletionResult | null> {
  for (const source of context.state.languageDataAt<CompletionSource>("autocomplete", context.pos)) {
    const result = await source(context);
    if (result) return result;
  }
  return null;
}

async function askServer(file: FileLanguage, context: CompletionContext): Promise<CompletionResult | null> {
  const { pos, explicit, view } = context;
  const line = context.state.doc.lineAt(pos);
  const before = line.text.slice(0, pos - line.from);
  const word = WORD.exec(before)?.[0] ?? "";
  const trigger = word === "" ? before.slice(-1) : "";
  const isTriggered = file.server()?.completion_triggers?.includes(trigger) ?? false;
  if (!explicit && word === "" && !isTriggered) return null;
  const controller = new AbortController();
  context.addEventListener("abort", () => controller.abort());
  const answer = await file.ask(
    () =>
      // The editor asks again when the text has changed.
      context.aborted
        ? null
        : presentText(context.state, {
            type: "completion",
            position: positionOf(context.state.doc, pos),
            ...(isTriggered ? { trigger } : {}),
          }),
    controller.signal,
  );
  if (answer?.type !== "completion" || answer.items.length === 0 || context.aborted) return null;
  const tracked = view ? trackEdits(view) : null;
  return {
    from: pos - word.length,
    options: answer.items.map((item, index) =>
      toCompletion(file, item, context.state, pos, 1 - index / answer.items.length, tracked),
    ),
    ...(answer.is_incomplete ? {} : { validFor: VALID_FOR }),
  };
}

function toCompletion(
  file: FileLanguage,
  item: CompletionItem,
  asked: EditorState,
  pos: number,
  rank: number,
  tracked: TrackedEdits | null,
): Completion {
  let details: Promise<CompletionItem> | null = null;
  const resolve = () => (details ??= readDetails(file, item));
  const type = TYPES[item.kind];
  const start = item.range ? offsetOf(asked.doc, item.range.start) : null;
  return {
    label: item.filter ?? item.label,
    displayLabel: item.label,
    // The server's order decides among those that match equally well.
    boost: Math.round(rank * 98) + (item.preselect ? 1 : 0),
    ...(type ? { type } : {}),
    ...(item.detail || item.description ? { detail: item.detail ?? item.description ?? "" } : {}),
    info: async () => documentationOf(await resolve()),
    apply: (view, completion, from, to) => {
      const begin = start === null || start > pos ? from : Math.min(from, start);
      insert(view, completion, item, begin, to);
      void resolve().then(({ edits }) => tracked?.apply(view, asked, edits ?? []));
    },
  };
}

async function readDetails(file: FileLanguage, item: CompletionItem): Promise<CompletionItem> {
  if (!file.can("completion_details")) return item;
  const question = { type: "completion_details", id: item.id } as const;
  const answer = await file.ask(() => ({ version: "", question }), AbortSignal.timeout(10_000));
  return answer?.type === "completion_details" ? { ...item, ...answer, edits: answer.edits } : item;
}

function documentationOf(item: CompletionItem): HTMLElement | null {
  const text = [item.detail && `\`\`\`text\n${item.detail}\n\`\`\``, item.documentation]
    .filter(Boolean)
    .join("\n\n");
  return text ? renderMarkdown(text) : null;
}

function insert(view: EditorView, completion: Completion, item: CompletionItem, from: number, to: number) {
  if (item.is_snippet) {
    snippet(toTemplate(item.insert))(view, completion, from, to);
    return;
  }
  view.dispatch({
    changes: { from, to, insert: item.insert },
    selection: { anchor: from + item.insert.length },
    scrollIntoView: true,
    userEvent: "input.complete",
    annotations: pickedCompletion.of(completion),
  });
}

/** What has changed since a completion was asked for, so that an import still finds its place. */
class TrackedEdits {
  changes: ChangeDesc | null = null;

  update({ changes }: ViewUpdate): void {
    this.changes = this.changes ? this.changes.composeDesc(changes.desc) : changes.desc;
  }

  /** Applies edits of the text that was asked about. */
  apply(view: EditorView, asked: EditorState, edits: readonly RangeEdit[]): void {
    const changes = edits.map(({ range, text }) => {
      const { from, to } = rangeOf(asked.doc, range);
      const map = (at: number, side: number) => this.changes?.mapPos(at, side) ?? at;
      return { from: map(from, -1), to: Math.max(map(from, -1), map(to, 1)), insert: text };
    });
    if (changes.length > 0) view.dispatch({ changes, userEvent: "input.complete" });
  }
}

/** Completions whose edits may still be applied. */
const MAX_TRACKED = 4;

const edits = ViewPlugin.fromClass(
  class {
    tracked: TrackedEdits[] = [];
    update(update: ViewUpdate): void {
      if (update.docChanged) for (const one of this.tracked) one.update(update);
    }
  },
);

function trackEdits(view: EditorView): TrackedEdits | null {
  const plugin = view.plugin(edits);
  if (!plugin) return null;
  const tracked = new TrackedEdits();
  plugin.tracked = [...plugin.tracked, tracked].slice(-MAX_TRACKED);
  return tracked;
}
