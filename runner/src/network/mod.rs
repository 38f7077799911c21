//! A sandbox's network: its own network namespace with a tap for the guest, a veth pair to the
//! host, and firewall rules in both.
//!
//! ```text
//! guest 10.111.0.2 ─ tap ─ [namespace: policy, NAT] ─ veth ─ bw<slot> [host: drop, NAT] ─▶ internet
//!                     └─ names ─▶ our resolver ─▶ the host's name servers
//! ```
//!
//! The rules of the host are the same for all sandboxes. Those of the namespace enforce the sandbox's
//! network policy, which [`Egress`] can change while it runs: `open` allows what the host's rules allow,
//! `none` nothing. With an `allowlist`, our resolver is the only name server. It answers allowed names
//! only, and puts their addresses into the rules before it answers; nothing else passes. HTTPS and HTTP
//! go through our proxy, which compares the name that the client sends.
//!
//! The namespace has no name. Descriptors hold it open, so the kernel removes it with its tap, its
//! veth pair and its rules when the last process that holds one dies, however it dies. Knows no
//! workspace. Needs root.

use std::{
    fs::{self, OpenOptions},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::Path,
};

use protocol::{
    agent::GUEST_GATEWAY,
    network::{EffectivePolicy, PrivateNetwork},
};

pub(crate) use self::{
    control::{AllowedNetwork, Enforcer, NamespaceControl, RulesChange},
    egress::{Egress, Sockets},
    namespace::Traffic,
    resolvers::NameServers,
};
pub use self::{host::HostNetwork, rules::is_sandbox_link};
use self::{links::NamespaceLinks, namespace::Namespace, resolvers::host_nameservers, rules::NamespaceRules};
use crate::supervisor::OperationError;

mod addresses;
mod control;
mod egress;
mod host;
mod links;
mod name_server;
mod names_proxy;
mod namespace;
mod refusals;
mod resolvers;
mod rules;
mod tap;

/// Prefix of the veth pairs' host ends; the slot follows.
const HOST_LINK_PREFIX: &str = "bw";
const TUN: &str = "/dev/net/tun";
const NFT: &str = "nft";

/// A virtual machine's network, for which [`Egress`] still has to be started. It exists as long as one of its
/// descriptors is open, or its control.
pub(crate) struct Network {
    /// What the VMM gets.
    pub links: SandboxLinks,
    /// The name servers that the guest may use.
    pub nameservers: Vec<IpAddr>,
    /// Changes the rules.
    pub control: NamespaceControl,
    /// What the resolver and the proxy serve.
    pub sockets: Sockets,
}

/// The VMM's part of its network.
pub(crate) struct SandboxLinks {
    /// The namespace that the VMM enters.
    pub namespace: OwnedFd,
    /// The tap, for QEMU's `-netdev tap,fd=`.
    pub tap: OwnedFd,
}

/// The network of a container, for which [`Egress`] still has to be started. It exists as long as one of its
/// descriptors is open, or its control.
pub(crate) struct ContainerNetwork {
    /// The namespace of the container's processes, with the link `eth0`. That with the rules is between
    /// it and the host.
    pub namespace: OwnedFd,
    /// The name servers that the container may use.
    pub nameservers: Vec<IpAddr>,
    /// Changes the rules.
    pub control: NamespaceControl,
}

/// Why a sandbox's network cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A system call failed.
    #[error("Cannot {action}: {source}")]
    Io {
        /// What follows "Cannot".
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A policy without the controller's seal, or one that was replaced.
    #[error("Cannot change the network policy: the server has not allowed that")]
    NotAuthorized,
    /// netlink refused a change.
    #[error("Cannot configure a link, an address or a route: {0}")]
    Link(#[from] rtnetlink::Error),
    /// nft refused the rules.
    #[error("Cannot load the firewall rules: {0}")]
    Rules(String),
    /// The supervisor could not do it.
    #[error(transparent)]
    Supervisor(#[from] OperationError),
    /// The resolver cannot be started.
    #[error("Cannot start the sandbox's resolver: {0}")]
    Resolver(String),
    /// The host lacks something that sandboxes need for a network. The text says what, and how to
    /// add it.
    #[error("Cannot create the sandbox's network: {0}")]
    Unavailable(String),
    /// The operator allows an address of the host itself.
    #[error(
        "Cannot allow sandboxes to reach {0}: it is an address of this host. Name other addresses, or a \
         network that contains them: this host stays out of reach"
    )]
    OwnAddress(PrivateNetwork),
}

