// The users of the organisation, for its owners: roles, suspensions, passwords and sessions.
import { useEffect, useState } from "react";
import { usersApi } from "../api/endpoints";
import type { Role, User, UserLink } from "../api/types";
import { canManage, useUser } from "../auth/session";
import { NotFound } from "../app/not-found";
import { PageFrame } from "../app/page-frame";
import { ConfirmDialog, Dialog } from "../ui/dialog";
import { Copyable } from "../ui/copyable";
import { FormError } from "../ui/form-error";
import { Icon } from "../ui/icons";
import { toast, toastError } from "../ui/toasts";
import { NewUserDialog } from "./new-user-dialog";
import { UserRow, type UserDialog } from "./user-row";

type OpenDialog = { kind: "new" } | UserDialog | { kind: "link"; user: User; link: UserLink } | null;

function roleWithArticle(role: Role): string {
  return role === "owner" || role === "auditor" ? `an ${role}` : `a ${role}`;
}

export default function UsersPage() {
  const self = useUser();
  const [list, setList] = useState<User[] | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [dialog, setDialog] = useState<OpenDialog>(null);
  const isAllowed = canManage(self);
  useEffect(() => {
    if (isAllowed) usersApi.list().then(setList, setFailure);
  }, [isAllowed]);
  if (!isAllowed) {
    return <NotFound title="Page not found" text="Only owners of the organisation manage its users." />;
  }
  const close = () => setDialog(null);
  const put = (user: User) => setList((list) => list && list.map((one) => (one.id === user.id ? user : one)));
  const changeRole = (user: User, role: Role) => {
    usersApi.update(user.id, { role }).then(
      (changed) => {
        put(changed);
        toast(`${user.name} is now ${roleWithArticle(role)}`);
      },
      (error: unknown) => toastError(error, `change the role of ${user.name}`),
    );
  };
  const resume = (user: User) => {
    usersApi
      .update(user.id, { suspended: false })
      .then(put, (error: unknown) => toastError(error, `end the suspension of ${user.name}`));
  };
  return (
    <PageFrame title="Users">
      <div className="page-head">
        <div>
          <h1>Users</h1>
          <p className="soft">
            Members use their own workspaces, auditors also read the audit log, teachers also run classes,
            owners also manage users and settings.
          </p>
        </div>
        <div className="actions">
          <button className="button primary" onClick={() => setDialog({ kind: "new" })}>
            <Icon name="plus" /> New user
          </button>
        </div>
      </div>
      <FormError error={failure} />
      {list && (
        <div className="panel">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Role</th>
                <th scope="col">State</th>
                <th>
                  <span className="hidden-text">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((user) => (
                <UserRow
                  key={user.id}
                  user={user}
                  isSelf={user.id === self.id}
                  onRole={(role) => changeRole(user, role)}
                  onResume={() => resume(user)}
                  onOpenDialog={setDialog}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {dialog?.kind === "new" && (
        <NewUserDialog
          onClose={close}
          onCreated={({ user, link }) => {
            setList((list) => [...(list ?? []), user]);
            setDialog({ kind: "link", user, link });
          }}
        />
      )}
      {dialog?.kind === "suspend" && (
        <ConfirmDialog
          title={`Suspend ${dialog.user.name}?`}
          text={
            "The user is signed out everywhere and cannot sign in, and their workspaces stop. Homes are " +
            "saved and nothing is deleted."
          }
          action="Suspend user"
          onClose={close}
          onConfirm={async () => put(await usersApi.update(dialog.user.id, { suspended: true }))}
        />
      )}
      {dialog?.kind === "sessions" && (
        <ConfirmDialog
          title={`End all sessions of ${dialog.user.name}?`}
          text="The user is signed out everywhere, and all their tokens are revoked. The password stays."
          action="End sessions"
          onClose={close}
          onConfirm={async () => {
            await usersApi.endSessions(dialog.user.id);
            toast(`All sessions of ${dialog.user.name} ended`);
          }}
        />
      )}
      {dialog?.kind === "reset" && (
        <ConfirmDialog
          title={`Reset the password of ${dialog.user.name}?`}
          text="The password, all sessions and all tokens of the user stop working. You get a link to send."
          action="Reset password"
          onClose={() => setDialog((open) => (open?.kind === "reset" ? null : open))}
          onConfirm={async () => {
            const link = await usersApi.resetPassword(dialog.user.id);
            setDialog({ kind: "link", user: dialog.user, link });
          }}
        />
      )}
      {dialog?.kind === "link" && (
        <Dialog title={`Link for ${dialog.user.name}`} onClose={close}>
          <div className="form">
            <p>
              Send this link to {dialog.user.email}. It works once, for 12 hours, and sets the password. It is
              not shown again.
            </p>
            <Copyable text={`${window.location.origin}${dialog.link.path}`} what="link" />
            <div className="form-actions">
              <button className="button primary" onClick={close}>
                Done
              </button>
            </div>
          </div>
        </Dialog>
      )}
    </PageFrame>
  );
}
