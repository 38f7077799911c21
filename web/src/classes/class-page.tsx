// One class: its roster and invitations, all machines with their states live, one Start and one Stop for all.
import { useEffect, useMemo, useState, type DragEvent } from "react";
import { classesApi } from "../api/endpoints";
import { errorMessage } from "../api/client";
import { useLiveClass } from "./use-live-class";
import type { Class, ClassAction, Member, RosterResult } from "../api/types";
import { PageFrame } from "../app/page-frame";
import { NotFound } from "../app/not-found";
import { ConfirmDialog, Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { ElapsedTime } from "../ui/time";
import { WorkspaceState } from "../workspaces/workspace-state";
import { Link, navigate } from "../ui/router";
import { copyText, toast, toastError } from "../ui/toasts";
import { isTransitioning, stepLabel } from "../workspaces/phases";
import { pluralize, searchMembers, invitationsCsv, tallySummary, tally, type Invited } from "./roster";
import "../workspaces/workspaces.css";
import "./classes.css";

type OpenDialog = { kind: "roster" | "stop" | "delete" } | { kind: "remove"; member: Member } | null;

export default function ClassPage({ id }: { id: string }) {
  const live = useLiveClass(id);
  const [asked, setAsked] = useState<OpenDialog>(null);
  const [search, setSearch] = useState("");
  const { group } = live;
  const members = useMemo(() => searchMembers(group?.members ?? [], search), [group, search]);
  if (live.isMissing)
    return <NotFound title="There is no such class" back="/classes" backLabel="Go to classes" />;
  if (!group) return <PageFrame title="Class">{<div className="skeleton class-skeleton" />}</PageFrame>;
  const counts = tally(group.members);
  const close = () => setAsked(null);
  const startAll = () => {
    classesApi.start(id).then(
      (done) => tellOf(done, "starting"),
      (error: unknown) => toastError(error, "Starting the class"),
    );
  };
  return (
    <PageFrame title={group.name}>
      <div className="page-head">
        <div>
          <h1>{group.name}</h1>
          <p className="under" role="status">
            {tallySummary(counts)}
            {live.connected ? "" : " · the connection is lost, trying again"}
          </p>
        </div>
        <div className="actions">
          <button className="button" onClick={() => setAsked({ kind: "roster" })}>
            <Icon name="plus" /> Add students
          </button>
          <button
            className="button"
            disabled={counts.running + counts.moving === 0}
            onClick={() => setAsked({ kind: "stop" })}
          >
            <Icon name="stop" /> Stop all
          </button>
          <button
            className="button primary"
            disabled={counts.stopped + counts.failed === 0}
            onClick={startAll}
          >
            <Icon name="play" /> Start all
          </button>
          <MenuButton
            label={`More for ${group.name}`}
            items={[{ label: "Delete class…", danger: true, run: () => setAsked({ kind: "delete" }) }]}
          >
            <Icon name="more" />
          </MenuButton>
        </div>
      </div>
      {counts.students > 0 && (
        <progress
          className="class-progress"
          aria-label="Running machines"
          max={counts.students}
          value={counts.running}
        />
      )}
      {group.members.length === 0 ? (
        <div className="panel empty">
          <p>Paste or drop a roster: a line for each student, with name and e-mail.</p>
          <button className="button primary" onClick={() => setAsked({ kind: "roster" })}>
            Add students
          </button>
        </div>
      ) : (
        <>
          {group.members.length > 8 && (
            <input
              className="input class-search"
              type="search"
              placeholder="Find a student"
              aria-label="Find a student"
              value={search}
              onChange={(event) => setSearch(event.target.value)}
            />
          )}
          <ul className="panel member-list">
            {members.map((member) => (
              <Row
                key={member.id}
                group={group}
                member={member}
                onRemove={() => setAsked({ kind: "remove", member })}
              />
            ))}
            {members.length === 0 && <li className="soft">Nobody is called so.</li>}
          </ul>
        </>
      )}
      {asked?.kind === "roster" && <RosterDialog group={group} put={live.update} onClose={close} />}
      {asked?.kind === "stop" && (
        <ConfirmDialog
          title="Stop all machines?"
          text={`Programs in ${pluralize(counts.running + counts.moving, "machine")} end. Every home is saved first.`}
          action="Stop all"
          onClose={close}
          onConfirm={async () => tellOf(await classesApi.stop(id), "stopping")}
        />
      )}
      {asked?.kind === "remove" && (
        <ConfirmDialog
          title={`Remove ${asked.member.name} from the class?`}
          text="The workspace made for this student, with its home and all its snapshots, is deleted. This cannot be undone."
          action="Remove for good"
          confirmationText={asked.member.name}
          onClose={close}
          onConfirm={async () => {
            await classesApi.removeMember(id, asked.member.id);
            live.update({ ...group, members: group.members.filter((one) => one.id !== asked.member.id) });
            toast(`${asked.member.name} removed`);
          }}
        />
      )}
      {asked?.kind === "delete" && (
        <ConfirmDialog
          title={`Delete ${group.name}?`}
          text={`The roster and the workspaces of ${pluralize(counts.students, "student")}, with their homes and all snapshots, are deleted. This cannot be undone.`}
          action="Delete for good"
          confirmationText={group.name}
          onClose={close}
          onConfirm={async () => {
            await classesApi.remove(id);
            toast(`${group.name} deleted`);
            navigate("/classes");
          }}
        />
      )}
    </PageFrame>
  );
}

function tellOf(action: ClassAction, word: string): void {
  const [first] = action.failed;
  if (first) {
    const others = action.failed.length > 1 ? ` and ${pluralize(action.failed.length - 1, "other")}` : "";
    toastError(new Error(first.message), `${first.name}${others}`);
  }
  if (action.begun > 0) toast(`${pluralize(action.begun, "machine")} ${word}`);
  else if (!first) toast("Nothing to do");
}

interface RowProps {
  group: Class;
  member: Member;
  onRemove: () => void;
}

function Row({ group, member, onRemove }: RowProps) {
  const { workspace } = member;
  const step = workspace?.steps.at(-1);
  const invite = () => {
    classesApi.createInvitation(group.id, member.id).then(
      (link) => void copyText(`${window.location.origin}${link.path}`, "Invitation link"),
      (error: unknown) => toastError(error, `Inviting ${member.name}`),
    );
  };
  const items: MenuEntry[] = [
    ...(member.joined ? [] : [{ label: "Copy a new invitation link", icon: "link" as const, run: invite }]),
    { label: "Remove from the class…", danger: true, run: onRemove },
  ];
  return (
    <li className="member-row">
      <div>
        <p className="member-name">{member.name}</p>
        <p className="under">
          {member.email}
          {member.joined ? "" : " · has not joined yet"}
        </p>
      </div>
      <div className="status">
        {workspace ? <WorkspaceState workspace={workspace} /> : <span className="soft">No machine yet</span>}
        {workspace && isTransitioning(workspace.phase) && step && (
          <p className="under">
            {stepLabel(step.step)} · <ElapsedTime at={step.since} />
          </p>
        )}
        {workspace?.failure && (
          <p className="under wrong">
            {workspace.failure.cause} {workspace.failure.action}
          </p>
        )}
      </div>
      <div className="actions">
        {workspace?.phase === "running" && (
          <Link
            className="button"
            href={`/watch/${workspace.id}`}
            aria-label={`Watch the terminals of ${member.name}`}
          >
            <Icon name="eye" /> Watch
          </Link>
        )}
        <MenuButton label={`More for ${member.name}`} items={items}>
          <Icon name="more" />
        </MenuButton>
      </div>
    </li>
  );
}

const EXAMPLE = "name,email\nAnn Example,ann@school.example\nBob Example,bob@school.example";

interface RosterProps {
  group: Class;
  put: (group: Class) => void;
  onClose: () => void;
}

function RosterDialog({ group, put, onClose }: RosterProps) {
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
        <Result
          result={result}
          onMore={() => {
            // What was wrong is there to be mended, and only that.
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
          <label htmlFor="roster">Roster: a line for each student, with name and e-mail</label>
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
              "Paste it, drop a CSV file, or choose one. Who is in the class already is left as it is."}
          </p>
        </div>
        <div className="form-actions">
          <label className="button file-button">
            Choose a file…
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
            Add
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Result({
  result,
  onMore,
  onClose,
}: {
  result: RosterResult;
  onMore: () => void;
  onClose: () => void;
}) {
  const invited: Invited[] = result.added.map((one) => ({
    name: one.name,
    email: one.email,
    link: `${window.location.origin}${one.invitation.path}`,
  }));
  const csv = useObjectUrl(invitationsCsv(invited));
  return (
    <div className="form">
      <p role="status">
        {pluralize(result.added.length, "student")} added
        {result.unchanged > 0 ? `, ${result.unchanged} were there already` : ""}
        {result.errors.length > 0 ? `, ${pluralize(result.errors.length, "row")} could not be read` : ""}.
      </p>
      {result.errors.length > 0 && (
        <div className="notice bad" role="alert">
          <ul className="row-errors">
            {result.errors.map((error) => (
              <li key={error.line}>
                Line {error.line}: {error.message} <code>{error.row}</code>
              </li>
            ))}
          </ul>
        </div>
      )}
      {invited.length > 0 && (
        <>
          <p className="hint">
            Give each student their link. It is shown only now; a new one can be made later.
          </p>
          <ul className="invitations">
            {invited.map((one) => (
              <li key={one.email}>
                <span>
                  {one.name} <span className="soft small">{one.email}</span>
                </span>
                <button
                  type="button"
                  className="button"
                  onClick={() => void copyText(one.link, "Invitation link")}
                  aria-label={`Copy the link for ${one.name}`}
                >
                  <Icon name="copy" /> Copy link
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
      <div className="form-actions">
        {invited.length > 0 && (
          <>
            <a className="button" href={csv} download="invitations.csv">
              <Icon name="download" /> All as CSV
            </a>
            <button
              type="button"
              className="button"
              onClick={() =>
                void copyText(invited.map((one) => `${one.name}\t${one.link}`).join("\n"), "All links")
              }
            >
              Copy all
            </button>
          </>
        )}
        <span className="spring" />
        {result.errors.length > 0 && (
          <button type="button" className="button" onClick={onMore}>
            Mend the rows
          </button>
        )}
        <button type="button" className="button primary" onClick={onClose}>
          Done
        </button>
      </div>
    </div>
  );
}

/** An address under which the browser finds `text`, for as long as it is shown. */
function useObjectUrl(text: string): string {
  const url = useMemo(() => URL.createObjectURL(new Blob([text], { type: "text/csv" })), [text]);
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  return url;
}
