//! Reasons to end a session that come from outside: the controller's command, a lost lease, the
//! parent's death.

use protocol::runner::Command;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::reporter::{ControllerState, Reporter};

/// How a session ends, unless it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Persist the home, then exit.
    Stop,
    /// Exit without persisting: the workspace is being deleted.
    Discard,
    /// Exit at once and report nothing: another runner has taken over, or the parent has died. The
    /// cache keeps the home.
    Abandon,
}

/// The stream of [`Ending`]s, each more urgent than the one before.
pub struct StopRequests {
    controller: watch::Receiver<ControllerState>,
    reporter: Reporter,
    /// Cancelled when the parent dies or the process receives a signal.
    shutdown: CancellationToken,
}

impl StopRequests {
    /// Stop requests from the controller and from `shutdown`.
    pub fn new(reporter: &Reporter, shutdown: CancellationToken) -> Self {
        Self { controller: reporter.subscribe(), reporter: reporter.clone(), shutdown }
    }

    /// Waits for a more urgent ending than the acknowledged one, and acknowledges it. Cancel-safe.
    pub async fn next(&mut self) -> Ending {
        let acknowledged = self.reporter.acknowledged().command;
        let is_urgent = |state: &ControllerState| {
            state.lease_loss.is_some() || urgency(state.desired.command) > urgency(acknowledged)
        };
        let state = tokio::select! {
            () = self.shutdown.cancelled() => return Ending::Abandon,
            state = self.controller.wait_for(is_urgent) => state.map(|state| state.clone()),
        };
        match state {
            Ok(ControllerState { lease_loss: None, desired, .. }) => {
                self.reporter.acknowledge_command(desired.command);
                if desired.command == Command::Discard { Ending::Discard } else { Ending::Stop }
            }
            _ => Ending::Abandon,
        }
    }
}

/// Commands only become more urgent: a runner that stops never runs again, and the controller
/// starts another.
fn urgency(command: Command) -> u8 {
    match command {
        Command::Run => 0,
        Command::Stop => 1,
        Command::Discard => 2,
    }
}
