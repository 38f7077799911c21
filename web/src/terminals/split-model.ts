// Which terminals are shown beside each other. A group is a list of two or more; a terminal that is in none
// is shown alone. Pure.

export type TerminalGroups = readonly (readonly string[])[];

/** Most terminals beside each other: more would be too narrow to read. */
export const MAX_BESIDE = 4;

/** The terminals that are shown together with this one, from left to right. */
export function groupOf(groups: TerminalGroups, id: string): readonly string[] {
  return groups.find((group) => group.includes(id)) ?? [id];
}

/** Shows a new terminal to the right of another one. */
export function splitBeside(groups: TerminalGroups, beside: string, id: string): TerminalGroups {
  const group = groupOf(groups, beside);
  const at = group.indexOf(beside) + 1;
  const others = groups.filter((other) => other !== group);
  return [...others, [...group.slice(0, at), id, ...group.slice(at)]];
}

/** The groups without terminals that are gone. */
export function keepGroups(groups: TerminalGroups, ids: readonly string[]): TerminalGroups {
  return groups.map((group) => group.filter((id) => ids.includes(id))).filter((group) => group.length > 1);
}

/** The order of tabs: terminals of a group are neighbours, at the place of their first. */
export function orderTabs<Tab extends { id: string }>(tabs: readonly Tab[], groups: TerminalGroups): Tab[] {
  const ordered = tabs.flatMap((tab) => {
    const group = groupOf(groups, tab.id);
    const present = group.flatMap((id) => tabs.filter((other) => other.id === id));
    const first = tabs.find(({ id }) => group.includes(id));
    return first === tab ? present : [];
  });
  return ordered;
}

/** Reads groups that were stored, perhaps by another version of the app. */
export function parseGroups(stored: unknown): TerminalGroups {
  if (!Array.isArray(stored)) return [];
  const groups = stored.map((group: unknown) =>
    Array.isArray(group)
      ? group.filter((id): id is string => typeof id === "string").slice(0, MAX_BESIDE)
      : [],
  );
  const seen = new Set<string>();
  const once = groups.map((group) => group.filter((id) => !seen.has(id) && seen.add(id)));
  return once.filter((group) => group.length > 1);
}
