// What the server understood of a roster, before anything is changed: columns, students and what differs.
import type { RosterResult, RosterRow } from "../api/types";
import { describeRoster, pluralize, rosterSummary } from "./roster";

/** Rows of each kind that are listed. */
const MAX_LISTED = 50;

export function RosterPreview({ result }: { result: RosterResult }) {
  const changed = result.rows.filter((row) => row.change !== "unchanged");
  return (
    <section className="roster-preview" aria-label="Preview">
      <p role="status">{rosterSummary(result)}</p>
      <p className="hint">{[describeRoster(result.format), ...result.format.notes].join(" ")}</p>
      {(changed.length > 0 || result.errors.length > 0) && (
        <div className="roster-table">
          <table>
            <thead>
              <tr>
                <th scope="col">Line</th>
                <th scope="col">Name</th>
                <th scope="col">Email</th>
                <th scope="col">Change</th>
              </tr>
            </thead>
            <tbody>
              {result.errors.slice(0, MAX_LISTED).map((error) => (
                <tr key={`error-${error.line}`} className="wrong">
                  <td>{error.line}</td>
                  <td>{error.name}</td>
                  <td>{error.email}</td>
                  <td>Rejected: {error.message}</td>
                </tr>
              ))}
              {changed.slice(0, MAX_LISTED).map((row) => (
                <tr key={`${row.line}-${row.email}`}>
                  <td>{row.line}</td>
                  <td>{row.name}</td>
                  <td>{row.email}</td>
                  <td>{changeLabel(row)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {changed.length > MAX_LISTED && <p className="hint">And {changed.length - MAX_LISTED} more.</p>}
      <MissingMembers result={result} />
    </section>
  );
}

/** Members that are not in the roster. They stay in the class. */
export function MissingMembers({ result }: { result: RosterResult }) {
  if (result.missing.length === 0) return null;
  const verb = result.missing.length === 1 ? "is" : "are";
  return (
    <details className="roster-missing">
      <summary>
        {pluralize(result.missing.length, "student")} of the class {verb} not in this list, and stay in the
        class
      </summary>
      <ul>
        {result.missing.map((one) => (
          <li key={one.member}>
            {one.name} <span className="soft small">{one.email}</span>
          </li>
        ))}
      </ul>
    </details>
  );
}

function changeLabel(row: RosterRow): string {
  if (row.change === "name_corrected") return `Name corrected, was ${row.previous ?? ""}`;
  if (row.change === "email_corrected") return `Email corrected, was ${row.previous ?? ""}`;
  return row.change === "added" ? "New" : "Unchanged";
}
