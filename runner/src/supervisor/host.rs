//! What exists on the host for the sandbox of a runner, whatever kind it is.

use std::{os::fd::OwnedFd, sync::Arc};

use protocol::runner::{RunnerSpec, RuntimeKind};

use super::messages::{Answer, Operation};
use crate::{
    network::{NamespaceControl, NetworkError},
    runtime::{
        RuntimeError,
        container::{ContainerHost, Kernel},
        microvm::{MicrovmHost, accelerator::AcceleratorError},
    },
    slot::{Slot, SlotError},
};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Accelerator(#[from] AcceleratorError),
    /// The session asked for something that is not due.
    #[error("Cannot do this now: {0}")]
    Order(&'static str),
}

/// An answer with its descriptors.
pub type Performed = (Answer, Vec<OwnedFd>);

/// The host's part of one sandbox.
pub enum SandboxHost {
    Microvm(Box<MicrovmHost>),
    Container(Box<ContainerHost>),
}

impl SandboxHost {
    /// Nothing exists yet. `session`: the user of the session, if it is another one.
    pub fn new(spec: Arc<RunnerSpec>, slot: Result<Slot, SlotError>, session: Option<u32>) -> Self {
        let kernel = match spec.runtime {
            RuntimeKind::Container => Kernel::Host,
            RuntimeKind::Gvisor => Kernel::Gvisor,
            RuntimeKind::Microvm | RuntimeKind::Fake => {
                return Self::Microvm(Box::new(MicrovmHost::new(spec, slot, session)));
            }
        };
        Self::Container(Box::new(ContainerHost::new(spec, slot, kernel)))
    }

    /// Performs one operation of the session. Descriptors that it does not need are closed.
    pub async fn perform(
        &mut self,
        operation: Operation,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Performed, HostError> {
        match self {
            Self::Microvm(host) => host.perform(operation, descriptors).await,
            Self::Container(host) => host.perform(operation).await,
        }
    }

    /// Ends the sandbox, and removes what exists of it.
    pub async fn remove(&mut self) {
        match self {
            Self::Microvm(host) => host.remove().await,
            Self::Container(host) => {
                if let Err(error) = host.remove().await {
                    tracing::error!(%error, "cannot remove the container");
                }
            }
        }
    }
}

/// Performs an operation on the sandbox's network. Others are refused.
pub async fn perform_on_network(
    network: &NamespaceControl,
    operation: Operation,
) -> Result<Performed, HostError> {
    Ok(match operation {
        Operation::ChangeRules(change) => {
            network.change_rules(&change).await?;
            (Answer::Done, Vec::new())
        }
        Operation::ReadTraffic => (Answer::Traffic(network.read_traffic().await?), Vec::new()),
        Operation::OpenSocket => (Answer::Done, vec![network.open_socket().await?]),
        Operation::Disconnect => {
            network.disconnect().await?;
            (Answer::Done, Vec::new())
        }
        _ => return Err(HostError::Order("it is another kind of sandbox")),
    })
}
