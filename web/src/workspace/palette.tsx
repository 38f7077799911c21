// The command palette: every action with its key, and the files that the tree knows.
import { useMemo, useRef, useState } from "react";
import { Dialog } from "../ui/dialog";

export interface Command {
  label: string;
  keys?: string;
  run: () => void;
}

const MAX_SHOWN = 60;

/** How well `text` answers `query`: all its letters in order; a run and a beginning of a word count more. None: not at all. */
export function score(query: string, text: string): number | null {
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

export function ranked(query: string, commands: readonly Command[]): Command[] {
  if (!query) return commands.slice(0, MAX_SHOWN);
  return commands
    .flatMap((command) => {
      const points = score(query, command.label);
      return points === null ? [] : [{ command, points }];
    })
    .sort((a, b) => b.points - a.points)
    .slice(0, MAX_SHOWN)
    .map(({ command }) => command);
}

export function Palette({
  commands,
  files,
  onClose,
}: {
  commands: Command[];
  files: Command[];
  onClose: () => void;
}) {
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const found = useMemo(
    () =>
      query.startsWith(">")
        ? ranked(query.slice(1).trim(), commands)
        : ranked(query.trim(), [...commands, ...files]),
    [query, commands, files],
  );
  const chosen = Math.min(at, found.length - 1);
  const run = (command: Command | undefined) => {
    if (!command) return;
    onClose();
    // After the dialog has given the focus back.
    requestAnimationFrame(command.run);
  };
  const move = (to: number) => {
    setAt(to);
    requestAnimationFrame(() =>
      list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" }),
    );
  };
  return (
    <Dialog title="Commands" onClose={onClose}>
      <input
        className="input"
        role="combobox"
        aria-label="Command or file"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found.length > 0 ? `palette-${chosen}` : undefined}
        placeholder="A command or a file"
        autoComplete="off"
        spellCheck={false}
        value={query}
        onChange={(event) => {
          setQuery(event.target.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            event.preventDefault();
            const by = event.key === "ArrowDown" ? 1 : -1;
            move((chosen + by + found.length) % Math.max(1, found.length));
          } else if (event.key === "Enter") {
            event.preventDefault();
            run(found[chosen]);
          }
        }}
      />
      <ul ref={list} id="palette-list" role="listbox" aria-label="Found" className="palette-list">
        {found.map((command, index) => (
          <li
            key={`${command.label}-${index}`}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === chosen}
            className="menu-item"
            onPointerMove={() => setAt(index)}
            onClick={() => run(command)}
          >
            <span className="tree-name">{command.label}</span>
            {command.keys && <kbd>{command.keys}</kbd>}
          </li>
        ))}
        {found.length === 0 && <li className="soft menu-head">Nothing found</li>}
      </ul>
    </Dialog>
  );
}
