//! Members of a class. Each is a user, new or existing, with a workspace from the class's template.

use protocol::{
    ClassId, UserId, WorkspaceId,
    api::class::{AddedMember, MAX_MEMBERS},
};
use time::OffsetDateTime;
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use uuid::Uuid;

use super::{
    ClassRow, invitations,
    roster::{Entry, compare::KnownMember},
};
use crate::{
    db::Scope,
    workspaces::create::{self, CreateError, NewWorkspace, Source},
};

/// Longest name of a workspace.
const MAX_NAME_BYTES: usize = 63;

/// The result of adding a row of a roster.
pub enum AddOutcome {
    Added(Box<AddedMember>),
    /// The user is a member already.
    Unchanged,
    /// Why the row cannot be added.
    Rejected(&'static str),
}

/// A member without its account and workspace.
pub struct MemberRow {
    pub member_id: Uuid,
    pub user_id: Uuid,
    pub name: String,
    pub email: String,
    /// Whether a roster may correct the address: the account is not in use, and in no other class.
    pub can_readdress: bool,
    /// None if it was deleted.
    pub workspace_id: Option<Uuid>,
}

impl MemberRow {
    /// What a roster is compared with.
    pub fn known(&self) -> KnownMember {
        KnownMember {
            member: self.member_id,
            name: self.name.clone(),
            email: self.email.clone(),
            can_readdress: self.can_readdress,
        }
    }
}

/// Adds a user to a class: creates the account if there is none, a workspace and an invitation.
/// Roll the transaction back if the row is rejected.
pub async fn add(
    scope: &mut Scope,
    class: &ClassRow,
    entry: &Entry,
    now: OffsetDateTime,
) -> Result<AddOutcome, sqlx::Error> {
    let tenant = scope.tenant();
    let existing = sqlx::query!(
        r#"select count(*) as "members!", coalesce(bool_or(lower(email) = lower($3)), false) as "is_member!"
           from members where tenant_id = $1 and class_id = $2"#,
        tenant,
        class.class_id,
        entry.email,
    )
    .fetch_one(scope.connection())
    .await?;
    if existing.is_member {
        return Ok(AddOutcome::Unchanged);
    }
    if existing.members >= MAX_MEMBERS as i64 {
        return Ok(AddOutcome::Rejected("the class is full: 1000 members"));
    }
    let user = find_or_create_user(scope, entry).await?;
    let name = create::find_free_name(scope, user, &derive_workspace_name(&class.name)).await?;
    let workspace = WorkspaceId::random();
    let source = Source::Template { name: &class.template, class: Some(ClassId(class.class_id)) };
    let new = NewWorkspace { id: workspace, owner: user, name: &name, source };
    match create::insert(scope, now, new).await {
        Ok(()) => {}
        Err(CreateError::NoTemplate) => {
            return Ok(AddOutcome::Rejected("the template of the class does not exist any more"));
        }
        Err(CreateError::NameTaken(_)) => {
            return Ok(AddOutcome::Rejected("the user has created a workspace of this name, try again"));
        }
        Err(CreateError::Database(error)) => return Err(error),
        Err(error) => unreachable!("an insertion checks nothing else: {error}"),
    }
    let member = Uuid::now_v7();
    sqlx::query!(
        "insert into members (tenant_id, class_id, member_id, user_id, workspace_id, name, email)
         values ($1, $2, $3, $4, $5, $6, $7)",
        tenant,
        class.class_id,
        member,
        user.0,
        workspace.0,
        entry.name,
        entry.email,
    )
    .execute(scope.connection())
    .await?;
    let invitation = if invitations::is_of_other_teacher(scope, user).await? {
        None
    } else {
        Some(invitations::create(scope, member, user, now).await?)
    };
    let (name, email) = (entry.name.clone(), entry.email.clone());
    Ok(AddOutcome::Added(Box::new(AddedMember { member, name, email, invitation })))
}

/// The name of the workspaces of a class: the letters and digits of its name, as workspaces are called.
fn derive_workspace_name(class: &str) -> String {
    let plain: String = class
        .nfkd()
        .flat_map(char::to_lowercase)
        .filter(|letter| !is_combining_mark(*letter))
        .flat_map(|letter| match letter {
            'ß' => vec!['s', 's'],
            'ł' => vec!['l'],
            'ø' => vec!['o'],
            'æ' => vec!['a', 'e'],
            'ı' => vec!['i'],
            _ if letter.is_ascii_alphanumeric() => vec![letter],
            _ => vec!['-'],
        })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    let name = name.get(..name.len().min(MAX_NAME_BYTES)).unwrap_or_default().trim_end_matches('-');
    if name.is_empty() { "class".to_owned() } else { name.to_owned() }
}

/// Finds the user with the address. A new one is created, who can sign in after accepting the
/// invitation.
async fn find_or_create_user(scope: &mut Scope, entry: &Entry) -> Result<UserId, sqlx::Error> {
    let tenant = scope.tenant();
    let created = sqlx::query_scalar!(
        "insert into users (tenant_id, user_id, email, name, role, active)
         values ($1, $2, $3, $4, 'member', false)
         on conflict (tenant_id, lower(email)) do nothing returning user_id",
        tenant,
        UserId::random().0,
        entry.email,
        entry.name,
    )
    .fetch_optional(scope.connection())
    .await?;
    if let Some(created) = created {
        return Ok(UserId(created));
    }
    sqlx::query_scalar!(
        "select user_id from users where tenant_id = $1 and lower(email) = lower($2)",
        tenant,
        entry.email,
    )
    .fetch_one(scope.connection())
    .await
    .map(UserId)
}

/// Lists the members of a class by name.
pub async fn list(scope: &mut Scope, class: ClassId) -> Result<Vec<MemberRow>, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_as!(
        MemberRow,
        r#"select m.member_id, m.user_id, m.name, m.email, w.workspace_id as "workspace_id?",
               (not u.active and u.suspended_at is null
                and not exists (select from members o where o.tenant_id = m.tenant_id
                                and o.user_id = m.user_id and o.member_id <> m.member_id)) as "can_readdress!"
           from members m
           join users u using (tenant_id, user_id)
           left join workspaces w
             on w.tenant_id = m.tenant_id and w.workspace_id = m.workspace_id and w.deleted_at is null
           where m.tenant_id = $1 and m.class_id = $2 order by lower(m.name), m.member_id"#,
        tenant,
        class.0,
    )
    .fetch_all(scope.connection())
    .await
}

