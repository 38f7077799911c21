// The tabs of the open files, in one or more groups side by side. Pure.
//
// A file that was only looked at has a preview tab, which the next such file takes over. A file is at most
// once in each group, and groups other than the first end with their last tab.
import { isWithin, pathAfterRename } from "../files/paths";

/** What a group shows. */
export interface GroupTabs {
  paths: readonly string[];
  active: string | null;
  /** The preview tab, if there is one. */
  preview: string | null;
}

export interface TabGroup extends GroupTabs {
  /** Stays the same when groups before it are opened or closed. Unique among the open groups. */
  id: number;
}

export interface Tabs {
  /** At least one. */
  groups: readonly TabGroup[];
  /** Index of the group that files are opened in. */
  focused: number;
  /** Closed files, newest first. */
  closed: readonly string[];
}

/** Limit of tabs in a group. The oldest inactive tab is closed beyond it. */
export const MAX_TABS = 30;
/** As many as fit beside each other. */
export const MAX_GROUPS = 3;
const MAX_CLOSED = 30;

export const EMPTY_GROUP: TabGroup = { id: 0, paths: [], active: null, preview: null };

const unusedId = (groups: readonly TabGroup[]): number => Math.max(-1, ...groups.map(({ id }) => id)) + 1;

/** Tabs from what a browser has stored. */
export function restoreTabs(groups: readonly GroupTabs[], focused: number): Tabs {
  const kept = groups
    .filter(({ paths }) => paths.length > 0)
    .slice(0, MAX_GROUPS)
    .map((group, id) => ({ ...group, id }));
  return {
    groups: kept.length > 0 ? kept : [EMPTY_GROUP],
    focused: Math.max(0, Math.min(focused, kept.length - 1)),
    closed: [],
  };
}

export const focusedGroup = (tabs: Tabs): TabGroup => tabs.groups[tabs.focused] ?? EMPTY_GROUP;

/** All open files, each once. */
export function openPaths(tabs: Tabs): string[] {
  return [...new Set(tabs.groups.flatMap(({ paths }) => paths))];
}

function withGroup(tabs: Tabs, index: number, change: (group: TabGroup) => TabGroup): Tabs {
  return { ...tabs, groups: tabs.groups.map((group, at) => (at === index ? change(group) : group)) };
}

/** Opens a file in the focused group, or shows its tab there. */
export function openTab(tabs: Tabs, path: string, isPreview: boolean): Tabs {
  return withGroup(tabs, tabs.focused, (group) => openInGroup(group, path, isPreview));
}

function openInGroup(group: TabGroup, path: string, isPreview: boolean): TabGroup {
  const { paths, preview } = group;
  if (paths.includes(path)) {
    return { ...group, active: path, preview: preview === path && !isPreview ? null : preview };
  }
  if (isPreview && preview !== null) {
    return {
      ...group,
      paths: paths.map((one) => (one === preview ? path : one)),
      active: path,
      preview: path,
    };
  }
  const surplus = paths.length >= MAX_TABS ? paths.find((one) => one !== group.active) : undefined;
  const kept = paths.filter((one) => one !== surplus);
  const at = group.active === null ? kept.length : kept.indexOf(group.active) + 1;
  const left = preview !== null && kept.includes(preview) ? preview : null;
  return {
    ...group,
    paths: [...kept.slice(0, at), path, ...kept.slice(at)],
    active: path,
    preview: isPreview ? path : left,
  };
}

/** Makes the preview tab of a file a lasting one, in all groups. */
export function keepTab(tabs: Tabs, path: string): Tabs {
  if (!tabs.groups.some(({ preview }) => preview === path)) return tabs;
  const groups = tabs.groups.map((group) => (group.preview === path ? { ...group, preview: null } : group));
  return { ...tabs, groups };
}

export function activateTab(tabs: Tabs, index: number, path: string): Tabs {
  return { ...withGroup(tabs, index, (group) => ({ ...group, active: path })), focused: index };
}

export function focusGroup(tabs: Tabs, index: number): Tabs {
  return index === tabs.focused || !tabs.groups[index] ? tabs : { ...tabs, focused: index };
}

