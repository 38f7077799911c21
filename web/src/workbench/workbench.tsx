// Files, editor, terminals and status of a running workspace, and the keys that lead from one to the other.
import {
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
  type KeyboardEvent as ReactKeyboardEvent,
} from "react";
import type { Workspace } from "../api/types";
import type { SharedDocument } from "../streams/shared-document";
import { useUser } from "../auth/session";
import { Icon } from "../ui/icons";
import { useKeyBindings } from "../ui/use-keys";
import { navigate } from "../ui/router";
import { setTheme, useIsDark } from "../ui/theme";
import { toast } from "../ui/toasts";
import { Editor, type Cursor } from "../editor/editor";
import { readLayout, writeLayout } from "./layout";
import { Splitter } from "../ui/splitter";
import { useNarrow } from "../ui/use-narrow";
import { CommandPalette } from "../ui/command-palette";
import { type Command } from "../ui/commands";
import { nameOf, parentOf, displayName } from "../files/paths";
import { StatusBar } from "./status-bar";
import type { TerminalHandle } from "../terminals/terminal-view";
import { TerminalPanel } from "../terminals/terminal-panel";
import { useTerminals } from "../terminals/use-terminals";
import { Explorer } from "../files/explorer";
import { visibleRows } from "../files/tree-model";
import { useDocuments, type OpenDocuments } from "../editor/use-documents";
import { useFileTree } from "../files/use-file-tree";

type Pane = "files" | "editor" | "terminal";
const MIN_SIDE = 150;
const MIN_PANEL = 90;

interface Props {
  workspace: Workspace;
  /** Whether the workspace's event stream is connected. */
  connected: boolean;
  onFork: () => void;
}

