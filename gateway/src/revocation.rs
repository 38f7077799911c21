//! Ends streams whose session was revoked.
//!
//! A stream outlives its grant, so the gateway asks the controller about all live streams at a
//! short interval. While the controller does not answer, streams stay: nothing can be revoked
//! during that time either, and a restart of the controller must not end anyone's work.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use crate::router::Router;

impl Router {
    /// Checks live streams at every interval until the gateway shuts down, then ends all of them.
    pub async fn watch_revocations(self: Arc<Self>) -> anyhow::Result<()> {
        let mut ticks = interval(self.limits.session_check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.tasks.shutdown().clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = async { ticks.tick().await; self.end_revoked_streams().await } => {}
            }
        }
        self.streams.end_all();
        Ok(())
    }

    async fn end_revoked_streams(&self) {
        self.links.remove_closed();
        let mut live = self.preview_grants.list();
        live.extend(self.streams.list());
        let live: Vec<_> = live.into_iter().collect();
        if live.is_empty() {
            return;
        }
        match self.controller.find_revoked(live).await {
            Ok(revoked) if revoked.is_empty() => {}
            Ok(revoked) => {
                self.preview_grants.revoke(&revoked);
                let streams = self.streams.end(&revoked);
                tracing::info!(streams, "ended the streams of revoked sessions");
            }
            Err(refusal) => tracing::warn!(?refusal, "cannot check live streams; trying again"),
        }
    }
}
