//! Changes what a sandbox's namespace allows: in this process, or through its supervisor.

use std::{
    net::{IpAddr, Ipv4Addr, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use protocol::network::{EffectivePolicy, NetworkBounds};
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;

use super::{
    NetworkError,
    namespace::{Namespace, Traffic},
    rules::{self, MAX_ADDRESSES, NamespaceRules},
};
use crate::supervisor::Supervisor;

/// A change of the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RulesChange {
    /// All rules, for a policy.
    Policy {
        policy: EffectivePolicy,
        /// See [`NamespaceRules::generation`].
        generation: u32,
        /// See [`NamespaceRules::addresses`].
        addresses: Vec<(Ipv4Addr, Duration)>,
    },
    /// More addresses of allowed names, or more time for them.
    Addresses(Vec<(Ipv4Addr, Duration)>),
}

/// A namespace of this process, with what holds for it whatever the policy says.
#[derive(Clone, Debug)]
pub struct NamespaceControl {
    namespace: Namespace,
    bounds: Arc<NetworkBounds>,
    nameservers: Arc<[IpAddr]>,
}

impl NamespaceControl {
    pub(super) fn new(namespace: Namespace, bounds: NetworkBounds, nameservers: &[IpAddr]) -> Self {
        Self { namespace, bounds: Arc::new(bounds), nameservers: nameservers.into() }
    }

    /// Loads the change, completely or not at all.
    pub async fn change_rules(&self, change: &RulesChange) -> Result<(), NetworkError> {
        let (RulesChange::Policy { addresses, .. } | RulesChange::Addresses(addresses)) = change;
        if addresses.len() > MAX_ADDRESSES {
            return Err(NetworkError::Rules("there are too many addresses".to_owned()));
        }
        let script = match change {
            RulesChange::Policy { policy, generation, addresses } => rules::for_namespace(&NamespaceRules {
                policy,
                bounds: &self.bounds,
                nameservers: &self.nameservers,
                generation: *generation,
                addresses,
            }),
            RulesChange::Addresses(addresses) => rules::for_addresses(addresses),
        };
        self.namespace.load(script).await
    }

    /// Bytes that the sandbox has sent and received.
    pub async fn read_traffic(&self) -> Result<Traffic, NetworkError> {
        self.namespace.read_traffic().await
    }

    /// Creates a TCP socket inside the namespace.
    pub async fn open_socket(&self) -> Result<OwnedFd, NetworkError> {
        self.namespace.open_socket().await
    }

    /// Takes the namespace's link to the host down, for good.
    pub async fn disconnect(&self) -> Result<(), NetworkError> {
        self.namespace.disconnect().await
    }
}

/// What a policy is enforced with.
#[derive(Clone, Debug)]
pub enum Enforcer {
    /// The namespace belongs to this process.
    Own(NamespaceControl),
    /// It belongs to the supervisor.
    Supervised(Supervisor),
}

impl Enforcer {
    /// See [`NamespaceControl::change_rules`].
    pub async fn change_rules(&self, change: RulesChange) -> Result<(), NetworkError> {
        match self {
            Self::Own(control) => control.change_rules(&change).await,
            Self::Supervised(supervisor) => Ok(supervisor.change_rules(change).await?),
        }
    }

    /// See [`NamespaceControl::read_traffic`].
    pub async fn read_traffic(&self) -> Result<Traffic, NetworkError> {
        match self {
            Self::Own(control) => control.read_traffic().await,
            Self::Supervised(supervisor) => Ok(supervisor.read_traffic().await?),
        }
    }

    /// See [`NamespaceControl::open_socket`].
    pub async fn open_socket(&self) -> Result<TcpSocket, NetworkError> {
        let socket = match self {
            Self::Own(control) => control.open_socket().await?,
            Self::Supervised(supervisor) => supervisor.open_socket().await?,
        };
        Ok(TcpSocket::from_std_stream(TcpStream::from(socket)))
    }

    /// See [`NamespaceControl::disconnect`].
    pub async fn disconnect(&self) -> Result<(), NetworkError> {
        match self {
            Self::Own(control) => control.disconnect().await,
            Self::Supervised(supervisor) => Ok(supervisor.disconnect().await?),
        }
    }
}
