//! Enforces the network policy of one sandbox: rules in its namespace and the resolver that they
//! depend on. Knows no workspace and no controller.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::fd::OwnedFd,
    sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use protocol::{
    network::{EffectivePolicy, NetworkBounds, NetworkRefusal, RefusedName},
    runner::NetworkSpec,
};
use time::OffsetDateTime;
use tokio::{
    net::TcpSocket,
    sync::{Mutex, watch},
};

use super::{
    NetworkError,
    addresses::{ResolvedAddresses, TooManyAddresses},
    control::{AllowedNetwork, Enforcer, RulesChange},
    name_server::{NameServer, NameServerSockets},
    names_proxy::{self, NamesProxy},
    namespace::Traffic,
    refusals::Refusals,
    resolvers::NameServers,
};

/// The egress of one sandbox. Its resolver and proxy end when this is dropped.
pub struct Egress {
    enforcement: Arc<Enforcement>,
    _name_server: NameServer,
    _proxy: NamesProxy,
}

impl Egress {
    /// Serves names and redirected connections on `sockets`, for a namespace whose rules enforce what is
    /// allowed already, as the first generation.
    pub fn start(
        enforcer: Enforcer,
        allowed: AllowedNetwork,
        sockets: Sockets,
        servers: NameServers,
    ) -> Result<Self, NetworkError> {
        let AllowedNetwork { network, bounds, .. } = allowed;
        let state = State { network, generation: FIRST_GENERATION, addresses: ResolvedAddresses::default() };
        let enforcement = Arc::new(Enforcement {
            enforcer,
            bounds,
            state: Mutex::new(state),
            refusals: SyncMutex::default(),
            changes: watch::Sender::new(()),
        });
        let name_server = NameServer::start(enforcement.clone(), sockets.names, servers.0)?;
        let proxy = NamesProxy::start(enforcement.clone(), sockets.proxy)?;
        Ok(Self { enforcement, _name_server: name_server, _proxy: proxy })
    }

    /// Replaces the policy. When this returns, connections that it does not allow pass no packet any
    /// more. If it cannot be enforced, the sandbox loses its connection.
    pub async fn set_policy(&self, network: NetworkSpec) -> Result<(), NetworkError> {
        self.enforcement.refusals().remove_allowed(|name| network.policy.allows(name));
        let mut state = self.enforcement.state.lock().await;
        let result = self.enforcement.enforce(&mut state, network).await;
        if let Err(error) = result {
            if self.enforcement.enforce(&mut state, NetworkSpec::default()).await.is_err() {
                self.enforcement.enforcer.disconnect().await?;
            }
            return Err(error);
        }
        Ok(())
    }

    /// What was refused, the last first.
    pub fn refused(&self) -> Vec<RefusedName> {
        self.enforcement.refusals().list()
    }

    /// Bytes that the sandbox has sent and received.
    pub async fn read_traffic(&self) -> Result<Traffic, NetworkError> {
        self.enforcement.enforcer.read_traffic().await
    }
}

/// Sockets that were created inside the namespace.
pub struct Sockets {
    names: NameServerSockets,
    proxy: TcpListener,
}

impl Sockets {
    /// Binds the gateway's address in the calling thread's namespace.
    pub fn bind() -> Result<Self, NetworkError> {
        Ok(Self { names: NameServerSockets::bind()?, proxy: names_proxy::bind()? })
    }

    /// The sockets, to pass them to another process.
    pub fn into_descriptors(self) -> [OwnedFd; 3] {
        let Self { names: NameServerSockets { udp, tcp }, proxy } = self;
        [udp.into(), tcp.into(), proxy.into()]
    }

    /// The sockets that another process has passed.
    pub fn from_descriptors([udp, tcp, proxy]: [OwnedFd; 3]) -> Self {
        Self { names: NameServerSockets { udp: udp.into(), tcp: tcp.into() }, proxy: proxy.into() }
    }
}

