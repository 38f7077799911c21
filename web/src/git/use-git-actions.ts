// What users do with a repository. Failures become toasts that offer the next step, and what was discarded
// can be restored.
import { useMemo, useState } from "react";
import type { GitOperation, LineChange, LineAction } from "../api/agent";
import { gitApi } from "../api/endpoints";
import { toast, toastError } from "../ui/toasts";
import { pathsOf, syncAction, type ChangeGroup, type GroupEntry } from "./git-model";
import { GitOperationError, type GitResult } from "./run-git";
import type { GitRepositories } from "./use-git";

/** A dialog or palette that an action has opened. */
export type GitDialog =
  | { kind: "clone" }
  | { kind: "branches" }
  | { kind: "new-branch" }
  | { kind: "rename-branch" }
  | { kind: "stashes" }
  | { kind: "new-tag" }
  | { kind: "add-remote" }
  | { kind: "merge" }
  | { kind: "delete-branch" }
  | { kind: "output"; text: string }
  | { kind: "identity"; retry: () => void }
  | { kind: "diverged" };

export interface CommitDraft {
  /** Null: nothing was typed, so that Git's own proposal is shown. */
  message: string | null;
  isAmending: boolean;
}

const NO_DRAFT: CommitDraft = { message: null, isAmending: false };

export interface GitActions {
  dialog: GitDialog | null;
  open: (dialog: GitDialog | null) => void;
  stage: (entries: readonly GroupEntry[]) => void;
  unstage: (entries: readonly GroupEntry[]) => void;
  discard: (entries: readonly GroupEntry[]) => void;
  stageAll: () => void;
  unstageAll: () => void;
  /** In this repository, which need not be the one that is shown. */
  applyLines: (
    repository: string,
    path: string,
    action: LineAction,
    fingerprint: string,
    changes: readonly LineChange[],
  ) => void;
  resolve: (path: string, side: "ours" | "theirs") => void;
  /** What the user has prepared for the next commit. It stays while other views are shown. */
  draft: CommitDraft;
  setDraft: (change: Partial<CommitDraft>) => void;
  /** Commits what is staged, or everything if nothing is. */
  commit: (message: string, amend: boolean) => Promise<void>;
  undoCommit: () => void;
  fetch: () => void;
  pull: (strategy?: "merge" | "rebase") => void;
  push: (force?: boolean) => void;
  /** Pulls, then pushes; or publishes the branch. */
  sync: () => void;
  /** Any other operation, with what to say when it is done. */
  perform: (operation: GitOperation, label: string, done?: string, at?: string) => Promise<boolean>;
}

const lineActionLabel = { stage: "Stage", unstage: "Unstage", discard: "Discard" } as const;

const count = (number: number): string => (number === 1 ? "1 file" : `${number.toLocaleString("en")} files`);

