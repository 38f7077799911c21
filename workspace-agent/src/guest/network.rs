//! The guest's names and network interfaces. The addresses are the same in every guest, because
//! each sandbox has a network namespace to itself.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use protocol::agent::{GUEST_ADDRESS, GUEST_GATEWAY, GUEST_PREFIX};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

const LOOPBACK: &str = "lo";
const INTERFACE: &str = "eth0";

/// Sets the host name, which the runner derives from the workspace's name.
pub fn set_hostname(hostname: &str) -> anyhow::Result<()> {
    nix::unistd::sethostname(hostname).context("cannot set the host name")?;
    std::fs::write("/etc/hostname", format!("{hostname}\n")).context("cannot write /etc/hostname")?;
    std::fs::write("/etc/hosts", hosts_file(hostname)).context("cannot write /etc/hosts")
}

/// Writes the machine id.
pub fn set_machine_id(id: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "the machine id is invalid"
    );
    std::fs::write("/etc/machine-id", format!("{id}\n")).context("cannot write /etc/machine-id")
}

/// Configures the loopback and, if there is one, the network interface.
///
/// It uses netlink rather than the program `ip`: on an emulated processor each start of a program
/// takes a tenth of a second.
pub async fn configure() -> anyhow::Result<()> {
    let (connection, netlink, _) =
        rtnetlink::new_connection().context("cannot connect to the kernel's netlink")?;
    tokio::select! {
        () = connection => anyhow::bail!("the kernel closed the netlink connection"),
        configured = configure_interfaces(&netlink) => configured,
    }
}

async fn configure_interfaces(netlink: &Handle) -> anyhow::Result<()> {
    set_up(netlink, LOOPBACK).await.context("cannot set up the loopback")?;
    if !Path::new("/sys/class/net").join(INTERFACE).exists() {
        return Ok(());
    }
    let index = set_up(netlink, INTERFACE).await.context("cannot set up the network interface")?;
    let address = netlink.address().add(index, GUEST_ADDRESS.into(), GUEST_PREFIX).replace().execute();
    address.await.context("cannot set the address")?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GUEST_GATEWAY).output_interface(index).build();
    netlink.route().add(route).replace().execute().await.context("cannot set the route")
}

/// Sets the name servers. A guest without a network has none.
pub fn set_nameservers(nameservers: &[IpAddr]) -> anyhow::Result<()> {
    if nameservers.is_empty() {
        return Ok(());
    }
    std::fs::write("/etc/resolv.conf", resolv_conf(nameservers)).context("cannot write /etc/resolv.conf")
}

/// Sets an interface up and returns its index.
async fn set_up(netlink: &Handle, name: &str) -> anyhow::Result<u32> {
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?.with_context(|| format!("the guest has no interface {name}"))?;
    let up = LinkUnspec::new_with_index(link.header.index).up().build();
    netlink.link().set(up).execute().await?;
    Ok(link.header.index)
}

fn hosts_file(hostname: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")
}

fn resolv_conf(nameservers: &[IpAddr]) -> String {
    nameservers.iter().fold(String::new(), |mut text, address| {
        let _ = writeln!(text, "nameserver {address}");
        text
    })
}
