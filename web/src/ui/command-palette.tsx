// The command palette: every action with its key, and files. What begins with `>` is a command.
import { rankCommands, type Command } from "./commands";
import { useMemo, useRef, useState } from "react";
import { Dialog } from "./dialog";

/** The files that the palette offers. */
export interface PaletteFiles {
  /** Matches of the query, best first. */
  found: Command[];
  /** Whether they come before the commands. */
  areFirst: boolean;
  /** What the user should know about the search. Empty: nothing. */
  note: string;
  onQuery: (query: string) => void;
}

export function CommandPalette({
  commands,
  files,
  onClose,
}: {
  commands: Command[];
  files?: PaletteFiles;
  onClose: () => void;
}) {
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const found = useMemo(() => {
    if (query.startsWith(">")) return rankCommands(query.slice(1).trim(), commands);
    const actions = rankCommands(query.trim(), commands);
    if (!files) return actions;
    return files.areFirst ? [...files.found, ...actions] : [...actions, ...files.found];
  }, [query, commands, files]);
  const chosen = Math.min(at, found.length - 1);
  const run = (command: Command | undefined) => {
    if (!command) return;
    onClose();
    // After the dialog has restored the focus.
    requestAnimationFrame(command.run);
  };
  const move = (to: number) => {
    setAt(to);
    requestAnimationFrame(() =>
      list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" }),
    );
  };
  return (
    <Dialog title="Command palette" onClose={onClose}>
      <input
        className="input"
        role="combobox"
        aria-label="Command or file"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found.length > 0 ? `palette-${chosen}` : undefined}
        placeholder="Type a command or a file name"
        autoComplete="off"
        spellCheck={false}
        value={query}
        onChange={(event) => {
          setQuery(event.target.value);
          files?.onQuery(event.target.value);
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
      <ul ref={list} id="palette-list" role="listbox" aria-label="Results" className="palette-list">
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
      </ul>
      <p className="soft menu-head" role="status">
        {files?.note || (found.length === 0 ? "No results" : "")}
      </p>
    </Dialog>
  );
}
