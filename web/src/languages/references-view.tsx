// Where a name is used, in all files.
import { displayName } from "../files/paths";
import { IconButton } from "../ui/icon-button";
import type { FilePlaces, Place } from "./places-model";
import { PlacesTree } from "./places-tree";

export interface FoundReferences {
  /** The name. */
  name: string;
  files: readonly FilePlaces[];
}

interface Props {
  references: FoundReferences;
  onOpen: (path: string, place: Place, isPreview: boolean) => void;
  /** Shows the problems again. */
  onClose: () => void;
}

export function ReferencesView({ references: { name, files }, onOpen, onClose }: Props) {
  const counted = (count: number, one: string) =>
    `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
  const count = files.reduce((sum, { places }) => sum + places.length, 0);
  return (
    <div className="places-view">
      <div className="pane-head">
        <h2>References</h2>
        <IconButton icon="close" label="Show problems" onClick={onClose} />
      </div>
      <p role="status" className="soft small places-status">
        {counted(count, "reference")} to <code>{displayName(name)}</code> in {counted(files.length, "file")}
      </p>
      <PlacesTree label="References" files={files} onOpen={onOpen} />
    </div>
  );
}
