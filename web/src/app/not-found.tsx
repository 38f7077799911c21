// Shown for an address whose page or object does not exist.
import { Link } from "../ui/router";

interface Props {
  title?: string;
  text?: string;
  /** The link to continue with. */
  back?: string;
  backLabel?: string;
}

export function NotFound({
  title = "Workspace not found",
  text = "It was deleted, or you do not have access to it.",
  back = "/",
  backLabel = "Go to workspaces",
}: Props) {
  return (
    <main className="gate">
      <div className="panel gate-card">
        <h1>{title}</h1>
        <p className="lead">{text}</p>
        <Link className="button primary" href={back}>
          {backLabel}
        </Link>
      </div>
    </main>
  );
}
