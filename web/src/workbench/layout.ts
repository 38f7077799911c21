// The layout of a workspace's page, remembered in the browser.
import { restoreTabs, type GroupTabs, type Tabs } from "../editor/tab-model";
import { parseGroups, type TerminalGroups } from "../terminals/split-model";
import type { SideView } from "./activity-bar";

export interface Layout {
  side: boolean;
  view: SideView;
  /** Whether the outline is shown below the Explorer. */
  outline: boolean;
  sideWidth: number;
  panel: boolean;
  panelHeight: number;
  expanded: readonly string[];
  groups: readonly GroupTabs[];
  focusedGroup: number;
  terminal: string | null;
  /** Terminals beside each other. */
  terminalGroups: TerminalGroups;
}

const fresh: Layout = {
  side: true,
  view: "explorer",
  outline: false,
  sideWidth: 260,
  panel: true,
  panelHeight: 260,
  expanded: [],
  groups: [],
  focusedGroup: 0,
  terminal: null,
  terminalGroups: [],
};
const VIEWS: readonly SideView[] = ["explorer", "search", "git", "problems", "ports"];
const MAX_REMEMBERED = 200;
const key = (workspace: string) => `burrow.layout.${workspace}`;

export function readLayout(workspace: string): Layout {
  let stored: string | null = null;
  try {
    stored = localStorage.getItem(key(workspace));
  } catch {
    // Storage is blocked: the default layout.
  }
  return parseLayout(stored);
}

/** What was stored may come from another version of the app. */
export function parseLayout(text: string | null): Layout {
  try {
    const stored = JSON.parse(text ?? "{}") as Partial<Layout>;
    return {
      ...fresh,
      ...stored,
      view: VIEWS.find((view) => view === stored.view) ?? "explorer",
      outline: stored.outline === true,
      expanded: strings(stored.expanded),
      groups: Array.isArray(stored.groups) ? stored.groups.map(parseGroup) : [],
      focusedGroup: Number(stored.focusedGroup) || 0,
      terminalGroups: parseGroups(stored.terminalGroups),
    };
  } catch {
    return fresh;
  }
}

function strings(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.filter((one): one is string => typeof one === "string").slice(-MAX_REMEMBERED);
}

function parseGroup(stored: Partial<GroupTabs> | null): GroupTabs {
  const paths = strings(stored?.paths);
  const known = (path: unknown) => (typeof path === "string" && paths.includes(path) ? path : null);
  return { paths, active: known(stored?.active) ?? paths[0] ?? null, preview: known(stored?.preview) };
}

export const tabsOf = ({ groups, focusedGroup }: Layout): Tabs => restoreTabs(groups, focusedGroup);

/** Whether there is something to show in the editor. An empty group is remembered, too. */
export const hasOpenFile = ({ groups }: Layout): boolean => groups.some((group) => group.paths.length > 0);

export function writeLayout(workspace: string, layout: Layout): void {
  try {
    localStorage.setItem(key(workspace), JSON.stringify(layout));
  } catch {
    // Storage is full or blocked: the next visit starts with the default layout.
  }
}
