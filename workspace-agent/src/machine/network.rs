//! The machine's name and addresses. They are the same in every machine: each has a network of its own.

use std::{fmt::Write as _, net::Ipv4Addr};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use protocol::agent::{BootstrapRequest, GUEST_ADDRESS, GUEST_GATEWAY, GUEST_PREFIX};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

const LOOPBACK: &str = "lo";
const INTERFACE: &str = "eth0";

/// Sets the host name, which the runner made of the workspace's.
pub fn name(hostname: &str) -> anyhow::Result<()> {
    nix::unistd::sethostname(hostname).context("cannot set the host name")?;
    std::fs::write("/etc/hostname", format!("{hostname}\n")).context("cannot write /etc/hostname")?;
    std::fs::write("/etc/hosts", hosts(hostname)).context("cannot write /etc/hosts")
}

/// Configures the loopback and, if there is one, the interface. May be repeated.
///
/// By netlink and not by `ip`: each start of a program takes a tenth of a second where the processor is emulated.
pub async fn configure(request: &BootstrapRequest) -> anyhow::Result<()> {
    let (connection, netlink, _) =
        rtnetlink::new_connection().context("cannot reach the kernel's netlink")?;
    let connection = tokio::spawn(connection);
    let configured = configure_links(&netlink, request.network).await;
    connection.abort();
    configured?;
    if request.network {
        std::fs::write("/etc/resolv.conf", resolvers(request)).context("cannot write /etc/resolv.conf")?;
    }
    Ok(())
}

async fn configure_links(netlink: &Handle, network: bool) -> anyhow::Result<()> {
    switch_on(netlink, LOOPBACK).await.context("cannot switch on the loopback")?;
    if !network {
        return Ok(());
    }
    let index = switch_on(netlink, INTERFACE).await.context("cannot switch on the interface")?;
    let address = netlink.address().add(index, GUEST_ADDRESS.into(), GUEST_PREFIX).replace().execute();
    address.await.context("cannot set the address")?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GUEST_GATEWAY).output_interface(index).build();
    netlink.route().add(route).replace().execute().await.context("cannot set the route")
}

async fn switch_on(netlink: &Handle, name: &str) -> anyhow::Result<u32> {
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?.with_context(|| format!("the machine has no {name}"))?;
    let up = LinkUnspec::new_with_index(link.header.index).up().build();
    netlink.link().set(up).execute().await?;
    Ok(link.header.index)
}

fn hosts(hostname: &str) -> String {
    format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")
}

fn resolvers(request: &BootstrapRequest) -> String {
    request.nameservers.iter().fold(String::new(), |mut text, address| {
        let _ = writeln!(text, "nameserver {address}");
        text
    })
}
