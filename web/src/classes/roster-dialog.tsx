// Adds students to a class from a pasted, dropped or chosen roster.
import { useState, type DragEvent } from "react";
import { classesApi } from "../api/endpoints";
import { errorMessage } from "../api/client";
import type { Class, RosterResult } from "../api/types";
import { Dialog } from "../ui/dialog";
import { RosterResultView } from "./roster-result";

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
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const [file] = event.dataTransfer.files;
    if (file) void file.text().then(setText, (error: unknown) => setWrong(errorMessage(error)));
    else setText(event.dataTransfer.getData("text/plain"));
  };
  if (result) {
    return (
      <Dialog title="Students added" wide onClose={onClose}>
        <RosterResultView
          result={result}
          onMore={() => {
            // Only the rejected rows are shown, to be corrected.
            setText(result.errors.map((error) => error.row).join("\n"));
            setResult(null);
          }}
          onClose={onClose}
        />
      </Dialog>
    );
  }
  return (
    <Dialog title={`Add students to ${group.name}`} wide onClose={onClose}>
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
            rows={10}
            value={text}
            placeholder={EXAMPLE}
            spellCheck={false}
            onChange={(event) => setText(event.target.value)}
            onDragOver={(event) => {
              event.preventDefault();
              setOver(true);
            }}
            onDragLeave={() => setOver(false)}
            onDrop={drop}
          />
          <p className={wrong ? "wrong" : "hint"} role={wrong ? "alert" : undefined}>
            {wrong ||
              "Paste a list, or drop or choose a CSV file. Students already in the class are not changed."}
          </p>
        </div>
        <div className="form-actions">
          <label className="button file-button">
            Choose file…
            <input
              className="hidden-text"
              type="file"
              accept=".csv,text/csv,text/plain"
              onChange={(event) => {
                const file = event.target.files?.[0];
                if (file) void file.text().then(setText, (error: unknown) => setWrong(errorMessage(error)));
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
