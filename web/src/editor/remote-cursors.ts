// Others' cursors in the editor, with their names. The binding's own drawing writes style attributes, which the page's policy
// forbids; here a colour is a class. The cursors' form in the awareness is the binding's.
import { Annotation, type Extension, type Range } from "@codemirror/state";
import {
  Decoration,
  EditorView,
  ViewPlugin,
  WidgetType,
  type DecorationSet,
  type ViewUpdate,
} from "@codemirror/view";
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";

/** How many colours there are; see peers.css. */
export const PEER_COLORS = 8;
const MAX_NAME = 40;

export interface Peer {
  client: number;
  name: string;
  color: number;
}

/** What a peer says of itself comes from outside: bounded, and of the right type. */
export function peerOf(client: number, state: unknown): Peer | null {
  const user = (state as { user?: { name?: unknown; color?: unknown } } | null)?.user;
  if (!user || typeof user.name !== "string") return null;
  const color = typeof user.color === "number" && Number.isInteger(user.color) ? user.color : client;
  return { client, name: user.name.slice(0, MAX_NAME) || "Someone", color: Math.abs(color) % PEER_COLORS };
}

/** The same person has the same colour everywhere. */
export function colorOf(id: string): number {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return sum % PEER_COLORS;
}

const moved = Annotation.define<true>();

class Caret extends WidgetType {
  constructor(private readonly peer: Peer) {
    super();
  }
  override eq(other: Caret): boolean {
    return other.peer.name === this.peer.name && other.peer.color === this.peer.color;
  }
  override toDOM(): HTMLElement {
    const caret = document.createElement("span");
    caret.className = `peer-caret peer-${this.peer.color}`;
    const name = document.createElement("span");
    name.className = "peer-name";
    name.textContent = this.peer.name;
    caret.append("\u2060", name, "\u2060");
    return caret;
  }
  override get estimatedHeight(): number {
    return -1;
  }
  override ignoreEvent(): boolean {
    return true;
  }
}

export function peerCursors(text: Y.Text, awareness: Awareness, silent: boolean): Extension {
  if (!text.doc) return [];
  const doc: Y.Doc = text.doc;

  const positionOf = (json: unknown): number | null => {
    try {
      const position = Y.createAbsolutePositionFromRelativePosition(
        Y.createRelativePositionFromJSON(json),
        doc,
      );
      return position?.type === text ? position.index : null;
    } catch {
      return null; // a peer's word
    }
  };

  class Cursors {
    decorations: DecorationSet = Decoration.none;
    private readonly onChange = (change: { added: number[]; updated: number[]; removed: number[] }) => {
      const clients = [...change.added, ...change.updated, ...change.removed];
      if (clients.some((client) => client !== doc.clientID))
        this.view.dispatch({ annotations: moved.of(true) });
    };

    constructor(private readonly view: EditorView) {
      awareness.on("change", this.onChange);
      this.decorations = this.draw(view.state.doc.length);
    }
    destroy(): void {
      awareness.off("change", this.onChange);
      if (!silent && awareness.getLocalState()) awareness.setLocalStateField("cursor", null);
    }
    update(update: ViewUpdate): void {
      if (!silent && (update.selectionSet || update.focusChanged || update.docChanged)) this.tell(update);
      const told = update.transactions.some((transaction) => transaction.annotation(moved));
      if (told || update.docChanged) this.decorations = this.draw(update.state.doc.length);
    }
    private tell(update: ViewUpdate): void {
      const own = awareness.getLocalState() as { cursor?: { anchor: unknown; head: unknown } | null } | null;
      if (!own || !update.view.hasFocus) return;
      const { anchor, head } = update.state.selection.main;
      if (Math.max(anchor, head) > text.length) return; // the binding has not yet told the shared text
      const at = own.cursor;
      if (at && positionOf(at.anchor) === anchor && positionOf(at.head) === head) return;
      awareness.setLocalStateField("cursor", {
        anchor: Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, anchor)) as unknown,
        head: Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, head)) as unknown,
      });
    }
    private draw(length: number): DecorationSet {
      const ranges: Range<Decoration>[] = [];
      for (const [client, state] of awareness.getStates()) {
        const peer = client === doc.clientID ? null : peerOf(client, state);
        const cursor = (state as { cursor?: { anchor?: unknown; head?: unknown } | null }).cursor;
        if (!peer || !cursor?.anchor || !cursor.head) continue;
        const anchor = positionOf(cursor.anchor);
        const head = positionOf(cursor.head);
        if (anchor === null || head === null || Math.max(anchor, head) > length) continue;
        if (anchor !== head) {
          const mark = Decoration.mark({ class: `peer-selection peer-${peer.color}` });
          ranges.push(mark.range(Math.min(anchor, head), Math.max(anchor, head)));
        }
        ranges.push(Decoration.widget({ widget: new Caret(peer), side: head < anchor ? -1 : 1 }).range(head));
      }
      return Decoration.set(ranges, true);
    }
  }
  return ViewPlugin.fromClass(Cursors, { decorations: (cursors) => cursors.decorations });
}
