// Commands of a page, and how the palette ranks them against what is typed. Pure.

export interface Command {
  label: string;
  /** Heading in the palette. */
  group: string;
  keys?: string;
  run: () => void;
}

const MAX_SHOWN = 60;

/**
 * How well `text` matches `query`: all letters in order; runs and starts of words score higher.
 * Null: no match.
 */
export function matchScore(query: string, text: string): number | null {
  const wanted = query.toLowerCase();
  const there = text.toLowerCase();
  let at = 0;
  let points = 0;
  let previous = -2;
  for (const character of wanted) {
    if (character === " ") continue;
    const found = there.indexOf(character, at);
    if (found < 0) return null;
    if (found === previous + 1) points += 3;
    if (found === 0 || /[\s/._-]/.test(there[found - 1] ?? "")) points += 2;
    previous = found;
    at = found + 1;
  }
  return points - there.length / 100;
}

/** The best matches among `items`, best first. Without a query, the first ones. */
export function rank<Item>(
  query: string,
  items: readonly Item[],
  textOf: (item: Item) => string,
  limit = MAX_SHOWN,
): Item[] {
  if (!query) return items.slice(0, limit);
  return items
    .flatMap((item) => {
      const points = matchScore(query, textOf(item));
      return points === null ? [] : [{ item, points }];
    })
    .sort((a, b) => b.points - a.points)
    .slice(0, limit)
    .map(({ item }) => item);
}

export function rankTexts(query: string, texts: readonly string[]): string[] {
  return rank(query, texts, (text) => text);
}

export interface CommandGroup {
  heading: string;
  commands: Command[];
}

/** How many recently used commands come first. */
const MAX_RECENT_COMMANDS = 5;

/**
 * The commands that match, in groups. Without a query, those used last come first. With one, the group of
 * the best match comes first. `recent` are labels, the newest first.
 */
export function groupCommands(
  query: string,
  commands: readonly Command[],
  recent: readonly string[],
): CommandGroup[] {
  const wanted = query.trim();
  const used = wanted ? [] : recent.flatMap((label) => commands.find((one) => one.label === label) ?? []);
  const first = used.slice(0, MAX_RECENT_COMMANDS);
  const rest = rank(wanted, commands, (command) => command.label).filter((one) => !first.includes(one));
  const groups = new Map<string, Command[]>();
  if (first.length > 0) groups.set("Recently used", first);
  for (const command of rest) groups.set(command.group, [...(groups.get(command.group) ?? []), command]);
  return [...groups].map(([heading, commands]) => ({ heading, commands }));
}
