//! `fork`: a new workspace whose home begins as another's.

use protocol::{
    Code, SnapshotId,
    api::{snapshot::Fork as ForkRequest, workspace::Workspace},
};

use super::{
    Context,
    snapshot::{self, described},
    waiting::Goal,
    workspace,
};
use crate::{arguments::Fork, failure::Failure, progress::Step, server::Server};

/// Names that are tried before the person is asked for one.
const NAMES_TRIED: u32 = 50;
/// Longest name of a workspace.
const MAX_NAME: usize = 63;

pub async fn fork(context: &Context, fork: Fork) -> Result<(), Failure> {
    let server = context.server()?;
    let origin = workspace::find(&server, &fork.target.workspace).await?;
    let at = match &fork.at {
        Some(at) => Some(snapshot::resolve(&server, &origin, at).await?),
        None => None,
    };
    let step = Step::begin(context.style, format!("Forking {}", origin.name));
    let request = Wanted { snapshot: at.as_ref().map(|at| at.id), start: !fork.no_start };
    let made = match &fork.name {
        Some(name) => request.ask(&server, &origin, name).await?,
        None => request.ask_for_a_free_name(&server, &origin).await?,
    };
    step.done();
    let when = at.as_ref().map_or_else(|| "is now".to_owned(), |at| format!("was at {}", described(at)));
    context.output.say(&format!("{} begins as {} {when}", made.name, origin.name));
    let settled = if fork.no_start {
        made
    } else {
        workspace::settle(context, &server, made, Goal::Running, fork.waiting).await?
    };
    workspace::finish(context, &settled)?;
    workspace::say_next(context, &settled);
    Ok(())
}

struct Wanted {
    snapshot: Option<SnapshotId>,
    start: bool,
}

impl Wanted {
    async fn ask(&self, server: &Server, origin: &Workspace, name: &str) -> Result<Workspace, Failure> {
        let request = ForkRequest { name: name.to_owned(), snapshot: self.snapshot, start: Some(self.start) };
        Ok(server.fork(origin.id, &request).await?)
    }

    /// The server knows which names are free.
    async fn ask_for_a_free_name(&self, server: &Server, origin: &Workspace) -> Result<Workspace, Failure> {
        for number in 1..NAMES_TRIED {
            match self.ask(server, origin, &numbered(&origin.name, number)).await {
                Err(failure) if failure.is(Code::NameTaken) => {}
                answer => return answer,
            }
        }
        let name = numbered(&origin.name, NAMES_TRIED);
        self.ask(server, origin, &name)
            .await
            .map_err(|failure| failure.next(format!("burrow fork {} NAME", origin.name)))
    }
}

/// "demo-fork", "demo-fork-2", and so on.
fn numbered(origin: &str, number: u32) -> String {
    let end = if number == 1 { "-fork".to_owned() } else { format!("-fork-{number}") };
    let begin = origin.get(..MAX_NAME - end.len()).unwrap_or(origin);
    format!("{}{end}", begin.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_forks_are_names() {
        assert_eq!(numbered("demo", 1), "demo-fork");
        assert_eq!(numbered("demo", 2), "demo-fork-2");
        let long = "a".repeat(63);
        assert_eq!(numbered(&long, 1).len(), 63);
        assert_eq!(
            numbered(&format!("{}-bcdefg", "a".repeat(56)), 10),
            format!("{}-fork-10", "a".repeat(55))
        );
    }
}
