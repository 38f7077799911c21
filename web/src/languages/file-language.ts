// What the editor of one file knows of its language server.
import type { LanguageAnswer, LanguageFeature, LanguageServer, TextLocation } from "../api/agent";
import type { LanguageClient, PresentQuestion } from "./language-client";

/** What the page does for the editor in front. */
export interface LanguageHost {
  showLocations: (locations: readonly TextLocation[]) => void;
  findReferences: () => void;
  renameSymbol: () => void;
  showActions: () => void;
  organizeImports: () => void;
  formatDocument: () => void;
}

export class FileLanguage {
  constructor(
    readonly client: LanguageClient,
    readonly path: string,
    /** Null while the page is being built. */
    readonly host: () => LanguageHost | null,
  ) {}

  server(): LanguageServer | undefined {
    return this.client.serverOf(this.path);
  }

  /** Whether the server is ready and knows this. */
  can(feature: LanguageFeature): boolean {
    const server = this.server();
    return server?.state === "ready" && (server.features ?? []).includes(feature);
  }

  ask(present: () => PresentQuestion | null, signal: AbortSignal): Promise<LanguageAnswer | null> {
    return this.client.ask(this.path, present, signal);
  }
}
