// One file of the past: as it was, or beside another instant's; and what can be done with it.
import { lazy, Suspense } from "react";
import { snapshots } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { Failure } from "../ui/failure";
import { Icon } from "../ui/icons";
import { Choice } from "../ui/segmented-control";
import { ReasonButton } from "../ui/reason-button";
import { instant, size } from "../ui/format";
import { useNarrow } from "../ui/use-narrow";
import { nameOf, parentOf, shown } from "../files/paths";
import type { Point } from "./timeline-model";
import { useContent, type Content } from "./use-snapshot-content";

const PastText = lazy(async () => ({ default: (await import("./snapshot-text")).PastText }));
const Difference = lazy(async () => ({ default: (await import("./diff-view")).Difference }));

export type Mode = "then" | "beside";

interface Props {
  workspace: Workspace;
  point: Point;
  /** What it is compared with; none: what is now. */
  other: Point | null;
  path: string;
  /** As the tree has it; 0 where it does not know. */
  bytes: number;
  mode: Mode;
  now: number;
  /** Why nothing can be brought back now; empty if it can. */
  reason: string;
  onMode: (mode: Mode) => void;
  onRestore: () => void;
  onClose: () => void;
}

export function PastFile(props: Props) {
  const { workspace, point, other, path, mode, now, onMode } = props;
  const narrow = useNarrow();
  const then = useContent(workspace.id, point.id, path, props.bytes);
  const beside = useContent(workspace.id, other?.id ?? "latest", mode === "beside" ? path : null, 0);
  const name = shown(nameOf(path));
  const otherWord = other ? instant(other.at, now) : "today";
  const absent = then.loaded?.content.type === "absent";
  const reason = absent ? "It was not there then." : props.reason;
  return (
    <section className="past-file" aria-label={name} data-region="file">
      <div className="past-file-head">
        <button
          className="icon-button past-back"
          aria-label="Back to the list"
          title="Back to the list"
          onClick={props.onClose}
        >
          <Icon name="earlier" />
        </button>
        <h2 title={`~/${shown(path)}`}>
          {name} <span className="soft">{shown(parentOf(path))}</span>
        </h2>
        <Choice
          label="How it is shown"
          options={[
            ["then", "As it was"],
            ["beside", `Beside ${otherWord}`],
          ]}
          value={mode}
          onChange={onMode}
        />
        <a
          className="icon-button"
          href={absent ? undefined : snapshots.contentUrl(workspace.id, point.id, path)}
          download={nameOf(path)}
          aria-label={`Download ${name} as it was`}
          aria-disabled={absent || undefined}
          title="Download as it was"
        >
          <Icon name="download" />
        </a>
        <ReasonButton className="button small" reason={reason} onClick={props.onRestore}>
          <span>
            Restore<span className="wide-only"> this file…</span>
          </span>
        </ReasonButton>
      </div>
      <div className="past-file-body" aria-busy={then.loading || beside.loading}>
        <Suspense fallback={<TextSkeleton />}>
          {mode === "then" ? (
            then.failure !== null ? (
              <Failure error={then.failure} onRetry={then.retry} />
            ) : then.loaded ? (
              <Then content={then.loaded.content} path={path} />
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
            <Beside
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

function Then({ content, path }: { content: Content; path: string }) {
  if (content.type === "text") return <PastText path={path} text={content.text} />;
  return (
    <p className="past-none soft">
      {content.type === "absent"
        ? "This file was not there then. Move along the time line, or see it beside another instant."
        : `${binaryWords(content.bytes)} Download it to look at it.`}
    </p>
  );
}

const binaryWords = (bytes: number | null) =>
  bytes === null ? "The file is too large to be shown." : `This is no text, ${size(bytes)}.`;

interface Side {
  word: string;
  content: Content;
}

/** The earlier one is on the left. */
function sidesOf(
  point: Point,
  other: Point | null,
  then: Content,
  beside: Content,
  now: number,
): [Side, Side] {
  const one = { word: instant(point.at, now), content: then };
  const two = { word: other ? instant(other.at, now) : "Today", content: beside };
  return other && other.at < point.at ? [two, one] : [one, two];
}

function Beside({ path, sides, wide }: { path: string; sides: [Side, Side]; wide: boolean }) {
  const [before, after] = sides;
  if (before.content.type === "binary" || after.content.type === "binary") {
    const words = sides.map(
      ({ word, content }) =>
        `${word}: ${content.type === "absent" ? "not there" : content.type === "binary" && content.bytes !== null ? size(content.bytes) : "there"}`,
    );
    return <p className="past-none soft">It cannot be compared line by line. {words.join(" · ")}</p>;
  }
  const text = (content: Content) => (content.type === "text" ? content.text : "");
  const same = text(before.content) === text(after.content) && before.content.type === after.content.type;
  const head = (
    <div className={wide ? "past-sides" : "past-sides unified"}>
      {sides.map(({ word, content }, index) => (
        <span key={index}>
          {!wide && <b aria-hidden="true">{index === 0 ? "−" : "+"} </b>}
          {word}
          {content.type === "absent" && " · not there"}
        </span>
      ))}
    </div>
  );
  if (same)
    return (
      <>
        <p className="past-same soft small" role="status">
          No difference between {before.word} and {after.word.toLowerCase()}.
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
