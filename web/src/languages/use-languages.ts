// The language servers of the workspace, as the page uses them.
import { useEffect, useState, useSyncExternalStore } from "react";
import type { TextLocation } from "../api/agent";
import { displayName } from "../files/paths";
import { toast, toastError } from "../ui/toasts";
import { LanguageClient, type LanguageState } from "./language-client";

export interface Languages {
  client: LanguageClient;
  state: LanguageState;
}

export function useLanguages(workspace: string): Languages {
  const [client] = useState(
    () =>
      new LanguageClient(workspace, (server, text) =>
        toastError(new Error(`${displayName(server)}: ${displayName(text)}`)),
      ),
  );
  useEffect(() => {
    client.start();
    return () => client.close();
  }, [client]);
  const state = useSyncExternalStore(client.subscribe, () => client.state);
  return { client, state };
}

/** Opens the first place that is in the home. */
export function openLocation(
  locations: readonly TextLocation[],
  open: (path: string, line: number, column: number) => void,
): void {
  const [first] = locations;
  const target = locations.find((location) => location.in_home);
  if (target) open(target.path, target.range.start.line, target.range.start.column);
  else if (first) toast(`It is defined outside the home: ${displayName(first.path)}`);
  else toast("No definition found.");
}