/// Names the failed action in an I/O error.
fn cannot(action: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Io { action, source }
}

impl Network {
    /// Creates the network of `slot`, which the caller has acquired, with a network policy. The host
    /// is the network namespace of this process. Fails if the rules cannot be loaded.
    pub async fn create(slot: u16, allowed: &AllowedNetwork) -> Result<Self, NetworkError> {
        Self::create_with(slot, allowed, &host_nameservers()).await
    }

    async fn create_with(
        slot: u16,
        allowed: &AllowedNetwork,
        nameservers: &[IpAddr],
    ) -> Result<Self, NetworkError> {
        check_tap_available().map_err(NetworkError::Unavailable)?;
        let created = create(slot, allowed, nameservers, create_tap).await?;
        let CreatedNetwork { namespace, end: tap, nameservers, control, sockets } = created;
        Ok(Self { links: SandboxLinks { namespace, tap }, nameservers, control, sockets })
    }
}

impl ContainerNetwork {
    /// Creates the network of a container in `slot`: that of [`Network`], with a second namespace behind a
    /// veth pair instead of the guest behind a tap. The rules are the same. Also returns what the resolver
    /// and the proxy serve.
    pub async fn create(slot: u16, allowed: &AllowedNetwork) -> Result<(Self, Sockets), NetworkError> {
        let created = create(slot, allowed, &host_nameservers(), create_container_end).await?;
        let CreatedNetwork { end: namespace, nameservers, control, sockets, .. } = created;
        Ok((Self { namespace, nameservers, control }, sockets))
    }
}

/// A network, with the sandbox's end of it.
struct CreatedNetwork {
    namespace: OwnedFd,
    end: OwnedFd,
    nameservers: Vec<IpAddr>,
    control: NamespaceControl,
    sockets: Sockets,
}

/// Creates the sandbox's end, on a thread in the namespace with the rules.
type CreateEnd = fn(&tokio::runtime::Runtime) -> Result<OwnedFd, NetworkError>;

/// `host_servers` are those that the guest uses with an open policy.
async fn create(
    slot: u16,
    allowed: &AllowedNetwork,
    host_servers: &[IpAddr],
    create_end: CreateEnd,
) -> Result<CreatedNetwork, NetworkError> {
    check_available().map_err(NetworkError::Unavailable)?;
    let (first, known) = (allowed.clone(), host_servers.to_vec());
    let (namespace, parts) =
        Namespace::start(move || create_in_thread(slot, &first, &known, create_end)).await?;
    let nameservers = match allowed.network.policy {
        EffectivePolicy::Open => host_servers.to_vec(),
        EffectivePolicy::Allowlist { .. } | EffectivePolicy::None => vec![IpAddr::V4(GUEST_GATEWAY)],
    };
    let control = NamespaceControl::new(namespace, allowed.clone(), host_servers);
    let NamespaceParts { namespace, end, sockets } = parts;
    Ok(CreatedNetwork { namespace, end, nameservers, control, sockets })
}

/// What is created inside the namespace.
struct NamespaceParts {
    namespace: OwnedFd,
    end: OwnedFd,
    sockets: Sockets,
}

fn create_tap(_: &tokio::runtime::Runtime) -> Result<OwnedFd, NetworkError> {
    tap::create(links::TAP)
}

/// Creates the container's namespace, connected to that of the calling thread.
fn create_container_end(runtime: &tokio::runtime::Runtime) -> Result<OwnedFd, NetworkError> {
    let container = on_other_thread(|| {
        unshare_network()?;
        open_namespace()
    })?;
    runtime.block_on(async {
        let outer = NamespaceLinks::of_current_thread()?;
        links::create_container_pair(&outer).await?;
        links::move_to_container(&outer, &container).await
    })?;
    on_other_thread(|| {
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&container),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .map_err(|errno| cannot("enter the container's network")(errno.into()))?;
        new_runtime()?.block_on(links::configure_container())
    })?;
    Ok(container)
}

