// The workbench of a running workspace: explorer, editor tabs, terminals and status bar. Commands,
// key bindings and focus are in modules of their own; this component holds the layout and connects
// the parts.
import { useEffect, useMemo, useRef, useState } from "react";
import type { Workspace } from "../api/types";
import { useUser } from "../auth/session";
import { useKeyBindings } from "../ui/use-keys";
import { navigate } from "../ui/router";
import { setTheme, useIsDark } from "../ui/theme";
import { toast } from "../ui/toasts";
import { BottomBar, type Pane } from "./bottom-bar";
import { afterRender, focusTarget, isTerminalFocused, nextRegion, type Region } from "./focus-regions";
import { keyBinding, workbenchCommands, type WorkbenchActions } from "./workbench-commands";
import { Editor, type Cursor } from "../editor/editor";
import { readLayout, writeLayout } from "./layout";
import { Splitter } from "../ui/splitter";
import { useNarrow } from "../ui/use-narrow";
import { StatusBar } from "./status-bar";
import type { TerminalHandle } from "../terminals/terminal-view";
import { TerminalPanel } from "../terminals/terminal-panel";
import { useTerminals } from "../terminals/use-terminals";
import { Explorer } from "../files/explorer";
import { visibleRows } from "../files/tree-model";
import { useDocuments } from "../editor/use-documents";
import { useFileTree } from "../files/use-file-tree";
import { EditorTabs } from "./editor-tabs";
import { WorkbenchPalette } from "./workbench-palette";

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
  const [palette, setPalette] = useState<"commands" | "files" | null>(null);
  const root = useRef<HTMLDivElement>(null);
  const writable = workspace.access === "write";
  const files = useFileTree(workspace.id, first.expanded);
  const documents = useDocuments(workspace.id, user, { paths: first.open, active: first.active });
  const terminals = useTerminals(workspace.id, writable, first.terminal, files.connection);
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

  const activeTerminal = () => (terminals.active ? handles.current.get(terminals.active) : undefined);
  const open = (path: string) => {
    documents.open(path);
    setPane("editor");
  };
  const focusExplorer = () => {
    setSide(true);
    setPane("files");
    focusTarget(root, "files");
  };
  const focusEditor = () => {
    setPane("editor");
    focusTarget(root, "editor");
  };
  const focusTerminal = () => {
    setPanel(true);
    setPane("terminal");
    afterRender(() => activeTerminal()?.focus());
  };
  const focusRegion: Record<Region, () => void> = {
    files: focusExplorer,
    editor: focusEditor,
    terminal: focusTerminal,
    status: () => focusTarget(root, "status"),
  };
  const actions: WorkbenchActions = {
    focusExplorer,
    focusEditor,
    focusTerminal,
    cycleRegion: (by) => focusRegion[nextRegion(by)](),
    newTerminal: () => {
      focusTerminal();
      void terminals.create();
    },
    newPlainShell: () => {
      focusTerminal();
      void terminals.create(true);
    },
    toggleSideBar: () => setSide(!side),
    togglePanel: () => setPanel(!panel),
    closeTab: () => {
      if (!documents.active) return;
      documents.close(documents.active);
      // The focus stays in the editor: in the next tab, or in the empty area.
      focusEditor();
    },
    nextTab: (by) => {
      const { paths, active } = documents;
      const at = active ? paths.indexOf(active) : -1;
      const next = paths[(at + by + paths.length) % paths.length];
      if (next) documents.activate(next);
    },
    reportSaved: () => {
      const shared = documents.active ? documents.shared(documents.active) : undefined;
      if (shared) toast(shared.state.saved ? "Saved" : "Saving… Changes are saved automatically.");
    },
    openPalette: () => setPalette("commands"),
    openFilePalette: () => setPalette("files"),
    toggleTheme: () => setTheme(isDark ? "light" : "dark"),
    openHistory: (file) => {
      const query = file === null ? "" : `?${new URLSearchParams({ file })}`;
      navigate(`/workspaces/${workspace.id}/history${query}`);
    },
    fork: onFork,
    refreshFiles: () => files.retry(),
  };
  useKeyBindings((event) =>
    keyBinding(event, actions, {
      writable,
      isTerminalFocused: isTerminalFocused(),
      isFullScreen: activeTerminal()?.fullScreen() ?? false,
    }),
  );
  const commands = workbenchCommands(actions, {
    writable,
    sideBar: side,
    panel,
    isDark,
    file: documents.active,
  });
  const listedFiles = useMemo(() => {
    if (palette === null) return [];
    const rows = visibleRows(files.directories, new Set(files.directories.keys()), true);
    return rows.filter((row) => row.entry.kind === "file" && row.entry.utf8).map((row) => row.path);
  }, [palette, files.directories]);

  const terminalVisible = narrow ? pane === "terminal" : panel;
  const style = useMemo(
    () => ({ "--side-width": `${sideWidth}px`, "--panel-height": `${panelHeight}px` }) as React.CSSProperties,
    [sideWidth, panelHeight],
  );
  return (
    <div ref={root} className="workbench" data-pane={pane} style={style}>
      {files.connection === "waiting" && (
        <div className="connection-banner" role="status">
          Reconnecting… You can keep typing in the editor.
          <button className="link-button" onClick={files.retry}>
            Retry now
          </button>
        </div>
      )}
      <div className="columns">
        {(side || narrow) && (
          <>
            <aside className="side" data-region="files" aria-label="Explorer">
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
              label="Side bar width"
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
                  <p>Open a file in the Explorer{writable ? ", or create one" : ""}.</p>
                  <p className="small">
                    <kbd>Ctrl+P</kbd> go to file · <kbd>F1</kbd> command palette · <kbd>Ctrl+`</kbd> terminal
                  </p>
                </div>
              )}
            </div>
          </section>
          {panel && !narrow && (
            <Splitter
              kind="row"
              label="Terminal height"
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
      <BottomBar pane={pane} onChange={setPane} />
      {palette && (
        <WorkbenchPalette
          workspace={workspace.id}
          commands={commands}
          known={listedFiles}
          filesFirst={palette === "files"}
          onOpen={open}
          onClose={() => setPalette(null)}
        />
      )}
    </div>
  );
}
