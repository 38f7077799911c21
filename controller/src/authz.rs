//! Who may do what: one table, nothing allowed that is not in it.
//!
//! Pure: callers bring the facts. Its answer, [`Allowed`], is the only thing a [`crate::db::Scope`] can be made of, so no row is
//! read before someone was allowed to.

use protocol::{SessionId, TenantId, UserId, api::user::Role, grant::Access};

/// Who asks, as proven by a session or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub tenant: TenantId,
    pub user: UserId,
    pub role: Role,
    pub session: SessionId,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The own account, sessions and tokens.
    ManageSelf,
    ListUsers,
    UseTemplates,
    /// Make and list workspaces: one's own, and those one may see.
    UseWorkspaces,
    /// Its state, and its home as it was: snapshots and what they hold.
    ReadWorkspace(WorkspaceFacts),
    /// Make a workspace of one's own whose home begins as this one's.
    ForkWorkspace(WorkspaceFacts),
    /// Start and stop.
    RunWorkspace(WorkspaceFacts),
    /// Rename, grow and delete; take, name, delete and restore snapshots.
    ChangeWorkspace(WorkspaceFacts),
    /// Make and list classes.
    UseClasses,
    ManageClass(ClassFacts),
    /// What holds for the whole tenant: how snapshots thin out, what is removed from the store.
    ManageTenant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceFacts {
    pub tenant: TenantId,
    pub owner: UserId,
    /// Who teaches the class it was made for.
    pub teacher: Option<UserId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassFacts {
    pub tenant: TenantId,
    pub teacher: UserId,
}

/// The proof that [`authorize`] said yes, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    caller: Caller,
}

impl Allowed {
    pub fn caller(&self) -> Caller {
        self.caller
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not allowed")]
pub struct Refused;

/// The only way to an [`Allowed`].
pub fn authorize(caller: &Caller, action: Action) -> Result<Allowed, Refused> {
    let teaches = caller.role >= Role::Teacher;
    let allowed = match action {
        Action::ManageSelf | Action::UseTemplates | Action::UseWorkspaces => true,
        Action::ListUsers | Action::UseClasses => teaches,
        Action::ManageTenant => caller.role == Role::Owner,
        Action::ReadWorkspace(workspace) | Action::ForkWorkspace(workspace) => {
            workspace_access(caller, &workspace).is_some()
        }
        Action::RunWorkspace(workspace) => {
            owns(caller, &workspace)
                || (workspace.tenant == caller.tenant
                    && (teaches_it(caller, &workspace) || caller.role == Role::Owner))
        }
        Action::ChangeWorkspace(workspace) => {
            owns(caller, &workspace) || (workspace.tenant == caller.tenant && caller.role == Role::Owner)
        }
        Action::ManageClass(class) => {
            class.tenant == caller.tenant
                && teaches
                && (class.teacher == caller.user || caller.role == Role::Owner)
        }
    };
    if allowed { Ok(Allowed { caller: *caller }) } else { Err(Refused) }
}

/// What the caller may do with a workspace's streams, if anything.
pub fn workspace_access(caller: &Caller, workspace: &WorkspaceFacts) -> Option<Access> {
    if workspace.tenant != caller.tenant {
        return None;
    }
    if owns(caller, workspace) {
        return Some(Access::Write);
    }
    (teaches_it(caller, workspace) || caller.role == Role::Owner).then_some(Access::Read)
}

fn owns(caller: &Caller, workspace: &WorkspaceFacts) -> bool {
    workspace.tenant == caller.tenant && workspace.owner == caller.user
}

fn teaches_it(caller: &Caller, workspace: &WorkspaceFacts) -> bool {
    caller.role >= Role::Teacher && workspace.teacher == Some(caller.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct People {
        tenant: TenantId,
        owner: Caller,
        teacher: Caller,
        other_teacher: Caller,
        student: Caller,
        other_student: Caller,
        stranger: Caller,
    }

    fn people() -> People {
        let tenant = TenantId::random();
        let caller =
            |tenant, role| Caller { tenant, role, user: UserId::random(), session: SessionId::random() };
        People {
            tenant,
            owner: caller(tenant, Role::Owner),
            teacher: caller(tenant, Role::Teacher),
            other_teacher: caller(tenant, Role::Teacher),
            student: caller(tenant, Role::Member),
            other_student: caller(tenant, Role::Member),
            stranger: caller(TenantId::random(), Role::Owner),
        }
    }

    /// One row a rule: what is asked, then who may, in the order of the fields of [`People`].
    fn check(people: &People, action: Action, expected: [bool; 6]) {
        let all = [
            people.owner,
            people.teacher,
            people.other_teacher,
            people.student,
            people.other_student,
            people.stranger,
        ];
        let got = all.map(|caller| authorize(&caller, action).is_ok());
        assert_eq!(got, expected, "{action:?}");
    }

    #[test]
    fn the_table() {
        let people = people();
        let class_workspace = WorkspaceFacts {
            tenant: people.tenant,
            owner: people.student.user,
            teacher: Some(people.teacher.user),
        };
        let class = ClassFacts { tenant: people.tenant, teacher: people.teacher.user };
        let (yes, no) = (true, false);
        check(&people, Action::ReadWorkspace(class_workspace), [yes, yes, no, yes, no, no]);
        check(&people, Action::ForkWorkspace(class_workspace), [yes, yes, no, yes, no, no]);
        check(&people, Action::RunWorkspace(class_workspace), [yes, yes, no, yes, no, no]);
        check(&people, Action::ChangeWorkspace(class_workspace), [yes, no, no, yes, no, no]);
        check(&people, Action::ManageClass(class), [yes, yes, no, no, no, no]);
        let own = WorkspaceFacts { teacher: None, ..class_workspace };
        check(&people, Action::ReadWorkspace(own), [yes, no, no, yes, no, no]);
        check(&people, Action::ForkWorkspace(own), [yes, no, no, yes, no, no]);
        check(&people, Action::RunWorkspace(own), [yes, no, no, yes, no, no]);
        // Of the own tenant only: row-level security sees to it that it is the caller's.
        check(&people, Action::ListUsers, [yes, yes, yes, no, no, yes]);
        check(&people, Action::UseClasses, [yes, yes, yes, no, no, yes]);
        check(&people, Action::ManageTenant, [yes, no, no, no, no, yes]);
        check(&people, Action::ManageSelf, [yes; 6]);
    }

    #[test]
    fn a_teacher_who_is_one_no_longer_sees_nothing() {
        let people = people();
        let demoted = Caller { role: Role::Member, ..people.teacher };
        let workspace = WorkspaceFacts {
            tenant: people.tenant,
            owner: people.student.user,
            teacher: Some(people.teacher.user),
        };
        assert!(authorize(&demoted, Action::ReadWorkspace(workspace)).is_err());
    }

    #[test]
    fn an_equal_user_id_of_another_tenant_is_someone_else() {
        let people = people();
        let twin = Caller { tenant: TenantId::random(), ..people.student };
        let workspace = WorkspaceFacts { tenant: people.tenant, owner: people.student.user, teacher: None };
        for action in
            [Action::ReadWorkspace, Action::ForkWorkspace, Action::RunWorkspace, Action::ChangeWorkspace]
        {
            assert!(authorize(&twin, action(workspace)).is_err());
        }
    }
}
