//! A machine's way out: a network namespace of its own, with a tap for the machine, a veth pair to the host, and rules in both.
//!
//! ```text
//! guest 10.111.0.2 ─ tap ─ [namespace: drop, then NAT] ─ veth ─ bw<slot> [host: drop, then NAT] ─▶ the internet
//! ```
//!
//! The namespace has no name: it is held open by descriptors, so that it, its tap, its veth pair and its rules vanish with the
//! last process, however that ends. Knows no workspace; needs root.

use std::{
    fs::{self, OpenOptions},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::Path,
    thread,
};

use tokio::sync::oneshot;

mod links;
mod resolvers;
mod rules;
mod tap;

/// Host ends of the pairs are called so, with the slot behind.
const HOST_END: &str = "bw";
const TUN: &str = "/dev/net/tun";
const NFT: &str = "nft";

/// What a machine's way out is, while it is held.
#[derive(Debug)]
pub struct Network {
    /// The VMM enters it.
    pub namespace: OwnedFd,
    /// For QEMU's `-netdev tap,fd=`.
    pub tap: OwnedFd,
    /// Whom the guest may ask for names.
    pub nameservers: Vec<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("the kernel refused a link, an address or a route: {0}")]
    Link(#[from] rtnetlink::Error),
    #[error("the firewall's rules were refused: {0}")]
    Rules(String),
    #[error("{0}")]
    Unavailable(String),
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Io { what, source }
}

impl Network {
    /// Makes the way out of `slot`, whose lock the caller holds. The host is the network namespace of the calling process.
    pub async fn raise(slot: u16) -> Result<Self, NetworkError> {
        available().map_err(NetworkError::Unavailable)?;
        let (tell, told) = oneshot::channel();
        // A thread of its own: it changes its namespace, and ends.
        thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || {
                let _ = tell.send(raise_here(slot));
            })
            .map_err(failed("no thread can be started"))?;
        told.await.map_err(|_| NetworkError::Rules("the thread that made the network panicked".to_owned()))?
    }
}

/// In a thread that ends after this.
fn raise_here(slot: u16) -> Result<Network, NetworkError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed("the network's runtime cannot be started"))?;
    let nameservers = resolvers::of_host();
    runtime.block_on(async {
        let host = links::Side::present()?;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .map_err(|errno| failed("a network namespace cannot be made")(errno.into()))?;
        let namespace = open_namespace()?;
        forward_version_4_only()?;
        let inside = links::Side::present()?;
        let tap = tap::make(links::TAP)?;
        links::connect(slot, &host, &inside).await?;
        load(&rules::of_namespace(&nameservers))?;
        Ok(Network { namespace, tap, nameservers })
    })
}

fn open_namespace() -> Result<OwnedFd, NetworkError> {
    let file = fs::File::open("/proc/thread-self/ns/net").map_err(failed("the namespace cannot be held"))?;
    Ok(file.into())
}

/// In the calling thread's namespace.
fn forward_version_4_only() -> Result<(), NetworkError> {
    set("/proc/sys/net/ipv4/ip_forward", "1")?;
    // A kernel without IPv6 has none to close.
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        if Path::new(&path).exists() {
            set(&path, "1")?;
        }
    }
    Ok(())
}

fn set(path: &str, value: &str) -> Result<(), NetworkError> {
    fs::write(path, value).map_err(failed("a setting of the network cannot be changed"))
}

/// Makes the host let machines out: forwarding, and rules of our own. May be repeated; replaces its own rules in one step.
pub async fn prepare_host() -> Result<(), NetworkError> {
    available().map_err(NetworkError::Unavailable)?;
    tokio::task::spawn_blocking(|| {
        load(&rules::of_host(&resolvers::of_host()))?;
        set("/proc/sys/net/ipv4/ip_forward", "1")
    })
    .await
    .map_err(|error| NetworkError::Rules(error.to_string()))?
}

/// Takes the host's rules away when no machine is left that they keep apart.
pub async fn retire_host() {
    let retired = tokio::task::spawn_blocking(|| {
        let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let any = links.into_iter().any(|link| rules::is_host_end(&link.file_name().to_string_lossy()));
        if any { Ok(()) } else { load(&rules::of_no_host()) }
    });
    if let Ok(Err(error)) = retired.await {
        tracing::warn!(%error, "the host's rules stay");
    }
}

/// Whether machines can have a network here; if not, why, and what to do.
pub fn available() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("that takes root".to_owned());
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open(TUN) {
        return Err(format!("{TUN} cannot be opened ({error}): modprobe tun"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin".into(), "/sbin".into()];
    if std::env::split_paths(&path).chain(administrators).any(|directory| directory.join(NFT).is_file()) {
        Ok(())
    } else {
        Err("nft is not here: apt-get install nftables".to_owned())
    }
}

/// Gives rules to the kernel, in the calling thread's namespace; all of them or none.
fn load(rules: &str) -> Result<(), NetworkError> {
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
        .map_err(failed("nft cannot be run"))?;
    let written = nft.stdin.take().expect("piped").write_all(rules.as_bytes());
    let output = nft.wait_with_output().map_err(failed("nft cannot be waited for"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(NetworkError::Rules(said.lines().next().unwrap_or("nft failed").to_owned()));
    }
    written.map_err(failed("nft did not take its rules"))
}

#[cfg(test)]
mod tests;
