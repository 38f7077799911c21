// The problems that language servers have found, in all files.
import { countProblems, type FilePlaces, type Place } from "./places-model";
import { PlacesTree } from "./places-tree";

interface Props {
  files: readonly FilePlaces[];
  /** Whether a server could find any. */
  hasServer: boolean;
  onOpen: (path: string, place: Place, isPreview: boolean) => void;
}

export function ProblemsView({ files, hasServer, onOpen }: Props) {
  const { errors, warnings } = countProblems(files);
  const isTruncated = files.some(({ truncated }) => truncated);
  const counted = (count: number, one: string) =>
    `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
  return (
    <div className="places-view">
      <div className="pane-head">
        <h2>Problems</h2>
      </div>
      <p role="status" className="soft small places-status">
        {files.length > 0
          ? `${counted(errors, "error")}, ${counted(warnings, "warning")}`
          : hasServer
            ? "No problems have been found."
            : "Language servers find problems in open files."}
      </p>
      {isTruncated && (
        <p className="notice search-notice">Only the first problems of some files are shown.</p>
      )}
      <PlacesTree label="Problems" files={files} onOpen={onOpen} />
    </div>
  );
}
