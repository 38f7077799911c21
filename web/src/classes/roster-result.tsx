// The result of adding students: rejected rows, and an invitation link for each new student.
import { useEffect, useMemo } from "react";
import type { RosterResult } from "../api/types";
import { Icon } from "../ui/icons";
import { copyText } from "../ui/toasts";
import { pluralize, invitationsCsv, type Invited } from "./roster";

export function RosterResultView({
  result,
  onMore,
  onClose,
}: {
  result: RosterResult;
  onMore: () => void;
  onClose: () => void;
}) {
  const invited: Invited[] = result.added.map((one) => ({
    name: one.name,
    email: one.email,
    link: `${window.location.origin}${one.invitation.path}`,
  }));
  const csv = useObjectUrl(invitationsCsv(invited));
  return (
    <div className="form">
      <p role="status">
        {pluralize(result.added.length, "student")} added
        {result.unchanged > 0 ? `, ${result.unchanged} already in the class` : ""}
        {result.errors.length > 0 ? `, ${pluralize(result.errors.length, "row")} rejected` : ""}.
      </p>
      {result.errors.length > 0 && (
        <div className="notice bad" role="alert">
          <ul className="row-errors">
            {result.errors.map((error) => (
              <li key={error.line}>
                Line {error.line}: {error.message} <code>{error.row}</code>
              </li>
            ))}
          </ul>
        </div>
      )}
      {invited.length > 0 && (
        <>
          <p className="hint">
            Give each student their link. It is shown only once; you can create a new one later.
          </p>
          <ul className="invitations">
            {invited.map((one) => (
              <li key={one.email}>
                <span>
                  {one.name} <span className="soft small">{one.email}</span>
                </span>
                <button
                  type="button"
                  className="button"
                  onClick={() => void copyText(one.link, "Invitation link")}
                  aria-label={`Copy link for ${one.name}`}
                >
                  <Icon name="copy" /> Copy link
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
      <div className="form-actions">
        {invited.length > 0 && (
          <>
            <a className="button" href={csv} download="invitations.csv">
              <Icon name="download" /> Download CSV
            </a>
            <button
              type="button"
              className="button"
              onClick={() =>
                void copyText(invited.map((one) => `${one.name}\t${one.link}`).join("\n"), "All links")
              }
            >
              Copy all
            </button>
          </>
        )}
        <span className="spring" />
        {result.errors.length > 0 && (
          <button type="button" className="button" onClick={onMore}>
            Correct rows
          </button>
        )}
        <button type="button" className="button primary" onClick={onClose}>
          Done
        </button>
      </div>
    </div>
  );
}

/** An object URL for `text`, revoked when the component unmounts. */
function useObjectUrl(text: string): string {
  const url = useMemo(() => URL.createObjectURL(new Blob([text], { type: "text/csv" })), [text]);
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  return url;
}
