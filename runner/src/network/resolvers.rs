//! The host's name servers. Guests with an open policy use the same ones, because they cannot reach
//! a resolver that runs on the host itself. For guests with an allow-list, our own resolver asks them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use hickory_resolver::{config::ResolverConfig, system_conf::read_system_conf};

/// The name servers that our resolver asks, also on the host itself.
#[derive(Clone, Debug)]
pub struct NameServers(pub ResolverConfig);

impl NameServers {
    /// The host's.
    pub fn of_host() -> Self {
        let servers = match read_system_conf() {
            Ok((config, _)) => config.name_servers().to_vec(),
            Err(error) => {
                tracing::warn!(%error, "cannot read the host's name servers; our resolver finds no names");
                Vec::new()
            }
        };
        Self(ResolverConfig::from_parts(None, Vec::new(), servers))
    }
}

/// systemd keeps the real servers in the second file when `/etc/resolv.conf` names its stub resolver.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// As many as resolvers use.
const MAX_SERVERS: usize = 3;

/// The IPv4 name servers that a guest can reach, possibly none.
pub fn host_nameservers() -> Vec<IpAddr> {
    let servers =
        FILES.iter().filter_map(|file| fs::read_to_string(file).ok()).map(|text| parse_reachable(&text));
    let servers = servers.into_iter().find(|servers| !servers.is_empty()).unwrap_or_default();
    if servers.is_empty() {
        tracing::warn!(
            "no name server of this host can be reached from sandboxes; they will not resolve names"
        );
    }
    servers
}

/// The servers that a guest can reach: IPv4, and not the host's loopback addresses.
fn parse_reachable(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = servers.filter_map(|rest| rest.trim().parse::<Ipv4Addr>().ok());
    let usable = |server: &Ipv4Addr| !server.is_loopback() && !server.is_unspecified();
    servers.filter(usable).map(IpAddr::V4).take(MAX_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_resolvers_are_skipped() {
        let text = "# a comment\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.2\n \
                    nameserver\t9.9.9.9\nsearch lan\n";
        assert_eq!(
            parse_reachable(text),
            ["10.0.0.2", "9.9.9.9"].map(|ip| ip.parse::<IpAddr>().expect("valid"))
        );
    }
}
