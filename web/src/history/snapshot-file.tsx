// One file of a snapshot: its content or a diff, with Download and Restore.
import { lazy, Suspense } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { Failure } from "../ui/failure";
import { Icon } from "../ui/icons";
import { SegmentedControl } from "../ui/segmented-control";
import { ReasonButton } from "../ui/reason-button";
import { formatInstant, formatBytes } from "../ui/format";
import { useNarrow } from "../ui/use-narrow";
import { nameOf, parentOf, displayName } from "../files/paths";
import type { Point } from "./timeline-model";
import { useSnapshotContent, type Content } from "./use-snapshot-content";

const PastText = lazy(async () => ({ default: (await import("./snapshot-text")).SnapshotText }));
const Difference = lazy(async () => ({ default: (await import("./diff-view")).DiffView }));

export type ViewMode = "content" | "diff";

interface Props {
  workspace: Workspace;
  point: Point;
  /** The snapshot to compare with. Null: the latest. */
  other: Point | null;
  path: string;
  /** The file's size according to the tree; 0 if unknown. */
  bytes: number;
  mode: ViewMode;
  now: number;
  /** Why nothing can be restored now; empty if it can. */
  reason: string;
  onMode: (mode: ViewMode) => void;
  onRestore: () => void;
  onClose: () => void;
}

export function SnapshotFile(props: Props) {
  const { workspace, point, other, path, mode, now, onMode } = props;
  const narrow = useNarrow();
  const then = useSnapshotContent(workspace.id, point.id, path, props.bytes);
  const beside = useSnapshotContent(workspace.id, other?.id ?? "latest", mode === "diff" ? path : null, 0);
  const name = displayName(nameOf(path));
  const otherWord = other ? formatInstant(other.at, now) : "current";
  const absent = then.loaded?.content.type === "absent";
  const reason = absent ? "The file does not exist in this snapshot." : props.reason;
  return (
    <section className="snapshot-file" aria-label={name} data-region="file">
      <div className="snapshot-file-head">
        <button className="icon-button snapshot-back" aria-label="Back" title="Back" onClick={props.onClose}>
          <Icon name="earlier" />
        </button>
        <h2 title={`~/${displayName(path)}`}>
          {name} <span className="soft">{displayName(parentOf(path))}</span>
        </h2>
        <SegmentedControl
          label="View"
          options={[
            ["content", "Content"],
            ["diff", `Diff with ${otherWord}`],
          ]}
          value={mode}
          onChange={onMode}
        />
        <a
          className="icon-button"
          href={absent ? undefined : snapshotsApi.contentUrl(workspace.id, point.id, path)}
          download={nameOf(path)}
          aria-label={`Download ${name}`}
          aria-disabled={absent || undefined}
          title="Download"
        >
          <Icon name="download" />
        </a>
        <ReasonButton className="button small" reason={reason} onClick={props.onRestore}>
          <span>
            Restore<span className="wide-only"> file…</span>
          </span>
        </ReasonButton>
      </div>
      <div className="snapshot-file-body" aria-busy={then.loading || beside.loading}>
        <Suspense fallback={<TextSkeleton />}>
          {mode === "content" ? (
            then.failure !== null ? (
              <Failure error={then.failure} onRetry={then.retry} />
            ) : then.loaded ? (
              <FileContent content={then.loaded.content} path={path} />
            ) : (
              <TextSkeleton />
            )
          ) : (then.failure ?? beside.failure) !== null ? (
            <Failure
              error={then.failure ?? beside.failure}
              onRetry={() => {
                then.retry();
                beside.retry();
              }}
            />
          ) : then.loaded && beside.loaded ? (
            <FileDiff
              path={path}
              sides={sidesOf(point, other, then.loaded.content, beside.loaded.content, now)}
              wide={!narrow}
            />
          ) : (
            <TextSkeleton />
          )}
        </Suspense>
      </div>
    </section>
  );
}

function FileContent({ content, path }: { content: Content; path: string }) {
  if (content.type === "text") return <PastText path={path} text={content.text} />;
  return (
    <p className="history-empty soft">
      {content.type === "absent"
        ? "This file does not exist in this snapshot. Choose another one on the timeline."
        : `${binaryMessage(content.bytes)} Download it to view it.`}
    </p>
  );
}

const binaryMessage = (bytes: number | null) =>
  bytes === null ? "The file is too large to display." : `This is not a text file (${formatBytes(bytes)}).`;

interface Side {
  word: string;
  content: Content;
}

/** The earlier one comes first. */
function sidesOf(
  point: Point,
  other: Point | null,
  then: Content,
  beside: Content,
  now: number,
): [Side, Side] {
  const one = { word: formatInstant(point.at, now), content: then };
  const two = { word: other ? formatInstant(other.at, now) : "Current", content: beside };
  return other && other.at < point.at ? [two, one] : [one, two];
}

function describeContent(content: Content): string {
  if (content.type === "absent") return "does not exist";
  return content.type === "binary" && content.bytes !== null ? formatBytes(content.bytes) : "exists";
}

function FileDiff({ path, sides, wide }: { path: string; sides: [Side, Side]; wide: boolean }) {
  const [before, after] = sides;
  if (before.content.type === "binary" || after.content.type === "binary") {
    const words = sides.map(({ word, content }) => `${word}: ${describeContent(content)}`);
    return <p className="history-empty soft">Cannot show a diff of binary files. {words.join(" · ")}</p>;
  }
  const text = (content: Content) => (content.type === "text" ? content.text : "");
  const same = text(before.content) === text(after.content) && before.content.type === after.content.type;
  const head = (
    <div className={wide ? "snapshot-sides" : "snapshot-sides unified"}>
      {sides.map(({ word, content }, index) => (
        <span key={index}>
          {!wide && <b aria-hidden="true">{index === 0 ? "−" : "+"} </b>}
          {word}
          {content.type === "absent" && " · does not exist"}
        </span>
      ))}
    </div>
  );
  if (same)
    return (
      <>
        <p className="snapshot-same soft small" role="status">
          No changes between {before.word} and {after.word.toLowerCase()}.
        </p>
        <PastText path={path} text={text(before.content)} />
      </>
    );
  return (
    <>
      {head}
      <Difference path={path} before={text(before.content)} after={text(after.content)} wide={wide} />
    </>
  );
}

function TextSkeleton() {
  return (
    <div className="text-skeleton" aria-hidden="true">
      {[30, 55, 48, 0, 62, 40, 71, 25].map((width, index) => (
        <span key={index} className="skeleton" style={{ width: `${width}%` }} />
      ))}
    </div>
  );
}
