// The status bar's word about the language server of the file in front, and the dialog behind it.
import { useState } from "react";
import type { LanguageServer } from "../api/agent";
import { displayName } from "../files/paths";
import { Copyable } from "../ui/copyable";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { toastError } from "../ui/toasts";
import { statusLabel, statusSentence } from "./language-status-text";
import type { Languages } from "./use-languages";

interface Props {
  languages: Languages;
  path: string;
  writable: boolean;
}

export function LanguageStatus({ languages, path, writable }: Props) {
  const [isOpen, setOpen] = useState(false);
  const server = languages.client.serverOf(path);
  if (!server) return null;
  const { text, level } = statusLabel(server);
  return (
    <>
      <button
        className={`status-button language-status ${level}`}
        title="Language server"
        onClick={() => setOpen(true)}
      >
        {level === "bad" && <Icon name="warning" size={13} />}
        {displayName(text)}
      </button>
      {isOpen && (
        <LanguageDialog
          languages={languages}
          server={server}
          writable={writable}
          onClose={() => setOpen(false)}
        />
      )}
    </>
  );
}

interface DialogProps {
  languages: Languages;
  server: LanguageServer;
  writable: boolean;
  onClose: () => void;
}

function LanguageDialog({ languages, server, writable, onClose }: DialogProps) {
  const restart = () => {
    languages.client
      .restart(server.language)
      .catch((error: unknown) => toastError(error, "restart the server"));
    onClose();
  };
  return (
    <Dialog title={`${server.label} language server`} onClose={onClose}>
      <p>{displayName(statusSentence(server))}</p>
      {server.install && (
        <>
          <p>Install it in a terminal. It starts when a file is opened after that, or with Restart.</p>
          <Copyable text={server.install} what="Command" />
        </>
      )}
      <div className="form-actions">
        <button className="button" onClick={onClose}>
          Close
        </button>
        {writable && (
          <button className="button primary" onClick={restart}>
            Restart
          </button>
        )}
      </div>
    </Dialog>
  );
}
