//! Tells a client what language servers do and find.

use std::sync::Arc;

use protocol::languages::LanguageWatchRequest;
use tokio::sync::{broadcast::error::RecvError, watch};

use super::Languages;
use crate::socket::{CLOSE_INVALID_MESSAGE, CLOSE_NORMAL, CloseReason, Disconnected, Incoming, Socket};

/// One client's subscription, which lives as long as its socket.
pub struct WatchSession {
    languages: Arc<Languages>,
    /// Servers run only while there is one. None for users who may not write.
    _demand: Option<Demand>,
}

/// Makes servers run while it exists.
struct Demand(watch::Sender<usize>);

impl Drop for Demand {
    fn drop(&mut self) {
        self.0.send_modify(|watchers| *watchers -= 1);
    }
}

impl WatchSession {
    /// Subscribes a client. With `starts_servers`, servers run for the files that are open.
    pub fn new(languages: Arc<Languages>, starts_servers: bool) -> Self {
        let demand = starts_servers.then(|| {
            languages.start_following();
            languages.watchers.send_modify(|watchers| *watchers += 1);
            Demand(languages.watchers.clone())
        });
        Self { languages, _demand: demand }
    }

    /// Serves the client until it disconnects or sends something that is not a watch request.
    pub async fn serve(self, mut socket: Socket) {
        if let Ok(reason) = self.run(&mut socket).await {
            socket.close(reason).await;
        }
    }

    async fn run(&self, socket: &mut Socket) -> Result<CloseReason, Disconnected> {
        let invalid = CloseReason { code: CLOSE_INVALID_MESSAGE, reason: "not a watch request" };
        let board = &self.languages.context.board;
        loop {
            let (snapshot, mut events) = board.subscribe();
            for event in snapshot {
                socket.send_json(&event).await?;
            }
            loop {
                tokio::select! {
                    message = socket.receive() => {
                        let Incoming::Text(text) = message.ok_or(Disconnected)? else { return Ok(invalid) };
                        match serde_json::from_str(&text) {
                            Ok(LanguageWatchRequest::Ping) => socket.send_json(&board.servers()).await?,
                            Err(_) => return Ok(invalid),
                        }
                    }
                    event = events.recv() => match event {
                        Ok(event) => socket.send_json(&event).await?,
                        // The client was too slow for all events: it begins again.
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => {
                            return Ok(CloseReason { code: CLOSE_NORMAL, reason: "the agent ends" });
                        }
                    },
                }
            }
        }
    }
}
