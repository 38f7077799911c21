// The files of a workspace whose text is only in this browser, shown while the workspace is stopped.
import { useEffect, useState } from "react";
import { displayName } from "../files/paths";
import { copyText } from "../ui/toasts";
import { listUnsavedFiles, onUnsavedChange, unsavedTextSlot, type UnsavedFile } from "./unsaved-texts";

export function UnsavedFiles({ user, workspace }: { user: string; workspace: string }) {
  const [files, setFiles] = useState<readonly UnsavedFile[]>([]);
  useEffect(() => {
    let isOver = false;
    const load = () =>
      void listUnsavedFiles(user, workspace).then((found) => {
        if (!isOver) setFiles(found);
      });
    load();
    const stop = onUnsavedChange(load);
    return () => {
      isOver = true;
      stop();
    };
  }, [user, workspace]);
  if (files.length === 0) return null;
  return (
    <div className="notice" role="alert" data-notice="unsaved">
      <p>
        {files.length === 1 ? "The text of one file" : `The text of ${files.length} files`} is only in this
        browser. Start the workspace and open the file to merge it.
      </p>
      <ul>
        {files.map((file) => (
          <li key={file.path}>
            {displayName(file.path)}{" "}
            <button className="link-button" onClick={() => void copyText(file.text, "Your text")}>
              Copy text
            </button>{" "}
            <button
              className="link-button"
              onClick={() => void unsavedTextSlot(user, workspace, file.path).delete()}
            >
              Discard
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
