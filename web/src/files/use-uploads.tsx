// Uploads files one after the other: progress, and a question before a file is replaced.
import { useRef, useState, type ReactNode } from "react";
import { ApiError } from "../api/client";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { toast, toastError } from "../ui/toasts";
import { formatBytes } from "../ui/format";
import { childOf, displayName } from "./paths";
import { filesOfDrop, uploadFile, MAX_UPLOAD_BYTES, MAX_UPLOAD_FILES, type Upload } from "./upload";

interface Progress {
  path: string;
  sent: number;
  total: number;
  left: number;
}

type Answer = "replace" | "replace-all" | "skip" | "cancel";

export interface Uploads {
  drop: (transfer: DataTransfer, directory: string) => Promise<void>;
  add: (uploads: Upload[], directory: string) => Promise<void>;
  element: ReactNode;
}

export function useUploads(workspace: string, onDone: () => void): Uploads {
  const [progress, setProgress] = useState<Progress | null>(null);
  const [question, setQuestion] = useState<{ path: string; answer: (answer: Answer) => void } | null>(null);
  const abort = useRef<AbortController | null>(null);
  const tail = useRef<Promise<void>>(Promise.resolve());

  const ask = (path: string) =>
    new Promise<Answer>((resolve) =>
      setQuestion({
        path,
        answer: (answer) => {
          setQuestion(null);
          resolve(answer);
        },
      }),
    );

  const sendAll = async (uploads: Upload[], directory: string) => {
    const controller = new AbortController();
    abort.current = controller;
    let replaceAll = false;
    let done = 0;
    for (const [index, { path, file }] of uploads.entries()) {
      const to = childOf(directory, path);
      const onProgress = (sent: number) =>
        setProgress({ path, sent, total: file.size, left: uploads.length - index });
      onProgress(0);
      if (file.size > MAX_UPLOAD_BYTES) {
        toastError(
          new Error(`It is ${formatBytes(file.size)}. The limit is ${formatBytes(MAX_UPLOAD_BYTES)}.`),
          `upload ${displayName(path)}`,
        );
        continue;
      }
      try {
        try {
          await uploadFile(workspace, to, file, replaceAll, onProgress, controller.signal);
        } catch (error) {
          if (!(error instanceof ApiError) || error.code !== "precondition_failed") throw error;
          const answer = await ask(path);
          if (answer === "cancel") break;
          if (answer === "skip") continue;
          replaceAll ||= answer === "replace-all";
          await uploadFile(workspace, to, file, true, onProgress, controller.signal);
        }
        done += 1;
      } catch (error) {
        if (controller.signal.aborted) break;
        toastError(error, `upload ${displayName(path)}`);
      }
    }
    setProgress(null);
    if (done > 0) toast(done === 1 ? "1 file uploaded" : `${done} files uploaded`);
    onDone();
  };
  const add = (uploads: Upload[], directory: string) => {
    if (uploads.length > MAX_UPLOAD_FILES) {
      toastError(
        new Error(
          `The limit is ${MAX_UPLOAD_FILES} files at once. Upload an archive and unpack it in a terminal.`,
        ),
        "upload the files",
      );
      return Promise.resolve();
    }
    tail.current = tail.current.then(() => sendAll(uploads, directory));
    return tail.current;
  };
  const drop = async (transfer: DataTransfer, directory: string) => {
    try {
      await add(await filesOfDrop(transfer), directory);
    } catch (error) {
      toastError(error, "upload the files");
    }
  };

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
            max={progress.total || 1}
            value={progress.total ? progress.sent : 1}
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
    </>
  );
  return { drop, add, element };
}