/// The generation of the rules that a namespace begins with.
pub(super) const FIRST_GENERATION: u32 = 1;

/// What [`Egress`] and its resolver share.
pub(super) struct Enforcement {
    enforcer: Enforcer,
    bounds: NetworkBounds,
    /// Locked while rules are loaded: the rules and this value change together.
    state: Mutex<State>,
    refusals: SyncMutex<Refusals>,
    /// Marked as changed after each change of the policy.
    changes: watch::Sender<()>,
}

struct State {
    network: NetworkSpec,
    generation: u32,
    addresses: ResolvedAddresses,
}

/// Why connections to a resolved address are not allowed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdmitError {
    /// The policy has changed during the query.
    #[error("the policy does not allow the name any more")]
    NotAllowed,
    #[error(transparent)]
    TooMany(#[from] TooManyAddresses),
    #[error(transparent)]
    Rules(#[from] NetworkError),
}

impl Enforcement {
    /// Whether names like this one may be resolved.
    pub async fn allows(&self, name: &str) -> bool {
        self.state.lock().await.network.policy.allows(name)
    }

    /// Whether an address is public, or private and allowed.
    pub fn is_reachable(&self, address: Ipv4Addr) -> bool {
        self.bounds.is_reachable(address)
    }

    /// Follows changes of the policy.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Creates a socket inside the sandbox's namespace.
    pub async fn open_socket(&self) -> Result<TcpSocket, NetworkError> {
        self.enforcer.open_socket().await
    }

    /// Checks that a server's name is allowed and belongs to the address. If not, returns the name to
    /// report and why.
    pub async fn check_connection(
        &self,
        name: Option<&str>,
        address: Ipv4Addr,
    ) -> Result<(), (String, NetworkRefusal)> {
        let Some(name) = name else { return Err((address.to_string(), NetworkRefusal::MissingName)) };
        let state = self.state.lock().await;
        if !state.network.policy.allows(name) {
            Err((name.to_owned(), NetworkRefusal::NotAllowed))
        } else if state.network.policy != EffectivePolicy::Open
            && !state.addresses.belongs(Instant::now(), address, name)
        {
            Err((name.to_owned(), NetworkRefusal::WrongAddress))
        } else {
            Ok(())
        }
    }

    /// Counts a refusal.
    pub fn record_refusal(&self, name: &str, reason: NetworkRefusal) {
        tracing::debug!(name, ?reason, "refused a name");
        self.refusals().record(OffsetDateTime::now_utc(), name, reason);
    }

    /// Allows connections to the addresses of an allowed name. When this returns, they are possible.
    pub async fn admit(&self, name: &str, addresses: &[Ipv4Addr], ttl: Duration) -> Result<(), AdmitError> {
        let mut state = self.state.lock().await;
        match &state.network.policy {
            EffectivePolicy::Allowlist { .. } if state.network.policy.allows(name) => {}
            EffectivePolicy::Open => return Ok(()),
            _ => return Err(AdmitError::NotAllowed),
        }
        let renewed = state.addresses.insert(Instant::now(), name, addresses, ttl)?;
        if renewed.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.enforcer.change_rules(RulesChange::Addresses(renewed)).await {
            tracing::warn!(%error, "cannot add addresses to the firewall rules; loading all rules again");
            let network = state.network.clone();
            self.enforce(&mut state, network).await?;
        }
        Ok(())
    }

    /// Loads the rules of a policy with the addresses that it still allows.
    async fn enforce(&self, state: &mut State, network: NetworkSpec) -> Result<(), NetworkError> {
        let addresses = state.addresses.retain_allowed(Instant::now(), &network.policy);
        // Not reused after a failure: whether those rules were loaded is then unknown.
        state.generation += 1;
        let change =
            RulesChange::Policy { network: network.clone(), generation: state.generation, addresses };
        self.enforcer.change_rules(change).await?;
        state.network = network;
        self.changes.send_replace(());
        Ok(())
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
