// The page's connection to the language servers of a workspace: their states, what they find in files, and
// questions about open files. Knows no editor.
import { uuidv4 } from "lib0/random";
import type {
  AppliedEdits,
  FileDiagnostics,
  LanguageAnswer,
  LanguageEvent,
  LanguageQuestion,
  LanguageServer,
  TextPosition,
  WorkspaceSymbol,
} from "../api/agent";
import { ApiError } from "../api/client";
import { languagesApi, socketUrl } from "../api/endpoints";
import { ReconnectingSocket, reconnectOnReturn } from "../streams/reconnecting-socket";

export interface LanguageState {
  servers: readonly LanguageServer[];
  /** What each server has found in each file that has something. */
  diagnostics: ReadonlyMap<string, FileDiagnostics>;
}

/** A question about the present text of an editor. */
export interface PresentQuestion {
  version: string;
  question: LanguageQuestion;
}

/** How often a question is asked again because the text has changed. */
const MAX_ATTEMPTS = 3;

const NOTHING: LanguageState = { servers: [], diagnostics: new Map() };

export class LanguageClient {
  private current = NOTHING;
  private readonly listeners = new Set<() => void>();
  // The browser's own function exists on https and loopback pages only.
  private readonly id = uuidv4();
  private readonly socket: ReconnectingSocket;
  private stopWaking: () => void = () => undefined;

  constructor(
    private readonly workspace: string,
    private readonly onMessage: (server: string, text: string) => void,
  ) {
    this.socket = new ReconnectingSocket({
      url: () => socketUrl(workspace, "languages/watch"),
      ping: () => JSON.stringify({ type: "ping" }),
      onMessage: (data) => {
        if (typeof data === "string") this.apply(JSON.parse(data) as LanguageEvent);
      },
    });
  }

  get state(): LanguageState {
    return this.current;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  start(): void {
    this.socket.start();
    this.stopWaking = reconnectOnReturn(this.socket);
  }

  close(): void {
    this.stopWaking();
    this.socket.close();
  }

  /** The server of a file, if one is known. */
  serverOf(path: string): LanguageServer | undefined {
    return serverOf(this.current.servers, path);
  }

  /**
   * Asks about an open file. The question is asked again with the present text if that has changed. Null:
   * there is no answer at the moment, which is nothing to tell users.
   */
  async ask(
    path: string,
    present: () => PresentQuestion | null,
    signal: AbortSignal,
  ): Promise<LanguageAnswer | null> {
    try {
      return await this.request(path, present, signal);
    } catch (error) {
      if (signal.aborted) return null;
      if (!(error instanceof ApiError)) throw error;
      console.warn("a language server has no answer:", error.message);
      return null;
    }
  }

  /** Asks as `ask` does, for a user who waits for the answer: failures are thrown. */
  async request(
    path: string,
    present: () => PresentQuestion | null,
    signal: AbortSignal,
  ): Promise<LanguageAnswer | null> {
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
      const question = present();
      if (!question || signal.aborted) return null;
      try {
        return await languagesApi.query(this.workspace, { path, client: this.id, ...question }, signal);
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== "precondition_failed") throw error;
      }
    }
    return null;
  }

  /** The names that match, in the projects of all languages whose server knows them. */
  async workspaceSymbols(query: string, signal: AbortSignal): Promise<WorkspaceSymbol[]> {
    const servers = this.current.servers.filter(
      ({ state, features }) => state === "ready" && features?.includes("workspace_symbols"),
    );
    const answers = servers.map(async ({ language }) => {
      const question = { type: "workspace_symbols", language, query } as const;
      const answer = await this.ask("", () => ({ version: "", question }), signal);
      return answer?.type === "workspace_symbols" ? answer.symbols : [];
    });
    return (await Promise.all(answers)).flat();
  }

  /** Renames what is at a position of a text, in all files. */
  rename(path: string, version: string, position: TextPosition, name: string): Promise<AppliedEdits> {
    return languagesApi.rename(this.workspace, { path, version, client: this.id, position, name });
  }

  /** Does what a code action of a text says. */
  applyAction(path: string, version: string, id: string): Promise<AppliedEdits> {
    return languagesApi.apply(this.workspace, { path, version, client: this.id, id });
  }

  /** Undoes a change of files. */
  undo(change: string): Promise<AppliedEdits> {
    return languagesApi.undo(this.workspace, this.id, change);
  }

  restart(language: string): Promise<void> {
    return languagesApi.restart(this.workspace, language);
  }

  private apply(event: LanguageEvent): void {
    switch (event.type) {
      case "reset":
        return this.update({ diagnostics: new Map() });
      case "servers":
        return this.update({ servers: event.servers });
      case "diagnostics": {
        const diagnostics = new Map(this.current.diagnostics);
        const key = `${event.language}:${event.path}`;
        if (event.diagnostics.length > 0) diagnostics.set(key, event);
        else diagnostics.delete(key);
        return this.update({ diagnostics });
      }
      case "message":
        if (event.severity === "error") this.onMessage(event.server, event.text);
    }
  }

  private update(part: Partial<LanguageState>): void {
    this.current = { ...this.current, ...part };
    for (const listener of this.listeners) listener();
  }
}

export function serverOf(servers: readonly LanguageServer[], path: string): LanguageServer | undefined {
  const name = path.slice(path.lastIndexOf("/") + 1).toLowerCase();
  return servers.find(({ files }) => files.some((end) => name.endsWith(end) && name.length > end.length));
}

/** What has been found in one file, by all servers. */
export function diagnosticsOf({ diagnostics }: LanguageState, path: string): FileDiagnostics[] {
  return [...diagnostics.values()].filter((file) => file.path === path);
}
