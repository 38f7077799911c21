// The workbench of a running workspace: explorer, editor tabs, terminals and status bar. Commands,
// key bindings and focus are in modules of their own; this component holds the layout and connects
// the parts.
import { useEffect, useMemo, useRef, useState } from "react";
import type { EditorView } from "@codemirror/view";
import type { Workspace } from "../api/types";
import { useUser } from "../auth/session";
import { isApple } from "../ui/platform";
import { useKeyBindings } from "../ui/use-keys";
import { navigate } from "../ui/router";
import { SettingsDialog } from "../settings/settings-dialog";
import { useWorkspacePreferences } from "../settings/preferences-sync";
import { trimLineEnds } from "../editor/trim";
import { setTheme, useIsDark } from "../ui/theme";
import { setPreference, usePreferences } from "../ui/preferences";
import { recordRecent } from "../ui/recent";
import { copyText, toast } from "../ui/toasts";
import { BottomBar, type Pane } from "./bottom-bar";
import {
  afterRender,
  focusTarget,
  isFindPanelFocused,
  isTerminalFocused,
  nextRegion,
  type Region,
} from "./focus-regions";
import { keyBinding, workbenchCommands, type WorkbenchActions } from "./workbench-commands";
import type { Cursor } from "../editor/editor";
import { openFind } from "../editor/find-panel";
import type { Reveal } from "../editor/reveal";
import {
  activateTab,
  closeTabs,
  focusedGroup,
  focusGroup,
  keepTab,
  reopenTab,
  splitGroup,
} from "../editor/tab-model";
import { diffTabPath, fileOfTab, isDiffTab, type DiffTab } from "../git/diff-tab";
import { gitCommands } from "../git/git-commands";
import { GitDialogs } from "../git/git-dialogs";
import { changeCount, decorationsOf } from "../git/git-model";
import { SourceControl } from "../git/source-control";
import { useEditorMarks } from "../git/use-editor-marks";
import { useGit } from "../git/use-git";
import { useGitActions } from "../git/use-git-actions";
import { findSymbols } from "../languages/edit-actions";
import { FileLanguage, type LanguageHost } from "../languages/file-language";
import {
  countProblems,
  nextProblem as nextProblemOf,
  problemFiles,
  type Place,
} from "../languages/places-model";
import { Outline } from "../languages/outline";
import { ProblemsView } from "../languages/problems-view";
import { ReferencesView } from "../languages/references-view";
import { useOutline } from "../languages/use-outline";
import { useLanguageActions } from "../languages/use-language-actions";
import type { SymbolSource } from "../languages/use-symbols";
import { openLocation, useLanguages } from "../languages/use-languages";
import { localAddress, canShowPreviews, previewPage } from "../ports/ports-model";
import { PortsView } from "../ports/ports-view";
import { PreviewPane, type ShownPreview } from "../ports/preview-pane";
import { usePorts } from "../ports/use-ports";
import { SearchView } from "../search/search-view";
import { useSearch } from "../search/use-search";
import { ActivityBar, type SideView } from "./activity-bar";
import { EditorGroups, viewKey, type FileReveal } from "./editor-groups";
import { hasOpenFile, readLayout, tabsOf, writeLayout } from "./layout";
import type { TextPosition } from "./quick-open";
import { Splitter } from "../ui/splitter";
import { useNarrow } from "../ui/use-narrow";
import { StatusBar } from "./status-bar";
import type { TerminalHandle } from "../terminals/terminal-view";
import { TerminalPanel } from "../terminals/terminal-panel";
import { useTerminals } from "../terminals/use-terminals";
import { Explorer, type TreeReveal } from "../files/explorer";
import { visibleRows } from "../files/tree-model";
import { useDocuments } from "../editor/use-documents";
import { childOf, displayName } from "../files/paths";
import { useFileTree } from "../files/use-file-tree";
import { WorkbenchPalette } from "./workbench-palette";

const MIN_SIDE = 150;
const MIN_PANEL = 90;

const viewNames: Record<SideView, string> = {
  explorer: "Explorer",
  search: "Search",
  git: "Source Control",
  problems: "Problems",
  ports: "Ports",
};