/// Runs what changes the namespace of its thread on one that then ends.
fn on_other_thread<T: Send>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send,
) -> Result<T, NetworkError> {
    let result = std::thread::scope(|scope| scope.spawn(work).join());
    result.map_err(|_| NetworkError::Unavailable("its thread panicked".to_owned()))?
}

fn new_runtime() -> Result<tokio::runtime::Runtime, NetworkError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(cannot("start the network's async runtime"))
}

fn unshare_network() -> Result<(), NetworkError> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|errno| cannot("create a network namespace")(errno.into()))
}

/// Moves the calling thread into a new namespace, for good.
fn create_in_thread(
    slot: u16,
    allowed: &AllowedNetwork,
    nameservers: &[IpAddr],
    create_end: CreateEnd,
) -> Result<NamespaceParts, NetworkError> {
    let runtime = new_runtime()?;
    host::load()?;
    let (host, namespace) = runtime.block_on(async {
        let host = NamespaceLinks::of_current_thread()?;
        unshare_network()?;
        Ok::<_, NetworkError>((host, open_namespace()?))
    })?;
    enable_ipv4_forwarding_only()?;
    // Before there is a link that a packet could pass.
    let generation = egress::FIRST_GENERATION;
    let addresses = &[];
    load_rules(&rules::for_namespace(&NamespaceRules {
        policy: &allowed.network.policy,
        bounds: &allowed.bounds,
        nameservers,
        generation,
        addresses,
    }))?;
    let end = create_end(&runtime)?;
    runtime.block_on(async {
        links::connect(slot, &host, &NamespaceLinks::of_current_thread()?).await?;
        let sockets = Sockets::bind()?;
        Ok(NamespaceParts { namespace, end, sockets })
    })
}

fn open_namespace() -> Result<OwnedFd, NetworkError> {
    let file = fs::File::open("/proc/thread-self/ns/net").map_err(cannot("open the network namespace"))?;
    Ok(file.into())
}

/// Enables IPv4 forwarding and disables IPv6, in the calling thread's namespace.
fn enable_ipv4_forwarding_only() -> Result<(), NetworkError> {
    write_setting("/proc/sys/net/ipv4/ip_forward", "1")?;
    // On a kernel without IPv6 there is nothing to disable.
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        if Path::new(&path).exists() {
            write_setting(&path, "1")?;
        }
    }
    Ok(())
}

fn write_setting(path: &str, value: &str) -> Result<(), NetworkError> {
    fs::write(path, value).map_err(cannot("change a network setting"))
}

/// Checks whether sandboxes can have a network on this host. An error says why not, and what to do.
pub fn check_available() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it needs root. Run burrow as root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let admin_directories = ["/usr/sbin".into(), "/sbin".into()];
    if std::env::split_paths(&path).chain(admin_directories).any(|directory| directory.join(NFT).is_file()) {
        Ok(())
    } else {
        Err("nft is not installed. Run `apt-get install nftables`".to_owned())
    }
}

/// Checks what microVMs need for a network beside what all sandboxes need. An error says what to do.
pub fn check_tap_available() -> Result<(), String> {
    let opened = OpenOptions::new().read(true).write(true).open(TUN);
    opened.map(drop).map_err(|error| format!("{TUN} cannot be opened ({error}). Run `modprobe tun`"))
}

/// Loads rules into the calling thread's namespace, all of them or none.
fn load_rules(rules: &str) -> Result<(), NetworkError> {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let mut nft = Command::new(NFT)
        .args(["-f", "-"])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot("run nft"))?;
    let written = nft.stdin.take().expect("piped").write_all(rules.as_bytes());
    let output = nft.wait_with_output().map_err(cannot("wait for nft"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(NetworkError::Rules(message.lines().next().unwrap_or("nft failed").to_owned()));
    }
    written.map_err(cannot("write rules to nft"))
}

#[cfg(test)]
mod tests;
