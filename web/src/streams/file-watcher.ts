// Which directories changed in the guest: one socket for all that the tree shows.
import type { Changed } from "../api/agent";
import { browser, Link, type Environment, type LinkState } from "./reconnecting-socket";

/** The agent watches no more for one viewer. */
export const MAX_WATCHES = 512;

export interface WatchHandlers {
  /** These directories are to be listed again; none: all of them. */
  changed(directories: readonly string[] | null): void;
  state(state: LinkState): void;
  /** A connection failed or ended. */
  lost(): void;
}

export class FilesWatch {
  private readonly wanted = new Set<string>();
  private first = true;
  readonly link: Link;

  constructor(url: () => string, handlers: WatchHandlers, environment: Environment = browser) {
    this.link = new Link(
      {
        url,
        opened: () => {
          for (const path of this.wanted) this.say("watch", path);
          // What happened while nobody listened is not told.
          if (!this.first) handlers.changed(null);
          this.first = false;
        },
        message: (data) => {
          if (typeof data !== "string") return;
          try {
            const changed = JSON.parse(data) as Changed;
            handlers.changed(changed.all ? null : changed.directories);
          } catch {
            handlers.changed(null);
          }
        },
        lost: () => handlers.lost(),
        state: (state) => handlers.state(state),
      },
      environment,
    );
  }

  start(): void {
    this.link.start();
  }

  close(): void {
    this.link.close();
  }

  /** Watches exactly these. */
  want(paths: Iterable<string>): void {
    const next = new Set([...paths].slice(0, MAX_WATCHES));
    for (const path of this.wanted) {
      if (!next.has(path)) {
        this.wanted.delete(path);
        this.say("unwatch", path);
      }
    }
    for (const path of next) {
      if (!this.wanted.has(path)) {
        this.wanted.add(path);
        this.say("watch", path);
      }
    }
  }

  private say(type: "watch" | "unwatch", path: string): void {
    this.link.send(JSON.stringify({ type, path }));
  }
}
