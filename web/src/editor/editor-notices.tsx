// What an editor says above its text: what keeps the text and its file apart.
import { useEffect, useState } from "react";
import * as Y from "yjs";
import { documentsApi } from "../api/endpoints";
import type { DocumentState, SharedDocument } from "../streams/shared-document";
import { copyText, toast, toastError } from "../ui/toasts";
import { hasMixedLineEndings, lineEndingChanges } from "./line-endings";
import { mergeUnsavedText } from "./recover-text";

interface Props {
  workspace: string;
  path: string;
  /** The file's name as it is displayed. */
  name: string;
  shared: SharedDocument;
  view: DocumentState;
}

export function EditorNotices({ workspace, path, name, shared, view }: Props) {
  const overwrite = () => {
    documentsApi
      .overwrite(workspace, path)
      .catch((error: unknown) => toastError(error, "overwrite the file"));
  };
  return (
    <>
      <UnsavedTextNotice name={name} shared={shared} view={view} />
      {view.deleted && (
        <p className="notice editor-note" role="status">
          {name} was deleted or renamed on disk. The next edit creates it again.
        </p>
      )}
      {view.saveFailure && (
        <div className="notice bad editor-note" role="alert">
          Cannot save {name}: {view.saveFailure.message}
          {view.saveFailure.canOverwrite && !view.readOnly && (
            <button className="button" onClick={overwrite}>
              Overwrite
            </button>
          )}
        </div>
      )}
      {view.text && !view.readOnly && <LineEndingNotice text={view.text} name={name} />}
    </>
  );
}

/** Merges what was typed in an earlier document of the file, or offers it. */
function UnsavedTextNotice({ name, shared, view }: Pick<Props, "name" | "shared" | "view">) {
  const { text, unsavedText, readOnly } = view;
  const [conflict, setConflict] = useState<unknown>(null);
  useEffect(() => {
    if (!text || !unsavedText || readOnly) return;
    let isOver = false;
    mergeUnsavedText(text, unsavedText).then(
      (isMerged) => {
        if (isOver) return;
        if (!isMerged) return setConflict(unsavedText);
        shared.dismissUnsavedText();
        if (unsavedText.text !== unsavedText.base) toast(`Restored your unsaved edits in ${name}`);
      },
      () => isOver || setConflict(unsavedText),
    );
    return () => {
      isOver = true;
    };
  }, [text, unsavedText, readOnly, shared, name]);
  if (!unsavedText || conflict !== unsavedText) return null;
  return (
    <div className="notice editor-note" role="alert">
      You have unsaved text for {name} that cannot be merged, because the file has changed in the same place.
      <button className="button" onClick={() => void copyText(unsavedText.text, "Your text")}>
        Copy my text
      </button>
      <button
        className="button"
        onClick={() => {
          text?.doc?.transact(() => replaceText(text, unsavedText.text));
          shared.dismissUnsavedText();
        }}
      >
        Use my text
      </button>
      <button className="button" onClick={() => shared.dismissUnsavedText()}>
        Discard
      </button>
    </div>
  );
}

function replaceText(text: Y.Text, content: string): void {
  text.delete(0, text.length);
  text.insert(0, content);
}

/** Offers to convert a file that mixes line endings. */
function LineEndingNotice({ text, name }: { text: Y.Text; name: string }) {
  const [isMixed, setMixed] = useState(() => hasMixedLineEndings(text.toJSON()));
  const [dismissed, setDismissed] = useState(false);
  useEffect(() => {
    const look = (event: Y.YTextEvent) => {
      const inserted = event.delta.some(({ insert }) => typeof insert === "string" && insert.includes("\r"));
      const deleted = event.delta.some(({ delete: count }) => count !== undefined);
      if (inserted || deleted) setMixed(hasMixedLineEndings(text.toJSON()));
    };
    text.observe(look);
    return () => text.unobserve(look);
  }, [text]);
  if (!isMixed || dismissed) return null;
  const convert = () => {
    text.doc?.transact(() => {
      for (const { at, insert } of lineEndingChanges(text.toJSON())) {
        text.delete(at, 1);
        text.insert(at, insert);
      }
    });
  };
  return (
    <div className="notice editor-note" role="status">
      {name} mixes LF and CRLF line endings.
      <button className="button" onClick={convert}>
        Convert to LF
      </button>
      <button className="button" onClick={() => setDismissed(true)}>
        Keep
      </button>
    </div>
  );
}
