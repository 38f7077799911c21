// The result of adding students: rejected rows, and an invitation link for each new student.
import { useEffect, useMemo } from "react";
import type { RosterResult } from "../api/types";
import { Icon } from "../ui/icons";
import { copyText } from "../ui/toasts";
import { MissingMembers } from "./roster-preview";
import { invitationsCsv, rosterSummary, type Invited } from "./roster";

export function RosterResultView({
  result,
  onMore,
  onClose,
}: {
  result: RosterResult;
  onMore: () => void;
  onClose: () => void;
}) {
  const invited: Invited[] = [...result.added, ...result.corrected].map((one) => ({
    name: one.name,
    email: one.email,
    link: one.invitation ? `${window.location.origin}${one.invitation.path}` : null,
  }));
  const links = invited.filter((one) => one.link !== null);
  const csv = useObjectUrl(invitationsCsv(invited));
  return (
    <div className="form">
      <p role="status">{rosterSummary(result)}</p>
      {result.format.notes.length > 0 && <p className="hint">{result.format.notes.join(" ")}</p>}
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
                {one.link === null ? (
                  <span className="soft small">Invited by another teacher, and joins with that link</span>
                ) : (
                  <button
                    type="button"
                    className="button"
                    onClick={() => void copyText(one.link ?? "", "Invitation link")}
                    aria-label={`Copy link for ${one.name}`}
                  >
                    <Icon name="copy" /> Copy link
                  </button>
                )}
              </li>
            ))}
          </ul>
        </>
      )}
      <MissingMembers result={result} />
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
                void copyText(links.map((one) => `${one.name}\t${one.link}`).join("\n"), "All links")
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
