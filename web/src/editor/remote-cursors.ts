// Cursors and names of other users in the editor. The Yjs binding would draw them with style
// attributes, which the page's CSP forbids, so here each colour is a class. The awareness state has
// the binding's format.
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

/** Number of peer colours, as in workbench.css. */
export const PEER_COLORS = 8;
const MAX_NAME = 40;

export interface Peer {
  client: number;
  name: string;
  color: number;
}

/** Reads a peer's awareness state. It comes from another client, so types and lengths are checked. */
export function parsePeer(client: number, state: unknown): Peer | null {
  const user = (state as { user?: { name?: unknown; color?: unknown } } | null)?.user;
  if (!user || typeof user.name !== "string") return null;
  const color = typeof user.color === "number" && Number.isInteger(user.color) ? user.color : client;
  return { client, name: user.name.slice(0, MAX_NAME) || "Someone", color: Math.abs(color) % PEER_COLORS };
}

/** A user has the same colour in every browser. */
export function userColor(id: string): number {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return sum % PEER_COLORS;
}

const remoteCursorsChanged = Annotation.define<true>();

class RemoteCaret extends WidgetType {
  constructor(private readonly peer: Peer) {
    super();
  }
  override eq(other: RemoteCaret): boolean {
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

export function remoteCursors(text: Y.Text, awareness: Awareness, silent: boolean): Extension {
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
      return null; // sent by a peer: may be invalid
    }
  };

  class Cursors {
    decorations: DecorationSet = Decoration.none;
    private readonly onChange = (change: { added: number[]; updated: number[]; removed: number[] }) => {
      const clients = [...change.added, ...change.updated, ...change.removed];
      if (clients.some((client) => client !== doc.clientID))
        this.view.dispatch({ annotations: remoteCursorsChanged.of(true) });
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
      if (!silent && (update.selectionSet || update.focusChanged || update.docChanged))
        this.publishCursor(update);
      const peersChanged = update.transactions.some((transaction) =>
        transaction.annotation(remoteCursorsChanged),
      );
      if (peersChanged || update.docChanged) this.decorations = this.draw(update.state.doc.length);
    }
    private publishCursor(update: ViewUpdate): void {
      const own = awareness.getLocalState() as { cursor?: { anchor: unknown; head: unknown } | null } | null;
      if (!own || !update.view.hasFocus) return;
      const { anchor, head } = update.state.selection.main;
      if (Math.max(anchor, head) > text.length) return; // the binding has not updated the shared text yet
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
        const peer = client === doc.clientID ? null : parsePeer(client, state);
        const cursor = (state as { cursor?: { anchor?: unknown; head?: unknown } | null }).cursor;
        if (!peer || !cursor?.anchor || !cursor.head) continue;
        const anchor = positionOf(cursor.anchor);
        const head = positionOf(cursor.head);
        if (anchor === null || head === null || Math.max(anchor, head) > length) continue;
        if (anchor !== head) {
          const mark = Decoration.mark({ class: `peer-selection peer-${peer.color}` });
          ranges.push(mark.range(Math.min(anchor, head), Math.max(anchor, head)));
        }
        ranges.push(
          Decoration.widget({ widget: new RemoteCaret(peer), side: head < anchor ? -1 : 1 }).range(head),
        );
      }
      return Decoration.set(ranges, true);
    }
  }
  return ViewPlugin.fromClass(Cursors, { decorations: (cursors) => cursors.decorations });
}
