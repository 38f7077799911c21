//! Changes what a sandbox's namespace allows: in the supervisor, and in the session through it. Of
//! policies, only those of the controller are enforced: see [`PolicyAuthority`].

use std::{
    net::{IpAddr, Ipv4Addr, TcpStream},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{
    network::{EffectivePolicy, NetworkBounds, PolicyKey},
    runner::{NetworkSpec, RunnerSpec},
};
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
        network: NetworkSpec,
        /// See [`NamespaceRules::generation`].
        generation: u32,
        /// See [`NamespaceRules::addresses`].
        addresses: Vec<(Ipv4Addr, Duration)>,
    },
    /// More addresses of allowed names, or more time for them.
    Addresses(Vec<(Ipv4Addr, Duration)>),
}

/// Where a sandbox may connect, and who may change that.
#[derive(Clone, Debug)]
pub struct AllowedNetwork {
    /// The policy that it begins with.
    pub network: NetworkSpec,
    /// What holds whatever the policy says.
    pub bounds: NetworkBounds,
    /// Seals later policies. Without it, none is enforced but `none`.
    pub key: Option<PolicyKey>,
}

impl AllowedNetwork {
    /// What the controller has said at the launch.
    pub fn of(spec: &RunnerSpec) -> Self {
        Self {
            network: spec.network.clone(),
            bounds: spec.network_bounds.clone(),
            key: spec.policy_key.clone(),
        }
    }
}

/// Decides which rules may be loaded for a sandbox, whatever a session asks for that was taken over. Pure.
#[derive(Debug)]
struct PolicyAuthority {
    key: Option<PolicyKey>,
    /// The newest policy of the controller that was asked for.
    newest: NetworkSpec,
}

impl PolicyAuthority {
    /// Whether the controller has said so. A policy that is older than one that was asked for has been
    /// replaced. One that allows nothing needs nobody's word.
    fn admits(&mut self, change: &RulesChange) -> bool {
        match change {
            RulesChange::Policy { network, .. } => {
                let is_newer = network.revision > self.newest.revision
                    && self.key.as_ref().is_some_and(|key| key.has_sealed(network));
                if is_newer {
                    self.newest = network.clone();
                }
                is_newer || network.policy == EffectivePolicy::None || network.policy == self.newest.policy
            }
            RulesChange::Addresses(_) => matches!(self.newest.policy, EffectivePolicy::Allowlist { .. }),
        }
    }
}

/// A namespace of this process, with what holds for it whatever the policy says.
#[derive(Clone, Debug)]
pub struct NamespaceControl {
    namespace: Namespace,
    bounds: Arc<NetworkBounds>,
    nameservers: Arc<[IpAddr]>,
    authority: Arc<Mutex<PolicyAuthority>>,
}

impl NamespaceControl {
    /// The namespace's rules enforce the policy in `allowed` already.
    pub(super) fn new(namespace: Namespace, allowed: AllowedNetwork, nameservers: &[IpAddr]) -> Self {
        let AllowedNetwork { network: newest, bounds, key } = allowed;
        let authority = Arc::new(Mutex::new(PolicyAuthority { key, newest }));
        Self { namespace, bounds: Arc::new(bounds), nameservers: nameservers.into(), authority }
    }

    /// Loads the change, completely or not at all.
    pub async fn change_rules(&self, change: &RulesChange) -> Result<(), NetworkError> {
        let (RulesChange::Policy { addresses, .. } | RulesChange::Addresses(addresses)) = change;
        if addresses.len() > MAX_ADDRESSES {
            return Err(NetworkError::Rules("there are too many addresses".to_owned()));
        }
        if !self.authority().admits(change) {
            return Err(NetworkError::NotAuthorized);
        }
        let script = match change {
            RulesChange::Policy { network, generation, addresses } => rules::for_namespace(&NamespaceRules {
                policy: &network.policy,
                bounds: &self.bounds,
                nameservers: &self.nameservers,
                generation: *generation,
                addresses,
            }),
            RulesChange::Addresses(addresses) => rules::for_addresses(addresses),
        };
        self.namespace.load(script).await
    }

