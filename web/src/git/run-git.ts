// Runs a Git operation in the workspace, and follows its events.
import type { DiscardedFile, GitEvent, GitFailure, GitOperation } from "../api/agent";
import { gitApi } from "../api/endpoints";

export interface GitResult {
  output: string;
  discarded: readonly DiscardedFile[];
}

/** An operation failed. The message says what to do. */
export class GitOperationError extends Error {
  constructor(
    readonly failure: GitFailure,
    message: string,
    readonly output: string,
  ) {
    super(message);
    this.name = "GitOperationError";
  }
}

type Prompt = Extract<GitEvent, { type: "prompt" }>;
type Progress = Extract<GitEvent, { type: "progress" }>;

export interface GitObserver {
  onProgress: (progress: Progress) => void;
  onPrompt: (prompt: Prompt) => void;
}

export async function runGit(
  workspace: string,
  repository: string,
  operation: GitOperation,
  observer: GitObserver,
  signal: AbortSignal,
): Promise<GitResult> {
  for await (const event of await gitApi.run(workspace, repository, operation, signal)) {
    switch (event.type) {
      case "progress":
        observer.onProgress(event);
        break;
      case "prompt":
        observer.onPrompt(event);
        break;
      case "finished":
        return { output: event.output, discarded: event.discarded ?? [] };
      case "failed":
        throw new GitOperationError(event.failure, event.message, event.output);
    }
  }
  throw new Error("The connection was lost before Git was done. Look at the state of the repository.");
}
