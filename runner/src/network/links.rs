//! Links, addresses and routes of network namespaces, through netlink.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use futures_util::TryStreamExt as _;
use protocol::{
    agent::{GUEST_ADDRESS, GUEST_GATEWAY, GUEST_PREFIX},
    network::SANDBOX_LINKS,
};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder, packet_route::link::LinkAttribute};
use tokio_util::task::AbortOnDropHandle;

use super::{HOST_LINK_PREFIX, NetworkError, cannot, rules};

/// Name of the guest's tap, inside the namespace.
pub const TAP: &str = "guest";
/// Name of the namespace's end of the veth pair.
pub const UPLINK: &str = "up";
/// The links of one network namespace.
pub struct NamespaceLinks {
    handle: Handle,
    namespace: OwnedFd,
    /// Drives the netlink socket, as long as this value lives.
    _connection: AbortOnDropHandle<()>,
}

impl NamespaceLinks {
    /// Opens the calling thread's namespace. The value keeps referring to it when the thread
    /// changes its own.
    pub fn of_current_thread() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(cannot("open a netlink socket"))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let namespace =
            File::open("/proc/thread-self/ns/net").map_err(cannot("open the network namespace"))?;
        Ok(Self { handle, namespace: namespace.into(), _connection: connection })
    }

    /// The netlink handle, for tests that set up namespaces.
    #[cfg(test)]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether the namespace has a link with this name.
    #[cfg(test)]
    pub async fn has(&self, name: &str) -> bool {
        self.index(name).await.is_ok()
    }

    async fn index(&self, name: &str) -> Result<u32, NetworkError> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        let link = links.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
        Ok(link.header.index)
    }

    /// Sets a link's address and brings it up. All networks here have two ends, so they share the
    /// guest's prefix length.
    async fn configure(&self, name: &str, address: Ipv4Addr) -> Result<u32, NetworkError> {
        let index = self.index(name).await?;
        self.handle.address().add(index, IpAddr::V4(address), GUEST_PREFIX).execute().await?;
        self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        Ok(index)
    }

    async fn remove_if_present(&self, name: &str) -> Result<(), NetworkError> {
        if let Ok(index) = self.index(name).await {
            self.handle.link().del(index).execute().await?;
        }
        Ok(())
    }
}

/// The addresses of a slot's veth pair: the host's end and the namespace's end.
fn pair_addresses(slot: u16) -> (Ipv4Addr, Ipv4Addr) {
    let network = u32::from(SANDBOX_LINKS.addr()) + u32::from(slot) * 4;
    (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2))
}

/// Connects `namespace`, which has the tap already, to `host`.
pub async fn connect(
    slot: u16,
    host: &NamespaceLinks,
    namespace: &NamespaceLinks,
) -> Result<(), NetworkError> {
    let host_link = format!("{HOST_LINK_PREFIX}{slot}");
    let (host_address, namespace_address) = pair_addresses(slot);
    // The namespace of the slot's last sandbox may still be on its way down and hold the link. The
    // slot is ours now.
    host.remove_if_present(&host_link).await?;
    // Created in the namespace and moved to the host: a failure before the move leaves nothing on
    // the host.
    namespace.handle.link().add(LinkVeth::new(UPLINK, &host_link).build()).execute().await?;
    let moved = LinkUnspec::new_with_name(&host_link).setns_by_fd(host.namespace.as_raw_fd()).build();
    namespace.handle.link().set(moved).execute().await?;
    host.configure(&host_link, host_address).await?;
    namespace.configure(TAP, GUEST_GATEWAY).await?;
    let up = namespace.configure(UPLINK, namespace_address).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(host_address).output_interface(up).build();
    namespace.handle.route().add(route).execute().await?;
    Ok(())
}

/// Takes the sandbox's link to the host down, from inside its namespace.
pub async fn disconnect() -> Result<(), NetworkError> {
    let namespace = NamespaceLinks::of_current_thread()?;
    let index = namespace.index(UPLINK).await?;
    namespace.handle.link().set(LinkUnspec::new_with_index(index).down().build()).execute().await?;
    Ok(())
}

/// The container's end of its veth pair. The other has the name of a guest's tap, for which the rules are.
const CONTAINER_LINK: &str = "eth0";

/// Creates the veth pair between a container and its outer namespace, in the outer one.
pub async fn create_container_pair(outer: &NamespaceLinks) -> Result<(), NetworkError> {
    Ok(outer.handle.link().add(LinkVeth::new(TAP, CONTAINER_LINK).build()).execute().await?)
}

/// Moves the container's end of the pair to the container's namespace.
pub async fn move_to_container(outer: &NamespaceLinks, container: &OwnedFd) -> Result<(), NetworkError> {
    let moved = LinkUnspec::new_with_name(CONTAINER_LINK).setns_by_fd(container.as_raw_fd()).build();
    Ok(outer.handle.link().set(moved).execute().await?)
}

/// Configures the container's links as a guest's, in the calling thread's namespace.
pub async fn configure_container() -> Result<(), NetworkError> {
    let container = NamespaceLinks::of_current_thread()?;
    let loopback = container.index("lo").await?;
    container.handle.link().set(LinkUnspec::new_with_index(loopback).up().build()).execute().await?;
    let index = container.configure(CONTAINER_LINK, GUEST_ADDRESS).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GUEST_GATEWAY).output_interface(index).build();
    Ok(container.handle.route().add(route).execute().await?)
}

/// Brings the host ends of all sandboxes' veth pairs up or down.
pub async fn set_sandbox_links(up: bool) -> Result<(), NetworkError> {
    let host = NamespaceLinks::of_current_thread()?;
    let mut links = host.handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        let is_sandbox = link.attributes.iter().any(
            |attribute| matches!(attribute, LinkAttribute::IfName(name) if rules::is_sandbox_link(name)),
        );
        if is_sandbox {
            let link = LinkUnspec::new_with_index(link.header.index);
            let link = if up { link.up() } else { link.down() };
            host.handle.link().set(link.build()).execute().await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_distinct_addresses() {
        assert_eq!(pair_addresses(0), ([100, 64, 0, 1].into(), [100, 64, 0, 2].into()));
        assert_eq!(pair_addresses(1).0, Ipv4Addr::from([100, 64, 0, 5]));
        let (last, _) = pair_addresses(protocol::runner::MAX_SLOT);
        assert_eq!(last, Ipv4Addr::from([100, 64, 255, 253]));
        assert!(SANDBOX_LINKS.contains(&last));
    }
}