/** Closes tabs, with a record for [`reopenTab`] unless the files are gone. */
export function closeTabs(
  tabs: Tabs,
  which: (path: string, group: number) => boolean,
  areGone = false,
): Tabs {
  const closing = tabs.groups.flatMap(({ paths }, index) => paths.filter((path) => which(path, index)));
  if (closing.length === 0) return tabs;
  const groups = tabs.groups.map((group, index) => closeInGroup(group, (path) => which(path, index)));
  const focused = groups[tabs.focused];
  const left = groups.filter(
    (group, index) => group.paths.length > 0 || (index === 0 && groups.length === 1),
  );
  const kept = left.length > 0 ? left : [EMPTY_GROUP];
  const at = focused ? kept.indexOf(focused) : -1;
  const closed = tabs.closed.filter((path) => !closing.includes(path));
  return {
    groups: kept,
    focused: at >= 0 ? at : Math.min(tabs.focused, kept.length - 1),
    closed: areGone ? closed : [...closing.reverse(), ...closed].slice(0, MAX_CLOSED),
  };
}

function closeInGroup(group: TabGroup, which: (path: string) => boolean): TabGroup {
  const { paths, active, preview } = group;
  const left = paths.filter((path) => !which(path));
  if (left.length === paths.length) return group;
  const lasting = preview !== null && left.includes(preview) ? preview : null;
  if (active === null || left.includes(active)) return { ...group, paths: left, active, preview: lasting };
  const before = paths.slice(0, paths.indexOf(active)).filter((path) => !which(path));
  return { ...group, paths: left, active: before.at(-1) ?? left[0] ?? null, preview: lasting };
}

/** Opens the file again that was closed last. */
export function reopenTab(tabs: Tabs): Tabs {
  const [path, ...closed] = tabs.closed;
  return path === undefined ? tabs : openTab({ ...tabs, closed }, path, false);
}

/** Shows the active file of the focused group in a further group beside it too. */
export function splitGroup(tabs: Tabs): Tabs {
  const { active } = focusedGroup(tabs);
  if (active === null || tabs.groups.length >= MAX_GROUPS) return tabs;
  const at = tabs.focused + 1;
  const group: TabGroup = { id: unusedId(tabs.groups), paths: [active], active, preview: null };
  return { ...tabs, groups: [...tabs.groups.slice(0, at), group, ...tabs.groups.slice(at)], focused: at };
}

/**
 * Moves a tab to another place: before `before` in the group `to`, or to its end. The group after the last
 * one is a new one.
 */
export function moveTab(tabs: Tabs, path: string, from: number, to: number, before: string | null): Tabs {
  const source = tabs.groups[from];
  if (!source?.paths.includes(path) || to > tabs.groups.length || to >= MAX_GROUPS || path === before)
    return tabs;
  if (to === tabs.groups.length && source.paths.length === 1) return tabs;
  const target = tabs.groups[to] ?? { ...EMPTY_GROUP, id: unusedId(tabs.groups) };
  const others = target.paths.filter((one) => one !== path);
  const at = before === null ? -1 : others.indexOf(before);
  const paths = at < 0 ? [...others, path] : [...others.slice(0, at), path, ...others.slice(at)];
  const preview = target.preview === path ? null : target.preview;
  const moved: TabGroup = { ...target, paths, active: path, preview };
  if (from === to) return { ...withGroup(tabs, to, () => moved), focused: to };
  const left = closeInGroup(source, (one) => one === path);
  const groups = [...tabs.groups, ...(to === tabs.groups.length ? [EMPTY_GROUP] : [])]
    .map((group, index) => (index === to ? moved : index === from ? left : group))
    .filter(({ paths }) => paths.length > 0);
  return { ...tabs, groups, focused: groups.indexOf(moved) };
}

export function renameInTabs(tabs: Tabs, from: string, to: string): Tabs {
  const after = (path: string) => pathAfterRename(path, from, to);
  const groups = tabs.groups.map(({ id, paths, active, preview }) => ({
    id,
    paths: [...new Set(paths.map(after))],
    active: active && after(active),
    preview: preview && after(preview),
  }));
  return { ...tabs, groups, closed: tabs.closed.map(after) };
}

export const removeFromTabs = (tabs: Tabs, removed: string): Tabs =>
  closeTabs(tabs, (path) => isWithin(path, removed), true);