export function useGitActions(git: GitRepositories): GitActions {
  const [dialog, setDialog] = useState<GitDialog | null>(null);
  const [drafts, setDrafts] = useState<Readonly<Record<string, CommitDraft>>>({});
  const { workspace, repository, status, run } = git;
  const actions = useMemo(() => {
    /** `after` is called on success, also if the user has first answered what was missing. */
    const attempt = async (
      operation: GitOperation,
      label: string,
      at?: string,
      after?: () => void,
    ): Promise<GitResult | null> => {
      try {
        const result = await run(operation, label, at);
        after?.();
        return result;
      } catch (error) {
        report(error, () => void attempt(operation, label, at, after));
        return null;
      }
    };
    const report = (error: unknown, retry: () => void) => {
      if (error instanceof DOMException && error.name === "AbortError") return;
      if (!(error instanceof GitOperationError)) {
        toastError(error);
        return;
      }
      const { failure, output } = error;
      if (failure === "identity_missing") setDialog({ kind: "identity", retry });
      else if (failure === "diverged") setDialog({ kind: "diverged" });
      else if (failure === "no_upstream")
        toastError(error, undefined, { label: "Publish branch", run: () => void publish() });
      else if (failure === "rejected")
        toastError(error, undefined, { label: "Pull", run: () => void pull() });
      else if (output.trim())
        toastError(error, undefined, {
          label: "Show output",
          run: () => setDialog({ kind: "output", text: output }),
        });
      else toastError(error);
    };
    const perform = async (operation: GitOperation, label: string, done?: string, at?: string) =>
      (await attempt(operation, label, at, () => done && toast(done))) !== null;
    const pull = (strategy?: "merge" | "rebase") =>
      perform({ type: "pull", ...(strategy ? { strategy } : {}) }, "Pull", "Pulled");
    const push = (force = false) => perform({ type: "push", force }, "Push", "Pushed");
    const publish = async () => {
      if (repository === null) return false;
      const { remotes } = await gitApi.references(workspace, repository);
      const remote = remotes.find(({ name }) => name === "origin") ?? remotes[0];
      if (!remote) {
        setDialog({ kind: "add-remote" });
        return false;
      }
      return perform(
        { type: "push", publish_to: remote.name, force: false },
        "Publish",
        `Published to ${remote.name}`,
      );
    };
    const offerUndo = (text: string, { discarded }: GitResult, at?: string) => {
      if (discarded.length === 0) return;
      const files = [...discarded];
      toast(text, {
        label: "Undo",
        run: () => void perform({ type: "restore_discarded", files }, "Undo", "Restored", at),
      });
    };
    return {
      perform,
      stage: (entries: readonly GroupEntry[]) =>
        void perform({ type: "stage", paths: pathsOf(entries) }, "Stage"),
      unstage: (entries: readonly GroupEntry[]) =>
        void perform({ type: "unstage", paths: pathsOf(entries) }, "Unstage"),
      discard: (entries: readonly GroupEntry[]) => {
        const operation: GitOperation = { type: "discard", paths: entries.map(({ path }) => path) };
        void attempt(operation, "Discard").then((result) => {
          if (result) offerUndo(`Discarded the changes of ${count(entries.length)}`, result);
        });
      },
      stageAll: () => void perform({ type: "stage_all" }, "Stage"),
      unstageAll: () => void perform({ type: "unstage_all" }, "Unstage"),
      applyLines: (
        at: string,
        path: string,
        action: LineAction,
        fingerprint: string,
        changes: readonly LineChange[],
      ) => {
        const operation: GitOperation = {
          type: "apply_lines",
          path,
          action,
          fingerprint,
          changes: [...changes],
        };
        void attempt(operation, lineActionLabel[action], at).then((result) => {
          if (result) offerUndo("Discarded the change", result, at);
        });
      },
      resolve: (path: string, side: "ours" | "theirs") =>
        void perform({ type: "resolve", path, side }, "Resolve"),
      commit: async (message: string, amend: boolean) => {
        const isAnythingStaged = status?.entries.some(
          ({ index, conflict }) => index !== "unmodified" && !conflict,
        );
        const isMerging = status?.operation === "merge";
        // Staging a file with a conflict would commit its markers. Git says what is to be done.
        const hasConflicts = status?.entries.some(({ conflict }) => conflict);
        const stagesAll = !isAnythingStaged && !amend && !isMerging && !hasConflicts;
        if (stagesAll && !(await perform({ type: "stage_all" }, "Stage"))) return;
        await attempt({ type: "commit", message, amend }, "Commit", undefined, () => {
          toast(amend ? "Amended" : "Committed");
          if (repository !== null) setDrafts((drafts) => ({ ...drafts, [repository]: NO_DRAFT }));
        });
      },
      undoCommit: () =>
        void perform({ type: "undo_commit" }, "Undo commit", "Undone. Its changes are staged."),
      fetch: () => void perform({ type: "fetch" }, "Fetch", "Fetched"),
      pull: (strategy?: "merge" | "rebase") => void pull(strategy),
      push: (force = false) => void push(force),
      sync: () => {
        const action = status && syncAction(status);
        if (action === "publish") void publish();
        else if (action === "fetch") void perform({ type: "pull" }, "Pull", "Up to date");
        else if (action === "sync")
          void perform({ type: "pull" }, "Pull").then(
            (isPulled) => isPulled && perform({ type: "push", force: false }, "Push", "Synchronized"),
          );
      },
    };
  }, [workspace, repository, status, run]);
  const draft = (repository !== null && drafts[repository]) || NO_DRAFT;
  const setDraft = (change: Partial<CommitDraft>) => {
    if (repository === null) return;
    setDrafts((drafts) => ({ ...drafts, [repository]: { ...NO_DRAFT, ...drafts[repository], ...change } }));
  };
  return { ...actions, draft, setDraft, dialog, open: setDialog };
}

/** The entries of a group that can be discarded here. */
export const discardable = (group: ChangeGroup): readonly GroupEntry[] =>
  group.entries.filter(({ isRepository }) => !isRepository);
