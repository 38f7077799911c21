//! A workspace's life as everyone sees it: its phase, and the step that is being done.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Where a workspace is in its life. `Terminated` is rest: the machine is gone, the home is kept, and a start leads back to `Queued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Waits for its turn.
    Queued,
    /// A runner is making the machine.
    Provisioning,
    /// The agent answers.
    Running,
    /// The guest is being frozen and flushed.
    Stopping,
    /// The home is on its way to the object store.
    Persisting,
    /// No machine. Shown to people as "Stopped".
    Terminated,
}

impl Phase {
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Provisioning, Self::Running, Self::Stopping, Self::Persisting, Self::Terminated];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Persisting => "persisting",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is being done inside a phase, in the order in which a start and then a stop go through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Waiting for a turn.
    Queue,
    /// Starting the runner process.
    Runner,
    /// Opening the home volume.
    Volume,
    /// Making the network.
    Network,
    /// Starting the sandbox: the VMM, or the plain process of the fake runtime.
    Sandbox,
    /// The guest's kernel and agent come up.
    Boot,
    /// The home is mounted, the user made.
    Home,
    /// All steps of a start are behind.
    Ready,
    /// Quiescing the guest's file system.
    Freeze,
    /// Uploading what changed.
    Upload,
    /// The controller writes the snapshot's row.
    Commit,
    /// Removing machine, network and leftovers.
    Remove,
}

/// A step with the time at which it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepProgress {
    pub step: Step,
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// A short sentence of detail ("12 of 40 MiB"); from the runner, so bounded to [`StepProgress::MAX_DETAIL`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl StepProgress {
    pub const MAX_DETAIL: usize = 200;
}

/// Why the last start or stop did not succeed, in words for the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    pub step: Step,
    /// What happened, one sentence.
    pub cause: String,
    /// What to do next, one sentence.
    pub action: String,
    /// Last lines of the machine's console: guest text, to be shown as text only.
    #[serde(default)]
    pub log: Vec<String>,
}

impl Failure {
    pub const MAX_TEXT: usize = 1000;
    pub const MAX_LOG_LINES: usize = 40;

    /// Cuts what a runner said to its bounds.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.cause = cut(self.cause, Self::MAX_TEXT);
        self.action = cut(self.action, Self::MAX_TEXT);
        let excess = self.log.len().saturating_sub(Self::MAX_LOG_LINES);
        self.log.drain(..excess);
        self.log = self.log.into_iter().map(|line| cut(line, Self::MAX_TEXT)).collect();
        self
    }
}

/// The first `max` bytes of `text`, ending at a character's end.
#[must_use]
pub fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}
