// The palette: an input near the top of the window and a list of what can be chosen, in groups. Knows
// neither commands nor files.
import { Command as Cmdk } from "cmdk";
import { useState, type KeyboardEvent, type ReactNode } from "react";
import { Dialog } from "./dialog";

export interface PaletteItem {
  /** Identifies the item in the list. */
  id: string;
  content: ReactNode;
  keys?: string | undefined;
  run: () => void;
}

export interface PaletteGroup {
  heading: string;
  items: readonly PaletteItem[];
}

interface Props {
  label: string;
  placeholder: string;
  query: string;
  onQuery: (query: string) => void;
  groups: readonly PaletteGroup[];
  /** What the user should know about the list. */
  note: string;
  /** Switches below the list. */
  tools?: ReactNode;
  /** Keys that mean something else here than in the list. Returns whether the key was used. */
  onKey?: (event: KeyboardEvent) => boolean;
  onClose: () => void;
}

export function Palette({ label, placeholder, query, onQuery, groups, note, tools, onKey, onClose }: Props) {
  const run = (item: PaletteItem) => {
    onClose();
    // After the dialog has restored the focus.
    requestAnimationFrame(item.run);
  };
  // The best match is chosen until the user moves, also when a better one arrives later.
  const all = groups.flatMap(({ items }) => items);
  const best = all[0]?.id ?? "";
  const [chosen, setChosen] = useState({ best, id: best });
  const isThere = chosen.best === best && all.some(({ id }) => id === chosen.id);
  return (
    <Dialog title="Command palette" kind="palette" onClose={onClose}>
      <Cmdk
        label={label}
        // The callers rank: they know more than the text of an item.
        shouldFilter={false}
        value={isThere ? chosen.id : best}
        onValueChange={(id) => setChosen({ best, id })}
        loop
        onKeyDown={(event) => {
          if (onKey?.(event)) event.preventDefault();
        }}
      >
        <Cmdk.Input
          className="palette-input"
          aria-label={label}
          placeholder={placeholder}
          spellCheck={false}
          value={query}
          onValueChange={onQuery}
        />
        <Cmdk.List className="palette-list" label="Results">
          {groups.map(
            ({ heading, items }) =>
              items.length > 0 && (
                <Cmdk.Group key={heading} heading={heading}>
                  {items.map((item) => (
                    <Cmdk.Item key={item.id} value={item.id} onSelect={() => run(item)}>
                      <span className="palette-content">{item.content}</span>
                      {item.keys && <Keys keys={item.keys} />}
                    </Cmdk.Item>
                  ))}
                </Cmdk.Group>
              ),
          )}
        </Cmdk.List>
        <div className="palette-foot soft">
          <span role="status">{note || (all.length === 0 ? "No results" : "")}</span>
          {tools}
        </div>
      </Cmdk>
    </Dialog>
  );
}

/** A key binding, each key by itself. */
function Keys({ keys }: { keys: string }) {
  return (
    <span className="palette-keys">
      {keys.split("+").map((key) => (
        <kbd key={key}>{key}</kbd>
      ))}
    </span>
  );
}
