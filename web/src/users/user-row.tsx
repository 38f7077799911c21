// One user in the list: role, state, and actions.
import type { Role, User } from "../api/types";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { RelativeTime } from "../ui/time";

/** A dialog about one user. */
export interface UserDialog {
  kind: "suspend" | "reset" | "sessions";
  user: User;
}

const ROLES: [Role, string][] = [
  ["member", "Member"],
  ["auditor", "Auditor"],
  ["teacher", "Teacher"],
  ["owner", "Owner"],
];

interface UserRowProps {
  user: User;
  isSelf: boolean;
  onRole: (role: Role) => void;
  onResume: () => void;
  onOpenDialog: (dialog: UserDialog) => void;
}

export function UserRow({ user, isSelf, onRole, onResume, onOpenDialog }: UserRowProps) {
  const isSuspended = Boolean(user.suspended_at);
  const items: MenuEntry[] = [
    {
      label: "Reset password…",
      disabled: isSuspended,
      run: () => onOpenDialog({ kind: "reset", user }),
    },
    { label: "End all sessions…", run: () => onOpenDialog({ kind: "sessions", user }) },
    "line",
    isSuspended
      ? { label: "End suspension", run: onResume }
      : { label: "Suspend…", danger: true, run: () => onOpenDialog({ kind: "suspend", user }) },
  ];
  return (
    <tr>
      <td>
        {user.name}
        <span className="soft small"> {user.email}</span>
      </td>
      <td>
        <select
          className="input"
          aria-label={`Role of ${user.name}`}
          value={user.role}
          disabled={isSelf}
          onChange={(event) => onRole(event.target.value as Role)}
        >
          {ROLES.map(([role, label]) => (
            <option key={role} value={role}>
              {label}
            </option>
          ))}
        </select>
      </td>
      <td>
        {user.suspended_at ? (
          <>
            Suspended <RelativeTime at={user.suspended_at} />
          </>
        ) : (
          "Active"
        )}
      </td>
      <td className="end">
        {!isSelf && (
          <MenuButton label={`Actions for ${user.name}`} items={items}>
            <Icon name="more" />
          </MenuButton>
        )}
      </td>
    </tr>
  );
}
