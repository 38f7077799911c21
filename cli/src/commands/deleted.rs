//! `list --deleted`, `undelete`: workspaces that were deleted, while their homes are kept.

use protocol::{
    WorkspaceId,
    api::workspace::{DeletedList, DeletedWorkspace},
};
use time::OffsetDateTime;

use super::{Context, did_you_mean, workspace};
use crate::{
    arguments::Undelete,
    failure::{Failure, Kind},
    output::{self, Shown},
};

impl Shown for DeletedWorkspace {
    const COLUMNS: &'static [&'static str] = &["name", "owner", "deleted", "kept for", "home of"];
    const WIDE: &'static [&'static str] = &["stored", "id"];

    fn cells(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        vec![
            self.name.clone(),
            self.owner_name.clone(),
            output::ago(self.deleted_at, now),
            left(self.kept_until - now),
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

/// Rounded down: what is promised is there.
fn left(time: time::Duration) -> String {
    match (time.whole_days(), time.whole_hours()) {
        (1, _) => "1 day".to_owned(),
        (days @ 2.., _) => format!("{days} days"),
        (_, 1..) => format!("{} h", time.whole_hours()),
        _ => format!("{} min", time.whole_minutes().max(0)),
    }
}

pub async fn list(context: &Context) -> Result<(), Failure> {
    let DeletedList { workspaces } = context.server()?.deleted_workspaces().await?;
    context.output.list(&workspaces)?;
    if workspaces.is_empty() && context.output.format.is_for_people() {
        context.output.say("No deleted workspace can be brought back.");
    }
    Ok(())
}

pub async fn undelete(context: &Context, undelete: Undelete) -> Result<(), Failure> {
    let server = context.server()?;
    let id = match undelete.workspace.parse::<WorkspaceId>() {
        Ok(id) => id,
        Err(_) => choose(server.deleted_workspaces().await?.workspaces, &undelete.workspace)?.id,
    };
    let back = server.undelete_workspace(id).await?;
    context.output.say(&format!("{} is back", back.name));
    workspace::finish(context, &back)?;
    context.output.say(&format!("Start it: burrow start {}", back.name));
    Ok(())
}

/// The one of a name, as `owner/name` where it is another's.
fn choose(deleted: Vec<DeletedWorkspace>, wanted: &str) -> Result<DeletedWorkspace, Failure> {
    let (owner, name) = match wanted.rsplit_once('/') {
        Some((owner, name)) => (Some(owner), name),
        None => (None, wanted),
    };
    let near = did_you_mean(name, deleted.iter().map(|one| one.name.as_str())).map(str::to_owned);
    let is_meant =
        |one: &DeletedWorkspace| one.name == name && owner.is_none_or(|owner| one.owner_name == owner);
    let mut matching: Vec<DeletedWorkspace> = deleted.into_iter().filter(is_meant).collect();
    match matching.len() {
        1 => Ok(matching.remove(0)),
        0 => {
            let failure =
                Failure::new(Kind::NotFound, format!("No deleted workspace `{wanted}` can be brought back"));
            Err(match near {
                Some(near) => failure.why(format!("did you mean `{near}`?")).next("burrow list --deleted"),
                None => failure.next("burrow list --deleted"),
            })
        }
        count => Err(Failure::new(Kind::Usage, format!("{count} deleted workspaces are named `{name}`"))
            .next("give the identifier: burrow list --deleted -o wide")),
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn what_is_left_is_not_overstated() {
        for (time, text) in [
            (Duration::days(6) + Duration::hours(23), "6 days"),
            (Duration::hours(47), "1 day"),
            (Duration::minutes(119), "1 h"),
            (Duration::seconds(119), "1 min"),
            (Duration::seconds(-5), "0 min"),
        ] {
            assert_eq!(left(time), text);
        }
    }
}
