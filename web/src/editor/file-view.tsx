// A file that is no text: as an image, or its bytes. Nothing of it runs, because it is only ever decoded as
// an image or shown as text.
import { useState } from "react";
import { filesApi } from "../api/endpoints";
import { displayName, nameOf } from "../files/paths";
import { HexView } from "./hex-view";
import { imageTypeOf } from "./file-type";
import { ImageView } from "./image-view";

interface Props {
  workspace: string;
  path: string;
}

export function FileView({ workspace, path }: Props) {
  const name = displayName(nameOf(path));
  const type = imageTypeOf(nameOf(path));
  const [asBytes, setAsBytes] = useState(type === null);
  const [isInvalid, setInvalid] = useState(false);
  const tools = (
    <>
      {isInvalid && (
        <span className="soft" role="status">
          The browser cannot show it as an image.
        </span>
      )}
      {type !== null && !isInvalid && (
        <button className="button small" onClick={() => setAsBytes(!asBytes)}>
          {asBytes ? "Show image" : "Show bytes"}
        </button>
      )}
      <a className="button small" href={filesApi.downloadUrl(workspace, path)} download>
        Download
      </a>
    </>
  );
  if (type === null || asBytes)
    return <HexView workspace={workspace} path={path} name={name} tools={tools} />;
  return (
    <ImageView
      workspace={workspace}
      path={path}
      name={name}
      type={type}
      tools={tools}
      onInvalid={() => {
        setInvalid(true);
        setAsBytes(true);
      }}
    />
  );
}
