// The tab that shows the changes of a file: side by side or in one column, with buttons that stage, unstage
// or discard a change or the selected lines. Which lines differ is what Git says.
import { Compartment, StateField, type Extension, type Text } from "@codemirror/state";
import { Decoration, EditorView, WidgetType, type DecorationSet } from "@codemirror/view";
import { Change, MergeView, unifiedMergeView } from "@codemirror/merge";
import { useEffect, useRef, useState } from "react";
import type { FileDiff, LineAction, LineChange } from "../api/agent";
import { errorMessage } from "../api/client";
import { filesApi, gitApi } from "../api/endpoints";
import { childOf, displayName, nameOf } from "../files/paths";
import { loadLanguage, readOnlyEditor } from "../history/read-only-editor";
import { Icon } from "../ui/icons";
import { setPreference, usePreferences } from "../ui/preferences";
import { useNarrow } from "../ui/use-narrow";
import type { DiffTab } from "./diff-tab";
import { selectedChanges } from "./line-selection";
import type { GitRepositories } from "./use-git";
import type { GitActions } from "./use-git-actions";

interface Props {
  git: GitRepositories;
  actions: GitActions;
  diff: DiffTab;
  writable: boolean;
  /** Whether it is in front in its group. */
  active: boolean;
  onOpenFile: (path: string, line: number) => void;
}

interface Versions {
  before: string;
  after: string;
  diff: FileDiff;
}

/** Larger texts are not compared in the page. */
const MAX_CHARACTERS = 4 * 1024 * 1024;

export function DiffEditor({ git, actions, diff, writable, active, onOpenFile }: Props) {
  const { workspace, version } = git;
  const { repository, path, staged } = diff;
  const [versions, setVersions] = useState<Versions | null>(null);
  const [failure, setFailure] = useState("");
  const { inlineDiff } = usePreferences();
  const isNarrow = useNarrow();
  const isInline = inlineDiff || isNarrow;
  const file = childOf(repository, path);
  const seen = useRef("");

  useEffect(() => {
    if (!active) return;
    let isOver = false;
    const onDisk = () =>
      filesApi.getContent(workspace, file).then(
        (response) => response.text(),
        () => null,
      );
    // The diff comes first: it makes what was typed reach the disk.
    const load = async (): Promise<void> => {
      const found = await gitApi.diff(workspace, repository, path, staged);
      if (isOver) return;
      setFailure("");
      // Most changes of the repository are not about this file.
      const key = `${found.fingerprint} ${staged}`;
      if (seen.current === key) return;
      const content = (version: string) => gitApi.content(workspace, repository, path, version);
      const [before, after] = await Promise.all(
        staged ? [content("head"), content("index")] : [content("index"), onDisk()],
      );
      if (isOver) return;
      seen.current = key;
      setVersions({ before: before ?? "", after: after ?? "", diff: found });
    };
    load().catch((error: unknown) => !isOver && setFailure(errorMessage(error)));
    return () => {
      isOver = true;
    };
  }, [workspace, repository, path, staged, file, version, active]);

  const name = displayName(nameOf(path));
  const apply = (action: LineAction, changes: readonly LineChange[]) =>
    versions && actions.applyLines(repository, path, action, versions.diff.fingerprint, changes);
  const isTooLarge = versions !== null && versions.before.length + versions.after.length > MAX_CHARACTERS;
  const hasChanges = versions !== null && versions.diff.changes.length > 0;
  return (
    <div className="editor git-diff" hidden={!active} role="tabpanel" aria-label={`Changes of ${name}`}>
      <div className="git-diff-head">
        <span className="soft small">
          {staged ? "Last commit ↔ Staged" : "Staged ↔ On disk"}
          {versions && ` · ${countText(versions.diff.changes.length)}`}
        </span>
        <span className="spring" />
        <button
          className="button small-button"
          aria-pressed={isInline}
          disabled={isNarrow}
          onClick={() => setPreference("inlineDiff", !inlineDiff)}
        >
          {isInline ? "Side by side" : "Inline"}
        </button>
        <button
          className="button small-button"
          onClick={() => onOpenFile(file, versions?.diff.changes[0]?.new_start ?? 1)}
        >
          <Icon name="file" size={14} /> Open file
        </button>
      </div>
      {failure && (
        <p className="notice bad search-notice" role="alert">
          {failure}
        </p>
      )}
      {versions?.diff.is_binary && <p className="soft editor-wait">The file is binary.</p>}
      {isTooLarge && <p className="soft editor-wait">The file is too large to compare here.</p>}
      {versions && !hasChanges && !versions.diff.is_binary && (
        <p className="soft editor-wait">{staged ? "Nothing is staged." : "There are no changes any more."}</p>
      )}
      {versions && hasChanges && !isTooLarge && (
        <Comparison
          key={isInline ? "inline" : "side by side"}
          path={path}
          versions={versions}
          isInline={isInline}
          tools={writable ? (staged ? ["unstage"] : ["stage", "discard"]) : []}
          onApply={apply}
        />
      )}
    </div>
  );
}

