//! Permissions: one table says who may do what, and nothing else is allowed.
//!
//! Pure: callers pass the facts. The result is [`Allowed`]. A transaction that sees a tenant's rows
//! can only be made with one, so no row is read before its reader was authorized.

use protocol::{Access, SessionId, TenantId, UserId, api::user::Role};

/// The user who makes a request, as a session or token proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub tenant: TenantId,
    pub user: UserId,
    pub role: Role,
    pub session: SessionId,
}

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Manage the own account, sessions and tokens.
    ManageSelf,
    /// List the users of the tenant.
    ListUsers,
    /// Create and suspend other users of the tenant, change their roles and end their sessions.
    ManageUsers,
    /// List templates.
    UseTemplates,
    /// Create own workspaces, and list those that the caller may see.
    UseWorkspaces,
    /// See the state of a workspace, its snapshots and their files.
    ReadWorkspace(WorkspaceFacts),
    /// Create an own workspace from a snapshot of this one.
    ForkWorkspace(WorkspaceFacts),
    /// Start and stop a workspace.
    RunWorkspace(WorkspaceFacts),
    /// Rename, grow and delete a workspace; create, name, delete and restore its snapshots.
    ChangeWorkspace(WorkspaceFacts),
    /// Decide where a workspace may connect, within what the tenant allows.
    GrantNetwork(WorkspaceFacts),
    /// Create and list classes.
    UseClasses,
    /// Everything with a class and its members.
    ManageClass(ClassFacts),
    /// Change what holds for the whole tenant: retention and network policies, budgets of its users and
    /// classes, gc, the tenant's key; see what its users take of the disk.
    ManageTenant,
    /// Read, export and verify the audit log.
    ReadAudit,
    /// Read what all users of the tenant have used.
    ReadUsage,
    /// Read what the workspaces of a class have used.
    ReadClassUsage(ClassFacts),
}

/// The facts of a workspace that permissions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceFacts {
    pub tenant: TenantId,
    pub owner: UserId,
    /// The teacher of the class that it was created for.
    pub teacher: Option<UserId>,
}

/// The facts of a class that permissions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassFacts {
    pub tenant: TenantId,
    pub teacher: UserId,
}

/// The proof that [`authorize`] allowed an action, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    caller: Caller,
}

impl Allowed {
    /// Who was allowed.
    pub fn caller(&self) -> Caller {
        self.caller
    }
}

/// The caller may not do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not allowed")]
pub struct NotAllowed;

/// Decides whether a caller may do something. The only way to get an [`Allowed`].
pub fn authorize(caller: &Caller, action: Action) -> Result<Allowed, NotAllowed> {
    let is_teacher = caller.role >= Role::Teacher;
    let is_auditor = matches!(caller.role, Role::Owner | Role::Auditor);
    let allowed = match action {
        Action::ManageSelf | Action::UseTemplates | Action::UseWorkspaces => true,
        Action::ListUsers | Action::UseClasses => is_teacher,
        Action::ManageTenant | Action::ManageUsers => caller.role == Role::Owner,
        Action::ReadAudit | Action::ReadUsage => is_auditor,
        Action::ReadClassUsage(class) => {
            class.tenant == caller.tenant && (is_auditor || (is_teacher && class.teacher == caller.user))
        }
        Action::ReadWorkspace(workspace) | Action::ForkWorkspace(workspace) => {
            workspace_access(caller, &workspace).is_some()
        }
        Action::RunWorkspace(workspace) => {
            is_owner(caller, &workspace)
                || (workspace.tenant == caller.tenant
                    && (is_taught_by(caller, &workspace) || caller.role == Role::Owner))
        }
        Action::ChangeWorkspace(workspace) => {
            is_owner(caller, &workspace) || (workspace.tenant == caller.tenant && caller.role == Role::Owner)
        }
        Action::GrantNetwork(workspace) => {
            workspace.tenant == caller.tenant
                && (is_taught_by(caller, &workspace) || caller.role == Role::Owner)
        }
        Action::ManageClass(class) => {
            class.tenant == caller.tenant
                && is_teacher
                && (class.teacher == caller.user || caller.role == Role::Owner)
        }
    };
    if allowed { Ok(Allowed { caller: *caller }) } else { Err(NotAllowed) }
}

/// The access of a caller to the streams of a workspace, if any.
pub fn workspace_access(caller: &Caller, workspace: &WorkspaceFacts) -> Option<Access> {
    if workspace.tenant != caller.tenant {
        return None;
    }
    if is_owner(caller, workspace) {
        return Some(Access::Write);
    }
    (is_taught_by(caller, workspace) || caller.role == Role::Owner).then_some(Access::Read)
}

fn is_owner(caller: &Caller, workspace: &WorkspaceFacts) -> bool {
    workspace.tenant == caller.tenant && workspace.owner == caller.user
}