/// Corrects the name of a member, and that of the account as long as it is not in use.
pub async fn rename(scope: &mut Scope, member: Uuid, name: &str) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update members set name = $3 where tenant_id = $1 and member_id = $2",
        tenant,
        member,
        name,
    )
    .execute(scope.connection())
    .await?;
    sqlx::query!(
        "update users u set name = $3 from members m
         where m.tenant_id = $1 and m.member_id = $2 and u.tenant_id = $1 and u.user_id = m.user_id
           and not u.active and u.suspended_at is null
           and not exists (select from members o
                           where o.tenant_id = $1 and o.user_id = u.user_id and o.member_id <> $2)",
        tenant,
        member,
        name,
    )
    .execute(scope.connection())
    .await?;
    announce(scope, member).await
}

/// Corrects the address of a member whose account is not in use and belongs to this class alone, and
/// creates a new invitation: the old one was sent to somebody else. Roll the transaction back if the
/// row is rejected.
pub async fn readdress(
    scope: &mut Scope,
    member: Uuid,
    entry: &Entry,
    now: OffsetDateTime,
) -> Result<AddOutcome, sqlx::Error> {
    let tenant = scope.tenant();
    let user = sqlx::query_scalar!(
        "update users u set email = $3, name = $4 from members m
         where m.tenant_id = $1 and m.member_id = $2 and u.tenant_id = $1 and u.user_id = m.user_id
           and not u.active and u.suspended_at is null
           and not exists (select from members o
                           where o.tenant_id = $1 and o.user_id = u.user_id and o.member_id <> $2)
           and not exists (select from users o where o.tenant_id = $1 and lower(o.email) = lower($3))
         returning u.user_id",
        tenant,
        member,
        entry.email,
        entry.name,
    )
    .fetch_optional(scope.connection())
    .await?;
    let Some(user) = user else {
        return Ok(AddOutcome::Rejected(
            "a member has this name and another address, which cannot be changed here; remove that member \
             first, if it is the same student",
        ));
    };
    sqlx::query!(
        "update members set email = $3, name = $4 where tenant_id = $1 and member_id = $2",
        tenant,
        member,
        entry.email,
        entry.name,
    )
    .execute(scope.connection())
    .await?;
    announce(scope, member).await?;
    let invitation = Some(invitations::create(scope, member, UserId(user), now).await?);
    let (name, email) = (entry.name.clone(), entry.email.clone());
    Ok(AddOutcome::Added(Box::new(AddedMember { member, name, email, invitation })))
}

/// Wakes the pages that show the class: they watch its workspaces.
async fn announce(scope: &mut Scope, member: Uuid) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update workspaces w set revision = w.revision + 1 from members m
         where m.tenant_id = $1 and m.member_id = $2
           and w.tenant_id = $1 and w.workspace_id = m.workspace_id",
        tenant,
        member,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Removes a member. The account and the workspace stay.
pub async fn remove(scope: &mut Scope, member: Uuid) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!("delete from members where tenant_id = $1 and member_id = $2", tenant, member)
        .execute(scope.connection())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspaces::create::is_valid_name;

    #[test]
    fn workspace_name_is_derived_from_class() {
        for (class, expected) in [
            ("algo", "algo"),
            ("Algorithms & Data Structures", "algorithms-data-structures"),
            ("Einführung: Größe", "einfuhrung-grosse"),
            ("CS-101 (Fall 2026)", "cs-101-fall-2026"),
            ("算法", "class"),
            ("-", "class"),
        ] {
            assert_eq!(derive_workspace_name(class), expected);
        }
        let long = derive_workspace_name(&"ab ".repeat(40));
        assert!(is_valid_name(&long), "{long}");
    }
}
