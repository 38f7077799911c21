// The page that a browser passes on its way to a preview: it gets a ticket for the signed-in user.
import { useEffect, useState } from "react";
import { errorMessage } from "../api/client";
import { portsApi } from "../api/endpoints";
import { CardPage } from "../ui/card-page";
import { Link } from "../ui/router";
import { ticketAddress } from "./ports-model";

export default function PreviewPage() {
  const [query] = useState(() => new URLSearchParams(window.location.search));
  const workspace = query.get("workspace") ?? "";
  const port = Number(query.get("port"));
  const to = query.get("to") ?? "/";
  const isValid = /^[0-9a-f-]{36}$/.test(workspace) && Number.isInteger(port) && port > 0 && port < 65_536;
  const [failure, setFailure] = useState(isValid ? "" : "The address of the preview is not complete.");
  useEffect(() => {
    if (!isValid) return;
    portsApi.ticket(workspace, port).then(
      ({ ticket_url }) => window.location.replace(ticketAddress(ticket_url, to)),
      (error: unknown) => setFailure(errorMessage(error)),
    );
  }, [isValid, workspace, port, to]);
  if (!failure) {
    return <CardPage title={`Opening port ${port}…`} />;
  }
  return (
    <CardPage title="Cannot open the preview" lead={failure}>
      <Link className="button" href={isValid ? `/workspaces/${workspace}` : "/"}>
        {isValid ? "Open the workspace" : "Workspaces"}
      </Link>
    </CardPage>
  );
}
