// The preview of a port beside the editor: its page in a frame, with an address, reload and widths of
// devices.
import { useCallback, useEffect, useRef, useState, type FormEvent } from "react";
import { errorMessage } from "../api/client";
import { portsApi } from "../api/endpoints";
import { Icon } from "../ui/icons";
import { previewPage, ticketAddress, typedPath } from "./ports-model";
import "./ports.css";

export interface ShownPreview {
  port: number;
  path: string;
  /** Changes when the user asks for the preview again. */
  request: number;
}

/** Widths in CSS pixels. Empty: that of the pane. */
const widths = [
  ["", "Fit"],
  ["390", "Phone (390)"],
  ["768", "Tablet (768)"],
  ["1280", "Laptop (1280)"],
] as const;

/** What the page in the frame may do. */
const SANDBOX =
  "allow-scripts allow-same-origin allow-forms allow-modals allow-downloads allow-popups " +
  "allow-popups-to-escape-sandbox";

interface Props {
  workspace: string;
  shown: ShownPreview;
  onClose: () => void;
}

export function PreviewPane({ workspace, shown, onClose }: Props) {
  const { port, path: firstPath, request } = shown;
  const [path, setPath] = useState(firstPath);
  const [typed, setTyped] = useState(firstPath);
  /** The frame's first address. Each is used once, because tickets are. */
  const [frame, setFrame] = useState<{ url: string; origin: string; key: number } | null>(null);
  const [failure, setFailure] = useState("");
  const [width, setWidth] = useState("");
  const attempt = useRef(0);

  const load = useCallback(
    (path: string) => {
      const key = ++attempt.current;
      setPath(path);
      setTyped(path);
      portsApi.ticket(workspace, port).then(
        ({ origin, ticket_url }) => {
          if (key !== attempt.current) return;
          setFailure("");
          setFrame({ url: ticketAddress(ticket_url, path), origin, key });
        },
        (error: unknown) => {
          if (key !== attempt.current) return;
          setFrame(null);
          setFailure(errorMessage(error));
        },
      );
    },
    [workspace, port],
  );
  useEffect(() => load(firstPath), [load, firstPath, request]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const path = typedPath(typed, frame?.origin ?? "");
    if (path === null) setFailure("The preview shows pages of this port only.");
    else load(path);
  };
  return (
    <section className="preview-pane" data-region="preview" aria-label={`Preview of port ${port}`}>
      <form className="preview-bar" onSubmit={submit}>
        <button
          type="button"
          className="icon-button"
          aria-label="Reload"
          title="Reload"
          onClick={() => load(path)}
        >
          <Icon name="refresh" />
        </button>
        <span className="soft small preview-host">localhost:{port}</span>
        <input
          className="preview-address"
          aria-label="Path"
          spellCheck={false}
          autoComplete="off"
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
        />
        <select
          className="preview-width"
          aria-label="Width"
          value={width}
          onChange={(event) => setWidth(event.target.value)}
        >
          {widths.map(([value, word]) => (
            <option key={value} value={value}>
              {word}
            </option>
          ))}
        </select>
        <button
          type="button"
          className="icon-button"
          aria-label="Open in a tab"
          title="Open in a tab"
          onClick={() => window.open(previewPage(workspace, port, path), "_blank", "noopener")}
        >
          <Icon name="external" />
        </button>
        <button
          type="button"
          className="icon-button"
          aria-label="Close preview"
          title="Close preview"
          onClick={onClose}
        >
          <Icon name="close" />
        </button>
      </form>
      {failure && (
        <p className="notice bad ports-notice" role="alert">
          {failure}
        </p>
      )}
      <div className="preview-stage">
        {frame && (
          <iframe
            key={frame.key}
            className="preview-frame"
            title={`Port ${port}`}
            src={frame.url}
            width={width || "100%"}
            // It may not take over the page around it.
            sandbox={SANDBOX}
            // A browser asks for the clipboard in the name of the page around it, so it may not be read.
            allow="clipboard-write; fullscreen"
            referrerPolicy="no-referrer"
          />
        )}
      </div>
    </section>
  );
}
