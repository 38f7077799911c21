//! Whom the host asks for names: the guest asks the same, for it can reach no resolver of the host's own.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

/// Where systemd keeps the real ones when `/etc/resolv.conf` names its stub.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// As many as resolvers read.
const MAX_SERVERS: usize = 3;

pub fn of_host() -> Vec<IpAddr> {
    let servers = FILES.iter().filter_map(|file| fs::read_to_string(file).ok()).map(|text| reachable(&text));
    let servers = servers.into_iter().find(|servers| !servers.is_empty()).unwrap_or_default();
    if servers.is_empty() {
        tracing::warn!("this host names no resolver that machines could reach: they will resolve no names");
    }
    servers
}

/// Those that a machine can reach: not the host's loopback, and IPv4.
fn reachable(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = servers.filter_map(|rest| rest.trim().parse::<Ipv4Addr>().ok());
    let usable = |server: &Ipv4Addr| !server.is_loopback() && !server.is_unspecified();
    servers.filter(usable).map(IpAddr::V4).take(MAX_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_host_reaches_is_left_out() {
        let text = "# a comment\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.2\n nameserver\t9.9.9.9\nsearch lan\n";
        assert_eq!(reachable(text), ["10.0.0.2", "9.9.9.9"].map(|ip| ip.parse::<IpAddr>().expect("valid")));
    }
}
