// What an editor shows of Git: marks of changed lines with a peek, the commit of the current line, and
// buttons for conflicts. Knows no network: the page passes the older text and what the buttons do.
import { Chunk } from "@codemirror/merge";
import { RangeSet, RangeSetBuilder, StateEffect, StateField, Text, type Extension } from "@codemirror/state";
import {
  Decoration,
  EditorView,
  gutter,
  GutterMarker,
  keymap,
  ViewPlugin,
  WidgetType,
  type DecorationSet,
  type ViewUpdate,
} from "@codemirror/view";
import { findConflicts, resolvedText, type ConflictChoice, type ConflictPlace } from "./conflicts";

/** What is known of a file. Null: nothing, or it is in no repository. */
export interface EditorMarks {
  /** The text in the index. */
  base: string;
  isConflicted: boolean;
  /** Stages the change that touches these lines. Null: the user may not. */
  stage: ((newStart: number, newLines: number) => void) | null;
  /** What to show at the end of a line. Null: blame is off. */
  blame: ((line: number) => Promise<string | null>) | null;
}

export const setEditorMarks = StateEffect.define<EditorMarks | null>();
const setPeek = StateEffect.define<number | null>();
const setBlame = StateEffect.define<{ at: number; text: string } | null>();

type ChangeKind = "added" | "changed" | "deleted";

class ChangeMarker extends GutterMarker {
  constructor(kind: ChangeKind) {
    super();
    this.elementClass = `git-mark-${kind}`;
  }
}

const markers = {
  added: new ChangeMarker("added"),
  changed: new ChangeMarker("changed"),
  deleted: new ChangeMarker("deleted"),
};

const kindOf = (chunk: Chunk): ChangeKind =>
  chunk.fromB === chunk.toB ? "deleted" : chunk.fromA === chunk.toA ? "added" : "changed";

/** First and last line of a chunk in the text. Of deleted lines: the line at their place, twice. */
function linesOf(doc: Text, chunk: Chunk): readonly [number, number] {
  const first = doc.lineAt(Math.min(chunk.fromB, doc.length)).number;
  if (chunk.fromB === chunk.toB) return [first, first];
  return [first, doc.lineAt(Math.min(Math.max(chunk.fromB, chunk.toB - 1), doc.length)).number];
}

function buildMarkers(doc: Text, chunks: readonly Chunk[]): RangeSet<GutterMarker> {
  const builder = new RangeSetBuilder<GutterMarker>();
  let last = 0;
  for (const chunk of chunks) {
    const [first, end] = linesOf(doc, chunk);
    for (let line = Math.max(first, last + 1); line <= end; line += 1) {
      const { from } = doc.line(line);
      builder.add(from, from, markers[kindOf(chunk)]);
      last = line;
    }
  }
  return builder.finish();
}

interface MarksState {
  marks: EditorMarks | null;
  base: Text;
  chunks: readonly Chunk[];
  /** Those of the chunks, in the gutter. */
  markers: RangeSet<GutterMarker>;
  /** Index of the chunk that is shown. */
  peek: number | null;
}

const NOTHING: MarksState = {
  marks: null,
  base: Text.empty,
  chunks: [],
  markers: RangeSet.empty as RangeSet<GutterMarker>,
  peek: null,
};
/** Beyond these limits, changes are found in less detail. */
const diffConfig = { scanLimit: 1000, timeout: 200 };

const marksField = StateField.define<MarksState>({
  create: () => NOTHING,
  update(state, transaction) {
    let next = state;
    if (transaction.docChanged && next.marks) {
      const { newDoc, changes } = transaction;
      const chunks = Chunk.updateB(next.chunks, next.base, newDoc, changes, diffConfig);
      next = { ...next, chunks, markers: buildMarkers(newDoc, chunks), peek: null };
    }
    for (const effect of transaction.effects) {
      if (effect.is(setPeek)) next = { ...next, peek: effect.value };
      if (!effect.is(setEditorMarks)) continue;
      const marks = effect.value;
      if (!marks) next = NOTHING;
      else if (marks.base === state.marks?.base) next = { ...next, marks };
      else {
        const base = Text.of(marks.base.split("\n"));
        const chunks = Chunk.build(base, transaction.newDoc, diffConfig);
        next = { marks, base, chunks, markers: buildMarkers(transaction.newDoc, chunks), peek: null };
      }
    }
    return next;
  },
});

const changeGutter = gutter({
  class: "git-gutter",
  markers: (view) => view.state.field(marksField).markers,
  domEventHandlers: {
    mousedown(view, line) {
      const { doc } = view.state;
      const number = doc.lineAt(line.from).number;
      const { chunks, peek } = view.state.field(marksField);
      const at = chunks.findIndex((chunk) => {
        const [first, last] = linesOf(doc, chunk);
        return first <= number && number <= last;
      });
      if (at < 0) return false;
      view.dispatch({ effects: setPeek.of(at === peek ? null : at) });
      return true;
    },
  },
});