const countText = (changes: number) => (changes === 1 ? "1 change" : `${changes} changes`);

interface ComparisonProps {
  path: string;
  versions: Versions;
  isInline: boolean;
  tools: readonly LineAction[];
  onApply: (action: LineAction, changes: readonly LineChange[]) => void;
}

const unchanged = { margin: 3, minSize: 8 };

function Comparison({ path, versions, isInline, tools, onApply }: ComparisonProps) {
  const place = useRef<HTMLDivElement>(null);
  const apply = useRef(onApply);
  useEffect(() => {
    apply.current = onApply;
  });
  const toolNames = tools.join(" ");
  useEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const { before, after, diff } = versions;
    const language = new Compartment();
    let over = false;
    const diffConfig = { override: () => gitChanges(before, after, diff.changes) };
    const changeTools = hunkTools(
      diff.changes,
      toolNames === "" ? [] : (toolNames.split(" ") as LineAction[]),
      (action, change, view) =>
        apply.current(action, selectedChanges(change, isInline ? null : selectedLines(view))),
    );
    let views: EditorView[];
    let destroy: () => void;
    if (isInline) {
      const view = new EditorView({
        parent,
        doc: after,
        extensions: [
          readOnlyEditor(path, after, "before and after", language),
          unifiedMergeView({
            original: before,
            mergeControls: false,
            collapseUnchanged: unchanged,
            diffConfig,
          }),
          changeTools,
        ],
      });
      views = [view];
      destroy = () => view.destroy();
    } else {
      const merge = new MergeView({
        parent,
        a: { doc: before, extensions: readOnlyEditor(path, before, "before", language) },
        b: { doc: after, extensions: [readOnlyEditor(path, after, "after", language), changeTools] },
        collapseUnchanged: unchanged,
        diffConfig,
      });
      views = [merge.a, merge.b];
      destroy = () => merge.destroy();
    }
    loadLanguage(path, language, views, () => over);
    return () => {
      over = true;
      destroy();
    };
  }, [path, versions, isInline, toolNames]);
  return <div ref={place} className="snapshot-text git-comparison" />;
}

/** Git's lines as offsets, for CodeMirror. */
function gitChanges(before: string, after: string, changes: readonly LineChange[]): Change[] {
  const starts = (text: string) => {
    const starts = [0];
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
    return starts;
  };
  const [a, b] = [starts(before), starts(after)];
  const offset = (starts: number[], text: string, line: number) => starts[line - 1] ?? text.length;
  return changes.map(
    (change) =>
      new Change(
        offset(a, before, change.old_start),
        offset(a, before, change.old_start + change.old_lines),
        offset(b, after, change.new_start),
        offset(b, after, change.new_start + change.new_lines),
      ),
  );
}

/** First and last selected line. Null: nothing is selected. */
function selectedLines(view: EditorView): readonly [number, number] | null {
  const { main } = view.state.selection;
  if (main.empty) return null;
  const { doc } = view.state;
  const last = doc.lineAt(main.to);
  // A selection that ends before the first character of a line does not mean that line.
  return [doc.lineAt(main.from).number, main.to === last.from ? last.number - 1 : last.number];
}

const toolLabels: Record<LineAction, string> = { stage: "Stage", unstage: "Unstage", discard: "Discard" };

type RunTool = (action: LineAction, change: LineChange, view: EditorView) => void;

class ToolsWidget extends WidgetType {
  constructor(
    readonly change: LineChange,
    readonly tools: readonly LineAction[],
    readonly run: RunTool,
  ) {
    super();
  }

  override eq(other: ToolsWidget): boolean {
    return other.change === this.change;
  }

  override toDOM(view: EditorView): HTMLElement {
    const bar = document.createElement("div");
    bar.className = "git-hunk-tools";
    for (const tool of this.tools) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = toolLabels[tool];
      button.title = `${toolLabels[tool]} this change, or of it the lines that are selected`;
      // The selection stays.
      button.onmousedown = (event) => event.preventDefault();
      button.onclick = () => this.run(tool, this.change, view);
      bar.append(button);
    }
    return bar;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

/** A bar above each change. */
function hunkTools(changes: readonly LineChange[], tools: readonly LineAction[], run: RunTool): Extension {
  if (tools.length === 0) return [];
  const build = (doc: Text): DecorationSet =>
    Decoration.set(
      changes.map((change) => {
        const line = doc.line(Math.max(1, Math.min(change.new_start, doc.lines)));
        const widget = new ToolsWidget(change, tools, run);
        return Decoration.widget({ widget, block: true, side: -2 }).range(line.from);
      }),
      true,
    );
  return StateField.define<DecorationSet>({
    create: (state) => build(state.doc),
    update: (decorations) => decorations,
    provide: (field) => EditorView.decorations.from(field),
  });
}
