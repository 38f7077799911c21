// Uploads of files and folders: progress, a question before a file is replaced, and one summary.
import { useRef, useState, type ReactNode } from "react";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { filesApi } from "../api/endpoints";
import { toast } from "../ui/toasts";
import { displayName } from "./paths";
import { readDrop, uploadFile } from "./upload";
import {
  runUpload,
  summaryText,
  type ReplaceAnswer,
  type UploadPlan,
  type UploadProgress,
  type UploadSummary,
} from "./upload-run";

/** More failures in the summary than this are only counted. */
const MAX_LISTED_FAILURES = 100;

export interface Uploads {
  drop: (transfer: DataTransfer, directory: string) => Promise<void>;
  add: (files: readonly File[], directory: string) => Promise<void>;
  element: ReactNode;
}

export function useUploads(workspace: string, onDone: () => void): Uploads {
  const [progress, setProgress] = useState<UploadProgress | null>(null);
  const [question, setQuestion] = useState<{ path: string; answer: (answer: ReplaceAnswer) => void } | null>(
    null,
  );
  const [failed, setFailed] = useState<UploadSummary | null>(null);
  const abort = useRef<AbortController | null>(null);
  const tail = useRef<Promise<void>>(Promise.resolve());

  const ask = (path: string) =>
    new Promise<ReplaceAnswer>((resolve) =>
      setQuestion({
        path,
        answer: (answer) => {
          setQuestion(null);
          resolve(answer);
        },
      }),
    );

  const run = async (plan: UploadPlan, directory: string) => {
    const controller = new AbortController();
    abort.current = controller;
    const summary = await runUpload(
      plan,
      directory,
      {
        createDirectory: (path) => filesApi.createDirectory(workspace, path, true),
        checkDirectory: (path) => filesApi.list(workspace, path),
        send: (path, file, overwrite, onProgress) =>
          uploadFile(workspace, path, file, overwrite, onProgress, controller.signal),
        ask,
        onProgress: setProgress,
      },
      controller.signal,
    );
    setProgress(null);
    if (summary.failures.length > 0) setFailed(summary);
    else toast(summaryText(summary));
    onDone();
  };
  /** Uploads wait for each other. The plan is read at once, while the browser still has the drop. */
  const enqueue = (plan: Promise<UploadPlan>, directory: string) => {
    tail.current = Promise.all([plan, tail.current]).then(([plan]) => run(plan, directory));
    return tail.current;
  };
  const add = (files: readonly File[], directory: string) => {
    const uploads = files.map((file) => ({ path: file.name, file }));
    return enqueue(Promise.resolve({ directories: [], files: uploads, unreadable: [] }), directory);
  };
  const drop = (transfer: DataTransfer, directory: string) => enqueue(readDrop(transfer), directory);

  const element = (
    <>
      {progress && (
        <div className="upload" role="status">
          <span className="upload-name">
            {displayName(progress.path)}
            {progress.left > 1 ? ` and ${progress.left - 1} more` : ""}
          </span>
          <button className="icon-button" aria-label="Cancel upload" onClick={() => abort.current?.abort()}>
            <Icon name="close" />
          </button>
          <progress
            max={progress.totalBytes || 1}
            value={progress.totalBytes ? progress.sentBytes : 1}
            aria-label="Uploaded"
          />
        </div>
      )}
      {question && (
        <Dialog title={`Replace ${displayName(question.path)}?`} onClose={() => question.answer("cancel")}>
          <div className="form">
            <p>A file with this name already exists.</p>
            <div className="form-actions">
              <button className="button" onClick={() => question.answer("skip")}>
                Skip
              </button>
              <button className="button" onClick={() => question.answer("replace-all")}>
                Replace all
              </button>
              <button className="button danger" onClick={() => question.answer("replace")}>
                Replace
              </button>
            </div>
          </div>
        </Dialog>
      )}
      {failed && (
        <Dialog title="Upload incomplete" onClose={() => setFailed(null)}>
          <div className="form">
            <p>{summaryText(failed)}.</p>
            <ul className="upload-failures">
              {failed.failures.slice(0, MAX_LISTED_FAILURES).map(({ path, reason }) => (
                <li key={path}>
                  <code>{displayName(path)}</code> {reason}
                </li>
              ))}
            </ul>
            {failed.failures.length > MAX_LISTED_FAILURES && (
              <p className="soft">And {failed.failures.length - MAX_LISTED_FAILURES} more.</p>
            )}
            <div className="form-actions">
              <button className="button" onClick={() => setFailed(null)}>
                Close
              </button>
            </div>
          </div>
        </Dialog>
      )}
    </>
  );
  return { drop, add, element };
}
