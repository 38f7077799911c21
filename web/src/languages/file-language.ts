// What the editor of one file knows of its language server.
import type { LanguageAnswer, LanguageFeature, LanguageServer, TextLocation } from "../api/agent";
import type { LanguageClient, PresentQuestion } from "./language-client";

export class FileLanguage {
  constructor(
    readonly client: LanguageClient,
    readonly path: string,
    readonly showLocations: (locations: readonly TextLocation[]) => void,
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
