// The bytes of a file that is no text, a page at a time.
import { useEffect, useState, type FormEvent, type ReactNode } from "react";
import { filesApi } from "../api/endpoints";
import { Failure } from "../ui/failure";
import { formatBytes } from "../ui/format";
import { IconButton } from "../ui/icon-button";
import { hexRows, PAGE_BYTES, pageOf, parseOffset } from "./hex-model";

interface Props {
  workspace: string;
  path: string;
  /** The file's name as it is displayed. */
  name: string;
  /** Further tools. */
  tools: ReactNode;
}

interface Page {
  number: number;
  bytes: Uint8Array;
  total: number;
}

export function HexView({ workspace, path, name, tools }: Props) {
  const [wanted, setWanted] = useState(0);
  const [page, setPage] = useState<Page | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const [offset, setOffset] = useState("");
  useEffect(() => {
    const reading = new AbortController();
    filesApi.getRange(workspace, path, wanted * PAGE_BYTES, PAGE_BYTES, reading.signal).then(
      ({ bytes, total }) => {
        setPage({ number: wanted, bytes, total });
        setFailure(null);
      },
      (error: unknown) => reading.signal.aborted || setFailure(error),
    );
    return () => reading.abort();
  }, [workspace, path, wanted, attempt]);

  if (failure !== null) return <Failure error={failure} onRetry={() => setAttempt(attempt + 1)} />;
  if (!page) return <p className="soft editor-wait">Opening {name}…</p>;
  const last = pageOf(page.total, page.total);
  const typed = parseOffset(offset);
  const go = (event: FormEvent) => {
    event.preventDefault();
    if (typed !== null) setWanted(pageOf(typed, page.total));
  };
  return (
    <div className="file-view">
      <div className="file-view-tools" role="toolbar" aria-label="Bytes">
        <IconButton
          icon="earlier"
          label="Previous page"
          disabled={page.number === 0}
          onClick={() => setWanted(page.number - 1)}
        />
        <IconButton
          icon="later"
          label="Next page"
          disabled={page.number >= last}
          onClick={() => setWanted(page.number + 1)}
        />
        <span role="status">
          Page {page.number + 1} of {last + 1}
        </span>
        <form onSubmit={go}>
          <input
            className="input"
            aria-label="Go to offset"
            placeholder="Offset, 0x…"
            autoComplete="off"
            spellCheck={false}
            aria-invalid={offset !== "" && typed === null}
            value={offset}
            onChange={(event) => setOffset(event.target.value)}
          />
        </form>
        <span className="soft">{formatBytes(page.total)}</span>
        <span className="file-view-space" />
        {tools}
      </div>
      <pre className="hex" tabIndex={0} role="group" aria-label={`Bytes of ${name}`}>
        {page.total === 0 ? "The file is empty." : hexRows(page.bytes, page.number * PAGE_BYTES).join("\n")}
      </pre>
    </div>
  );
}
