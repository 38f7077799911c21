// Tabs that show the changes of a file. Such a tab has a path that no file has: it begins with a slash. Pure.
import { childOf } from "../files/paths";

export interface DiffTab {
  repository: string;
  /** Path in the repository. */
  path: string;
  /** Compares the last commit with the index, instead of the index with the working tree. */
  staged: boolean;
}

const PREFIX = "/diff/";

export function diffTabPath({ repository, path, staged }: DiffTab): string {
  return `${PREFIX}${staged ? "staged" : "changes"}/${encodeURIComponent(repository)}/${path}`;
}

/** The file that a tab compares. Null: it is the tab of a file. */
export function parseDiffTab(tab: string): DiffTab | null {
  if (!tab.startsWith(PREFIX)) return null;
  const [kind, repository, ...path] = tab.slice(PREFIX.length).split("/");
  if (kind === undefined || repository === undefined || path.length === 0) return null;
  try {
    return { staged: kind === "staged", repository: decodeURIComponent(repository), path: path.join("/") };
  } catch {
    return null;
  }
}

export const isDiffTab = (tab: string): boolean => tab.startsWith(PREFIX);

/** The file of the home that a tab is about. */
export function fileOfTab(tab: string): string {
  const diff = parseDiffTab(tab);
  return diff ? childOf(diff.repository, diff.path) : tab;
}
