// The path of the open file. Each part shows its folder in the Explorer.
import { Fragment } from "react";
import { FileIcon } from "../files/file-icon";
import { ancestorsOf, displayName, nameOf } from "../files/paths";
import { Icon } from "../ui/icons";

interface Props {
  path: string;
  onReveal: (path: string, isFolder: boolean) => void;
}

export function Breadcrumbs({ path, onReveal }: Props) {
  return (
    <div className="breadcrumbs" role="group" aria-label="Breadcrumbs">
      {ancestorsOf(path).map((folder) => (
        <Fragment key={folder}>
          <button
            title={`Show ~/${displayName(folder)} in the Explorer`}
            onClick={() => onReveal(folder, true)}
          >
            {displayName(nameOf(folder))}
          </button>
          <Icon name="chevron" size={12} />
        </Fragment>
      ))}
      <button title="Show in the Explorer" onClick={() => onReveal(path, false)}>
        <FileIcon name={nameOf(path)} size={13} />
        {displayName(nameOf(path))}
      </button>
    </div>
  );
}
