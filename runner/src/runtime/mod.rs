//! Runtimes: the ways to run a sandbox.
//!
//! A runtime turns a [`StartContext`] into a [`Sandbox`]: an agent behind a Unix socket, whose home
//! is the given volume. The *microVM* runtime boots QEMU with its own kernel and is the only
//! boundary against hostile code. The *container* runtime shares the host's kernel, or gives a container
//! that of gVisor. The *fake* runtime starts the agent as a plain process; tests and simulations use it. The
//! set is closed, so a sandbox is an enum and not a trait.
//!
//! What every runtime guarantees:
//!
//! - [`Sandbox::start`] either succeeds or leaves nothing behind.
//! - A sandbox that is dropped is gone: its processes and its network die with it. What the guest
//!   had flushed is in the volume.
//! - [`Sandbox::shut_down`] ends it in order: when it returns, everything that the guest wrote is
//!   in the volume.
//! - [`Sandbox::wait`] resolves when the sandbox exits by itself, and may be called again.
//! - [`PreSnapshotHook::run`] brings the volume up to date while the sandbox runs. A microVM writes
//!   to its volume directly and needs none; the fake runtime packs its directory.
//!
//! A runtime knows no controller, no grants and no streams. It reports its own steps and nothing else.

use std::{path::PathBuf, process::ExitStatus, sync::Arc};

use protocol::{
    ManifestId,
    runner::{RunnerSpec, RuntimeKind},
};
use volume::Volume;

use crate::{
    agent::Agent,
    network::{AllowedNetwork, Egress, Enforcer, NameServers, NetworkError, Sockets},
    reporter::Reporter,
    supervisor::{OperationError, Supervisor},
};

mod console;
pub mod container;
mod fake;
pub mod microvm;
mod process;
pub mod supervised;

pub use microvm::{Accelerator, accelerator};

/// What a runtime needs to start a sandbox.
pub struct StartContext<'a> {
    pub spec: &'a RunnerSpec,
    /// Does what needs root. Only the fake runtime needs none.
    pub supervisor: Option<&'a Supervisor>,
    /// The home.
    pub volume: &'a Volume,
    pub reporter: &'a Reporter,
}

