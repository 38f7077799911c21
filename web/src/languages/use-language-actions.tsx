// What users do with language servers in the editor in front, with the dialogs and messages for it.
import type { EditorView } from "@codemirror/view";
import { useState, type ReactNode } from "react";
import type { AppliedEdits, CodeAction } from "../api/agent";
import { errorMessage } from "../api/client";
import { ContextMenu } from "../ui/menu";
import { toast, toastError } from "../ui/toasts";
import { actionMenu } from "./action-menu";
import {
  applyEdits,
  findActions,
  findReferences,
  findRenameTarget,
  formatText,
  versionOf,
  type RenameTarget,
} from "./edit-actions";
import { failureOf, summaryOf } from "./edit-summary";
import type { FileLanguage } from "./file-language";
import { locationFiles } from "./places-model";
import type { FoundReferences } from "./references-view";
import { RenameDialog } from "./rename-dialog";

interface Options {
  /** The file in front. */
  file: FileLanguage | null;
  view: () => EditorView | undefined;
  writable: boolean;
  focusEditor: () => void;
  /** Shows the view of the side bar that has the references. */
  showReferences: () => void;
}

export interface LanguageActions {
  findReferences: () => void;
  renameSymbol: () => void;
  showActions: () => void;
  organizeImports: () => void;
  formatDocument: () => void;
  /** Formats the text before it is saved, if the server can. */
  formatOnSave: () => Promise<void>;
  /** Undoes the last change of several files. Null: there is none. */
  undoEdits: (() => void) | null;
  /** Null: the problems are shown. */
  references: FoundReferences | null;
  closeReferences: () => void;
  /** Asks for a new name. */
  dialog: ReactNode;
  /** The code actions, beside the text that they are about. */
  menu: ReactNode;
}

/** An editor whose language server is asked. */
interface Asked {
  file: FileLanguage;
  view: EditorView;
}

interface OpenMenu extends Asked {
  actions: readonly CodeAction[];
  version: string;
  x: number;
  y: number;
}

const CHANGED = "The text has changed. Try again.";

export function useLanguageActions(options: Options): LanguageActions {
  const { file, writable, focusEditor, showReferences } = options;
  const [references, setReferences] = useState<FoundReferences | null>(null);
  const [renaming, setRenaming] = useState<(Asked & RenameTarget) | null>(null);
  const [menu, setMenu] = useState<OpenMenu | null>(null);
  const [undo, setUndo] = useState<{ run: () => void } | null>(null);

  /** Runs what the server of the file in front can do. `what` completes "Cannot". */
  const run = (
    feature: Parameters<FileLanguage["can"]>[0],
    what: string,
    work: (asked: Asked) => Promise<void>,
  ) => {
    const view = options.view();
    if (!file || !view) return;
    const changes = feature !== "references";
    if (changes && (!writable || view.state.readOnly)) return toast("You may only read this file.");
    if (!file.can(feature)) return toast(`No language server can ${what} here.`);
    work({ file, view }).catch((error: unknown) => toastError(error, what));
  };

  /** Offers to undo a change of several files, also after its message is gone. */
  const offerUndo = (file: FileLanguage, id: string) => {
    const run = () => {
      setUndo(null);
      file.client.undo(id).then(
        (undone) => showApplied(file, "Restored", undone),
        (error: unknown) => toastError(error, "undo the change"),
      );
    };
    setUndo({ run });
    return { label: "Undo", run };
  };
  const showApplied = (file: FileLanguage, verb: string, applied: AppliedEdits) => {
    const action = applied.undo ? offerUndo(file, applied.undo) : null;
    if (applied.files.length > 0) toast(summaryOf(verb, applied), action);
    const failure = failureOf(applied);
    if (failure) toastError(new Error(failure), "change everything");
  };
  /** Finishes what the agent has done, or left to this editor. */
  const finish = ({ file, view }: Asked, version: string, verb: string, applied: AppliedEdits) => {
    const { edits = [] } = applied;
    if (edits.length > 0) {
      if (versionOf(view.state) !== version) throw new Error(CHANGED);
      applyEdits(view, edits);
    } else if (applied.files.length === 0 && failureOf(applied) === null) {
      toast("There is nothing to change.");
    }
    showApplied(file, verb, applied);
  };
  const applyAction = async (asked: Asked, version: string, { id }: CodeAction) => {
    finish(asked, version, "Changed", await asked.file.client.applyAction(asked.file.path, version, id));
  };

  return {
    findReferences: () =>
      run("references", "find references", async ({ file, view }) => {
        const { name, locations } = await findReferences(file, view);
        const files = locationFiles(locations);
        if (files.length === 0) return toast("No references found.");
        setReferences({ name, files });
        showReferences();
      }),
    renameSymbol: () =>
      run("rename", "rename", async (asked) => {
        const target = await findRenameTarget(asked.file, asked.view);
        if (target) setRenaming({ ...asked, ...target });
        else toast("Nothing can be renamed here.");
      }),
    showActions: () =>
      run("code_actions", "fix anything", async (asked) => {
        const { view, file } = asked;
        const actions = await findActions(file, view);
        const place = view.coordsAtPos(view.state.selection.main.head);
        if (actions.length === 0 || !place) return toast("Nothing to fix or refactor here.");
        setMenu({ ...asked, actions, version: versionOf(view.state), x: place.left, y: place.bottom + 2 });
      }),
    organizeImports: () =>
      run("code_actions", "organize imports", async (asked) => {
        const [action] = await findActions(asked.file, asked.view, "source.organizeImports");
        if (action) await applyAction(asked, versionOf(asked.view.state), action);
        else toast("No language server can organize imports here.");
      }),
    formatDocument: () =>
      run("format", "format the text", async ({ file, view }) => {
        await formatText(file, view);
      }),
    formatOnSave: async () => {
      const view = options.view();
      if (!file || !view || view.state.readOnly) return;
      try {
        await formatText(file, view);
      } catch (error) {
        toast(`Not formatted: ${errorMessage(error)}`);
      }
    },
    undoEdits: undo?.run ?? null,
    references,
    closeReferences: () => setReferences(null),
    dialog: renaming && (
      <RenameDialog
        name={renaming.name}
        onClose={() => setRenaming(null)}
        onRename={async (name) => {
          const { file, version, position } = renaming;
          const applied = await file.client.rename(file.path, version, position, name);
          finish(renaming, version, "Renamed", applied);
          setRenaming(null);
          focusEditor();
        }}
      />
    ),
    menu: menu && (
      <ContextMenu
        label="Code actions"
        x={menu.x}
        y={menu.y}
        items={actionMenu(menu.actions, (action) => {
          applyAction(menu, menu.version, action).catch((error: unknown) => toastError(error, "do that"));
        })}
        onClose={() => {
          setMenu(null);
          menu.view.focus();
        }}
      />
    ),
  };
}
