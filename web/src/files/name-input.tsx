// A file name typed in the tree: Enter accepts it, Escape cancels.
import { useEffect, useRef, useState } from "react";
import { Icon } from "../ui/icons";
import { fileNameProblem } from "./paths";
import { indentOf } from "./tree-item";

interface NameInputProps {
  depth: number;
  initial: string;
  icon: "file" | "folder";
  onDone: (name: string) => void;
  onCancel: () => void;
}

export function NameInput({ depth, initial, icon, onDone, onCancel }: NameInputProps) {
  const [name, setName] = useState(initial);
  const input = useRef<HTMLInputElement>(null);
  const over = useRef(false);
  const wrong = name === initial ? "" : fileNameProblem(name);
  useEffect(() => {
    input.current?.focus();
    // Select the name without its extension.
    const dot = initial.lastIndexOf(".");
    input.current?.setSelectionRange(0, dot > 0 ? dot : initial.length);
  }, [initial]);
  const end = (take: boolean) => {
    if (over.current) return;
    over.current = true;
    if (take && name && !wrong) onDone(name);
    else onCancel();
  };
  return (
    <li role="none" className="tree-row naming" style={indentOf(depth)}>
      <span className="twist" />
      <Icon name={icon} size={15} />
      <input
        ref={input}
        aria-label="Name"
        aria-invalid={wrong ? true : undefined}
        title={wrong}
        spellCheck={false}
        autoComplete="off"
        value={name}
        onChange={(event) => setName(event.target.value)}
        onBlur={() => end(name !== initial)}
        onKeyDown={(event) => {
          event.stopPropagation();
          if (event.key === "Enter") end(true);
          if (event.key === "Escape") end(false);
        }}
      />
    </li>
  );
}