export function Workbench({ workspace, connected, onFork }: Props) {
  const user = useUser();
  const isDark = useIsDark();
  const [first] = useState(() => readLayout(workspace.id));
  const [side, setSide] = useState(first.side);
  const [sideWidth, setSideWidth] = useState(first.sideWidth);
  const [panel, setPanel] = useState(first.panel);
  const [panelHeight, setPanelHeight] = useState(first.panelHeight);
  const [pane, setPane] = useState<Pane>(first.active ? "editor" : "terminal");
  const [cursor, setCursor] = useState<Cursor | null>(null);
  const [palette, setPalette] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const writable = workspace.access === "write";
  const files = useFileTree(workspace.id, first.expanded);
  const documents = useDocuments(workspace.id, user, { paths: first.open, active: first.active });
  const terminals = useTerminals(workspace.id, writable, first.terminal);
  const handles = useRef(new Map<string, TerminalHandle>());
  const narrow = useNarrow();

  useEffect(() => {
    writeLayout(workspace.id, {
      side,
      sideWidth,
      panel,
      panelHeight,
      expanded: [...files.expanded],
      open: documents.paths,
      active: documents.active,
      terminal: terminals.active,
    });
  }, [
    workspace.id,
    side,
    sideWidth,
    panel,
    panelHeight,
    files.expanded,
    documents.paths,
    documents.active,
    terminals.active,
  ]);

  const open = (path: string) => {
    documents.open(path);
    setPane("editor");
  };
  const focusTree = () => {
    setSide(true);
    setPane("files");
    later(() => root.current?.querySelector<HTMLElement>('[role="treeitem"][tabindex="0"]')?.focus());
  };
  const focusEditor = () => {
    setPane("editor");
    later(() =>
      root.current?.querySelector<HTMLElement>(".editor:not([hidden]) .cm-content, .editor-empty")?.focus(),
    );
  };
  const focusTerminal = () => {
    setPanel(true);
    setPane("terminal");
    later(() => (terminals.active ? handles.current.get(terminals.active)?.focus() : undefined));
  };
  const inTerminal = () =>
    document.activeElement?.closest(".terminals") !== null && document.activeElement !== null;
  const fullScreen = () =>
    (terminals.active ? handles.current.get(terminals.active)?.fullScreen() : false) ?? false;
  const newTerminal = () => {
    focusTerminal();
    void terminals.create();
  };
  const nextTab = (by: number) => {
    const { paths, active } = documents;
    const at = active ? paths.indexOf(active) : -1;
    const next = paths[(at + by + paths.length) % paths.length];
    if (next) documents.activate(next);
  };
  const cycle = (by: number) => {
    const regions: [string, () => void][] = [
      ["files", focusTree],
      ["editor", focusEditor],
      ["terminal", focusTerminal],
      ["status", () => root.current?.querySelector<HTMLElement>('[data-region="status"]')?.focus()],
    ];
    const here = document.activeElement?.closest<HTMLElement>("[data-region]")?.dataset["region"];
    const at = regions.findIndex(([name]) => name === here);
    regions[(at + by + regions.length) % regions.length]?.[1]();
  };
  const closeTab = () => {
    if (!documents.active) return;
    documents.close(documents.active);
    // The keys stay where they were: with the next text, or the empty place.
    focusEditor();
  };

  const pastOf = (path: string | null) =>
    navigate(`/workspaces/${workspace.id}/history?${new URLSearchParams({ file: path ?? "" })}`);

  const commands: Command[] = [
    { label: "Focus files", keys: "Ctrl+Shift+E", run: focusTree },
    { label: "Focus editor", keys: "F6", run: focusEditor },
    { label: "Show or leave the terminal", keys: "Ctrl+`", run: focusTerminal },
    ...(writable ? [{ label: "New terminal", keys: "Ctrl+Shift+`", run: newTerminal }] : []),
    { label: side ? "Hide the side bar" : "Show the side bar", keys: "Ctrl+B", run: () => setSide(!side) },
    {
      label: panel ? "Hide the terminals" : "Show the terminals",
      keys: "Ctrl+J",
      run: () => setPanel(!panel),
    },
    { label: "Close the tab", keys: "Alt+W", run: () => closeTab() },
    { label: "Next tab", keys: "Ctrl+PgDn", run: () => nextTab(1) },
    { label: "Previous tab", keys: "Ctrl+PgUp", run: () => nextTab(-1) },
    { label: isDark ? "Light theme" : "Dark theme", run: () => setTheme(isDark ? "light" : "dark") },
    { label: "History of the home", run: () => navigate(`/workspaces/${workspace.id}/history`) },
    ...(documents.active ? [{ label: "History of this file", run: () => pastOf(documents.active) }] : []),
    { label: "Fork the workspace…", run: onFork },
    { label: "Read the files anew", run: () => files.retry() },
  ];
  const known: Command[] = palette
    ? visibleRows(files.directories, new Set(files.directories.keys()), true)
        .filter((row) => row.entry.kind === "file" && row.entry.utf8)
        .map((row) => ({ label: displayName(row.path), run: () => open(row.path) }))
    : [];

  const sayWhetherSaved = () => {
    const shared = documents.active ? documents.shared(documents.active) : undefined;
    if (shared)
      toast(shared.state.saved ? "Saved" : "Every change is saved by itself as soon as it has arrived.");
  };
  useKeyBindings((event) => {
    const ctrl = (event.ctrlKey || event.metaKey) && !event.altKey;
    const shift = event.shiftKey;
    // What a shell or a program may want is its own while one types there.
    const terminal = inTerminal();
    if (ctrl && event.code === "Backquote")
      return shift ? (writable ? newTerminal : null) : terminal ? focusEditor : focusTerminal;
    if (ctrl && shift && event.code === "KeyE") return focusTree;
    if (ctrl && shift && event.code === "KeyP") return () => setPalette(true);
    if (event.key === "F6" && !ctrl && !(terminal && fullScreen())) return () => cycle(shift ? -1 : 1);
    if (terminal) return null;
    if (event.key === "F1" || (ctrl && !shift && event.code === "KeyP")) return () => setPalette(true);
    if (ctrl && !shift && event.code === "KeyB") return () => setSide(!side);
    if (ctrl && !shift && event.code === "KeyJ") return () => setPanel(!panel);
    if (ctrl && !shift && event.code === "KeyS") return sayWhetherSaved;
    if (event.altKey && !event.ctrlKey && event.code === "KeyW") return closeTab;
    if (ctrl && event.key === "PageDown") return () => nextTab(1);
    if (ctrl && event.key === "PageUp") return () => nextTab(-1);
    return null;
  });

  const terminalVisible = narrow ? pane === "terminal" : panel;
  const style = useMemo(
    () => ({ "--side-width": `${sideWidth}px`, "--panel-height": `${panelHeight}px` }) as React.CSSProperties,
    [sideWidth, panelHeight],
  );
  return (
    <div ref={root} className="workbench" data-pane={pane} style={style}>
      {files.connection === "waiting" && (
        <div className="connection-banner" role="status">
          The connection is lost. Trying again; you can go on typing in the editor.
          <button className="link-button" onClick={files.retry}>
            Try now
          </button>
        </div>
      )}
      <div className="columns">
        {(side || narrow) && (
          <>
            <aside className="side" data-region="files" aria-label="Files">
              <Explorer
                workspace={workspace.id}
                files={files}
                writable={writable}
                active={documents.active}
                onOpen={open}
                onRenamed={documents.renamed}
                onRemoved={documents.removed}
              />
            </aside>
            <Splitter
              kind="column"
              label="Width of the side bar"
              value={sideWidth}
              min={MIN_SIDE}
              max={() => window.innerWidth * 0.6}
              onChange={setSideWidth}
            />
          </>
        )}
        <main className="centre">
          <section className="editors" data-region="editor" aria-label="Editor">
            <EditorTabs
              documents={documents}
              side={side}
              panel={panel}
              onSide={() => setSide(!side)}
              onPanel={() => setPanel(!panel)}
            />
            <div className="editor-stack">
              {documents.paths.map((path) => {
                const shared = documents.shared(path);
                return (
                  shared && (
                    <Editor
                      key={path}
                      workspace={workspace.id}
                      path={path}
                      shared={shared}
                      active={path === documents.active && (!narrow || pane === "editor")}
                      onCursor={setCursor}
                      onClose={() => documents.close(path)}
                    />
                  )
                );
              })}
              {documents.paths.length === 0 && (
                <div className="editor-empty soft" tabIndex={-1}>
                  <p>Open a file from the tree{writable ? ", or make one there" : ""}.</p>
                  <p className="small">
                    <kbd>F1</kbd> shows all commands · <kbd>Ctrl+`</kbd> leads to the terminal
                  </p>
                </div>
              )}
            </div>
          </section>
          {panel && !narrow && (
            <Splitter
              kind="row"
              label="Height of the terminals"
              value={panelHeight}
              min={MIN_PANEL}
              max={() => window.innerHeight * 0.8}
              onChange={setPanelHeight}
            />
          )}
          <section
            className="panel-pane"
            data-region="terminal"
            aria-label="Terminals"
            hidden={!terminalVisible}
          >
            <TerminalPanel
              workspace={workspace.id}
              terminals={terminals}
              writable={writable}
              visible={terminalVisible}
              onHandle={(id, handle) => {
                if (handle) handles.current.set(id, handle);
                else handles.current.delete(id);
              }}
              handle={(id) => handles.current.get(id)}
            />
          </section>
        </main>
      </div>
      <StatusBar
        workspace={workspace}
        connected={connected}
        link={files.connection}
        path={documents.active}
        shared={documents.active ? documents.shared(documents.active) : undefined}
        cursor={documents.active ? cursor : null}
      />
      <nav className="bottom-bar" aria-label="Panes">
        {(
          [
            ["files", "Files", "folder"],
            ["editor", "Editor", "file"],
            ["terminal", "Terminal", "terminal"],
          ] as const
        ).map(([name, label, icon]) => (
          <button key={name} aria-pressed={pane === name} onClick={() => setPane(name)}>
            <Icon name={icon} />
            {label}
          </button>
        ))}
      </nav>
      {palette && <CommandPalette commands={commands} files={known} onClose={() => setPalette(false)} />}
    </div>
  );
}

/** After React has shown what changed. */
function later(run: () => void): void {
  requestAnimationFrame(() => requestAnimationFrame(run));
}

interface EditorTabsProps {
  documents: OpenDocuments;
  side: boolean;
  panel: boolean;
  onSide: () => void;
  onPanel: () => void;
}

function EditorTabs({ documents, side, panel, onSide, onPanel }: EditorTabsProps) {
  const { paths, active } = documents;
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
            <div key={path} className={path === active ? "tab chosen" : "tab"}>
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

/** A dot while edits are not on the disk. */
function CloseOrDot({ shared }: { shared: SharedDocument }) {
  const saved = useSyncExternalStore(shared.subscribe, () => shared.state.saved);
  return saved ? <Icon name="close" size={13} /> : <span className="unsaved" />;
}
