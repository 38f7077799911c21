// A shared document: a Yjs document that the y-sync protocol keeps equal to the agent's, across
// reconnects. Knows no editor.
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
import {
  browserEnvironment,
  ReconnectingSocket,
  type SocketEnvironment,
  type ConnectionState,
} from "./reconnecting-socket";
import { noSlot, type UnsavedText, type UnsavedTextSlot } from "./unsaved-text";

const SYNC = 0;
const AWARENESS = 1;
const QUERY_AWARENESS = 3;
/** Within a sync message: the peer sends its state vector and asks for our updates. */
const SYNC_STEP_1 = 0;
const SYNC_STEP_2 = 1;

/** The name of the shared text inside the Yjs document. */
export const TEXT_NAME = "content";

export interface DocumentState {
  /** Null until the text has arrived. */
  text: Y.Text | null;
  awareness: Awareness;
  connection: ConnectionState;
  readOnly: boolean;
  /** Whether everything typed here is on the guest's disk. */
  saved: boolean;
  /** Why the agent refused the document. Typed text stays. */
  refused: { reason: RefusalReason; message: string } | null;
  /** The file was deleted on disk. The next edit creates it again. */
  deleted: boolean;
  /** Why the file cannot be saved, and whether the agent would overwrite it on request. */
  saveFailure: { message: string; canOverwrite: boolean } | null;
  /** What was typed in an earlier document of the file and never reached the disk. */
  unsavedText: UnsavedText | null;
}

/** Refusals after which an automatic retry can succeed. */
const RETRYABLE_REASONS: readonly RefusalReason[] = ["stale", "bad_update"];
/** Pause before unsaved text is stored, so that it is not stored for each key. */
const STORE_DELAY_MS = 300;
/** Repeated "bad update" is a bug of ours. This ends the loop. */
const MAX_RESETS = 3;