/** Panes of narrow windows that show a view of the side bar beside the Explorer. */
const isSidePane = (pane: Pane): pane is Exclude<SideView, "explorer"> =>
  pane === "search" || pane === "git" || pane === "problems" || pane === "ports";

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
  const [view, setView] = useState<SideView>(first.view);
  const [outline, setOutline] = useState(first.outline);
  const [pane, setPane] = useState<Pane>(hasOpenFile(first) ? "editor" : "terminal");
  const [cursor, setCursor] = useState<Cursor | null>(null);
  /** What is typed in the palette. Null: it is closed. */
  const [palette, setPalette] = useState<string | null>(null);
  const [reveal, setReveal] = useState<FileReveal | null>(null);
  const [treeReveal, setTreeReveal] = useState<TreeReveal | null>(null);
  const [searchRequest, setSearchRequest] = useState(0);
  const [gitRequest, setGitRequest] = useState(0);
  /** Changes when an editor has come or gone. */
  const [viewCount, setViewCount] = useState(0);
  useWorkspacePreferences(workspace.id);
  const { wordWrap, inlineBlame, trimOnSave, formatOnSave, editorFontSize } = usePreferences();
  const [isSettings, setSettings] = useState(false);
  const [preview, setPreview] = useState<ShownPreview | null>(null);
  const root = useRef<HTMLDivElement>(null);
  const writable = workspace.access === "write";
  const files = useFileTree(workspace.id, first.expanded);
  const [firstTabs] = useState(() => tabsOf(first));
  const documents = useDocuments(workspace.id, user, firstTabs);
  const { tabs } = documents;
  const search = useSearch(workspace.id);
  const terminals = useTerminals(
    workspace.id,
    writable,
    { active: first.terminal, groups: first.terminalGroups },
    files.connection,
  );
  const handles = useRef(new Map<string, TerminalHandle>());
  const views = useRef(new Map<string, EditorView>());
  const narrow = useNarrow();
  const isDiff = documents.active !== null && isDiffTab(documents.active);
  /** The file in front, of which the changes may be shown. */
  const activeFile = documents.active && fileOfTab(documents.active);
  /** Where a repository may have appeared or gone. Changed files do not matter. */
  const folders = useMemo(() => {
    const root = files.directories.get("");
    if (!root) return null;
    return root.entries.flatMap(({ kind, name }) => (kind === "directory" ? [name] : [])).join("/");
  }, [files.directories]);
  const git = useGit(workspace.id, activeFile, folders);
  const gitActions = useGitActions(git);
  const decorations = useMemo(() => decorationsOf(git.repository, git.status), [git.repository, git.status]);
  useEditorMarks({ git, actions: gitActions, documents, views, viewCount, writable });
  const languages = useLanguages(workspace.id);
  const { diagnostics } = languages.state;
  const problems = useMemo(() => problemFiles(diagnostics.values()), [diagnostics]);
  const problemCount = useMemo(() => countProblems(problems), [problems]);
  /** What the editors' keys of language servers do. Set after the first render. */
  const host = useRef<LanguageHost | null>(null);
  const ports = usePorts(workspace.id, ({ port, process }) => {
    if (!writable || !canShowPreviews(ports.settings?.preview ?? null, window.location.hostname)) return;
    const program = process ? displayName(process) : "A program";
    toast(`${program} listens on port ${port}.`, { label: "Open", run: () => openPreview(port) });
  });

  useEffect(() => {
    writeLayout(workspace.id, {
      side,
      view,
      outline,
      sideWidth,
      panel,
      panelHeight,
      expanded: [...files.expanded],
      groups: tabs.groups,
      focusedGroup: tabs.focused,
      terminal: terminals.active,
      terminalGroups: terminals.groups,
    });
  }, [
    workspace.id,
    side,
    view,
    outline,
    sideWidth,
    panel,
    panelHeight,
    files.expanded,
    tabs,
    terminals.active,
    terminals.groups,
  ]);

  useEffect(() => {
    if (documents.active && !isDiffTab(documents.active))
      recordRecent(`files.${workspace.id}`, documents.active);
  }, [workspace.id, documents.active]);

  const activeTerminal = () => (terminals.active ? handles.current.get(terminals.active) : undefined);
  const activeView = () =>
    documents.active ? views.current.get(viewKey(focusedGroup(tabs).id, documents.active)) : undefined;
  const open = (path: string, isPreview = false) => {
    documents.open(path, isPreview);
    setPane("editor");
  };
  const openAt = (path: string, place: Reveal, isPreview: boolean) => {
    open(path, isPreview);
    setReveal({ path, place });
  };
  const focusEditor = () => {
    setPane("editor");
    focusTarget(root, "editor");
  };
  const goToLine = (path: string, { line, column }: TextPosition) => {
    openAt(path, { line, column: column - 1, length: 0 }, false);
    focusEditor();
  };
  const [fileLanguage] = useState(() => {
    const known = new Map<string, FileLanguage>();
    return (path: string) => {
      const file = known.get(path) ?? new FileLanguage(languages.client, path, () => host.current);
      known.set(path, file);
      return file;
    };
  });
  const showView = (view: SideView) => {
    setView(view);
    setSide(true);
    setPane(view === "explorer" ? "files" : view);
  };
  const focusExplorer = () => {
    showView("explorer");
    focusTarget(root, "files");
  };
  const focusSearch = (isReplacing: boolean) => {
    const editor = activeView();
    const { from = 0, to = 0 } = editor?.state.selection.main ?? {};
    const selected = editor?.hasFocus ? editor.state.sliceDoc(from, to) : "";
    const pattern = selected !== "" && !selected.includes("\n") ? { pattern: selected } : {};
    search.change({ isReplacing, ...pattern });
    showView("search");
    setSearchRequest((request) => request + 1);
  };
  const focusSourceControl = () => {
    showView("git");
    setGitRequest((request) => request + 1);
  };
  const openDiff = (diff: DiffTab, isPreview: boolean) => {
    open(diffTabPath(diff), isPreview);
    if (!isPreview) focusEditor();
  };
  const focusPorts = () => {
    showView("ports");
    afterRender(() => root.current?.querySelector<HTMLElement>(".ports-view button")?.focus());
  };
  const focusProblems = () => {
    showView("problems");
    afterRender(() => root.current?.querySelector<HTMLElement>(".places-view [tabindex='0']")?.focus());
  };
  const showPlace = (path: string, { range: { start, end } }: Place, isPreview: boolean) => {
    const length = end.line === start.line ? end.column - start.column : 0;
    openAt(path, { line: start.line, column: start.column, length }, isPreview);
  };
  const focusOutline = () => {
    setOutline(true);
    showView("explorer");
    afterRender(() =>
      root.current?.querySelector<HTMLElement>(".outline [tabindex='0'], .outline button")?.focus(),
    );
  };
  const activeLanguage = activeFile === null || isDiff ? null : fileLanguage(activeFile);
  const languageActions = useLanguageActions({
    file: activeLanguage,
    view: activeView,
    writable,
    focusEditor,
    showReferences: focusProblems,
  });
  useEffect(() => {
    host.current = {
      ...languageActions,
      showLocations: (locations) =>
        openLocation(locations, (path, line, column) => goToLine(path, { line, column: column + 1 })),
    };
  });
  const activeText = activeFile === null ? null : (documents.shared(activeFile)?.state.text ?? null);
  const outlineSymbols = useOutline(activeLanguage, activeText, outline);
  const symbols: SymbolSource = {
    ofFile: async (signal) => {
      const view = activeView();
      if (!activeLanguage || !view) return null;
      return findSymbols(activeLanguage, () => view.state.doc.toString(), signal);
    },
    ofWorkspace: (query, signal) => languages.client.workspaceSymbols(query, signal),
  };
  const nextProblem = (by: 1 | -1) => {
    const at = cursor
      ? { line: cursor.line, column: cursor.column - 1 - cursor.selected }
      : { line: 1, column: 0 };
    const next = nextProblemOf(problems, activeFile, at, by);
    if (!next) return toast("No problems have been found.");
    showPlace(next.path, next.place, false);
    focusEditor();
  };
  const openPreview = (port: number, path = "/") => {
    if (!canShowPreviews(ports.settings?.preview ?? null, window.location.hostname)) focusPorts();
    else if (narrow) window.open(previewPage(workspace.id, port, path), "_blank", "noopener");
    else setPreview((shown) => ({ port, path, request: (shown?.request ?? 0) + 1 }));
  };
  /** Links that programs print: those of servers in the workspace open as previews. */
  const openLink = (url: string) => {
    const local = localAddress(url);
    if (local) openPreview(local.port, local.path);
    else window.open(url, "_blank", "noopener,noreferrer");
  };
  const revealInTree = (path: string, isFolder = false) => {
    showView("explorer");
    setTreeReveal({ path, isFolder });
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
  const closeActive = (which: (path: string) => boolean) =>
    documents.change((tabs) => closeTabs(tabs, (path, group) => group === tabs.focused && which(path)));
  const showTab = (index: number) => {
    const path = focusedGroup(tabs).paths[index];
    if (path !== undefined) documents.change((tabs) => activateTab(tabs, tabs.focused, path));
  };
  const splitRight = () => {
    if (!narrow) documents.change(splitGroup);
  };
  const actions: WorkbenchActions = {
    focusExplorer,
    focusEditor,
    focusTerminal,
    focusSearch,
    focusSourceControl,
    focusPorts,
    focusProblems,
    focusOutline,
    nextProblem,
    findReferences: languageActions.findReferences,
    renameSymbol: languageActions.renameSymbol,
    showActions: languageActions.showActions,
    organizeImports: languageActions.organizeImports,
    formatDocument: languageActions.formatDocument,
    undoEdits: languageActions.undoEdits,
    openPreview,
    cycleRegion: (by) => focusRegion[nextRegion(by)](),
    newTerminal: () => {
      focusTerminal();
      void terminals.create();
    },
    newPlainShell: () => {
      focusTerminal();
      void terminals.create(true);
    },
    splitTerminal: () => {
      focusTerminal();
      void (narrow ? terminals.create() : terminals.split());
    },
    findInTerminal: () => {
      focusTerminal();
      afterRender(() => activeTerminal()?.find());
    },
    jumpToPrompt: (by) => activeTerminal()?.jump(by),
    copyOutput: () => activeTerminal()?.copyOutput(),
    clearTerminal: terminals.clear,
    renameTerminal: () => terminals.askToRename(terminals.active),
    closeTerminal: () => terminals.askToClose(terminals.active),
    toggleSideBar: () => setSide(!side),
    togglePanel: () => setPanel(!panel),
    toggleWordWrap: () => setPreference("wordWrap", !wordWrap),
    closeTab: () => {
      closeActive((path) => path === documents.active);
      // The focus stays in the editor: in the next tab, or in the empty area.
      focusEditor();
    },
    closeAllTabs: () => closeActive(() => true),
    closeOtherTabs: () => closeActive((path) => path !== documents.active),
    reopenTab: () => documents.change(reopenTab),
    keepTab: () => documents.active && documents.change((tabs) => keepTab(tabs, documents.active ?? "")),
    nextTab: (by) => {
      const { paths, active } = focusedGroup(tabs);
      const at = active ? paths.indexOf(active) : -1;
      showTab((at + by + paths.length) % paths.length);
    },
    showTab,
    splitRight,
    nextGroup: () => {
      documents.change((tabs) => focusGroup(tabs, (tabs.focused + 1) % tabs.groups.length));
      focusEditor();
    },
    reportSaved: () => {
      const shared = documents.active ? documents.shared(documents.active) : undefined;
      const view = activeView();
      const report = () => {
        if (view && trimOnSave) trimLineEnds(view);
        if (shared) toast(shared.state.saved ? "Saved" : "Saving… Changes are saved automatically.");
      };
      if (formatOnSave) void languageActions.formatOnSave().then(report);
      else report();
    },
    openFind: (isReplacing) => {
      const view = activeView();
      if (view) openFind(view, isReplacing);
    },
    openPalette: () => setPalette(">"),
    openFilePalette: () => setPalette(""),
    openLinePalette: () => setPalette(":"),
    openSymbolPalette: () => setPalette("@"),
    openWorkspaceSymbolPalette: () => setPalette("#"),
    revealFile: () => activeFile && revealInTree(activeFile),
    copyFilePath: () => activeFile && void copyText(`~/${activeFile}`, "Path"),
    collapseFolders: files.collapseAll,
    toggleTheme: () => setTheme(isDark ? "light" : "dark"),
    openSettings: () => setSettings(true),
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
      hasFile: documents.active !== null,
      isInFindPanel: isFindPanelFocused(),
      tabCount: focusedGroup(tabs).paths.length,
      altTypes: isApple(),
    }),
  );
  const commands = [
    ...gitCommands(git, gitActions, { writable, file: activeFile, inlineBlame, openDiff }),
    ...workbenchCommands(actions, {
      writable,
      sideBar: side,
      panel,
      isDark,
      isWrapped: wordWrap,
      file: activeFile,
      hasClosedTabs: tabs.closed.length > 0,
      ports: ports.open?.map(({ port }) => port) ?? [],
      hasTerminal: terminals.active !== null,
    }),
  ];
  const listedFiles = useMemo(() => {
    if (palette === null) return [];
    const rows = visibleRows(files.directories, new Set(files.directories.keys()), true);
    return rows.filter((row) => row.entry.kind === "file" && row.entry.utf8).map((row) => row.path);
  }, [palette, files.directories]);

  const paneView = isSidePane(pane) ? pane : "explorer";
  const sideView = narrow ? paneView : view;
  const terminalVisible = narrow ? pane === "terminal" : panel;
  const style = useMemo(
    () =>
      ({
        "--side-width": `${sideWidth}px`,
        "--panel-height": `${panelHeight}px`,
        "--editor-size": `${editorFontSize}px`,
      }) as React.CSSProperties,
    [sideWidth, panelHeight, editorFontSize],
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
        {!narrow && (
          <ActivityBar
            view={side ? view : null}
            changes={changeCount(git.status)}
            problems={problemCount.errors + problemCount.warnings}
            onChange={(chosen) => (chosen === null ? setSide(false) : showView(chosen))}
          />
        )}
        {(side || narrow) && (
          <div
            className="side-place"
            // In a narrow window it is all that is shown.
            role={narrow && pane !== "editor" && pane !== "terminal" ? "main" : "complementary"}
            aria-label={viewNames[sideView]}
          >
            <div className="side" data-region="files">
              <div className="side-view" hidden={sideView !== "explorer"}>
                <Explorer
                  workspace={workspace.id}
                  files={files}
                  writable={writable}
                  active={activeFile}
                  decorations={decorations}
                  reveal={treeReveal}
                  onOpen={open}
                  onRenamed={documents.renamed}
                  onRemoved={documents.removed}
                  onSearch={(path) => {
                    search.change({ path });
                    focusSearch(false);
                  }}
                />
                <Outline
                  isOpen={outline}
                  onToggle={setOutline}
                  symbols={outlineSymbols}
                  cursor={cursor && { line: cursor.line, column: cursor.column - 1 }}
                  onOpen={({ name_range: { start } }, isFocused) => {
                    if (!activeFile) return;
                    openAt(activeFile, { line: start.line, column: start.column, length: 0 }, true);
                    if (isFocused) focusEditor();
                  }}
                />
              </div>
              {sideView === "search" && (
                <SearchView
                  search={search}
                  writable={writable}
                  focusRequest={searchRequest}
                  onOpen={(path, { line, column, length }, isPreview) => {
                    openAt(path, { line, column, length }, isPreview);
                    if (!isPreview) focusEditor();
                  }}
                />
              )}
              {sideView === "git" && (
                <SourceControl
                  git={git}
                  actions={gitActions}
                  writable={writable}
                  focusRequest={gitRequest}
                  onOpenDiff={openDiff}
                  onOpenFile={(path, isPreview) => {
                    open(childOf(git.repository ?? "", path), isPreview);
                    if (!isPreview) focusEditor();
                  }}
                />
              )}
              {sideView === "problems" && languageActions.references && (
                <ReferencesView
                  references={languageActions.references}
                  onOpen={(path, place, isPreview) => {
                    showPlace(path, place, isPreview);
                    if (!isPreview) focusEditor();
                  }}
                  onClose={() => {
                    languageActions.closeReferences();
                    if (problems.length > 0) focusProblems();
                    else focusEditor();
                  }}
                />
              )}
              {sideView === "problems" && !languageActions.references && (
                <ProblemsView
                  files={problems}
                  hasServer={languages.state.servers.some(({ state }) => state === "ready")}
                  onOpen={(path, place, isPreview) => {
                    showPlace(path, place, isPreview);
                    if (!isPreview) focusEditor();
                  }}
                />
              )}
              {sideView === "ports" && (
                <PortsView workspace={workspace.id} ports={ports} writable={writable} onOpen={openPreview} />
              )}
            </div>
            <Splitter
              kind="column"
              label="Side bar width"
              value={sideWidth}
              min={MIN_SIDE}
              max={() => window.innerWidth * 0.6}
              onChange={setSideWidth}
            />
          </div>
        )}
        <main className="centre">
          {languageActions.menu}
          <div className={preview && !narrow ? "editors with-preview" : "editors"}>
            <EditorGroups
              workspace={workspace.id}
              documents={documents}
              git={git}
              gitActions={gitActions}
              languageOf={fileLanguage}
              onOpenAt={(path, line) => goToLine(path, { line, column: 1 })}
              onViews={() => setViewCount((count) => count + 1)}
              writable={writable}
              isNarrow={narrow}
              isVisible={!narrow || pane === "editor"}
              reveal={reveal}
              panes={{ side, panel, onSide: actions.toggleSideBar, onPanel: actions.togglePanel }}
              actions={{
                splitRight,
                reveal: revealInTree,
                copyPath: (path) => void copyText(`~/${path}`, "Path"),
              }}
              onCursor={setCursor}
              views={views}
            />
            {preview && !narrow && (
              <PreviewPane
                key={preview.port}
                workspace={workspace.id}
                shown={preview}
                onClose={() => {
                  setPreview(null);
                  focusEditor();
                }}
              />
            )}
          </div>
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
              isNarrow={narrow}
              onHandle={(id, handle) => {
                if (handle) handles.current.set(id, handle);
                else handles.current.delete(id);
              }}
              handle={(id) => handles.current.get(id)}
              onLink={openLink}
              onOpenFile={(path, line, column) => goToLine(path, { line, column })}
            />
          </section>
        </main>
      </div>
      <StatusBar
        workspace={workspace}
        connected={connected}
        link={files.connection}
        git={git}
        gitActions={gitActions}
        languages={languages}
        path={isDiff ? null : documents.active}
        shared={documents.active ? documents.shared(documents.active) : undefined}
        cursor={documents.active && !isDiff ? cursor : null}
      />
      <BottomBar
        pane={pane}
        onChange={(pane) => {
          setPane(pane);
          if (pane === "files") setView("explorer");
          if (isSidePane(pane)) setView(pane);
        }}
      />
      {palette !== null && (
        <WorkbenchPalette
          workspace={workspace.id}
          commands={commands}
          known={listedFiles}
          query={palette}
          onQuery={setPalette}
          onOpen={(path, at) => {
            if (at) goToLine(path, at);
            else open(path);
          }}
          onLine={activeFile ? (at) => goToLine(activeFile, at) : null}
          symbols={symbols}
          onClose={() => setPalette(null)}
        />
      )}
      {languageActions.dialog}
      {isSettings && (
        <SettingsDialog workspace={writable ? workspace.name : null} onClose={() => setSettings(false)} />
      )}
      <GitDialogs
        git={git}
        actions={gitActions}
        onCloned={(directory) => {
          git.select(directory);
          revealInTree(directory, true);
        }}
      />
    </div>
  );
}
