// One student of a class: name, state of the workspace, and actions.
import { classesApi } from "../api/endpoints";
import type { Class, Member } from "../api/types";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { ElapsedTime } from "../ui/time";
import { WorkspaceState } from "../workspaces/workspace-state";
import { Link } from "../ui/router";
import { copyText, toastError } from "../ui/toasts";
import { isTransitioning, stepLabel } from "../workspaces/phases";

interface MemberRowProps {
  group: Class;
  member: Member;
  onRemove: () => void;
}

export function MemberRow({ group, member, onRemove }: MemberRowProps) {
  const { workspace } = member;
  const step = workspace?.steps.at(-1);
  const invite = () => {
    classesApi.createInvitation(group.id, member.id).then(
      (link) => void copyText(`${window.location.origin}${link.path}`, "Invitation link"),
      (error: unknown) => toastError(error, `create an invitation for ${member.name}`),
    );
  };
  const items: MenuEntry[] = [
    ...(member.joined ? [] : [{ label: "Copy new invitation link", icon: "link" as const, run: invite }]),
    { label: "Remove from class…", danger: true, run: onRemove },
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
        {workspace ? (
          <WorkspaceState workspace={workspace} />
        ) : (
          <span className="soft">No workspace yet</span>
        )}
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
        <MenuButton label={`Actions for ${member.name}`} items={items}>
          <Icon name="more" />
        </MenuButton>
      </div>
    </li>
  );
}
