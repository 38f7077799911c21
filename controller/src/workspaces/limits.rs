//! Why a request that needs room is refused: a budget ([`crate::budgets`]), or the disks of this host.

use protocol::{TenantId, UserId};
use volume::FreeSpace;

use crate::{
    budgets::{
        MAX_QUEUED,
        refusal::{BudgetRefusal, format_bytes},
    },
    core::Core,
    disk::DiskRefusal,
};

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    #[error(transparent)]
    Budget(Box<BudgetRefusal>),
    #[error(
        "Cannot start the workspace: {MAX_QUEUED} workspaces of this organisation wait for their turn \
         already. Try again when some of them run"
    )]
    QueueFull,
    #[error(
        "Cannot use more of the server's disk: {free} are free, of which {reserve} are kept for the \
         database, and {needed} must be left for workspaces that run. Delete what is not needed, or ask \
         the operator of this server to make room"
    )]
    DiskLow { free: String, reserve: String, needed: String },
    #[error(
        "Cannot use more of the server's disk: Burrow takes {used} of its budget of {budget}. Delete what is \
         not needed, or ask the operator of this server for more"
    )]
    DiskBudget { used: String, budget: String },
    #[error(
        "Cannot use more of the server's disk: the workspaces of this user take {used} of {limit}. Delete \
         snapshots or workspaces that are not needed, or ask the operator of this server for more"
    )]
    DiskOfUser { used: String, limit: String },
    #[error(
        "Cannot use more of the server's disk: the workspaces of this organisation take {used} of {limit}. \
         Delete snapshots or workspaces that are not needed, or ask the operator of this server for more"
    )]
    DiskOfTenant { used: String, limit: String },
    #[error(
        "Cannot use more of the server's store: its disk is nearly full. Ask the operator of this server"
    )]
    StoreLow,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Checks that the disks of caches and local objects have room for something new of a user. What runs
/// already may use the rest.
pub fn check_disk(core: &Core, tenant: TenantId, user: UserId) -> Result<(), LimitError> {
    core.disk.check_start(&core.config)?;
    core.disk.check_owner(&core.config.disk, tenant, user)?;
    // The store may be on another disk than the caches.
    let store = core.config.store_dir().map(FreeSpace::of);
    match store {
        Some(Ok(FreeSpace::Low | FreeSpace::NearlyFull)) => Err(LimitError::StoreLow),
        _ => Ok(()),
    }
}

impl From<DiskRefusal> for LimitError {
    fn from(refusal: DiskRefusal) -> Self {
        let size = format_bytes;
        match refusal {
            DiskRefusal::Disk { free, reserve, needed } => {
                Self::DiskLow { free: size(free), reserve: size(reserve), needed: size(needed) }
            }
            DiskRefusal::Budget { used, budget } => {
                Self::DiskBudget { used: size(used), budget: size(budget) }
            }
            DiskRefusal::User { used, limit } => Self::DiskOfUser { used: size(used), limit: size(limit) },
            DiskRefusal::Tenant { used, limit } => {
                Self::DiskOfTenant { used: size(used), limit: size(limit) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_disk_takes_nothing_new() {
        const MIB: u64 = 1 << 20;
        let said = |refusal: DiskRefusal| LimitError::from(refusal).to_string();
        assert_eq!(
            said(DiskRefusal::Disk { free: 1536 * MIB, reserve: 512 * MIB, needed: 1536 * MIB }),
            "Cannot use more of the server's disk: 1.5 GiB are free, of which 512 MiB are kept for the \
             database, and 1.5 GiB must be left for workspaces that run. Delete what is not needed, or ask \
             the operator of this server to make room"
        );
        let (used, limit) = (11 << 30, 10 << 30);
        assert!(
            said(DiskRefusal::Budget { used, budget: limit })
                .contains("takes 11 GiB of its budget of 10 GiB")
        );
        assert!(said(DiskRefusal::User { used, limit }).contains("of this user take 11 GiB of 10 GiB"));
        assert!(
            said(DiskRefusal::Tenant { used, limit }).contains("of this organisation take 11 GiB of 10 GiB")
        );
    }
}
