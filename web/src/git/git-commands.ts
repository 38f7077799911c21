// The commands of Git in the palette. Pure: the actions are passed in.
import { setPreference } from "../ui/preferences";
import type { Command } from "../ui/commands";
import type { DiffTab } from "./diff-tab";
import { pathInRepository, repositoryOf } from "./git-model";
import type { GitRepositories } from "./use-git";
import type { GitActions } from "./use-git-actions";

interface Context {
  writable: boolean;
  /** The file in front. */
  file: string | null;
  inlineBlame: boolean;
  openDiff: (diff: DiffTab, isPreview: boolean) => void;
}

const GROUP = "Source Control";

export function gitCommands(
  git: Pick<GitRepositories, "repository" | "repositories" | "status" | "refresh">,
  actions: GitActions,
  context: Context,
): Command[] {
  const { repository, status } = git;
  const { writable, file, inlineBlame, openDiff } = context;
  const command = (label: string, run: () => void, keys?: string): Command => ({
    group: GROUP,
    label: `Git: ${label}`,
    run,
    ...(keys ? { keys } : {}),
  });
  const paths = (git.repositories ?? []).map(({ path }) => path);
  const isInside = file !== null && repository !== null && repositoryOf(file, paths) === repository;
  const path = isInside ? pathInRepository(file, repository) : null;
  const entry = path === null ? undefined : status?.entries.find((entry) => entry.path === path);
  const group = entry && {
    path: entry.path,
    originalPath: entry.original_path ?? null,
    letter: "M" as const,
    about: "",
    isRepository: entry.is_repository,
  };
  const dialog = (
    label: string,
    kind:
      | "clone"
      | "branches"
      | "new-branch"
      | "rename-branch"
      | "merge"
      | "delete-branch"
      | "stashes"
      | "new-tag"
      | "add-remote",
  ) => command(label, () => actions.open({ kind }));
  const ongoing = status?.operation;
  const reading: Command[] = [
    command("Refresh", git.refresh),
    command(inlineBlame ? "Turn inline blame off" : "Turn inline blame on", () =>
      setPreference("inlineBlame", !inlineBlame),
    ),
    ...(entry && path !== null && repository !== null
      ? [
          command("Open changes of this file", () => openDiff({ repository, path, staged: false }, false)),
          command("Open staged changes of this file", () =>
            openDiff({ repository, path, staged: true }, false),
          ),
        ]
      : []),
  ];
  if (!writable) return repository === null ? [] : reading;
  if (repository === null) return [dialog("Clone repository…", "clone")];
  return [
    ...reading,
    dialog("Clone repository…", "clone"),
    ...(group
      ? [
          command("Stage this file", () => actions.stage([group])),
          command("Unstage this file", () => actions.unstage([group])),
          command("Discard changes of this file", () => actions.discard([group])),
        ]
      : []),
    command("Stage all", actions.stageAll),
    command("Unstage all", actions.unstageAll),
    command("Undo last commit", actions.undoCommit),
    command("Synchronize", actions.sync),
    command("Pull", () => actions.pull()),
    command("Pull (rebase)", () => actions.pull("rebase")),
    command("Push", () => actions.push()),
    command("Push (force, if nobody else has pushed)", () => actions.push(true)),
    command("Fetch", actions.fetch),
    dialog("Switch branch…", "branches"),
    dialog("Create branch…", "new-branch"),
    dialog("Rename branch…", "rename-branch"),
    dialog("Merge branch…", "merge"),
    dialog("Delete branch…", "delete-branch"),
    command(
      "Stash changes",
      () => void actions.perform({ type: "stash_push", message: "" }, "Stash", "Changes stashed"),
    ),
    dialog("Apply stash…", "stashes"),
    dialog("Create tag…", "new-tag"),
    dialog("Add remote…", "add-remote"),
    ...(ongoing
      ? [
          command("Continue", () => void actions.perform({ type: "continue", ongoing }, "Continue", "Done")),
          command("Abort", () => void actions.perform({ type: "abort", ongoing }, "Abort", "Aborted")),
        ]
      : []),
  ];
}
