// Adds students to a class from a pasted, dropped or chosen roster. The server reads the roster, and
// shows what it understood before anything is changed.
import { useState, type DragEvent } from "react";
import { classesApi } from "../api/endpoints";
import { errorMessage } from "../api/client";
import type { Class, RosterResult } from "../api/types";
import { Dialog } from "../ui/dialog";
import { RosterPreview } from "./roster-preview";
import { RosterResultView } from "./roster-result";
import { rosterOfRows } from "./roster";
import { useRosterPreview } from "./use-roster-preview";

const EXAMPLE = "name,email\nAnn Example,ann@school.example\nBob Example,bob@school.example";

interface RosterProps {
  group: Class;
  put: (group: Class) => void;
  onClose: () => void;
}

export function RosterDialog({ group, put, onClose }: RosterProps) {
  const [text, setText] = useState("");
  const [result, setResult] = useState<RosterResult | null>(null);
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  /** The file that the text came from, and its encoding. */
  const [origin, setOrigin] = useState("");
  const preview = useRosterPreview(group.id, text);
  const add = () => {
    setBusy(true);
    setWrong("");
    classesApi
      .addRoster(group.id, text)
      .then(
        (done) => {
          put(done.class);
          setResult(done);
        },
        (error: unknown) => setWrong(errorMessage(error)),
      )
      .finally(() => setBusy(false));
  };
  /** A file is decoded by the server, because only it knows every encoding. */
  const read = (file: File) => {
    setBusy(true);
    setWrong("");
    classesApi
      .previewRoster(group.id, file)
      .then(
        ({ format }) => {
          setText(format.text);
          setOrigin(`${file.name}, read as ${format.encoding}.`);
        },
        (error: unknown) => setWrong(`${file.name}: ${errorMessage(error)}`),
      )
      .finally(() => setBusy(false));
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const [file] = event.dataTransfer.files;
    if (file) read(file);
    else setText(event.dataTransfer.getData("text/plain"));
  };
  if (result) {
    return (
      <Dialog key="result" title="Students added" wide onClose={onClose}>
        <RosterResultView
          result={result}
          onMore={() => {
            // Only the rejected rows are shown, to be corrected, below a header that names their columns.
            setText(rosterOfRows(result.errors));
            setResult(null);
          }}
          onClose={onClose}
        />
      </Dialog>
    );
  }
  const problem = wrong || preview.problem;
  return (
    <Dialog key="roster" title={`Add students to ${group.name}`} wide onClose={onClose}>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          add();
        }}
      >
        <div className="field">
          <label htmlFor="roster">Roster: one line per student, with name and email</label>
          <textarea
            id="roster"
            className={over ? "input roster-text over" : "input roster-text"}
            rows={8}
            value={text}
            placeholder={EXAMPLE}
            spellCheck={false}
            onChange={(event) => {
              setWrong("");
              setText(event.target.value);
            }}
            onDragOver={(event) => {
              event.preventDefault();
              setOver(true);
            }}
            onDragLeave={() => setOver(false)}
            onDrop={drop}
          />
          <p className={problem ? "wrong" : "hint"} role={problem ? "alert" : undefined}>
            {problem ||
              "Paste a list, or drop or choose a file of a spreadsheet or learning system. If a list " +
                "is sent again, corrected names and addresses are applied."}
          </p>
        </div>
        {origin && text && <p className="hint">{origin}</p>}
        {preview.result && <RosterPreview result={preview.result} />}
        <div className="form-actions">
          <label className="button file-button">
            Choose file…
            <input
              className="hidden-text"
              type="file"
              accept=".csv,.tsv,.txt,.xls,text/csv,text/plain,text/tab-separated-values"
              onChange={(event) => {
                const file = event.target.files?.[0];
                if (file) read(file);
                event.target.value = "";
              }}
            />
          </label>
          <span className="spring" />
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button className="button primary" disabled={busy || text.trim() === ""}>
            Add students
          </button>
        </div>
      </form>
    </Dialog>
  );
}
