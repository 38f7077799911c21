// Gives the editors in front what they show of Git, whenever the repository has changed.
import { useEffect, type RefObject } from "react";
import type { EditorView } from "@codemirror/view";
import { gitApi } from "../api/endpoints";
import { formatRelative } from "../ui/format";
import { usePreferences } from "../ui/preferences";
import { toastError } from "../ui/toasts";
import type { OpenDocuments } from "../editor/use-documents";
import { viewKey } from "../workbench/editor-groups";
import { isDiffTab } from "./diff-tab";
import { setEditorMarks, type EditorMarks } from "./editor-marks";
import { pathInRepository, repositoryOf } from "./git-model";
import { touchedChanges } from "./line-selection";
import type { GitRepositories } from "./use-git";
import type { GitActions } from "./use-git-actions";

interface Options {
  git: GitRepositories;
  actions: GitActions;
  documents: OpenDocuments;
  views: RefObject<Map<string, EditorView>>;
  /** Changes when an editor has come or gone. */
  viewCount: number;
  writable: boolean;
}

/** Larger texts are not compared while somebody types. */
const MAX_CHARACTERS = 2 * 1024 * 1024;

export function useEditorMarks({ git, actions, documents, views, viewCount, writable }: Options): void {
  const { workspace, repository, repositories, status, version } = git;
  const { inlineBlame } = usePreferences();
  const { tabs } = documents;
  const { applyLines } = actions;
  useEffect(() => {
    if (repository === null || !status) return;
    let isOver = false;
    const paths = (repositories ?? []).map(({ path }) => path);
    const mark = async (key: string, file: string) => {
      if (repositoryOf(file, paths) !== repository) return;
      const path = pathInRepository(file, repository);
      const entry = status.entries.find((entry) => entry.path === path);
      const base = await gitApi.content(workspace, repository, path, entry?.conflict ? "ours" : "index");
      const view = views.current.get(key);
      if (isOver || !view) return;
      const stage = async (newStart: number, newLines: number) => {
        try {
          const { fingerprint, changes } = await gitApi.diff(workspace, repository, path, false);
          applyLines(repository, path, "stage", fingerprint, touchedChanges(changes, newStart, newLines));
        } catch (error) {
          toastError(error, "stage the change");
        }
      };
      const blame = async (line: number) => {
        const { commit, author, time, subject } = await gitApi.blame(workspace, repository, path, line);
        if (!commit) return "Not committed yet";
        return `${author}, ${formatRelative(new Date(time * 1000).toISOString(), Date.now())} · ${subject}`;
      };
      const isShown = base !== null && base.length <= MAX_CHARACTERS && !base.includes("\0");
      const marks: EditorMarks | null = isShown
        ? {
            base,
            isConflicted: Boolean(entry?.conflict),
            stage: writable && !entry?.conflict ? (start, lines) => void stage(start, lines) : null,
            blame: inlineBlame ? blame : null,
          }
        : null;
      view.dispatch({ effects: setEditorMarks.of(marks) });
    };
    for (const { id, active } of tabs.groups) {
      if (active !== null && !isDiffTab(active))
        mark(viewKey(id, active), active).catch((error: unknown) =>
          console.warn("cannot mark changes", error),
        );
    }
    return () => {
      isOver = true;
    };
  }, [
    workspace,
    repository,
    repositories,
    status,
    version,
    tabs.groups,
    views,
    viewCount,
    writable,
    inlineBlame,
    applyLines,
  ]);
}
