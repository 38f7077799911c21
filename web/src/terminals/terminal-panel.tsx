// The terminals of a workspace in tabs, with touch keys below them on small screens.
import { useState, type KeyboardEvent } from "react";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { focusSelectedTab } from "../ui/focus";
import { useScrollIntoView } from "../ui/use-scroll-into-view";
import { displayName } from "../files/paths";
import { TerminalView, type TerminalHandle } from "./terminal-view";
import type { TerminalTabs, TerminalTab } from "./use-terminals";

interface PanelProps {
  workspace: string;
  terminals: TerminalTabs;
  writable: boolean;
  visible: boolean;
  onHandle: (id: string, handle: TerminalHandle | null) => void;
  handle: (id: string) => TerminalHandle | undefined;
  /** Opens a link that a program has printed, by http or https. */
  onLink?: ((url: string) => void) | undefined;
}

export function TerminalPanel({
  workspace,
  terminals,
  writable,
  visible,
  onHandle,
  handle,
  onLink,
}: PanelProps) {
  const { tabs, active } = terminals;
  const [closing, setClosing] = useState<TerminalTab | null>(null);
  const [ctrl, setCtrl] = useState(false);
  const chosen = useScrollIntoView<HTMLDivElement>(active);
  // A terminal is attached when it is first shown, and stays attached.
  const [seen, setSeen] = useState<ReadonlySet<string>>(new Set());
  if (visible && active && !seen.has(active)) setSeen(new Set(seen).add(active));
  const hasTabs = tabs !== null && tabs.length > 0;
  const label = (tab: TerminalTab, index: number) => displayName(tab.title) || `Terminal ${index + 1}`;

  const askToClose = (tab: TerminalTab) => {
    if (tab.ended) terminals.close(tab.id).catch(() => terminals.removeTab(tab.id));
    else setClosing(tab);
  };
  const onKey = (event: KeyboardEvent) => {
    const at = tabs?.findIndex((tab) => tab.id === active) ?? -1;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tabs || at < 0) return;
    if (event.key === "Delete" && writable) {
      const tab = tabs[at];
      if (tab) askToClose(tab);
    }
    if (by === undefined) return;
    event.preventDefault();
    const next = tabs[(at + by + tabs.length) % tabs.length];
    if (!next) return;
    terminals.activate(next.id);
    focusSelectedTab(event.currentTarget);
  };
  const withCtrl = (data: string) => {
    if (!ctrl || data.length !== 1) return data;
    setCtrl(false);
    const code = data.toUpperCase().charCodeAt(0);
    return code >= 64 && code < 96 ? String.fromCharCode(code - 64) : data;
  };
  const press = (text: string) => active && handle(active)?.type(text);

  return (
    <>
      <div className="tab-strip">
        <div
          className="tabs"
          role={hasTabs ? "tablist" : undefined}
          aria-label={hasTabs ? "Terminals" : undefined}
          onKeyDown={onKey}
        >
          {tabs?.map((tab, index) => (
            <div
              key={tab.id}
              ref={tab.id === active ? chosen : undefined}
              className={tab.id === active ? "tab chosen" : "tab"}
            >
              <button
                role="tab"
                aria-selected={tab.id === active}
                tabIndex={tab.id === active ? 0 : -1}
                aria-keyshortcuts={writable ? "Delete" : undefined}
                title={label(tab, index)}
                onClick={() => {
                  terminals.activate(tab.id);
                  requestAnimationFrame(() => handle(tab.id)?.focus());
                }}
                onAuxClick={(event) => event.button === 1 && writable && askToClose(tab)}
              >
                <Icon name="terminal" size={14} />
                <span className={tab.ended ? "tab-name soft" : "tab-name"}>{label(tab, index)}</span>
              </button>
              {writable && (
                <button
                  className="tab-close"
                  // A list of tabs has only tabs for assistive technology: Delete closes them.
                  aria-hidden="true"
                  tabIndex={-1}
                  title="Close"
                  onClick={() => askToClose(tab)}
                >
                  <Icon name="close" size={13} />
                </button>
              )}
            </div>
          ))}
        </div>
        {writable && (
          <button
            className="icon-button"
            aria-label="New terminal"
            title="New terminal (Ctrl+Shift+`)"
            onClick={() => void terminals.create()}
          >
            <Icon name="plus" />
          </button>
        )}
      </div>
      <div className="terminals">
        {terminals.failure && tabs === null && (
          <div className="terminal-empty">
            <p className="soft">{terminals.failure}</p>
            <button className="button" onClick={() => void terminals.refresh()}>
              Retry
            </button>
          </div>
        )}
        {tabs?.length === 0 && (
          <div className="terminal-empty">
            <p className="soft">No open terminals</p>
            {writable && (
              <button className="button" onClick={() => void terminals.create()}>
                New terminal
              </button>
            )}
          </div>
        )}
        {tabs?.map(
          (tab, index) =>
            seen.has(tab.id) && (
              <TerminalView
                key={tab.id}
                workspace={workspace}
                id={tab.id}
                active={tab.id === active && visible}
                readOnly={!writable}
                label={`${label(tab, index)}. Press Ctrl+\` to leave the terminal.`}
                transform={withCtrl}
                onLink={onLink}
                onTitle={(title) => terminals.updateTab(tab.id, { title })}
                onExit={() => terminals.updateTab(tab.id, { ended: true })}
                onGone={() => terminals.removeTab(tab.id)}
                onRestart={() => {
                  terminals.close(tab.id).catch(() => terminals.removeTab(tab.id));
                  void terminals.create();
                }}
                onPlainShell={() => {
                  if (tab.ended) terminals.close(tab.id).catch(() => terminals.removeTab(tab.id));
                  void terminals.create(true);
                }}
                onHandle={(made) => onHandle(tab.id, made)}
              />
            ),
        )}
      </div>
      {writable && hasTabs && (
        <div className="touch-keys" role="toolbar" aria-label="Keys">
          <button onClick={() => press("\x1b")}>Esc</button>
          <button onClick={() => press("\t")}>Tab</button>
          <button aria-pressed={ctrl} onClick={() => setCtrl(!ctrl)}>
            Ctrl
          </button>
          <button onClick={() => press("\x03")}>^C</button>
          <button aria-label="Up" onClick={() => press("\x1b[A")}>
            ↑
          </button>
          <button aria-label="Down" onClick={() => press("\x1b[B")}>
            ↓
          </button>
          <button aria-label="Left" onClick={() => press("\x1b[D")}>
            ←
          </button>
          <button aria-label="Right" onClick={() => press("\x1b[C")}>
            →
          </button>
        </div>
      )}
      {closing && (
        <ConfirmDialog
          title={`Close ${displayName(closing.title) || "the terminal"}?`}
          text="The shell and its programs end, for every viewer."
          action="Close terminal"
          onClose={() => setClosing(null)}
          onConfirm={() => terminals.close(closing.id)}
        />
      )}
    </>
  );
}
