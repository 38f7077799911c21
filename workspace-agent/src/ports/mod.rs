//! TCP ports that programs listen on, and connections to them. Knows no HTTP.
//!
//! Nothing is watched until somebody asks: [`PortWatch`] reads the kernel's tables once a second, for as
//! long as it is polled. The processes are looked up only when the listening sockets have changed.

mod processes;
mod sockets;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use protocol::ports::{ListeningPort, MAX_LISTED_PORTS, PortList};
use tokio::{
    net::TcpStream,
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use sockets::ListeningSocket;

/// How soon a port that was opened or closed is seen.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for a connection on the loopback interface: a full backlog makes it wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Lists the ports that accept connections on the loopback interface.
pub async fn list() -> io::Result<PortList> {
    let listed = tokio::task::spawn_blocking(|| find_ports(&sockets::find_listening()?)).await;
    listed.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Follows the ports that accept connections. Costs nothing while nobody polls it.
pub struct PortWatch {
    ticks: Interval,
    sockets: Option<Vec<ListeningSocket>>,
    last: Option<PortList>,
}

impl PortWatch {
    /// The first call of [`Self::next`] returns at once.
    pub fn new() -> Self {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, sockets: None, last: None }
    }

    /// Returns the ports once they differ from those that were returned last. Cancel safe.
    pub async fn next(&mut self) -> io::Result<PortList> {
        loop {
            self.ticks.tick().await;
            let known = self.sockets.take();
            let looked = tokio::task::spawn_blocking(move || look(known)).await;
            let (sockets, ports) = looked.unwrap_or_else(|error| Err(io::Error::other(error)))?;
            self.sockets = Some(sockets);
            let Some(ports) = ports.filter(|ports| self.last.as_ref() != Some(ports)) else { continue };
            self.last = Some(ports.clone());
            return Ok(ports);
        }
    }
}

/// The listening sockets, and their ports unless the sockets are the known ones.
fn look(known: Option<Vec<ListeningSocket>>) -> io::Result<(Vec<ListeningSocket>, Option<PortList>)> {
    let sockets = sockets::find_listening()?;
    let ports = if known.as_ref() == Some(&sockets) { None } else { Some(find_ports(&sockets)?) };
    Ok((sockets, ports))
}

fn find_ports(sockets: &[ListeningSocket]) -> io::Result<PortList> {
    let owners = processes::find_owners(sockets.iter().map(|socket| socket.inode).collect())?;
    let mut ports: Vec<ListeningPort> = Vec::new();
    for socket in sockets {
        if ports.last().is_some_and(|last| last.port == socket.port) {
            continue;
        }
        if ports.len() == MAX_LISTED_PORTS {
            break;
        }
        let (pid, process) = owners.get(&socket.inode).cloned().unwrap_or_default();
        ports.push(ListeningPort { port: socket.port, process, pid });
    }
    Ok(PortList { ports })
}

/// Connects to a port on the loopback interface: by IPv4, else by IPv6.
pub async fn connect(port: u16) -> io::Result<TcpStream> {
    let first = connect_to(Ipv4Addr::LOCALHOST.into(), port).await;
    let stream = match first {
        Ok(stream) => stream,
        Err(error) => connect_to(Ipv6Addr::LOCALHOST.into(), port).await.map_err(|_| error)?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_to(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(SocketAddr::new(address, port));
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn find(list: &PortList, port: u16) -> Option<&ListeningPort> {
        list.ports.iter().find(|listed| listed.port == port)
    }

    #[tokio::test]
    async fn watch_sees_ports_open_and_close() {
        let mut watch = PortWatch::new();
        watch.next().await.expect("the tables");
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(address).await.expect("bound");
            let port = listener.local_addr().expect("bound").port();
            let listed = loop {
                let ports = watch.next().await.expect("the tables");
                if let Some(listed) = find(&ports, port) {
                    break listed.clone();
                }
            };
            assert_eq!(listed.pid, std::process::id(), "{address}");
            assert!(!listed.process.is_empty());
            drop(connect(port).await.expect("listens"));
            drop(listener);
            while find(&watch.next().await.expect("the tables"), port).is_some() {}
        }
    }

    #[tokio::test]
    async fn list_has_each_port_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let same = TcpListener::bind(("::1", port)).await;
        let listed = list().await.expect("the tables");
        assert_eq!(listed.ports.iter().filter(|listed| listed.port == port).count(), 1);
        assert!(listed.ports.is_sorted_by_key(|listed| listed.port));
        drop((listener, same));
        assert_eq!(connect(port).await.expect_err("closed").kind(), io::ErrorKind::ConnectionRefused);
    }
}
