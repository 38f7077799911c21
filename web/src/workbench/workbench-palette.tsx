// The workbench's command palette: its commands, and all files of the home.
import { useMemo, useState } from "react";
import { useFoundFiles, type FoundFiles } from "../files/use-found-files";
import { displayName } from "../files/paths";
import { CommandPalette } from "../ui/command-palette";
import type { Command } from "../ui/commands";

interface Props {
  workspace: string;
  commands: Command[];
  /** Paths of the files that have been listed. */
  known: readonly string[];
  filesFirst: boolean;
  onOpen: (path: string) => void;
  onClose: () => void;
}

export function WorkbenchPalette({ workspace, commands, known, filesFirst, onOpen, onClose }: Props) {
  const [query, setQuery] = useState("");
  const answer = useFoundFiles(workspace, query.startsWith(">") ? "" : query, known);
  const found = useMemo(
    () => answer.paths.map((path) => ({ label: displayName(path), run: () => onOpen(path) })),
    [answer.paths, onOpen],
  );
  const files = { found, areFirst: filesFirst, note: noteOf(answer), onQuery: setQuery };
  return <CommandPalette commands={commands} files={files} onClose={onClose} />;
}

function noteOf({ searching, failure, truncated }: FoundFiles): string {
  if (searching) return "Searching…";
  if (failure) return `Cannot search the home: ${failure}`;
  return truncated ? "The home has too many files to search them all." : "";
}