fn is_taught_by(caller: &Caller, workspace: &WorkspaceFacts) -> bool {
    caller.role >= Role::Teacher && workspace.teacher == Some(caller.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Users {
        tenant: TenantId,
        owner: Caller,
        teacher: Caller,
        other_teacher: Caller,
        student: Caller,
        other_student: Caller,
        stranger: Caller,
    }

    fn users() -> Users {
        let tenant = TenantId::random();
        let caller =
            |tenant, role| Caller { tenant, role, user: UserId::random(), session: SessionId::random() };
        Users {
            tenant,
            owner: caller(tenant, Role::Owner),
            teacher: caller(tenant, Role::Teacher),
            other_teacher: caller(tenant, Role::Teacher),
            student: caller(tenant, Role::Member),
            other_student: caller(tenant, Role::Member),
            stranger: caller(TenantId::random(), Role::Owner),
        }
    }

    /// Checks one rule: an action, and which users may do it, in the order of the fields of
    /// [`Users`].
    fn check(users: &Users, action: Action, expected: [bool; 6]) {
        let all = [
            users.owner,
            users.teacher,
            users.other_teacher,
            users.student,
            users.other_student,
            users.stranger,
        ];
        let got = all.map(|caller| authorize(&caller, action).is_ok());
        assert_eq!(got, expected, "{action:?}");
    }

    #[test]
    fn table_of_permissions() {
        let users = users();
        let class_workspace = WorkspaceFacts {
            tenant: users.tenant,
            owner: users.student.user,
            teacher: Some(users.teacher.user),
        };
        let class = ClassFacts { tenant: users.tenant, teacher: users.teacher.user };
        let (yes, no) = (true, false);
        check(&users, Action::ReadWorkspace(class_workspace), [yes, yes, no, yes, no, no]);
        check(&users, Action::ForkWorkspace(class_workspace), [yes, yes, no, yes, no, no]);
        check(&users, Action::RunWorkspace(class_workspace), [yes, yes, no, yes, no, no]);
        check(&users, Action::ChangeWorkspace(class_workspace), [yes, no, no, yes, no, no]);
        check(&users, Action::GrantNetwork(class_workspace), [yes, yes, no, no, no, no]);
        check(&users, Action::ManageClass(class), [yes, yes, no, no, no, no]);
        check(&users, Action::ReadClassUsage(class), [yes, yes, no, no, no, no]);
        let own = WorkspaceFacts { teacher: None, ..class_workspace };
        check(&users, Action::ReadWorkspace(own), [yes, no, no, yes, no, no]);
        check(&users, Action::ForkWorkspace(own), [yes, no, no, yes, no, no]);
        check(&users, Action::RunWorkspace(own), [yes, no, no, yes, no, no]);
        check(&users, Action::GrantNetwork(own), [yes, no, no, no, no, no]);
        // The stranger may do this in its own tenant. Row-level security keeps it there.
        check(&users, Action::ListUsers, [yes, yes, yes, no, no, yes]);
        check(&users, Action::UseClasses, [yes, yes, yes, no, no, yes]);
        check(&users, Action::ManageUsers, [yes, no, no, no, no, yes]);
        check(&users, Action::ManageTenant, [yes, no, no, no, no, yes]);
        check(&users, Action::ManageSelf, [yes; 6]);
        check(&users, Action::ReadAudit, [yes, no, no, no, no, yes]);
        check(&users, Action::ReadUsage, [yes, no, no, no, no, yes]);
    }

    #[test]
    fn auditor_is_member_who_reads_log_and_usage() {
        let users = users();
        let auditor = Caller { role: Role::Auditor, ..users.student };
        let foreign = WorkspaceFacts { tenant: users.tenant, owner: users.teacher.user, teacher: None };
        let own = WorkspaceFacts { owner: auditor.user, ..foreign };
        let class = ClassFacts { tenant: users.tenant, teacher: users.teacher.user };
        for (action, expected) in [
            (Action::ReadAudit, true),
            (Action::ReadUsage, true),
            (Action::ReadClassUsage(class), true),
            (Action::ReadClassUsage(ClassFacts { tenant: users.stranger.tenant, ..class }), false),
            (Action::ChangeWorkspace(own), true),
            (Action::ReadWorkspace(foreign), false),
            (Action::ManageTenant, false),
            (Action::ListUsers, false),
            (Action::UseClasses, false),
        ] {
            assert_eq!(authorize(&auditor, action).is_ok(), expected, "{action:?}");
        }
    }

    #[test]
    fn demoted_teacher_sees_nothing() {
        let users = users();
        let demoted = Caller { role: Role::Member, ..users.teacher };
        let workspace = WorkspaceFacts {
            tenant: users.tenant,
            owner: users.student.user,
            teacher: Some(users.teacher.user),
        };
        assert!(authorize(&demoted, Action::ReadWorkspace(workspace)).is_err());
    }

    #[test]
    fn same_user_id_in_other_tenant_is_refused() {
        let users = users();
        let twin = Caller { tenant: TenantId::random(), ..users.student };
        let workspace = WorkspaceFacts { tenant: users.tenant, owner: users.student.user, teacher: None };
        for action in
            [Action::ReadWorkspace, Action::ForkWorkspace, Action::RunWorkspace, Action::ChangeWorkspace]
        {
            assert!(authorize(&twin, action(workspace)).is_err());
        }
    }
}
