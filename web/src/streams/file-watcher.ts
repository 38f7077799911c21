// Reports which directories changed in the guest. One socket for all directories that the tree shows.
import type { Changed } from "../api/agent";
import {
  browserEnvironment,
  ReconnectingSocket,
  type SocketEnvironment,
  type ConnectionState,
} from "./reconnecting-socket";

/** The agent's limit for one connection. */
export const MAX_WATCHES = 512;

export interface WatchHandlers {
  /** These directories must be listed again. Null: all of them. */
  onChange(directories: readonly string[] | null): void;
  onState(state: ConnectionState): void;
  /** The connection closed or could not be opened. */
  onClose(): void;
}

export class FileWatcher {
  private readonly watched = new Set<string>();
  readonly socket: ReconnectingSocket;

  constructor(
    url: () => string,
    handlers: WatchHandlers,
    environment: SocketEnvironment = browserEnvironment,
  ) {
    this.socket = new ReconnectingSocket(
      {
        url,
        ping: () => JSON.stringify({ type: "ping" }),
        onOpen: () => {
          // Each directory is reported once it is watched, so what changed while disconnected is listed.
          for (const path of this.watched) this.send("watch", path);
        },
        onMessage: (data) => {
          if (typeof data !== "string") return;
          try {
            const changed = JSON.parse(data) as Changed;
            handlers.onChange(changed.all ? null : changed.directories);
          } catch {
            handlers.onChange(null);
          }
        },
        onClose: () => handlers.onClose(),
        onState: (state) => handlers.onState(state),
      },
      environment,
    );
  }

  start(): void {
    this.socket.start();
  }

  close(): void {
    this.socket.close();
  }

  /** Watches exactly these directories. */
  setDirectories(paths: Iterable<string>): void {
    const next = new Set([...paths].slice(0, MAX_WATCHES));
    for (const path of this.watched) {
      if (!next.has(path)) {
        this.watched.delete(path);
        this.send("unwatch", path);
      }
    }
    for (const path of next) {
      if (!this.watched.has(path)) {
        this.watched.add(path);
        this.send("watch", path);
      }
    }
  }

  private send(type: "watch" | "unwatch", path: string): void {
    this.socket.send(JSON.stringify({ type, path }));
  }
}
