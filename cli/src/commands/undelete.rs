//! `burrow undelete`: restores a deleted workspace while its home is kept.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use protocol::{WorkspaceId, api::workspace::DeletedWorkspace};
use time::OffsetDateTime;

use super::workspace;
use crate::{
    context::Context,
    output::{self, CommandError, ErrorKind, Record, suggest::did_you_mean},
};

/// Restore a deleted workspace
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow list --deleted
  burrow undelete demo

The workspace is stopped, and its home is as it was last saved. Deleted workspaces are kept for some
days.")]
pub struct Undelete {
    /// Name of the workspace, or its identifier if several of that name were deleted
    #[arg(add = ArgValueCandidates::new(super::candidates::deleted_workspaces), env = "BURROW_WORKSPACE")]
    pub workspace: String,
}

impl Undelete {
    /// Restores the workspace.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let id = match self.workspace.parse::<WorkspaceId>() {
            Ok(id) => id,
            Err(_) => select(server.deleted_workspaces().await?.workspaces, &self.workspace)?.id,
        };
        let restored = server.undelete_workspace(id).await?;
        context.output.say(&format!("Restored {}", restored.name));
        workspace::print_outcome(context, &restored)?;
        context.output.say(&format!("Next: burrow start {}", restored.name));
        Ok(())
    }
}

impl Record for DeletedWorkspace {
    const COLUMNS: &'static [&'static str] = &["name", "owner", "deleted", "kept for", "home of"];
    const WIDE: &'static [&'static str] = &["stored", "id"];

    fn cells(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        vec![
            self.name.clone(),
            self.owner_name.clone(),
            output::ago(self.deleted_at, now),
            remaining(self.kept_until - now),
            self.safe_at.map_or_else(|| "never saved".to_owned(), |safe_at| output::ago(safe_at, now)),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.stored_bytes.map_or_else(|| "–".to_owned(), output::size), self.id.to_string()]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// "6 days". Rounded down, so that it never promises too much.
fn remaining(time: time::Duration) -> String {
    match (time.whole_days(), time.whole_hours()) {
        (1, _) => "1 day".to_owned(),
        (days @ 2.., _) => format!("{days} days"),
        (_, 1..) => format!("{} h", time.whole_hours()),
        _ => format!("{} min", time.whole_minutes().max(0)),
    }
}

/// The only deleted workspace of this name, written as `owner/name` if it belongs to another user.
fn select(deleted: Vec<DeletedWorkspace>, wanted: &str) -> Result<DeletedWorkspace, CommandError> {
    let (owner, name) = match wanted.rsplit_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, wanted),
    };
    let near = did_you_mean(name, deleted.iter().map(|one| one.name.as_str())).map(str::to_owned);
    let matches =
        |one: &DeletedWorkspace| one.name == name && owner.is_none_or(|owner| one.owner_name == owner);
    let mut matching: Vec<DeletedWorkspace> = deleted.into_iter().filter(matches).collect();
    match matching.len() {
        1 => Ok(matching.remove(0)),
        0 => {
            let what = format!("Cannot find deleted workspace `{wanted}`");
            let error = CommandError::new(ErrorKind::NotFound, what);
            Err(match near {
                Some(near) => error.cause(format!("did you mean `{near}`?")).hint("burrow list --deleted"),
                None => error.hint("burrow list --deleted"),
            })
        }
        count => {
            let what = format!("{count} deleted workspaces are named `{name}`");
            Err(CommandError::new(ErrorKind::Usage, what)
                .hint("give the identifier: burrow list --deleted -o wide"))
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn remaining_time_is_rounded_down() {
        for (time, text) in [
            (Duration::days(6) + Duration::hours(23), "6 days"),
            (Duration::hours(47), "1 day"),
            (Duration::minutes(119), "1 h"),
            (Duration::seconds(119), "1 min"),
            (Duration::seconds(-5), "0 min"),
        ] {
            assert_eq!(remaining(time), text);
        }
    }
}
