//! Grants for previews that were issued a moment ago. A page loads hundreds of files at once, and asking the
//! controller for each would make it slow.
//!
//! A kept grant is checked like a live stream: it goes when its session ends, the port gets another
//! visibility, or the workspace another sandbox.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use protocol::{
    api::internal::{GrantReply, LiveStream},
    ports::PreviewTarget,
};
use tokio::time::{Duration, Instant};

/// How long a grant is kept: less than it is valid.
const GRANT_TTL: Duration = Duration::from_secs(20);
/// Grants that are kept. One more makes all be forgotten, which costs a question each.
pub const MAX_GRANTS: usize = 1_000;

/// A preview, and the cookie of its visitor if there is one.
pub type GrantKey = (PreviewTarget, Option<String>);

/// The grants of the last seconds.
#[derive(Default)]
pub struct PreviewGrants(Mutex<HashMap<GrantKey, (GrantReply, Instant)>>);

impl PreviewGrants {
    pub fn find(&self, key: &GrantKey) -> Option<GrantReply> {
        let grants = self.lock();
        let (grant, issued) = grants.get(key)?;
        (issued.elapsed() < GRANT_TTL).then(|| grant.clone())
    }

    pub fn insert(&self, key: GrantKey, grant: GrantReply) {
        let mut grants = self.lock();
        if grants.len() >= MAX_GRANTS {
            grants.clear();
        }
        grants.insert(key, (grant, Instant::now()));
    }

    /// Forgets a grant that has turned out to be of no use.
    pub fn remove(&self, target: PreviewTarget) {
        self.lock().retain(|(kept, _), _| *kept != target);
    }

    /// What was granted, for the controller to check. Forgets what is too old.
    pub fn list(&self) -> HashSet<LiveStream> {
        let mut grants = self.lock();
        grants.retain(|_, (_, issued)| issued.elapsed() < GRANT_TTL);
        grants.iter().map(|((target, _), (grant, _))| live_stream(*target, grant)).collect()
    }

    /// Forgets what was revoked.
    pub fn revoke(&self, revoked: &[LiveStream]) {
        self.lock().retain(|(target, _), (grant, _)| !revoked.contains(&live_stream(*target, grant)));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GrantKey, (GrantReply, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PreviewGrants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PreviewGrants({})", self.lock().len())
    }
}

/// The stream that a grant for a preview is for.
pub fn live_stream(target: PreviewTarget, grant: &GrantReply) -> LiveStream {
    LiveStream {
        session: grant.session,
        workspace: target.workspace,
        epoch: grant.epoch,
        access: grant.access,
        preview_port: Some(target.port),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Access, Epoch, Redacted, SessionId, UserId, WorkspaceId};

    use super::*;

    fn grant() -> GrantReply {
        GrantReply {
            grant: Redacted::new("g".to_owned()),
            session: SessionId::random(),
            user: UserId::random(),
            access: Access::Write,
            epoch: Epoch(1),
            front: "/front".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn grant_is_kept_until_revoked_or_old() {
        let grants = PreviewGrants::default();
        let target = PreviewTarget { port: 3000, workspace: WorkspaceId::random() };
        let (anna, ben) = ((target, Some("anna".to_owned())), (target, Some("ben".to_owned())));
        let of_anna = grant();
        grants.insert(anna.clone(), of_anna.clone());
        grants.insert(ben.clone(), grant());
        assert!(grants.find(&anna).is_some() && grants.find(&(target, None)).is_none());
        assert_eq!(grants.list().len(), 2);
        grants.revoke(&[live_stream(target, &of_anna)]);
        assert!(grants.find(&anna).is_none() && grants.find(&ben).is_some());
        tokio::time::advance(GRANT_TTL).await;
        assert!(grants.find(&ben).is_none());
        assert_eq!(grants.list().len(), 0);
    }
}
