// The palette of a page that has only commands.
import { useState } from "react";
import { groupCommands, type Command } from "./commands";
import { Palette, type PaletteGroup } from "./palette";
import { readRecent, recordRecent } from "./recent";

const RECENT_KEY = "commands";

/** Groups of a palette for the commands that match. */
export function commandGroups(query: string, commands: readonly Command[]): PaletteGroup[] {
  return groupCommands(query, commands, readRecent(RECENT_KEY)).map(({ heading, commands }) => ({
    heading,
    items: commands.map((command) => ({
      id: `command ${command.label}`,
      content: <span className="tree-name">{command.label}</span>,
      keys: command.keys,
      run: () => {
        recordRecent(RECENT_KEY, command.label);
        command.run();
      },
    })),
  }));
}

export function CommandPalette({ commands, onClose }: { commands: Command[]; onClose: () => void }) {
  const [query, setQuery] = useState("");
  return (
    <Palette
      label="Command"
      placeholder="Type a command"
      query={query}
      onQuery={setQuery}
      groups={commandGroups(query.replace(/^>/, ""), commands)}
      note=""
      onClose={onClose}
    />
  );
}
