//! How many connections there may be, in total and per address, so that one client cannot lock the
//! others out.
//!
//! A connection is *silent* until its first request. An address may have few silent connections:
//! one more ends the oldest of them, because a client that means to send a request does so at once.
//! Connections that have sent a request are *active*. An address may have a part of all of those,
//! which is generous, because a whole school may be behind one address.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Part of all connections that one address may have active.
const ACTIVE_DIVISOR: usize = 2;

/// Part of all connections that one address may have silent.
const SILENT_DIVISOR: usize = 16;

/// The connections of a gateway. Clones count together.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    room: Arc<Semaphore>,
    max_active: usize,
    max_silent: usize,
    addresses: Arc<Mutex<HashMap<IpAddr, Connections>>>,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Connections {
    next_id: u64,
    active: usize,
    /// Oldest first.
    silent: VecDeque<(u64, CancellationToken)>,
}

/// The place of one connection. Dropping it frees the place.
#[derive(Debug)]
pub struct ConnectionPermit {
    _room: OwnedSemaphorePermit,
    limits: ConnectionLimits,
    peer: IpAddr,
    /// [`owner_address`] of the peer.
    address: IpAddr,
    id: u64,
    is_active: AtomicBool,
    evicted: CancellationToken,
}

impl ConnectionLimits {
    /// At most `max_connections` in total.
    pub fn new(max_connections: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(max_connections)),
            max_active: (max_connections / ACTIVE_DIVISOR).max(1),
            max_silent: (max_connections / SILENT_DIVISOR).max(1),
            addresses: Arc::default(),
        }
    }

    /// Waits until there is room for another connection.
    pub async fn room(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Admits a connection from `peer`. If its address has too many silent ones, the oldest of them
    /// is evicted.
    pub fn admit(&self, room: OwnedSemaphorePermit, peer: IpAddr) -> ConnectionPermit {
        let (address, evicted) = (owner_address(peer), CancellationToken::new());
        let mut addresses = self.lock();
        let connections = addresses.entry(address).or_default();
        let id = connections.next_id;
        connections.next_id += 1;
        connections.silent.push_back((id, evicted.clone()));
        if connections.silent.len() > self.max_silent
            && let Some((_, oldest)) = connections.silent.pop_front()
        {
            oldest.cancel();
        }
        drop(addresses);
        ConnectionPermit {
            _room: room,
            limits: self.clone(),
            peer,
            address,
            id,
            is_active: AtomicBool::new(false),
            evicted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Connections>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// The client's address.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Resolves when the connection must end, because its address opens too many silent ones.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Makes the connection active; to be called for each request. Returns false if its address has
    /// too many active ones, or if it was evicted.
    pub fn activate(&self) -> bool {
        if self.is_active() {
            return true;
        }
        let mut addresses = self.limits.lock();
        let Some(connections) = addresses.get_mut(&self.address) else { return false };
        if connections.active < self.limits.max_active && connections.remove_silent(self.id) {
            connections.active += 1;
            self.is_active.store(true, Ordering::Relaxed);
        }
        self.is_active()
    }

    /// Whether the connection has sent a request.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }
}

impl Connections {
    /// Removes a silent connection. Returns false if there is none with this number.
    fn remove_silent(&mut self, id: u64) -> bool {
        let position = self.silent.iter().position(|(silent, _)| *silent == id);
        position.and_then(|position| self.silent.remove(position)).is_some()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut addresses = self.limits.lock();
        let Some(connections) = addresses.get_mut(&self.address) else { return };
        if self.is_active() {
            connections.active -= 1;
        } else {
            connections.remove_silent(self.id);
        }
        if connections.active == 0 && connections.silent.is_empty() {
            addresses.remove(&self.address);
        }
    }
}

/// The address by which connections are counted. Providers give a customer a whole IPv6 /64.
pub fn owner_address(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16 connections: 8 active and 1 silent per address.
    fn limits() -> ConnectionLimits {
        ConnectionLimits::new(16)
    }

    async fn admit(limits: &ConnectionLimits, peer: &str) -> ConnectionPermit {
        limits.admit(limits.room().await, peer.parse().expect("an address"))
    }

    #[tokio::test]
    async fn oldest_silent_connection_is_evicted() {
        let limits = limits();
        let first = admit(&limits, "192.0.2.1").await;
        let other = admit(&limits, "192.0.2.2").await;
        let second = admit(&limits, "::ffff:192.0.2.1").await;
        first.evicted().await;
        assert!(!first.activate(), "too late");
        assert!(second.activate() && other.activate());
        assert!(second.activate(), "a second request");
        drop((first, second, other));
        assert!(limits.lock().is_empty(), "nothing is left behind");
        assert_eq!(limits.room.available_permits(), 16);
    }

    #[tokio::test]
    async fn one_address_has_a_part_of_all() {
        let limits = limits();
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(admit(&limits, "192.0.2.1").await);
            assert!(held.last().expect("one").activate());
        }
        let refused = admit(&limits, "192.0.2.1").await;
        assert!(!refused.activate());
        assert!(admit(&limits, "192.0.2.2").await.activate());
        held.pop();
        assert!(refused.activate(), "a place became free");
    }

    #[tokio::test]
    async fn ipv6_is_counted_by_network() {
        let limits = limits();
        let first = admit(&limits, "2001:db8:1:2::1").await;
        let _elsewhere = admit(&limits, "2001:db8:1:3::1").await;
        assert!(!first.evicted.is_cancelled());
        let _second = admit(&limits, "2001:db8:1:2:ffff::9").await;
        first.evicted().await;
    }
}
