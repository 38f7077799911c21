//! Links, addresses and routes, through netlink.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use futures_util::TryStreamExt as _;
use protocol::agent::{GUEST_GATEWAY, GUEST_PREFIX};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{HOST_END, NetworkError, failed};

/// Names inside the namespace.
pub const TAP: &str = "guest";
pub const UP: &str = "up";
/// Pairs between host and namespaces: four addresses for each slot.
const PAIRS: u32 = u32::from_be_bytes([100, 64, 0, 0]);

/// One network namespace as netlink sees it.
pub struct Side {
    handle: Handle,
    namespace: OwnedFd,
}

impl Side {
    /// The calling thread's namespace. Stays that one when the thread changes its own.
    pub fn present() -> Result<Self, NetworkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(failed("the kernel's netlink cannot be reached"))?;
        tokio::spawn(connection);
        let namespace =
            File::open("/proc/thread-self/ns/net").map_err(failed("the namespace cannot be held"))?;
        Ok(Self { handle, namespace: namespace.into() })
    }

    #[cfg(test)]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    #[cfg(test)]
    pub async fn has(&self, name: &str) -> bool {
        self.index(name).await.is_ok()
    }

    async fn index(&self, name: &str) -> Result<u32, NetworkError> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        let link = links.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
        Ok(link.header.index)
    }

    /// Gives a link its address, and switches it on. Every network here has two ends, and so the guest's prefix.
    async fn configure(&self, name: &str, address: Ipv4Addr) -> Result<u32, NetworkError> {
        let index = self.index(name).await?;
        self.handle.address().add(index, IpAddr::V4(address), GUEST_PREFIX).execute().await?;
        self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        Ok(index)
    }

    async fn remove_if_there(&self, name: &str) -> Result<(), NetworkError> {
        if let Ok(index) = self.index(name).await {
            self.handle.link().del(index).execute().await?;
        }
        Ok(())
    }
}

/// The addresses of a slot's pair: the host's end and the namespace's.
fn pair(slot: u16) -> (Ipv4Addr, Ipv4Addr) {
    let network = PAIRS + u32::from(slot) * 4;
    (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2))
}

/// Connects `inside`, which has the tap already, with `host`.
pub async fn connect(slot: u16, host: &Side, inside: &Side) -> Result<(), NetworkError> {
    let host_end = format!("{HOST_END}{slot}");
    let (host_address, inside_address) = pair(slot);
    // A namespace that is still being taken down may hold its pair for a moment; the slot is ours.
    host.remove_if_there(&host_end).await?;
    // Made inside and moved out: what fails before leaves nothing on the host.
    inside.handle.link().add(LinkVeth::new(UP, &host_end).build()).execute().await?;
    let moved = LinkUnspec::new_with_name(&host_end).setns_by_fd(host.namespace.as_raw_fd()).build();
    inside.handle.link().set(moved).execute().await?;
    host.configure(&host_end, host_address).await?;
    inside.configure(TAP, GUEST_GATEWAY).await?;
    let up = inside.configure(UP, inside_address).await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(host_address).output_interface(up).build();
    inside.handle.route().add(route).execute().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_slots_share_an_address() {
        assert_eq!(pair(0), ([100, 64, 0, 1].into(), [100, 64, 0, 2].into()));
        assert_eq!(pair(1).0, Ipv4Addr::from([100, 64, 0, 5]));
        let (last, _) = pair(protocol::runner::MAX_SLOT);
        assert_eq!(last, Ipv4Addr::from([100, 64, 255, 253]));
    }
}
