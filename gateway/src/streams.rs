//! The registry of live streams: limits how many a session has, and ends those that were revoked.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::{
    Code, SessionId,
    api::internal::{LiveStream, MAX_SESSIONS_PER_CHECK},
};
use tokio_util::sync::CancellationToken;

use crate::{
    preview::grants::MAX_GRANTS,
    refusal::{Refusal, Result},
};

/// Live streams of the gateway: one check has them all, and the grants of previews.
const MAX_STREAMS: usize = MAX_SESSIONS_PER_CHECK - MAX_GRANTS;

/// All live streams of the gateway.
///
/// A relayed request is registered once it has a grant and stays so until its [`StreamGuard`] is
/// dropped. In between, [`StreamRegistry::end`] can revoke it: [`StreamGuard::revoked`] then
/// resolves, and the task that serves the stream ends it.
#[derive(Debug)]
pub struct StreamRegistry {
    max_per_session: usize,
    state: Mutex<RegistryState>,
}

#[derive(Debug, Default)]
struct RegistryState {
    next_id: u64,
    streams: HashMap<u64, (LiveStream, CancellationToken)>,
    /// Number of streams of each session that has any, those of previews apart: a page that loads many files
    /// takes no place of a terminal.
    counts: HashMap<(SessionId, bool), usize>,
}

/// One registered stream. Dropping it removes the stream from the registry.
#[derive(Debug)]
pub struct StreamGuard {
    id: u64,
    counted_as: (SessionId, bool),
    token: CancellationToken,
    registry: Arc<StreamRegistry>,
}

impl StreamRegistry {
    /// `max_per_session`: concurrent streams of one session.
    pub fn new(max_per_session: usize) -> Arc<Self> {
        Arc::new(Self { max_per_session, state: Mutex::default() })
    }

    /// Registers a stream. Refuses if its session or the whole gateway has too many.
    pub fn register(self: &Arc<Self>, stream: LiveStream) -> Result<StreamGuard> {
        let mut state = self.lock();
        if state.streams.len() >= MAX_STREAMS {
            return Err(Refusal::new(
                Code::TooManyStreams,
                "The server has 9,000 open streams, which is the limit. Try again in a moment.",
            )
            .because("the gateway's limit of live streams"));
        }
        let counted_as = (stream.session, stream.preview_port.is_some());
        let count = state.counts.entry(counted_as).or_default();
        if *count >= self.max_per_session {
            return Err(Refusal::new(
                Code::RateLimited,
                "Too many terminals and editors are open at once. Close some of them, then try again.",
            ));
        }
        *count += 1;
        let (id, token) = (state.next_id, CancellationToken::new());
        state.next_id += 1;
        state.streams.insert(id, (stream, token.clone()));
        drop(state);
        Ok(StreamGuard { id, counted_as, token, registry: self.clone() })
    }

    /// Returns the live streams without duplicates, for the controller to check.
    pub fn list(&self) -> Vec<LiveStream> {
        let streams: HashSet<LiveStream> = self.lock().streams.values().map(|(stream, _)| *stream).collect();
        streams.into_iter().collect()
    }

    /// Ends all streams that equal one of `revoked` and returns their number.
    pub fn end(&self, revoked: &[LiveStream]) -> usize {
        let revoked: HashSet<LiveStream> = revoked.iter().copied().collect();
        let state = self.lock();
        let ended = state.streams.values().filter(|(stream, _)| revoked.contains(stream));
        ended.map(|(_, token)| token.cancel()).count()
    }

    /// Ends all streams.
    pub fn end_all(&self) {
        self.lock().streams.values().for_each(|(_, token)| token.cancel());
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamGuard {
    /// Resolves when the stream must end.
    pub async fn revoked(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        state.streams.remove(&self.id);
        if let Some(count) = state.counts.get_mut(&self.counted_as) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&self.counted_as);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Access, Epoch, WorkspaceId};

    use super::*;

    fn stream(session: SessionId) -> LiveStream {
        LiveStream {
            session,
            workspace: WorkspaceId::random(),
            epoch: Epoch(1),
            access: Access::Write,
            preview_port: None,
        }
    }

    #[test]
    fn session_limit_counts_live_streams_only() {
        let registry = StreamRegistry::new(1);
        let (anna, ben) = (SessionId::random(), SessionId::random());
        let first = registry.register(stream(anna)).expect("room");
        assert_eq!(registry.register(stream(anna)).expect_err("full").code(), Code::RateLimited);
        let other = registry.register(stream(ben)).expect("room of another session");
        let preview = LiveStream { preview_port: Some(3000), ..stream(anna) };
        drop(registry.register(preview).expect("room of previews"));
        drop(first);
        drop(registry.register(stream(anna)).expect("room again"));
        drop(other);
        assert!(registry.lock().counts.is_empty() && registry.list().is_empty());
    }

    #[test]
    fn end_cancels_revoked_streams_only() {
        let registry = StreamRegistry::new(8);
        let (revoked, other) = (stream(SessionId::random()), stream(SessionId::random()));
        let twice = [registry.register(revoked).expect("room"), registry.register(revoked).expect("room")];
        let stays = registry.register(other).expect("room");
        assert_eq!(registry.list().len(), 2);
        assert_eq!(registry.end(&[revoked]), 2);
        assert!(twice.iter().all(|guard| guard.token.is_cancelled()));
        assert!(!stays.token.is_cancelled());
    }
}
