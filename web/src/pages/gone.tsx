// What an address shows whose workspace is not there.
import { Link } from "../ui/router";

export function Gone() {
  return (
    <main className="gate">
      <div className="panel gate-card">
        <h1>There is no such workspace</h1>
        <p className="lead">It was deleted, or it is not yours to see.</p>
        <Link className="button primary" href="/">
          To the workspaces
        </Link>
      </div>
    </main>
  );
}
