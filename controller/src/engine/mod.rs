//! Starts runners and ends them, and reports when one has ended. It decides nothing and knows no
//! database.

mod channel;
pub mod local;

use protocol::{
    Epoch, ManifestId, Redacted, TenantId, VolumeId, WorkspaceId,
    runner::NetworkSpec,
    workspace::{Resources, Tier},
};

use crate::db::text::Text;

/// What the controller knows of a runner that should be started. The engine adds what the host
/// knows.
pub struct LaunchSpec {
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    /// Name of the workspace: the guest's hostname.
    pub name: String,
    pub epoch: Epoch,
    pub resources: Resources,
    /// Name of the image, as the template has it.
    pub image: String,
    /// How strongly the workspace is isolated.
    pub tier: Tier,
    /// Whether its tenant may use the tier.
    pub is_tier_allowed: bool,
    /// The tier that has written the home so far.
    pub written_by: Option<Tier>,
    pub volume: VolumeId,
    /// The snapshot to start from. None for a new home.
    pub head: Option<ManifestId>,
    /// The volume that made the head, if it is another one.
    pub head_of: Option<VolumeId>,
    /// How often the home was restored as a whole.
    pub lineage: u64,
    /// The latest snapshot request of earlier placements.
    pub snapshot_requested: u64,
    /// The latest repair request of earlier placements.
    pub repair_requested: u64,
    /// How much of the allowance for automatic snapshots earlier placements have used up, in bytes.
    pub upload_allowance_used: u64,
    /// Where it may connect.
    pub network: NetworkSpec,
    /// What the runner authenticates its reports with.
    pub token: Redacted<String>,
    /// Public key that verifies grants, hexadecimal.
    pub grant_key: String,
}

/// A runner process has ended, in order or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerExit {
    pub workspace: WorkspaceId,
    pub epoch: Epoch,
}

/// Why a runner could not be started, in words for the owner of the workspace.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("Cannot start the runner: the image `{0}` is not on this host")]
    NoImage(String),
    #[error("Cannot start the workspace: this server does not allow the tier `{}`", Text(*.0).name())]
    TierNotAllowed(Tier),
    #[error(
        "Cannot start the workspace: this home was written by a virtual machine, and the host does not mount \
         what a virtual machine has written"
    )]
    ForeignHome,
    #[error("Cannot start the runner: {0}")]
    Spawn(#[from] std::io::Error),
    #[error("Cannot start the runner: all {0} slots of this host are in use")]
    NoSlot(usize),
    #[error("Cannot start the runner: an older one of this workspace has not ended yet")]
    Busy,
}

impl LaunchError {
    /// What to do next, one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoImage(_) => "Build the image on the host, then start the workspace again.",
            Self::TierNotAllowed(_) => {
                "Ask the operator of this server to allow it: `burrow up --allow-tier TIER`."
            }
            Self::ForeignHome => {
                "The home is kept. Copy it with `burrow push` into a workspace that is a virtual machine."
            }
            Self::NoSlot(_) | Self::Busy => "Try again in a moment.",
            Self::Spawn(_) => "Run `burrow doctor` on the host.",
        }
    }
}
