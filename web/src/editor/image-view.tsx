// An image of a workspace. It is hostile: the browser only decodes it as an image, from a blob whose type is
// ours.
import { useEffect, useState, type KeyboardEvent, type ReactNode } from "react";
import { filesApi } from "../api/endpoints";
import { Failure } from "../ui/failure";
import { formatBytes } from "../ui/format";
import { IconButton } from "../ui/icon-button";

interface Props {
  workspace: string;
  path: string;
  /** The file's name as it is displayed. */
  name: string;
  type: string;
  /** Further tools. */
  tools: ReactNode;
  /** The browser cannot decode it. */
  onInvalid: () => void;
}

interface Loaded {
  url: string;
  bytes: number;
}

const MIN_ZOOM = 0.1;
const MAX_ZOOM = 16;
const STEP = 1.25;

export function ImageView({ workspace, path, name, type, tools, onInvalid }: Props) {
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const [size, setSize] = useState<{ width: number; height: number } | null>(null);
  /** Null: as large as there is room, at most its size. */
  const [zoom, setZoom] = useState<number | null>(null);
  useEffect(() => {
    const reading = new AbortController();
    let url = "";
    filesApi.getImage(workspace, path, reading.signal).then(
      (bytes) => {
        if (reading.signal.aborted) return;
        url = URL.createObjectURL(new Blob([bytes], { type }));
        setLoaded({ url, bytes: bytes.byteLength });
        setFailure(null);
      },
      (error: unknown) => reading.signal.aborted || setFailure(error),
    );
    return () => {
      reading.abort();
      if (url !== "") URL.revokeObjectURL(url);
    };
  }, [workspace, path, type, attempt]);

  if (failure !== null) return <Failure error={failure} onRetry={() => setAttempt(attempt + 1)} />;
  if (!loaded) return <p className="soft editor-wait">Opening {name}…</p>;
  const scale = (by: number) => setZoom(Math.max(MIN_ZOOM, Math.min((zoom ?? 1) * by, MAX_ZOOM)));
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+") scale(STEP);
    else if (event.key === "-") scale(1 / STEP);
    else if (event.key === "0") setZoom(null);
    else return;
    event.preventDefault();
  };
  return (
    <div className="file-view" onKeyDown={onKey}>
      <div className="file-view-tools" role="toolbar" aria-label="Image">
        <IconButton icon="minus" label="Zoom out" onClick={() => scale(1 / STEP)} />
        <IconButton icon="plus" label="Zoom in" onClick={() => scale(STEP)} />
        <button className="button small" aria-pressed={zoom === null} onClick={() => setZoom(null)}>
          Fit
        </button>
        <button className="button small" aria-pressed={zoom === 1} onClick={() => setZoom(1)}>
          100 %
        </button>
        <IconButton icon="refresh" label="Reload image" onClick={() => setAttempt(attempt + 1)} />
        <span className="soft" role="status">
          {size && `${size.width} × ${size.height} · `}
          {formatBytes(loaded.bytes)}
          {zoom !== null && ` · ${Math.round(zoom * 100)} %`}
        </span>
        <span className="file-view-space" />
        {tools}
      </div>
      <div className="image-place" tabIndex={0} role="group" aria-label={`Image ${name}`}>
        <img
          className={zoom === null ? "fit" : undefined}
          src={loaded.url}
          alt={name}
          width={zoom !== null && size ? Math.max(1, Math.round(size.width * zoom)) : undefined}
          onLoad={({ currentTarget: { naturalWidth, naturalHeight } }) =>
            setSize({ width: naturalWidth, height: naturalHeight })
          }
          onError={onInvalid}
        />
      </div>
    </div>
  );
}
