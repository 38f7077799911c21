//! A workspace as users see it: its size, its phase, the current step, the condition of its home, and
//! the last failure.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Where a workspace is in its life. In `Terminated` there is no sandbox but the home is kept, and
/// a start leads back to `Queued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Waiting for its turn.
    Queued,
    /// A runner starts the sandbox.
    Provisioning,
    /// The agent answers; users can work.
    Running,
    /// The guest is frozen and flushed.
    Stopping,
    /// The home is uploaded to the object store.
    Persisting,
    /// There is no sandbox. Clients show "Stopped".
    Terminated,
}

impl Phase {
    /// All phases, in the order of a start and a stop.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Provisioning, Self::Running, Self::Stopping, Self::Persisting, Self::Terminated];

    /// The phase as it is written in JSON.
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

/// How urgent a start is, among those of the same organisation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum StartPriority {
    /// A user waits for it.
    #[default]
    Interactive,
    /// All workspaces of a class are started.
    Class,
    /// Nobody waits for it.
    Batch,
}

/// What is done inside a phase, in the order of a start and then a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Waiting for a turn.
    Queue,
    /// Starting the runner process.
    Runner,
    /// Opening the home volume.
    Volume,
    /// Creating the sandbox's network.
    Network,
    /// Starting the sandbox: the VMM, or the plain process of the fake runtime.
    Sandbox,
    /// Waiting for the guest's kernel and the agent.
    Boot,
    /// Mounting the home and creating the user.
    Home,
    /// The start is complete.
    Ready,
    /// Freezing the guest's file system.
    Freeze,
    /// Uploading changed blocks.
    Upload,
    /// Committing the snapshot: the controller writes its row.
    Commit,
    /// Removing the sandbox and its network.
    Remove,
}

/// A step with the time at which it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepProgress {
    /// The step.
    pub step: Step,
    /// When the step began.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// A short detail such as "12 of 40 MiB", at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl StepProgress {
    /// Length of a detail, in bytes. Details come from the runner and are cut.
    pub const MAX_DETAIL: usize = 200;
}

/// Why the last start or stop failed, for the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// What happened, one sentence.
    pub cause: String,
    /// What to do next, one sentence.
    pub action: String,
    /// Last lines of the sandbox's console. The guest wrote them: show them as plain text.
    #[serde(default)]
    pub log: Vec<String>,
}

impl Failure {
    /// Length of a text or log line, in bytes.
    pub const MAX_TEXT: usize = 1000;
    /// Number of log lines.
    pub const MAX_LOG_LINES: usize = 40;

    /// Cuts texts and log to their limits. For a failure that a runner reported.
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

/// Returns at most the first `max` bytes of `text`, without splitting a character.
#[must_use]
pub fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}
/// The size of a sandbox and its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// Virtual CPUs.
    pub vcpus: u8,
    /// Memory of the guest.
    pub memory_mib: u32,
    /// Size of the home. It can grow but never shrinks.
    pub home_mib: u32,
    /// Size of the scratch disk, which holds the changes to the root file system until the sandbox stops.
    pub scratch_mib: u32,
    /// Number of processes and threads that the guest's user may have.
    pub pids: u32,
}

/// How strongly a workspace is isolated from its host and from other workspaces. A template names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// A virtual machine with its own kernel. The only tier that isolates hostile code.
    Microvm,
    /// A container whose programs have a kernel of their own: gVisor, a program that answers their system
    /// calls. It has no root.
    Gvisor,
    /// A container on the host's kernel, for trusted, educational use. It has no root.
    Container,
}

/// Name of a program in a guest: at most 64 printable characters, at least one. The guest chooses it,
/// so it is shown as text and never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 64, example = "python3")]
pub struct ProgramName(String);

/// Why a text is not a [`ProgramName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A program's name has 1 to 64 printable characters")]
pub struct ProgramNameError;

impl ProgramName {
    const MAX_CHARACTERS: usize = 64;

    /// The name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProgramName {
    type Error = ProgramNameError;

    fn try_from(name: String) -> Result<Self, ProgramNameError> {
        let is_valid = !name.is_empty()
            && name.chars().count() <= Self::MAX_CHARACTERS
            && !name.chars().any(char::is_control);
        if is_valid { Ok(Self(name)) } else { Err(ProgramNameError) }
    }
}

impl From<ProgramName> for String {
    fn from(name: ProgramName) -> Self {
        name.0
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A condition of a home or its sandbox, reported while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HomeNotice {
    /// The object store does not accept uploads. Writes stay on the host until it does.
    StoreUnavailable,
    /// Writes are slowed down because the object store accepts less than is written.
    Throttled,
    /// Writes wait because the host's disk is nearly full.
    HostDiskFull,
    /// Automatic snapshots are less frequent, because the home changes very much.
    UploadsPaced,
    /// The home has no free space.
    HomeFull,
    /// The home has no free inodes: it contains as many files as it can.
    HomeOutOfInodes,
    /// The kernel has just ended a program because memory ran out.
    OutOfMemory,
    /// Programs have just failed to start another process, because there are as many as allowed.
    ProcessLimit,
    /// Nobody uses the workspace: it stops within minutes.
    IdleStop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_names_are_short_and_printable() {
        let is_valid = |name: &str| ProgramName::try_from(name.to_owned()).is_ok();
        for (name, expected) in [
            ("python3", true),
            ("Web Content", true),
            ("é", true),
            ("", false),
            ("\u{1b}[2J", false),
            ("a\nb", false),
            (&"x".repeat(64), true),
            (&"x".repeat(65), false),
        ] {
            assert_eq!(is_valid(name), expected, "{name:?}");
        }
    }
}