function button(label: string, run: () => void): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = label;
  element.onclick = run;
  return element;
}

/** Shows what the lines were, and what can be done about it. */
class PeekWidget extends WidgetType {
  constructor(
    readonly chunk: Chunk,
    readonly index: number,
    readonly total: number,
    readonly old: string,
  ) {
    super();
  }

  override eq(other: PeekWidget): boolean {
    return other.chunk === this.chunk && other.total === this.total;
  }

  override toDOM(view: EditorView): HTMLElement {
    const { chunk } = this;
    const element = document.createElement("div");
    element.className = "git-peek";
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", "Change");
    const head = document.createElement("div");
    head.className = "git-peek-head";
    const title = document.createElement("span");
    title.textContent = `Change ${this.index + 1} of ${this.total}`;
    head.append(title);
    const { marks } = view.state.field(marksField);
    const [first, last] = linesOf(view.state.doc, chunk);
    const count = chunk.fromB === chunk.toB ? 0 : last - first + 1;
    if (marks?.stage) {
      head.append(
        button("Stage", () => {
          marks.stage?.(first, count);
          closePeek(view);
        }),
      );
    }
    if (!view.state.readOnly) head.append(button("Revert", () => revertChunk(view, chunk)));
    head.append(
      button("Previous", () => showChange(view, -1, true)),
      button("Next", () => showChange(view, 1, true)),
      button("Close", () => closePeek(view)),
    );
    const old = document.createElement("pre");
    old.textContent = this.old || "These lines are new.";
    old.className = this.old ? "git-peek-old" : "git-peek-new";
    element.append(head, old);
    return element;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

const peekDecorations = EditorView.decorations.compute([marksField, "doc"], (state): DecorationSet => {
  const { peek, chunks, base } = state.field(marksField);
  const chunk = peek === null ? undefined : chunks[peek];
  if (!chunk || peek === null) return Decoration.none;
  const old = base.sliceString(chunk.fromA, Math.min(chunk.toA, base.length)).replace(/\n$/, "");
  const [, last] = linesOf(state.doc, chunk);
  const widget = new PeekWidget(chunk, peek, chunks.length, old);
  return Decoration.set([Decoration.widget({ widget, block: true, side: 1 }).range(state.doc.line(last).to)]);
});

function closePeek(view: EditorView): boolean {
  if (view.state.field(marksField).peek === null) return false;
  view.dispatch({ effects: setPeek.of(null) });
  view.focus();
  return true;
}

/** Makes lines as they are in the index. It is an edit like others, and can be undone. */
function revertChunk(view: EditorView, chunk: Chunk): void {
  const { base } = view.state.field(marksField);
  const { doc } = view.state;
  const from = Math.min(chunk.fromB, doc.length);
  const to = Math.min(chunk.toB, doc.length);
  let insert = base.sliceString(chunk.fromA, Math.min(chunk.toA, base.length));
  // A chunk ends with its last line end, which the last line of a text may not have.
  if (chunk.toA > base.length && chunk.toB <= doc.length && insert !== "") insert += "\n";
  view.dispatch({ changes: { from, to, insert }, userEvent: "input.revert", effects: setPeek.of(null) });
  view.focus();
}

/** Goes to the next or previous change, around the end. */
export function showChange(view: EditorView, by: 1 | -1, peeks: boolean): boolean {
  const { chunks, peek } = view.state.field(marksField);
  if (chunks.length === 0) return false;
  const { head } = view.state.selection.main;
  const here =
    by > 0
      ? chunks.findIndex(({ fromB }) => fromB > head)
      : chunks.findLastIndex(({ fromB }) => fromB < head);
  const at = peek === null ? here : peek + by;
  const index = (at + chunks.length) % chunks.length;
  const chunk = chunks[here < 0 && peek === null && by > 0 ? 0 : index];
  if (!chunk) return false;
  const anchor = Math.min(chunk.fromB, view.state.doc.length);
  view.dispatch({
    selection: { anchor },
    effects: [
      EditorView.scrollIntoView(anchor, { y: "center" }),
      setPeek.of(peeks ? chunks.indexOf(chunk) : null),
    ],
  });
  return true;
}

const changeKeymap = keymap.of([
  {
    key: "Alt-F3",
    run: (view) => showChange(view, 1, true),
    shift: (view) => showChange(view, -1, true),
  },
  {
    key: "Alt-F5",
    run: (view) => showChange(view, 1, false),
    shift: (view) => showChange(view, -1, false),
  },
  { key: "Escape", run: closePeek },
]);

class BlameWidget extends WidgetType {
  constructor(readonly text: string) {
    super();
  }

  override eq(other: BlameWidget): boolean {
    return other.text === this.text;
  }

  override toDOM(): HTMLElement {
    const element = document.createElement("span");
    element.className = "git-blame";
    element.textContent = this.text;
    return element;
  }
}

const blameField = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(decorations, transaction) {
    let next = transaction.docChanged ? Decoration.none : decorations;
    for (const effect of transaction.effects) {
      if (!effect.is(setBlame)) continue;
      const blame = effect.value;
      next = blame
        ? Decoration.set([
            Decoration.widget({ widget: new BlameWidget(blame.text), side: 1 }).range(blame.at),
          ])
        : Decoration.none;
    }
    return next;
  },
  provide: (field) => EditorView.decorations.from(field),
});

