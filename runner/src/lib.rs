//! The runner: two processes per running workspace. It owns the workspace's sandbox, its volume and
//! its front. The crate also builds the images that sandboxes boot from.
//!
//! ```text
//! controller ◀─ reporter ─ session ─┬─ runtime: microvm, container or fake ─ supervisor
//!                                   ├─ home_volume ◀─ export (NBD) ◀─ QEMU
//!                                   ├─ replicator ─▶ object store
//! gateway ─▶ front ─▶ agent ────────┘
//! ```
//!
//! Start reading at [`session`]: it is the life of a runner.

mod agent;
pub mod cgroup;
mod controller_link;
mod disk_share;
pub mod export;
mod front;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod home_volume;
pub mod images;
pub mod network;
mod network_follower;
mod objects;
mod replicator;
mod reporter;
mod run_directory;
mod runtime;
mod session;
mod slot;
pub mod supervisor;
mod upload_pace;

pub use controller_link::ControllerLink;
pub use run_directory::sweep;
pub use runtime::{
    Accelerator, accelerator,
    container::{check_available as check_containers, gvisor},
    microvm::remove_unfinished_prototypes,
};
pub use session::{RunError, run};
