//! Where runners come from. An engine starts and ends them and says when one is gone; it decides nothing and knows no database.

pub mod local;

use protocol::{Epoch, ManifestId, Redacted, TenantId, VolumeId, WorkspaceId, runner::Resources};

/// A runner that is to be started: what the controller knows of it. The engine adds what the host knows.
pub struct Order {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub name: String,
    pub epoch: Epoch,
    pub resources: Resources,
    pub image: String,
    pub volume: VolumeId,
    pub head: Option<ManifestId>,
    /// The volume that made the head, where it is another.
    pub head_of: Option<VolumeId>,
    pub lineage: u64,
    /// Requests for a snapshot up to this one were of earlier placements.
    pub snapshot_requested: u64,
    /// The same of repairs.
    pub repair_requested: u64,
    pub token: Redacted<String>,
    pub grant_key: String,
}

/// A runner's process has ended, however it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
}

/// Why a runner could not be started, in words for the person.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("the image `{0}` is not on this host")]
    NoImage(String),
    #[error("the runner cannot be started: {0}")]
    Spawn(#[from] std::io::Error),
    #[error("all {0} slots for machines are taken")]
    NoSlot(usize),
    #[error("an older machine of this workspace has not ended yet")]
    Busy,
}
