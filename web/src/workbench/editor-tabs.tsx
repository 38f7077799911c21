// The tabs of the open files, with the buttons for side bar and terminals at both ends.
import { useSyncExternalStore, type KeyboardEvent as ReactKeyboardEvent } from "react";
import type { SharedDocument } from "../streams/shared-document";
import { Icon } from "../ui/icons";
import { useScrollIntoView } from "../ui/use-scroll-into-view";
import { nameOf, parentOf, displayName } from "../files/paths";
import { type OpenDocuments } from "../editor/use-documents";

interface EditorTabsProps {
  documents: OpenDocuments;
  side: boolean;
  panel: boolean;
  onSide: () => void;
  onPanel: () => void;
}

export function EditorTabs({ documents, side, panel, onSide, onPanel }: EditorTabsProps) {
  const { paths, active } = documents;
  const chosen = useScrollIntoView<HTMLDivElement>(active);
  const names = paths.map(nameOf);
  const onKey = (event: ReactKeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = active ? paths.indexOf(active) : -1;
    const next = by === undefined ? undefined : paths[(at + by + paths.length) % paths.length];
    if (!next) return;
    event.preventDefault();
    documents.activate(next);
  };
  return (
    <div className="tab-strip">
      <button
        className="icon-button pane-toggle"
        aria-label="Side bar"
        aria-pressed={side}
        title="Side bar (Ctrl+B)"
        onClick={onSide}
      >
        <Icon name="side" />
      </button>
      <div className="tabs" role="tablist" aria-label="Open files" onKeyDown={onKey}>
        {paths.map((path) => {
          const name = nameOf(path);
          const twice = names.filter((other) => other === name).length > 1;
          const shared = documents.shared(path);
          return (
            <div
              key={path}
              ref={path === active ? chosen : undefined}
              className={path === active ? "tab chosen" : "tab"}
            >
              <button
                role="tab"
                aria-selected={path === active}
                tabIndex={path === active ? 0 : -1}
                title={`~/${displayName(path)}`}
                onClick={() => documents.activate(path)}
                onAuxClick={(event) => event.button === 1 && documents.close(path)}
              >
                <span className="tab-name">{displayName(name)}</span>
                {twice && <span className="soft tab-name"> {displayName(parentOf(path)) || "~"}</span>}
              </button>
              <button
                className="tab-close"
                tabIndex={-1}
                aria-label={`Close ${displayName(name)}`}
                title="Close (Alt+W)"
                onClick={() => documents.close(path)}
              >
                {shared ? <CloseOrDot shared={shared} /> : <Icon name="close" size={13} />}
              </button>
            </div>
          );
        })}
      </div>
      <button
        className="icon-button pane-toggle"
        aria-label="Terminals"
        aria-pressed={panel}
        title="Terminals (Ctrl+J)"
        onClick={onPanel}
      >
        <Icon name="panel" />
      </button>
    </div>
  );
}

/** A dot while edits are not on disk yet. */
function CloseOrDot({ shared }: { shared: SharedDocument }) {
  const saved = useSyncExternalStore(shared.subscribe, () => shared.state.saved);
  return saved ? <Icon name="close" size={13} /> : <span className="unsaved" />;
}
