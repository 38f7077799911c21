//! Why a session failed, and what users are told about it.

use std::io;

use protocol::workspace::{Failure, Step};

use crate::{
    agent::AgentError,
    home_volume::HomeError,
    runtime::{RuntimeError, container::ContainerError},
};

/// A failed session: its cause, and what its end means for the home.
#[derive(Debug)]
pub struct SessionError {
    pub cause: FailureCause,
    /// Whether everything that the guest had flushed is committed, or at least kept in the local cache.
    pub home_is_safe: bool,
    /// The last lines that the sandbox printed. Guest text: shown to users, never interpreted.
    pub log: Vec<String>,
}

/// What failed. The text is a sentence without its full stop.
#[derive(Debug, thiserror::Error)]
pub enum FailureCause {
    #[error("Cannot create the runner's directory: {0}")]
    RunDirectory(io::Error),
    #[error("Cannot start the front: the controller's grant key is invalid")]
    GrantKey,
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The sandbox exited by itself, and not in order.
    #[error("{0}")]
    SandboxExited(String),
}

impl SessionError {
    /// A failure before the home was opened: nothing can have happened to it.
    pub fn before_home(cause: impl Into<FailureCause>) -> Self {
        Self { home_is_safe: true, ..Self::from(cause.into()) }
    }

    /// The failure as it is reported: the step in which it happened, a cause and a next action.
    pub fn into_failure(self, step: Step) -> Failure {
        let cause = to_sentence(self.cause.to_string());
        Failure { step, cause, action: self.cause.action().to_owned(), log: self.log }.bounded()
    }
}

/// Not safe and without a log, unless a later stage of the session knows better.
impl From<FailureCause> for SessionError {
    fn from(cause: FailureCause) -> Self {
        Self { cause, home_is_safe: false, log: Vec::new() }
    }
}

impl FailureCause {
    fn action(&self) -> &'static str {
        match self {
            Self::Home(HomeError::Volume(volume::VolumeError::Full)) => {
                "Ask the operator of this server to free disk space, then start it again."
            }
            Self::Home(_) => {
                "The home is kept. Start it again; if it fails again, ask the operator for this server's log."
            }
            Self::Runtime(RuntimeError::Container(ContainerError::ForeignHome)) => {
                "The home is kept. Fork or restore it into a workspace that is a virtual machine."
            }
            Self::RunDirectory(_) | Self::GrantKey | Self::Runtime(_) => {
                "Ask the operator of this server to run `burrow doctor`."
            }
            Self::Agent(_) | Self::SandboxExited(_) => "The home is kept. Start it again.",
        }
    }
}

/// Begins with a capital letter and ends with a full stop.
fn to_sentence(mut text: String) -> String {
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_become_sentences() {
        assert_eq!(to_sentence("disk full".to_owned()), "Disk full.");
        assert_eq!(to_sentence("Ended.".to_owned()), "Ended.");
        assert_eq!(to_sentence("äußerst".to_owned()), "äußerst.");
    }
}