/** How long the cursor rests in a line before its commit is looked up. */
const BLAME_PAUSE = 500;

const blamePlugin = ViewPlugin.fromClass(
  class {
    private timer: ReturnType<typeof setTimeout> | undefined;
    private line = 0;
    private request = 0;

    constructor(private readonly view: EditorView) {}

    update(update: ViewUpdate): void {
      const { state, startState } = update;
      const { marks } = state.field(marksField);
      const line = state.doc.lineAt(state.selection.main.head).number;
      const isSame = line === this.line && !update.docChanged && marks === startState.field(marksField).marks;
      if (isSame && !update.focusChanged) return;
      this.line = line;
      const request = ++this.request;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => void this.show(line, request), BLAME_PAUSE);
    }

    private async show(line: number, request: number): Promise<void> {
      const { blame } = this.view.state.field(marksField).marks ?? { blame: null };
      const text =
        blame && this.view.hasFocus && this.hasText(line) ? await blame(line).catch(() => null) : null;
      if (request !== this.request) return;
      const { doc } = this.view.state;
      if (line > doc.lines) return;
      this.view.dispatch({ effects: setBlame.of(text ? { at: doc.line(line).to, text } : null) });
    }

    /** What follows the last line end is no line for Git. */
    private hasText(line: number): boolean {
      const { doc } = this.view.state;
      return line < doc.lines || (line === doc.lines && doc.line(line).length > 0);
    }

    destroy(): void {
      this.request += 1;
      clearTimeout(this.timer);
    }
  },
);

const choices: readonly (readonly [ConflictChoice, string])[] = [
  ["ours", "Accept current"],
  ["theirs", "Accept incoming"],
  ["both", "Accept both"],
];

class ConflictWidget extends WidgetType {
  constructor(readonly conflict: ConflictPlace) {
    super();
  }

  override eq(other: ConflictWidget): boolean {
    return other.conflict.from === this.conflict.from && other.conflict.to === this.conflict.to;
  }

  override toDOM(view: EditorView): HTMLElement {
    const bar = document.createElement("div");
    bar.className = "git-hunk-tools git-conflict-tools";
    for (const [choice, label] of choices) {
      bar.append(
        button(label, () => {
          const insert = resolvedText(view.state.doc, this.conflict, choice);
          const { from, to } = this.conflict;
          view.dispatch({ changes: { from, to, insert }, userEvent: "input.resolve" });
          view.focus();
        }),
      );
    }
    return bar;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

const lineClasses = {
  marker: Decoration.line({ class: "git-conflict-marker" }),
  ours: Decoration.line({ class: "git-conflict-ours" }),
  theirs: Decoration.line({ class: "git-conflict-theirs" }),
};

const conflictDecorations = EditorView.decorations.compute(["doc", marksField], (state): DecorationSet => {
  const { doc } = state;
  if (!state.field(marksField).marks?.isConflicted) return Decoration.none;
  const ranges = findConflicts(doc).flatMap((conflict) => {
    const widget = state.readOnly
      ? []
      : [
          Decoration.widget({ widget: new ConflictWidget(conflict), block: true, side: -1 }).range(
            conflict.from,
          ),
        ];
    const lines = [];
    const last = doc.lineAt(Math.max(conflict.from, conflict.to - 1)).number;
    for (let number = doc.lineAt(conflict.from).number; number <= last; number += 1) {
      const { from } = doc.line(number);
      const isOurs = from >= conflict.oursFrom && from < conflict.oursTo;
      const isTheirs = from >= conflict.theirsFrom && from < conflict.theirsTo;
      lines.push(
        (isOurs ? lineClasses.ours : isTheirs ? lineClasses.theirs : lineClasses.marker).range(from),
      );
    }
    return [...widget, ...lines];
  });
  return Decoration.set(ranges, true);
});

/** For every editor of a file. Shows nothing until [`setEditorMarks`]. */
export function editorMarks(): Extension {
  return [
    marksField,
    changeGutter,
    peekDecorations,
    changeKeymap,
    blameField,
    blamePlugin,
    conflictDecorations,
  ];
}
