// The open files, in one or more groups side by side: tabs, path and text of each.
import { type RefObject } from "react";
import type { EditorView } from "@codemirror/view";
import { Editor, type Cursor } from "../editor/editor";
import type { Reveal } from "../editor/reveal";
import { DiffEditor } from "../git/diff-editor";
import { fileOfTab, parseDiffTab } from "../git/diff-tab";
import type { FileLanguage } from "../languages/file-language";
import type { GitRepositories } from "../git/use-git";
import type { GitActions } from "../git/use-git-actions";
import { closeTabs, focusGroup, keepTab } from "../editor/tab-model";
import type { OpenDocuments } from "../editor/use-documents";
import { Icon } from "../ui/icons";
import { Breadcrumbs } from "./breadcrumbs";
import { EditorTabs, type TabActions } from "./editor-tabs";

/** A place in a file, shown in the focused group. */
export interface FileReveal {
  path: string;
  place: Reveal;
}

/** Identifies the editor of a file in the group with an id. */
export const viewKey = (group: number, path: string): string => `${group}:${path}`;

interface Props {
  workspace: string;
  documents: OpenDocuments;
  git: GitRepositories;
  gitActions: GitActions;
  writable: boolean;
  /** Whether there is room for more than one group, and whether editors are visible at all. */
  isNarrow: boolean;
  isVisible: boolean;
  reveal: FileReveal | null;
  panes: { side: boolean; panel: boolean; onSide: () => void; onPanel: () => void };
  actions: TabActions;
  /** The language server of a file. */
  languageOf: (path: string) => FileLanguage;
  /** Opens a file at a line. */
  onOpenAt: (path: string, line: number) => void;
  /** An editor has come or gone. */
  onViews: () => void;
  onCursor: (cursor: Cursor) => void;
  /** The editors of all texts, by [`viewKey`]. */
  views: RefObject<Map<string, EditorView>>;
}

export function EditorGroups(props: Props) {
  const { workspace, documents, isNarrow, isVisible, reveal, panes, actions, onCursor, views } = props;
  const { tabs, change } = documents;
  return (
    <div className="editor-groups">
      {tabs.groups.map((group, index) => {
        const isFocused = index === tabs.focused;
        if (isNarrow && !isFocused) return null;
        return (
          <section
            key={group.id}
            className={isFocused ? "editor-group focused" : "editor-group"}
            data-region="editor"
            aria-label={tabs.groups.length > 1 ? `Editor group ${index + 1}` : "Editor"}
            onFocusCapture={() => change((tabs) => focusGroup(tabs, index))}
            onPointerDownCapture={() => change((tabs) => focusGroup(tabs, index))}
          >
            <EditorTabs
              documents={documents}
              index={index}
              group={group}
              actions={actions}
              before={
                index === 0 && (
                  <button
                    className="icon-button pane-toggle"
                    aria-label="Side bar"
                    aria-pressed={panes.side}
                    title="Side bar (Ctrl+B)"
                    onClick={panes.onSide}
                  >
                    <Icon name="side" />
                  </button>
                )
              }
              after={
                index === tabs.groups.length - 1 && (
                  <button
                    className="icon-button pane-toggle"
                    aria-label="Terminals"
                    aria-pressed={panes.panel}
                    title="Terminals (Ctrl+J)"
                    onClick={panes.onPanel}
                  >
                    <Icon name="panel" />
                  </button>
                )
              }
            />
            {group.active && <Breadcrumbs path={fileOfTab(group.active)} onReveal={actions.reveal} />}
            <div className="editor-stack">
              {group.paths.map((path) => {
                const diff = parseDiffTab(path);
                if (diff) {
                  return (
                    <DiffEditor
                      key={path}
                      git={props.git}
                      actions={props.gitActions}
                      diff={diff}
                      writable={props.writable}
                      active={path === group.active && isVisible}
                      onOpenFile={props.onOpenAt}
                    />
                  );
                }
                const shared = documents.shared(path);
                return (
                  shared && (
                    <Editor
                      key={path}
                      workspace={workspace}
                      path={path}
                      shared={shared}
                      active={path === group.active && isVisible}
                      focused={isFocused}
                      language={props.languageOf(path)}
                      reveal={isFocused && reveal?.path === path ? reveal.place : null}
                      onCursor={(cursor) => isFocused && onCursor(cursor)}
                      onEdit={() => change((tabs) => keepTab(tabs, path))}
                      onView={(view) => {
                        if (view) views.current.set(viewKey(group.id, path), view);
                        else views.current.delete(viewKey(group.id, path));
                        props.onViews();
                      }}
                      onClose={() =>
                        change((tabs) => closeTabs(tabs, (one, at) => at === index && one === path))
                      }
                    />
                  )
                );
              })}
              {group.paths.length === 0 && (
                <div className="editor-empty soft" tabIndex={-1}>
                  <p>Open a file in the Explorer{props.writable ? ", or create one" : ""}.</p>
                  {props.writable && props.git.repositories?.length === 0 && (
                    <p>
                      <button
                        className="button primary"
                        onClick={() => props.gitActions.open({ kind: "clone" })}
                      >
                        Clone repository…
                      </button>
                    </p>
                  )}
                  <dl className="key-hints small">
                    <dt>Go to file</dt>
                    <dd>
                      <kbd>Ctrl+P</kbd>
                    </dd>
                    <dt>Search in files</dt>
                    <dd>
                      <kbd>Ctrl+Shift+F</kbd>
                    </dd>
                    <dt>Command palette</dt>
                    <dd>
                      <kbd>F1</kbd>
                    </dd>
                    <dt>Terminal</dt>
                    <dd>
                      <kbd>Ctrl+`</kbd>
                    </dd>
                  </dl>
                </div>
              )}
            </div>
          </section>
        );
      })}
    </div>
  );
}
