// The terminals of a workspace in tabs, with touch keys below them on small screens.
import { useEffect, useRef, useState, type KeyboardEvent, type MouseEvent } from "react";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { ContextMenu } from "../ui/menu";
import { focusSelectedTab } from "../ui/focus";
import { useScrollIntoView } from "../ui/use-scroll-into-view";
import { displayName } from "../files/paths";
import { RenameTerminalDialog } from "./rename-terminal-dialog";
import { groupOf } from "./split-model";
import { TerminalView, type OpenFile, type TerminalHandle } from "./terminal-view";
import { terminalLabel, type TerminalTabs } from "./use-terminals";

interface PanelProps {
  workspace: string;
  terminals: TerminalTabs;
  writable: boolean;
  visible: boolean;
  /** Small screens show one terminal at a time. */
  isNarrow: boolean;
  onHandle: (id: string, handle: TerminalHandle | null) => void;
  handle: (id: string) => TerminalHandle | undefined;
  /** Opens a link that a program has printed, by http or https. */
  onLink?: ((url: string) => void) | undefined;
  onOpenFile?: OpenFile | undefined;
}

export function TerminalPanel({
  workspace,
  terminals,
  writable,
  visible,
  isNarrow,
  onHandle,
  handle,
  onLink,
  onOpenFile,
}: PanelProps) {
  const { tabs, active, groups, question, askToClose, askToRename } = terminals;
  const [menu, setMenu] = useState<{ x: number; y: number; id: string } | null>(null);
  const [ctrl, setCtrl] = useState(false);
  const chosen = useScrollIntoView<HTMLDivElement>(active);
  // A terminal is attached when it is first shown, and stays attached.
  const [seen, setSeen] = useState<ReadonlySet<string>>(new Set());
  const together = active === null ? [] : isNarrow ? [active] : groupOf(groups, active);
  if (visible && together.some((id) => !seen.has(id))) setSeen(new Set([...seen, ...together]));
  const hasTabs = tabs !== null && tabs.length > 0;
  // The keyboard follows from the terminal that had it to the one that was opened or chosen.
  const previous = useRef(active);
  useEffect(() => {
    const isLeft = previous.current !== null && previous.current !== active;
    previous.current = active;
    if (isLeft && active && document.activeElement?.closest(".terminals")) handle(active)?.focus();
  }, [active, handle]);

  const onKey = (event: KeyboardEvent) => {
    const at = tabs?.findIndex((tab) => tab.id === active) ?? -1;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tabs || at < 0) return;
    if (event.key === "Delete" && writable) askToClose(active);
    if (event.key === "F2" && writable) askToRename(active);
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
  const openMenu = (event: MouseEvent, id: string) => {
    event.preventDefault();
    if (writable) setMenu({ x: event.clientX, y: event.clientY, id });
  };
  /** Whether a tab is shown together with the one before it. */
  const isJoined = (index: number) => {
    const [before, tab] = [tabs?.[index - 1], tabs?.[index]];
    return Boolean(before && tab && groupOf(groups, tab.id).includes(before.id));
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
              className={["tab", tab.id === active && "chosen", isJoined(index) && "joined"]
                .filter(Boolean)
                .join(" ")}
              onContextMenu={(event) => openMenu(event, tab.id)}
            >
              <button
                role="tab"
                aria-selected={tab.id === active}
                tabIndex={tab.id === active ? 0 : -1}
                aria-keyshortcuts={writable ? "Delete F2" : undefined}
                title={terminalLabel(tab, index)}
                onClick={() => {
                  terminals.activate(tab.id);
                  requestAnimationFrame(() => handle(tab.id)?.focus());
                }}
                onAuxClick={(event) => event.button === 1 && writable && askToClose(tab.id)}
              >
                <Icon name={isJoined(index) ? "split" : "terminal"} size={14} />
                <span className={tab.ended ? "tab-name soft" : "tab-name"}>{terminalLabel(tab, index)}</span>
              </button>
              {writable && (
                <button
                  className="tab-close"
                  // A list of tabs has only tabs for assistive technology: Delete closes them.
                  aria-hidden="true"
                  tabIndex={-1}
                  title="Close"
                  onClick={() => askToClose(tab.id)}
                >
                  <Icon name="close" size={13} />
                </button>
              )}
            </div>
          ))}
        </div>
        {writable && hasTabs && !isNarrow && (
          <button
            className="icon-button"
            aria-label="Split terminal"
            title="Split terminal (Ctrl+Shift+5)"
            onClick={() => void terminals.split()}
          >
            <Icon name="split" />
          </button>
        )}
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
                shown={together.includes(tab.id) && visible}
                readOnly={!writable}
                canSplit={!isNarrow}
                home={terminals.home}
                label={`${terminalLabel(tab, index)}. Press Ctrl+\` to leave the terminal.`}
                transform={withCtrl}
                onLink={onLink}
                onOpenFile={onOpenFile}
                onFocus={() => terminals.activate(tab.id)}
                onSplit={() => void terminals.split()}
                onRename={() => askToRename(tab.id)}
                onClose={() => askToClose(tab.id)}
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
      {menu && (
        <ContextMenu
          label="Terminal"
          x={menu.x}
          y={menu.y}
          items={[
            { label: "Rename…", keys: "F2", run: () => askToRename(menu.id) },
            { label: "Close…", icon: "close", keys: "Del", danger: true, run: () => askToClose(menu.id) },
          ]}
          onClose={() => {
            setMenu(null);
            handle(menu.id)?.focus();
          }}
        />
      )}
      {question?.kind === "rename" && (
        <RenameTerminalDialog
          workspace={workspace}
          id={question.tab.id}
          name={question.tab.name || displayName(question.tab.title)}
          onDone={({ name }) => terminals.updateTab(question.tab.id, { name: name ?? "" })}
          onClose={terminals.endQuestion}
        />
      )}
      {question?.kind === "close" && (
        <ConfirmDialog
          title={`Close ${displayName(question.tab.name || question.tab.title) || "the terminal"}?`}
          text="The shell and its programs end, for every viewer."
          action="Close terminal"
          onClose={terminals.endQuestion}
          onConfirm={() => terminals.close(question.tab.id)}
        />
      )}
    </>
  );
}
