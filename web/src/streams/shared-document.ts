// A shared document: a Yjs document kept the same as the agent's by the y-sync protocol, across reconnects. Knows no editor.
import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import {
  applyAwarenessUpdate,
  Awareness,
  encodeAwarenessUpdate,
  removeAwarenessStates,
} from "y-protocols/awareness";
import { readSyncMessage, writeSyncStep1, writeUpdate } from "y-protocols/sync";
import * as Y from "yjs";
import type { DocumentEvent, RefusalReason } from "../api/agent";
import { browser, Link, type Environment, type LinkState } from "./reconnecting-socket";

const SYNC = 0;
const AWARENESS = 1;
const QUERY_AWARENESS = 3;
/** Within a sync message: the other side asks what we have. */
const SYNC_STEP_1 = 0;
const SYNC_STEP_2 = 1;

/** The name of the shared text inside the Yjs document. */
export const TEXT_NAME = "content";

export interface DocumentView {
  /** None until the text has come. */
  text: Y.Text | null;
  awareness: Awareness;
  link: LinkState;
  readOnly: boolean;
  /** Whether everything typed here is known to be on the disk. */
  saved: boolean;
  /** Why the document is not open. What was typed stays. */
  refused: { reason: RefusalReason; message: string } | null;
  /** The file is gone from the disk; the next edit makes it again. */
  deleted: boolean;
  saveFailure: string;
  /** The document was made anew by the agent while edits of ours had not arrived: the text as we had it. */
  lost: string | null;
}

/** Reasons after which trying again by itself is of use. */
const PASSING: readonly RefusalReason[] = ["stale", "bad_update"];
/** "Bad update" again and again means a fault of ours: not an endless loop. */
const MAX_RENEWALS = 3;

