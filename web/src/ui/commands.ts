// Commands of a page, and how the palette ranks them against what is typed. Pure.

export interface Command {
  label: string;
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

export function rankCommands(query: string, commands: readonly Command[]): Command[] {
  if (!query) return commands.slice(0, MAX_SHOWN);
  return commands
    .flatMap((command) => {
      const points = matchScore(query, command.label);
      return points === null ? [] : [{ command, points }];
    })
    .sort((a, b) => b.points - a.points)
    .slice(0, MAX_SHOWN)
    .map(({ command }) => command);
}
