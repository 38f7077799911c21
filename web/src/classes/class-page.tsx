// One class: its students with the state of their workspaces, updated live; Start all and Stop all.
import { useMemo, useState } from "react";
import { classesApi } from "../api/endpoints";
import { useLiveClass } from "./use-live-class";
import type { ClassAction, Member } from "../api/types";
import { PageFrame } from "../app/page-frame";
import { NotFound } from "../app/not-found";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { MenuButton } from "../ui/menu";
import { navigate } from "../ui/router";
import { toast, toastError } from "../ui/toasts";
import { pluralize, searchMembers, tallySummary, tally } from "./roster";
import "../workspaces/workspaces.css";
import "./classes.css";
import { ClassNetworkDialog } from "./class-network-dialog";
import { MemberRow } from "./member-row";
import { RosterDialog } from "./roster-dialog";

type OpenDialog =
  { kind: "roster" | "network" | "stop" | "delete" } | { kind: "remove"; member: Member } | null;

export default function ClassPage({ id }: { id: string }) {
  const live = useLiveClass(id);
  const [dialog, setDialog] = useState<OpenDialog>(null);
  const [search, setSearch] = useState("");
  const { group } = live;
  const members = useMemo(() => searchMembers(group?.members ?? [], search), [group, search]);
  if (live.isMissing) return <NotFound title="Class not found" back="/classes" backLabel="Go to classes" />;
  if (!group) return <PageFrame title="Class">{<div className="skeleton class-skeleton" />}</PageFrame>;
  const counts = tally(group.members);
  const close = () => setDialog(null);
  const startAll = () => {
    classesApi.start(id).then(
      (done) => reportAction(done, "start"),
      (error: unknown) => toastError(error, "start the class"),
    );
  };
  return (
    <PageFrame title={group.name}>
      <div className="page-head">
        <div>
          <h1>{group.name}</h1>
          <p className="under" role="status">
            {tallySummary(counts)}
            {live.connected ? "" : " · reconnecting…"}
          </p>
        </div>
        <div className="actions">
          <button className="button" onClick={() => setDialog({ kind: "roster" })}>
            <Icon name="plus" /> Add students
          </button>
          <button
            className="button"
            disabled={counts.running + counts.moving === 0}
            onClick={() => setDialog({ kind: "stop" })}
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
            label={`Actions for ${group.name}`}
            items={[
              { label: "Network…", run: () => setDialog({ kind: "network" }) },
              { label: "Delete class…", danger: true, run: () => setDialog({ kind: "delete" }) },
            ]}
          >
            <Icon name="more" />
          </MenuButton>
        </div>
      </div>
      {counts.students > 0 && (
        <progress
          className="class-progress"
          aria-label="Running workspaces"
          max={counts.students}
          value={counts.running}
        />
      )}
      {group.members.length === 0 ? (
        <div className="panel empty">
          <p>Paste or drop a roster with one line per student: name and email.</p>
          <button className="button primary" onClick={() => setDialog({ kind: "roster" })}>
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
              <MemberRow
                key={member.id}
                group={group}
                member={member}
                onRemove={() => setDialog({ kind: "remove", member })}
              />
            ))}
            {members.length === 0 && <li className="soft">No matching students</li>}
          </ul>
        </>
      )}
      {dialog?.kind === "roster" && <RosterDialog group={group} put={live.update} onClose={close} />}
      {dialog?.kind === "network" && <ClassNetworkDialog group={group} onClose={close} />}
      {dialog?.kind === "stop" && (
        <ConfirmDialog
          title="Stop all workspaces?"
          text={
            `Programs in ${pluralize(counts.running + counts.moving, "workspace")} end. ` +
            "Every home is saved first. Everything outside of the homes is discarded, such as " +
            "installed packages."
          }
          action="Stop all"
          onClose={close}
          onConfirm={async () => reportAction(await classesApi.stop(id), "stop")}
        />
      )}
      {dialog?.kind === "remove" && (
        <ConfirmDialog
          title={`Remove ${dialog.member.name} from the class?`}
          text="The student's workspace, with its home and all snapshots, is deleted. This cannot be undone."
          action="Remove student"
          confirmationText={dialog.member.name}
          onClose={close}
          onConfirm={async () => {
            await classesApi.removeMember(id, dialog.member.id);
            live.update({ ...group, members: group.members.filter((one) => one.id !== dialog.member.id) });
            toast(`${dialog.member.name} removed`);
          }}
        />
      )}
      {dialog?.kind === "delete" && (
        <ConfirmDialog
          title={`Delete ${group.name}?`}
          text={
            `The roster and the workspaces of ${pluralize(counts.students, "student")} are deleted, ` +
            "with their homes and all snapshots. This cannot be undone."
          }
          action="Delete class"
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

/** Shows how many workspaces an action affects, and which failed. `verb` is "start" or "stop". */
function reportAction(action: ClassAction, verb: "start" | "stop"): void {
  const [first] = action.failed;
  if (first) {
    const others = action.failed.length > 1 ? ` and ${pluralize(action.failed.length - 1, "other")}` : "";
    toastError(new Error(first.message), `${verb} ${first.name}${others}`);
  }
  if (action.begun > 0)
    toast(`${verb === "start" ? "Starting" : "Stopping"} ${pluralize(action.begun, "workspace")}`);
  else if (!first) toast("No workspace had to change");
}