    fn authority(&self) -> MutexGuard<'_, PolicyAuthority> {
        self.authority.lock().unwrap_or_else(PoisonError::into_inner)
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
    #[cfg(test)]
    Own(NamespaceControl),
    /// It belongs to the supervisor.
    Supervised(Supervisor),
}

impl Enforcer {
    /// See [`NamespaceControl::change_rules`].
    pub async fn change_rules(&self, change: RulesChange) -> Result<(), NetworkError> {
        match self {
            #[cfg(test)]
            Self::Own(control) => control.change_rules(&change).await,
            Self::Supervised(supervisor) => Ok(supervisor.change_rules(change).await?),
        }
    }

    /// See [`NamespaceControl::read_traffic`].
    pub async fn read_traffic(&self) -> Result<Traffic, NetworkError> {
        match self {
            #[cfg(test)]
            Self::Own(control) => control.read_traffic().await,
            Self::Supervised(supervisor) => Ok(supervisor.read_traffic().await?),
        }
    }

    /// See [`NamespaceControl::open_socket`].
    pub async fn open_socket(&self) -> Result<TcpSocket, NetworkError> {
        let socket = match self {
            #[cfg(test)]
            Self::Own(control) => control.open_socket().await?,
            Self::Supervised(supervisor) => supervisor.open_socket().await?,
        };
        Ok(TcpSocket::from_std_stream(TcpStream::from(socket)))
    }

    /// See [`NamespaceControl::disconnect`].
    pub async fn disconnect(&self) -> Result<(), NetworkError> {
        match self {
            #[cfg(test)]
            Self::Own(control) => control.disconnect().await,
            Self::Supervised(supervisor) => Ok(supervisor.disconnect().await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowlist(name: &str) -> EffectivePolicy {
        EffectivePolicy::Allowlist { names: [name.parse().expect("a name")].into() }
    }

    fn change(network: &NetworkSpec) -> RulesChange {
        RulesChange::Policy { network: network.clone(), generation: 2, addresses: vec![] }
    }

    #[test]
    fn only_policies_of_the_controller_are_enforced() {
        let key = PolicyKey::new([1; 32]);
        let spec = |revision, policy| NetworkSpec { revision, policy, seal: None };
        let first = spec(3, allowlist("pypi.org"));
        let mut authority = PolicyAuthority { key: Some(key.clone()), newest: first.clone() };
        assert!(authority.admits(&change(&first)), "loaded again");
        assert!(!authority.admits(&change(&spec(4, EffectivePolicy::Open))), "no seal");
        let foreign = PolicyKey::new([2; 32]).seal(spec(4, EffectivePolicy::Open));
        assert!(!authority.admits(&change(&foreign)), "another key");
        let old = key.seal(spec(2, EffectivePolicy::Open));
        assert!(!authority.admits(&change(&old)), "an older one, also if it is sealed");
        assert!(authority.admits(&change(&spec(0, EffectivePolicy::None))), "nothing is always allowed");
        assert!(authority.admits(&RulesChange::Addresses(vec![])));

        let open = key.seal(spec(5, EffectivePolicy::Open));
        let closed = key.seal(spec(6, EffectivePolicy::None));
        assert!(authority.admits(&change(&open)) && authority.admits(&change(&open)));
        assert!(!authority.admits(&change(&first)), "it was replaced");
        assert!(!authority.admits(&RulesChange::Addresses(vec![])), "there is no list");
        assert!(authority.admits(&change(&closed)));
        assert!(!authority.admits(&change(&open)), "it was replaced");

        let mut without_key = PolicyAuthority { key: None, newest: first.clone() };
        assert!(!without_key.admits(&change(&open)) && without_key.admits(&change(&first)));
    }
}
