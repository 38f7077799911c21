// What an address shows whose thing is not there.
import { Link } from "../ui/router";

interface Props {
  title?: string;
  text?: string;
  /** Where to go instead. */
  back?: string;
  backWords?: string;
}

export function Gone({
  title = "There is no such workspace",
  text = "It was deleted, or it is not yours to see.",
  back = "/",
  backWords = "To the workspaces",
}: Props) {
  return (
    <main className="gate">
      <div className="panel gate-card">
        <h1>{title}</h1>
        <p className="lead">{text}</p>
        <Link className="button primary" href={back}>
          {backWords}
        </Link>
      </div>
    </main>
  );
}