export class SharedDocument {
  private doc = new Y.Doc();
  private epoch: string | null = null;
  private opened = false;
  private synchronised = false;
  /** Edits of ours that no Saved has followed yet. */
  private unsaved = false;
  /** Edits of ours since the connection was lost. */
  private unsent = false;
  private renewals = 0;
  private readonly link: Link;
  private current: DocumentView;
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly url: (query: Record<string, string>) => string,
    private person: { name: string; color: number },
    environment: Environment = browser,
  ) {
    this.current = {
      text: null,
      awareness: new Awareness(this.doc),
      link: "connecting",
      readOnly: false,
      saved: true,
      refused: null,
      deleted: false,
      saveFailure: "",
      lost: null,
    };
    this.link = new Link(
      {
        url: () => this.url(this.epoch ? { epoch: this.epoch } : {}),
        opened: () => undefined, // the agent speaks first
        message: (data) => this.receive(data),
        lost: () => {
          this.disconnected();
          return this.current.refused === null;
        },
        state: (link) => this.change({ link }),
      },
      environment,
    );
    this.listenToDoc();
  }

  get view(): DocumentView {
    return this.current;
  }

  get socket(): Link {
    return this.link;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  start(): void {
    this.link.start();
  }

  /** After a refusal: from the beginning. */
  reopen(): void {
    if (this.current.refused === null) return this.link.retry();
    this.renewals = 0;
    this.renew();
    this.change({ refused: null });
    this.link.start();
  }

  forgetLost(): void {
    this.change({ lost: null });
  }

  close(): void {
    this.sayGoodbye();
    this.link.close();
    this.current.awareness.destroy();
    this.doc.destroy();
  }

  private change(part: Partial<DocumentView>): void {
    this.current = { ...this.current, ...part };
    for (const listener of this.listeners) listener();
  }

  private listenToDoc(): void {
    const { awareness } = this.current;
    awareness.setLocalStateField("user", this.person);
    this.doc.on("update", (update: Uint8Array, origin: unknown) => {
      if (origin === this) return;
      this.unsaved = true;
      if (this.current.saved) this.change({ saved: false });
      if (!this.synchronised || this.current.readOnly) {
        this.unsent = true;
        return;
      }
      this.send(SYNC, (encoder) => writeUpdate(encoder, update));
    });
    awareness.on("update", (change: Record<"added" | "updated" | "removed", number[]>, origin: unknown) => {
      if (origin === this || !this.opened || this.current.readOnly) return;
      const own = [...change.added, ...change.updated].filter((client) => client === this.doc.clientID);
      if (own.length > 0) this.sendAwareness();
    });
  }

  private send(kind: number, write: (encoder: encoding.Encoder) => void): void {
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, kind);
    write(encoder);
    this.link.send(encoding.toUint8Array(encoder));
  }

  private sendAwareness(): void {
    const update = encodeAwarenessUpdate(this.current.awareness, [this.doc.clientID]);
    this.send(AWARENESS, (encoder) => encoding.writeVarUint8Array(encoder, update));
  }

  private sayGoodbye(): void {
    if (!this.opened || this.current.readOnly) return;
    removeAwarenessStates(this.current.awareness, [this.doc.clientID], this);
    this.sendAwareness();
  }

  private receive(data: ArrayBuffer | string): void {
    try {
      if (typeof data === "string") this.event(JSON.parse(data) as DocumentEvent);
      else this.sync(new Uint8Array(data));
    } catch (error) {
      // What the agent says is the guest's word: nonsense must not break the page.
      console.warn("a message of the document cannot be understood", error);
      this.disconnected();
      this.link.restart();
    }
  }

  private event(event: DocumentEvent): void {
    switch (event.type) {
      case "opened":
        this.epoch = event.epoch;
        this.opened = true;
        this.change({ readOnly: event.read_only, refused: null, deleted: false });
        this.send(SYNC, (encoder) => writeSyncStep1(encoder, this.doc));
        if (event.read_only) this.send(QUERY_AWARENESS, () => undefined);
        else this.sendAwareness();
        return;
      case "saved":
        if (!this.unsent) this.unsaved = false;
        this.change({ saved: !this.unsaved, saveFailure: "", deleted: false });
        return;
      case "dirty":
        this.change({ saved: false });
        return;
      case "deleted":
        this.change({ deleted: true });
        return;
      case "save_failed":
        this.change({ saveFailure: String(event.message) });
        return;
      case "refused":
        return this.refuse(event.reason, String(event.message));
    }
  }

  private refuse(reason: RefusalReason, message: string): void {
    this.disconnected();
    if (PASSING.includes(reason) && this.renewals < MAX_RENEWALS) {
      this.renewals += 1;
      this.renew();
      this.link.restart();
      return;
    }
    this.change({ refused: { reason, message } });
    this.link.close();
  }

  /** Begins with an empty document: the old one and the agent's have no common past, and together would hold the text twice. */
  private renew(): void {
    const { text, awareness, lost } = this.current;
    const kept = text && this.unsaved ? text.toJSON() : lost;
    awareness.destroy();
    this.doc.destroy();
    this.doc = new Y.Doc();
    this.epoch = null;
    this.unsaved = this.unsent = false;
    this.change({ text: null, awareness: new Awareness(this.doc), saved: true, lost: kept });
    this.listenToDoc();
  }

  private disconnected(): void {
    this.opened = false;
    this.synchronised = false;
    const { awareness } = this.current;
    const others = [...awareness.getStates().keys()].filter((client) => client !== this.doc.clientID);
    removeAwarenessStates(awareness, others, this);
  }

  private sync(message: Uint8Array): void {
    const decoder = decoding.createDecoder(message);
    switch (decoding.readVarUint(decoder)) {
      case SYNC:
        return this.syncMessage(decoder);
      case AWARENESS:
        return applyAwarenessUpdate(this.current.awareness, decoding.readVarUint8Array(decoder), this);
      case QUERY_AWARENESS:
        if (!this.current.readOnly) this.sendAwareness();
    }
  }

  private syncMessage(decoder: decoding.Decoder): void {
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, SYNC);
    const kind = readSyncMessage(decoder, encoder, this.doc, this);
    if (kind === SYNC_STEP_1 && !this.current.readOnly) {
      this.link.send(encoding.toUint8Array(encoder));
      // What was typed while there was no connection went with this answer; what comes now goes by itself.
      this.synchronised = true;
      this.unsent = false;
    }
    if (kind === SYNC_STEP_2) {
      this.renewals = 0;
      if (this.current.text === null) this.change({ text: this.doc.getText(TEXT_NAME) });
    }
  }
}