/// Why a sandbox cannot be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// `action` follows "Cannot".
    #[error("Cannot {action}: {source}")]
    Io { action: &'static str, source: std::io::Error },
    #[error("Cannot pack or unpack the home: {0}")]
    Fake(#[from] fake::PackError),
    #[error(transparent)]
    Network(#[from] crate::network::NetworkError),
    #[error(transparent)]
    Supervisor(#[from] OperationError),
    #[error("Cannot start the sandbox: this process does not start sandboxes of the kind {0:?}")]
    WrongProcess(RuntimeKind),
    #[error(transparent)]
    Jail(#[from] microvm::JailError),
    #[error(transparent)]
    Container(#[from] container::ContainerError),
}

/// How a sandbox exited by itself.
#[derive(Debug)]
pub struct SandboxExit {
    /// A clause for users, such as "the virtual machine exited (exit status: 1)".
    pub description: String,
    /// Whether the guest powered off, as opposed to a crash.
    pub is_orderly: bool,
}

impl SandboxExit {
    fn new(process: &str, status: std::io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => {
                Self { description: format!("{process} exited ({status})"), is_orderly: status.success() }
            }
            Err(error) => {
                Self { description: format!("cannot wait for {process}: {error}"), is_orderly: false }
            }
        }
    }
}

/// Names the failed action in an I/O error.
fn cannot(action: &'static str) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |source| RuntimeError::Io { action, source }
}

/// A started sandbox.
pub enum Sandbox {
    Fake(Box<fake::FakeSandbox>),
    Microvm(Box<microvm::Microvm>),
    Container(Box<container::Container>),
}

impl Sandbox {
    /// Starts the sandbox with the runtime that the specification names.
    pub async fn start(context: &StartContext<'_>) -> Result<Self, RuntimeError> {
        match (context.spec.runtime, context.supervisor) {
            (RuntimeKind::Fake, _) => Ok(Self::Fake(Box::new(fake::FakeSandbox::start(context).await?))),
            (RuntimeKind::Microvm, Some(supervisor)) => {
                Ok(Self::Microvm(Box::new(microvm::Microvm::start(context, supervisor).await?)))
            }
            (RuntimeKind::Container | RuntimeKind::Gvisor, Some(supervisor)) => {
                Ok(Self::Container(Box::new(container::Container::start(context, supervisor).await?)))
            }
            (kind, None) => Err(RuntimeError::WrongProcess(kind)),
        }
    }

    /// The agent. It may still be booting.
    pub fn agent(&self) -> Arc<Agent> {
        match self {
            Self::Fake(fake) => fake.agent(),
            Self::Microvm(microvm) => microvm.agent(),
            Self::Container(container) => container.agent(),
        }
    }

    /// "kvm", "tcg", or "none".
    pub fn accelerator(&self) -> &'static str {
        match self {
            Self::Fake(_) | Self::Container(_) => "none",
            Self::Microvm(microvm) => microvm.accelerator(),
        }
    }

    /// The name servers that the guest may use; `None` if it has no network of its own.
    pub fn nameservers(&self) -> Option<&[std::net::IpAddr]> {
        match self {
            Self::Fake(_) => None,
            Self::Microvm(microvm) => microvm.nameservers(),
            Self::Container(container) => Some(container.nameservers()),
        }
    }

    /// What enforces the network policy; `None` if the sandbox has no network of its own.
    pub fn egress(&self) -> Option<Arc<Egress>> {
        match self {
            Self::Fake(_) => None,
            Self::Microvm(microvm) => microvm.egress(),
            Self::Container(container) => Some(container.egress()),
        }
    }

    /// Waits until the sandbox exits by itself.
    pub async fn wait(&mut self) -> SandboxExit {
        match self {
            Self::Fake(fake) => fake.wait().await,
            Self::Microvm(microvm) => microvm.wait().await,
            Self::Container(container) => container.wait().await,
        }
    }

    /// What must run before each requested snapshot.
    pub fn pre_snapshot_hook(&self) -> PreSnapshotHook {
        match self {
            Self::Fake(fake) => PreSnapshotHook(Some(fake.packer())),
            Self::Microvm(_) | Self::Container(_) => PreSnapshotHook(None),
        }
    }

    /// The last lines that the sandbox printed.
    pub fn log(&self) -> Vec<String> {
        match self {
            Self::Fake(fake) => fake.log(),
            Self::Microvm(microvm) => microvm.log(),
            Self::Container(container) => container.log(),
        }
    }

    /// Ends the sandbox at once. What the guest had flushed is in the volume.
    pub async fn kill(self) {
        match self {
            Self::Fake(fake) => fake.kill().await,
            Self::Microvm(microvm) => microvm.kill().await,
            Self::Container(container) => container.kill().await,
        }
    }

    /// Whether ending it in order leaves a file system that was unmounted, whatever the agent answered.
    pub fn unmounts_home(&self) -> bool {
        matches!(self, Self::Container(_))
    }

    /// Ends the sandbox in order. When this returns, everything that the guest wrote is in the volume.
    pub async fn shut_down(self) -> Result<(), RuntimeError> {
        match self {
            Self::Fake(fake) => fake.shut_down().await,
            Self::Microvm(microvm) => {
                microvm.shut_down().await;
                Ok(())
            }
            Self::Container(container) => container.shut_down().await,
        }
    }
}

/// Writes what a sandbox keeps outside its volume into it, so that a snapshot has it.
pub struct PreSnapshotHook(Option<fake::Packer>);

impl PreSnapshotHook {
    /// Runs the hook. It may take as long as the home is large.
    pub async fn run(&self) -> Result<(), RuntimeError> {
        match &self.0 {
            Some(packer) => Ok(packer.pack().await?),
            None => Ok(()),
        }
    }
}

/// Records that the snapshot of a stop is committed, for the next start on this host.
pub fn record_commit(spec: &RunnerSpec, manifest: ManifestId) {
    if spec.runtime == RuntimeKind::Fake {
        fake::record_commit(spec, manifest);
    }
}

/// Enforces the network policy, with what the supervisor has created.
fn start_egress(
    context: &StartContext<'_>,
    supervisor: &Supervisor,
    sockets: Sockets,
) -> Result<Egress, NetworkError> {
    let allowed = AllowedNetwork::of(context.spec);
    Egress::start(Enforcer::Supervised(supervisor.clone()), allowed, sockets, NameServers::of_host())
}

/// The path of a file in the runner's own directory.
fn in_run_dir(spec: &RunnerSpec, name: &str) -> PathBuf {
    spec.run_dir.join(name)
}
