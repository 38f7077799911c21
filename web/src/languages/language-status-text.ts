// What users read about the state of a language server. Pure.
import type { LanguageServer } from "../api/agent";

export interface StatusLabel {
  text: string;
  level: "good" | "busy" | "bad" | "soft";
}

/** For the status bar. */
export function statusLabel({ server, state, message }: LanguageServer): StatusLabel {
  switch (state) {
    case "ready":
      return message ? { text: `${server}: ${message}`, level: "busy" } : { text: server, level: "good" };
    case "starting":
      return { text: `Starting ${server}…`, level: "busy" };
    case "waiting":
      return { text: `Restarting ${server}…`, level: "busy" };
    case "failed":
      return { text: `${server} failed`, level: "bad" };
    case "missing":
      return { text: "No language server", level: "soft" };
    case "stopped":
      return { text: `${server} stopped`, level: "soft" };
  }
}

/** For its dialog. */
export function statusSentence({ label, server, state, message }: LanguageServer): string {
  const reason = message ? `: ${message}` : "";
  switch (state) {
    case "ready":
      return message ? `${server} is ready. It is working on: ${message}` : `${server} is ready.`;
    case "starting":
      return `${server} is starting.`;
    case "waiting":
      return `${server} will be started again${reason}.`;
    case "failed":
      return `${server} has failed too often${reason}.`;
    case "missing":
      return (
        `No language server for ${label} is installed in this workspace. ` +
        "Completion, problems and Go to definition need one."
      );
    case "stopped":
      return `${server} does not run, because no file of its language is open.`;
  }
}
