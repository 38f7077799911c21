//! The two sandboxes: the microVM, and the fake that tests and simulations use. Both give an agent behind a socket.
//!
//! A machine that is dropped is gone: its processes die with it, its network too. Only [`Machine::end`] ends it in order.

use std::{path::PathBuf, process::ExitStatus, sync::Arc};

use protocol::{
    ManifestId,
    runner::{RunnerSpec, RuntimeKind},
};
use volume::Volume;

use crate::{agent::Agent, report::Reporter, slot::Slot};

mod console;
mod fake;
mod microvm;

pub use microvm::accelerator;

/// What a runtime is given.
pub struct Making<'a> {
    pub spec: &'a RunnerSpec,
    pub slot: &'a Slot,
    pub volume: &'a Volume,
    pub reporter: &'a Reporter,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("the home cannot be unpacked: {0}")]
    Fake(#[from] fake::PackError),
    #[error("the machine's network cannot be made: {0}")]
    Network(#[from] crate::network::NetworkError),
    #[error(transparent)]
    Accelerator(#[from] microvm::accelerator::AcceleratorError),
}

/// How a machine ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// A sentence's part, for people.
    pub how: String,
    /// Its own doing (`poweroff` in the guest), not a crash.
    pub orderly: bool,
}

impl Ended {
    fn of(what: &str, status: std::io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => Self { how: format!("{what} ended ({status})"), orderly: status.success() },
            Err(error) => Self { how: format!("{what} cannot be waited for: {error}"), orderly: false },
        }
    }
}

pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |source| RuntimeError::Io { what, source }
}

/// A started machine.
pub enum Machine {
    Fake(Box<fake::Fake>),
    Microvm(Box<microvm::Microvm>),
}

impl Machine {
    pub async fn start(making: &Making<'_>) -> Result<Self, RuntimeError> {
        match making.spec.runtime {
            RuntimeKind::Fake => Ok(Self::Fake(Box::new(fake::Fake::start(making).await?))),
            RuntimeKind::Microvm => Ok(Self::Microvm(Box::new(microvm::Microvm::start(making).await?))),
        }
    }

    pub fn agent(&self) -> Arc<Agent> {
        match self {
            Self::Fake(fake) => fake.agent(),
            Self::Microvm(microvm) => microvm.agent(),
        }
    }

    /// "kvm", "tcg", or "none".
    pub fn accelerator(&self) -> &'static str {
        match self {
            Self::Fake(_) => "none",
            Self::Microvm(microvm) => microvm.accelerator(),
        }
    }

    /// Whom the guest asks for names; none if it has no network of its own.
    pub fn nameservers(&self) -> Option<&[std::net::IpAddr]> {
        match self {
            Self::Fake(_) => None,
            Self::Microvm(microvm) => microvm.nameservers(),
        }
    }

    /// Resolves when the machine has ended by itself, with how.
    pub async fn ended(&mut self) -> Ended {
        match self {
            Self::Fake(fake) => fake.ended().await,
            Self::Microvm(microvm) => microvm.ended().await,
        }
    }

    /// What has to be done before a snapshot while it runs.
    pub fn settler(&self) -> Settler {
        match self {
            Self::Fake(fake) => Settler(Some(fake.packer())),
            Self::Microvm(_) => Settler(None),
        }
    }

    /// The last lines that the machine printed.
    pub fn log(&self) -> Vec<String> {
        match self {
            Self::Fake(fake) => fake.log(),
            Self::Microvm(microvm) => microvm.log(),
        }
    }

    /// Ends the machine at once; what it had flushed is in the volume.
    pub async fn kill(self) {
        match self {
            Self::Fake(fake) => fake.kill().await,
            Self::Microvm(microvm) => microvm.kill().await,
        }
    }

    /// Ends the machine; when it returns, all that it wrote is in the volume.
    pub async fn end(self) -> Result<(), RuntimeError> {
        match self {
            Self::Fake(fake) => fake.end().await,
            Self::Microvm(microvm) => {
                microvm.end().await;
                Ok(())
            }
        }
    }
}

/// Brings what a machine has beside its volume into it. A real one has nothing there.
pub struct Settler(Option<fake::Packer>);

impl Settler {
    pub async fn settle(&self) -> Result<(), RuntimeError> {
        match &self.0 {
            Some(packer) => Ok(packer.pack().await?),
            None => Ok(()),
        }
    }
}

/// What follows a committed snapshot.
pub fn committed(spec: &RunnerSpec, manifest: ManifestId) {
    if spec.runtime == RuntimeKind::Fake {
        fake::committed(spec, manifest);
    }
}

/// A socket or another thing of this machine's own.
fn in_run_dir(spec: &RunnerSpec, name: &str) -> PathBuf {
    spec.run_dir.join(name)
}
