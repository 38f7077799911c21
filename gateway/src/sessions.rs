//! The live streams, and whether they may stay: the controller is asked about all of them at once, again and again.
//!
//! While the controller does not answer, nothing can be revoked either, and streams stay: its restart ends nobody's work.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use protocol::{
    Code, SessionId,
    api::internal::{LiveStream, MAX_SESSIONS_PER_CHECK},
};
use tokio_util::sync::CancellationToken;

use crate::refusal::{Outcome, Refusal};

#[derive(Debug)]
pub struct Sessions {
    per_session: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    streams: HashMap<u64, (LiveStream, CancellationToken)>,
    counts: HashMap<SessionId, usize>,
}

/// A stream's place among the live; dropping it gives it back.
#[derive(Debug)]
pub struct Live {
    id: u64,
    session: SessionId,
    token: CancellationToken,
    sessions: Arc<Sessions>,
}

impl Sessions {
    pub fn new(per_session: usize) -> Arc<Self> {
        Arc::new(Self { per_session, state: Mutex::default() })
    }

    /// Takes a stream in, unless its session or the gateway has too many.
    pub fn admit(self: &Arc<Self>, stream: LiveStream) -> Outcome<Live> {
        let mut state = self.lock();
        if state.streams.len() >= MAX_SESSIONS_PER_CHECK {
            return Err(Refusal::new(Code::Unavailable, "The server has no room for more streams.")
                .because("the gateway's limit of live streams"));
        }
        let count = state.counts.entry(stream.session).or_default();
        if *count >= self.per_session {
            return Err(Refusal::new(
                Code::RateLimited,
                "Too many terminals and editors are open at once. Close some of them, then try again.",
            ));
        }
        *count += 1;
        let (id, token) = (state.next, CancellationToken::new());
        state.next += 1;
        state.streams.insert(id, (stream, token.clone()));
        drop(state);
        Ok(Live { id, session: stream.session, token, sessions: self.clone() })
    }

    /// What to ask the controller about: each once.
    pub fn live(&self) -> Vec<LiveStream> {
        let streams: HashSet<LiveStream> = self.lock().streams.values().map(|(stream, _)| *stream).collect();
        streams.into_iter().collect()
    }

    /// Ends those that are among `revoked`; gives their number.
    pub fn revoke(&self, revoked: &[LiveStream]) -> usize {
        let revoked: HashSet<LiveStream> = revoked.iter().copied().collect();
        let state = self.lock();
        let ended = state.streams.values().filter(|(stream, _)| revoked.contains(stream));
        ended.map(|(_, token)| token.cancel()).count()
    }

    /// Ends all.
    pub fn end(&self) {
        self.lock().streams.values().for_each(|(_, token)| token.cancel());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Resolves when the stream must end.
    pub async fn revoked(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        state.streams.remove(&self.id);
        if let Some(count) = state.counts.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Epoch, WorkspaceId, grant::Access};

    use super::*;

    fn stream(session: SessionId) -> LiveStream {
        LiveStream { session, workspace: WorkspaceId::random(), epoch: Epoch(1), access: Access::Write }
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let sessions = Sessions::new(1);
        let (anna, ben) = (SessionId::random(), SessionId::random());
        let first = sessions.admit(stream(anna)).expect("room");
        assert_eq!(sessions.admit(stream(anna)).expect_err("full").code(), Code::RateLimited);
        let other = sessions.admit(stream(ben)).expect("another's room");
        drop(first);
        drop(sessions.admit(stream(anna)).expect("room again"));
        drop(other);
        assert!(sessions.lock().counts.is_empty() && sessions.live().is_empty());
    }

    #[test]
    fn only_the_revoked_end() {
        let sessions = Sessions::new(8);
        let (mine, other) = (stream(SessionId::random()), stream(SessionId::random()));
        let twice = [sessions.admit(mine).expect("room"), sessions.admit(mine).expect("room")];
        let stays = sessions.admit(other).expect("room");
        assert_eq!(sessions.live().len(), 2);
        assert_eq!(sessions.revoke(&[mine]), 2);
        assert!(twice.iter().all(|live| live.token.is_cancelled()));
        assert!(!stays.token.is_cancelled());
    }
}
