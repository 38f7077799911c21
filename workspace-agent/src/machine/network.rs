//! The machine's name and addresses. They are the same in every machine: each has a network of its own.

use std::{fmt::Write as _, time::Duration};

use anyhow::Context as _;
use protocol::agent::{Bootstrap, GUEST_ADDRESS, GUEST_GATEWAY};

use super::tool;

const INTERFACE: &str = "eth0";
const IP: &str = "/usr/sbin/ip";
const DEADLINE: Duration = Duration::from_secs(30);

/// Sets the host name, which the runner made of the workspace's.
pub fn name(hostname: &str) -> anyhow::Result<()> {
    nix::unistd::sethostname(hostname).context("cannot set the host name")?;
    std::fs::write("/etc/hostname", format!("{hostname}\n")).context("cannot write /etc/hostname")?;
    std::fs::write("/etc/hosts", hosts(hostname)).context("cannot write /etc/hosts")
}

/// Configures the loopback and, if there is one, the interface.
pub fn configure(request: &Bootstrap) -> anyhow::Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    if !request.network {
        return Ok(());
    }
    ip(&["address", "replace", GUEST_ADDRESS, "dev", INTERFACE])?;
    ip(&["link", "set", INTERFACE, "up"])?;
    ip(&["route", "replace", "default", "via", GUEST_GATEWAY])?;
    std::fs::write("/etc/resolv.conf", resolvers(request)).context("cannot write /etc/resolv.conf")
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    tool::run(IP, arguments, DEADLINE)?.at_most(0)
}

fn hosts(hostname: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")
}

fn resolvers(request: &Bootstrap) -> String {
    request.nameservers.iter().fold(String::new(), |mut text, address| {
        let _ = writeln!(text, "nameserver {address}");
        text
    })
}