export class SharedDocument {
  private doc = new Y.Doc();
  private epoch: string | null = null;
  private isOpen = false;
  private isSynchronised = false;
  /** Local edits that no `saved` event has followed yet. */
  private hasUnsavedEdits = false;
  /** Local edits since the connection was lost. */
  private hasUnsentEdits = false;
  /** Messages with edits that were sent on this connection. */
  private sentEdits = 0;
  /** Whether this replica was ever edited. */
  private hasEdits = false;
  /** The text when it was last equal to the file. Null until the next change: it is the current text. */
  private base: string | null = null;
  private cancelStore: () => void = () => undefined;
  private isRecovering = false;
  private resets = 0;
  private readonly socket: ReconnectingSocket;
  private current: DocumentState;
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly url: (query: Record<string, string>) => string,
    private user: { name: string; color: number },
    private readonly environment: SocketEnvironment = browserEnvironment,
    private readonly slot: UnsavedTextSlot = noSlot,
  ) {
    this.current = {
      text: null,
      awareness: new Awareness(this.doc),
      connection: "connecting",
      readOnly: false,
      saved: true,
      refused: null,
      deleted: false,
      saveFailure: null,
      unsavedText: null,
    };
    this.socket = new ReconnectingSocket(
      {
        url: () => this.url({ events: "true", ...(this.epoch ? { epoch: this.epoch } : {}) }),
        ping: () => new Uint8Array([QUERY_AWARENESS]),
        onOpen: () => undefined, // the agent sends the first message
        onMessage: (data) => this.receive(data),
        onClose: () => {
          this.resetConnection();
          return this.current.refused === null;
        },
        onState: (connection) => this.updateState({ connection }),
      },
      environment,
    );
    this.listenToDoc();
  }

  get state(): DocumentState {
    return this.current;
  }

  get connection(): ReconnectingSocket {
    return this.socket;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  start(): void {
    this.socket.start();
  }

  /** Retries from an empty document after a refusal. */
  reopen(): void {
    if (this.current.refused === null) return this.socket.retry();
    this.resets = 0;
    this.resetDocument();
    this.updateState({ refused: null });
    this.socket.start();
  }

  /** Forgets the text of an earlier document: it was merged, or the user does not want it. */
  dismissUnsavedText(): void {
    this.updateState({ unsavedText: null });
    if (this.hasUnsavedEdits) this.storeUnsavedText();
    else void this.slot.delete();
  }

  /** Stores what is not on disk yet. */
  storeUnsavedText(): void {
    this.cancelStore();
    const unsaved = this.ownUnsavedText();
    // Text that is still offered must not be replaced.
    if (!unsaved || this.current.unsavedText || this.isRecovering) return;
    void this.slot.write(unsaved);
  }

  close(): void {
    this.storeUnsavedText();
    this.withdrawPresence();
    this.socket.close();
    this.current.awareness.destroy();
    this.doc.destroy();
  }

  private updateState(part: Partial<DocumentState>): void {
    this.current = { ...this.current, ...part };
    for (const listener of this.listeners) listener();
  }

  private listenToDoc(): void {
    const { awareness } = this.current;
    awareness.setLocalStateField("user", this.user);
    this.doc.on("beforeTransaction", () => {
      if (this.base === null && this.current.text) this.base = this.current.text.toJSON();
    });
    this.doc.on("update", (update: Uint8Array, origin: unknown) => {
      if (origin === this) return;
      this.hasUnsavedEdits = this.hasEdits = true;
      this.scheduleStore();
      if (this.current.saved) this.updateState({ saved: false });
      if (!this.isSynchronised || this.current.readOnly) {
        this.hasUnsentEdits = true;
        return;
      }
      this.send(SYNC, (encoder) => writeUpdate(encoder, update));
      this.sentEdits += 1;
    });
    awareness.on("update", (change: Record<"added" | "updated" | "removed", number[]>, origin: unknown) => {
      if (origin === this || !this.isOpen || this.current.readOnly) return;
      const own = [...change.added, ...change.updated].filter((client) => client === this.doc.clientID);
      if (own.length > 0) this.sendAwareness();
    });
  }

  private scheduleStore(): void {
    this.cancelStore();
    this.cancelStore = this.environment.setTimer(STORE_DELAY_MS, () => this.storeUnsavedText());
  }

  private send(kind: number, write: (encoder: encoding.Encoder) => void): void {
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, kind);
    write(encoder);
    this.socket.send(encoding.toUint8Array(encoder));
  }

  private sendAwareness(): void {
    const update = encodeAwarenessUpdate(this.current.awareness, [this.doc.clientID]);
    this.send(AWARENESS, (encoder) => encoding.writeVarUint8Array(encoder, update));
  }

  private withdrawPresence(): void {
    if (!this.isOpen || this.current.readOnly) return;
    removeAwarenessStates(this.current.awareness, [this.doc.clientID], this);
    this.sendAwareness();
  }

  private receive(data: ArrayBuffer | string): void {
    try {
      if (typeof data === "string") this.applyEvent(JSON.parse(data) as DocumentEvent);
      else this.receiveBinary(new Uint8Array(data));
    } catch (error) {
      // The agent runs in the guest and is not trusted. An invalid message must not break the page.
      console.warn("cannot decode a document message", error);
      this.resetConnection();
      this.socket.restart();
    }
  }

  private applyEvent(event: DocumentEvent): void {
    switch (event.type) {
      case "opened":
        this.epoch = event.epoch;
        this.isOpen = true;
        this.updateState({ readOnly: event.read_only, refused: null, deleted: false });
        this.send(SYNC, (encoder) => writeSyncStep1(encoder, this.doc));
        if (event.read_only) this.send(QUERY_AWARENESS, () => undefined);
        // The others have dropped this client's presence. A state with a new clock shows it again.
        else this.current.awareness.setLocalState(this.current.awareness.getLocalState());
        return;
      case "saved":
        // An edit that is still on the way to the agent is not on disk. (Older agents send no number.)
        if (!this.hasUnsentEdits && this.sentEdits <= (event.edits ?? Infinity)) this.markSaved();
        this.updateState({ saved: !this.hasUnsavedEdits, saveFailure: null, deleted: false });
        return;
      case "dirty":
        // An edit that was sent before the last "saved" arrived may be among those that are not on disk.
        if (this.hasEdits) {
          this.hasUnsavedEdits = true;
          this.scheduleStore();
        }
        this.updateState({ saved: false });
        return;
      case "deleted":
        this.updateState({ deleted: true });
        return;
      case "save_failed":
        this.updateState({
          saveFailure: { message: String(event.message), canOverwrite: event.can_overwrite === true },
        });
        return;
      case "refused":
        return this.applyRefusal(event.reason, String(event.message));
    }
  }

  private markSaved(): void {
    this.cancelStore();
    if (this.hasUnsavedEdits && !this.current.unsavedText && !this.isRecovering) void this.slot.delete();
    this.hasUnsavedEdits = false;
    this.base = null;
  }

  private applyRefusal(reason: RefusalReason, message: string): void {
    this.resetConnection();
    if (RETRYABLE_REASONS.includes(reason) && this.resets < MAX_RESETS) {
      this.resets += 1;
      this.resetDocument();
      this.socket.restart();
      return;
    }
    this.updateState({ refused: { reason, message } });
    this.socket.close();
  }

  /**
   * Starts with an empty document. The old one shares no history with the agent's; a merge would
   * duplicate the text.
   */
  private resetDocument(): void {
    const { awareness } = this.current;
    this.storeUnsavedText();
    const unsavedText = this.current.unsavedText ?? this.ownUnsavedText();
    awareness.destroy();
    this.doc.destroy();
    this.doc = new Y.Doc();
    this.epoch = null;
    this.base = null;
    this.hasUnsavedEdits = this.hasUnsentEdits = this.hasEdits = false;
    this.updateState({ text: null, awareness: new Awareness(this.doc), saved: true, unsavedText });
    this.listenToDoc();
  }

  private ownUnsavedText(): UnsavedText | null {
    const { text } = this.current;
    if (!text || !this.hasUnsavedEdits) return null;
    const content = text.toJSON();
    return { base: this.base ?? content, text: content, at: Date.now() };
  }

  /** Finds what was typed before this page was loaded. */
  private async recoverUnsavedText(): Promise<void> {
    this.isRecovering = true;
    const unsavedText = await this.slot.read();
    this.isRecovering = false;
    if (this.hasUnsavedEdits) this.scheduleStore();
    if (unsavedText && !this.current.unsavedText) this.updateState({ unsavedText });
  }

  private resetConnection(): void {
    this.isOpen = false;
    this.isSynchronised = false;
    this.sentEdits = 0;
    const { awareness } = this.current;
    const others = [...awareness.getStates().keys()].filter((client) => client !== this.doc.clientID);
    removeAwarenessStates(awareness, others, this);
  }

  private receiveBinary(message: Uint8Array): void {
    const decoder = decoding.createDecoder(message);
    switch (decoding.readVarUint(decoder)) {
      case SYNC:
        return this.applySync(decoder);
      case AWARENESS:
        return applyAwarenessUpdate(this.current.awareness, decoding.readVarUint8Array(decoder), this);
      case QUERY_AWARENESS:
        if (!this.current.readOnly) this.sendAwareness();
    }
  }

  private applySync(decoder: decoding.Decoder): void {
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, SYNC);
    const kind = readSyncMessage(decoder, encoder, this.doc, this);
    if (kind === SYNC_STEP_1 && !this.current.readOnly) {
      this.socket.send(encoding.toUint8Array(encoder));
      // This reply contained the edits made offline. From now on each edit is sent by itself.
      this.sentEdits += 1;
      this.isSynchronised = true;
      this.hasUnsentEdits = false;
    }
    if (kind === SYNC_STEP_2) {
      this.resets = 0;
      if (this.current.text === null) {
        this.updateState({ text: this.doc.getText(TEXT_NAME) });
        if (!this.current.readOnly) void this.recoverUnsavedText();
      }
    }
  }
}
