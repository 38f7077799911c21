//! The firewall rules, as nft scripts. Pure.
//!
//! There are two sets. The host's is the same for all sandboxes: public addresses and the private networks
//! that an operator allows, and none of the host's own. The set of a sandbox's namespace enforces its
//! network policy inside these bounds; towards the guest only replies pass. It also drops what is above the
//! sandbox's packets and bytes per second: with `limit`, because it is loaded together with everything
//! else and comes before the kernel looks at connections, and drops cost less than a queue.
//!
//! Each change of a policy loads the namespace's whole set again, in one transaction, with a higher
//! *generation*. A connection carries the generation that has allowed it as its mark. Packets of a
//! connection with an older mark are judged again, so that a change applies to existing connections
//! too.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ipnet::Ipv4Net;
use protocol::{
    agent::{GUEST_ADDRESS, GUEST_GATEWAY},
    network::{
        EffectivePolicy, NetworkBounds, PRIVATE_NETWORKS, PrivateNetwork, SANDBOX_LINKS, UNREACHABLE_NETWORKS,
    },
};

use super::{
    HOST_LINK_PREFIX, links,
    names_proxy::{HTTP_PORT, HTTPS_PORT, PROXY_PORT},
};
use crate::supervisor::SESSION_USERS;

/// Connections that a guest may hold at once. They occupy the host's connection table, which all
/// sandboxes and the host share.
pub const MAX_CONNECTIONS: u32 = 2048;
/// Addresses of allowed names that connections may go to at once.
pub const MAX_ADDRESSES: usize = 4096;
/// DNS queries that our resolver receives from one guest. Further ones are dropped.
const MAX_QUERIES_PER_SECOND: u32 = 200;
/// TCP connections of one guest to our resolver.
const MAX_RESOLVER_CONNECTIONS: u32 = 16;
/// Connections of one guest through our proxy.
pub const MAX_PROXY_CONNECTIONS: u32 = 512;
const BYTES_PER_MBIT: u64 = 1_000_000 / 8;
/// What may pass at once beside one second of the rate: more than the largest packet, which has 64 KiB.
const BURST_BYTES: u64 = 128 * 1024;
/// Fails if our rules are not loaded.
pub const LIST: &str = "list table inet burrow\n";
/// The ports of name servers, in nft's notation.
const DNS_PORTS: &str = "{ udp . 53, tcp . 53 }";

/// What the rules of a sandbox's namespace depend on.
#[derive(Debug)]
pub struct NamespaceRules<'a> {
    pub policy: &'a EffectivePolicy,
    pub bounds: &'a NetworkBounds,
    /// The host's name servers, which an open guest uses.
    pub nameservers: &'a [IpAddr],
    /// Higher than that of all rules before, and at least 1: connections begin with the mark 0.
    pub generation: u32,
    /// With an allow-list: the addresses of allowed names, and for how long.
    pub addresses: &'a [(Ipv4Addr, Duration)],
}

/// The rules of a sandbox's namespace. They replace those before.
pub fn for_namespace(rules: &NamespaceRules<'_>) -> String {
    let (tap, up, guest) = (links::TAP, links::UPLINK, GUEST_ADDRESS);
    let chains = match rules.policy {
        EffectivePolicy::Open => open_chains(rules),
        EffectivePolicy::Allowlist { .. } => allowlist_chains(rules),
        EffectivePolicy::None => closed_chains(),
    };
    format!(
        "{}table inet burrow {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname \"{tap}\" oifname \"{up}\" ip saddr {guest} jump out
    iifname \"{up}\" oifname \"{tap}\" jump in
  }}
  chain refuse {{
    meta l4proto tcp counter reject with tcp reset
    counter reject with icmpx type admin-prohibited
  }}
  chain translate {{
    type nat hook postrouting priority srcnat;
    oifname \"{up}\" masquerade
  }}
{}{chains}}}
",
        for_removal(),
        rate_chain(rules.bounds),
    )
}

/// Drops what is above the limits, before anything else looks at it. What the guest sends arrives at the
/// tap, and what it receives at the uplink, also if our proxy copies it: each packet passes once.
fn rate_chain(bounds: &NetworkBounds) -> String {
    let mut chain =
        "  chain rates {\n    type filter hook prerouting priority raw; policy accept;\n".to_owned();
    for link in [links::TAP, links::UPLINK] {
        if let Some(packets) = bounds.packets_per_second {
            let _ = writeln!(
                chain,
                "    iifname \"{link}\" limit rate over {packets}/second burst {packets} packets counter drop"
            );
        }
        if let Some(mbit) = bounds.mbit_per_second {
            let bytes = u64::from(mbit) * BYTES_PER_MBIT;
            let _ = writeln!(
                chain,
                "    iifname \"{link}\" limit rate over {bytes} bytes/second \
                 burst {BURST_BYTES} bytes counter drop"
            );
        }
    }
    chain + "  }\n"
}

/// All public addresses, and the host's name servers. A guest that began with another policy uses
/// our resolver's address: its queries go to the host's first name server. Connections through our proxy
/// continue.
fn open_chains(rules: &NamespaceRules<'_>) -> String {
    let (tap, up, guest, generation) = (links::TAP, links::UPLINK, GUEST_ADDRESS, rules.generation);
    let gateway = GUEST_GATEWAY;
    let names = dns_rules(rules.nameservers, "ct mark set GENERATION accept")
        .replace("GENERATION", &generation.to_string());
    let translated = rules.nameservers.iter().find(|server| server.is_ipv4()).map(|server| {
        format!(
            "    iifname \"{tap}\" ip daddr {gateway} meta l4proto . th dport {DNS_PORTS} \
             dnat ip to {server}\n"
        )
    });
    format!(
        "  chain out {{
    ct state established,related ct mark {generation} accept
    ct count over {MAX_CONNECTIONS} counter drop
{names}{}    ct mark set {generation} accept
  }}
  chain in {{
    ct state established,related accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname \"{up}\" ct state established,related accept
    iifname \"{tap}\" ip saddr {guest} icmp type echo-request accept
    iifname \"{tap}\" ip saddr {guest} tcp dport {PROXY_PORT} ct state established ct status dnat accept
  }}
  chain to_resolver {{
    type nat hook prerouting priority dstnat;
{}  }}
",
        unreachable_rules(&rules.bounds.private_networks, "drop"),
        translated.unwrap_or_default(),
    )
}

/// The addresses that our resolver has found for allowed names; HTTPS and HTTP to them go to our proxy,
/// and QUIC is refused because it hides the name. Queries to the host's name servers,
/// which a guest uses that began with an open policy, go to our resolver.
fn allowlist_chains(rules: &NamespaceRules<'_>) -> String {
    let (tap, up, guest, generation) = (links::TAP, links::UPLINK, GUEST_ADDRESS, rules.generation);
    let mut redirected = String::new();
    for server in rules.nameservers.iter().filter(|server| server.is_ipv4()) {
        let _ = writeln!(
            redirected,
            "    iifname \"{tap}\" ip daddr {server} meta l4proto . th dport {DNS_PORTS} redirect"
        );
    }
    let elements = elements(rules.addresses);
    let elements = if elements.is_empty() { elements } else { format!(" elements = {{ {elements} }}") };
    format!(
        "  set allowed {{
    type ipv4_addr; flags timeout; size {MAX_ADDRESSES};{elements}
  }}
  chain out {{
    ct state established,related ct mark {generation} accept
    ct count over {MAX_CONNECTIONS} counter drop
    meta l4proto {{ tcp, udp }} th dport {{ 53, 853, {HTTP_PORT}, {HTTPS_PORT} }} counter jump refuse
{}    meta l4proto {{ tcp, udp }} ip daddr @allowed ct mark set {generation} accept
    jump refuse
  }}
  chain in {{
    ct state established,related ct mark {generation} accept
    tcp sport {{ {HTTP_PORT}, {HTTPS_PORT} }} counter drop
    ct state established ip saddr @allowed ct mark set {generation} accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname \"{up}\" ct state established,related accept
    iifname \"{tap}\" ip saddr {guest} icmp type echo-request accept
    iifname \"{tap}\" ip saddr {guest} udp dport 53 limit rate {MAX_QUERIES_PER_SECOND}/second \
      burst {MAX_QUERIES_PER_SECOND} packets accept
    iifname \"{tap}\" ip saddr {guest} tcp dport 53 ct state new \
      ct count over {MAX_RESOLVER_CONNECTIONS} counter drop
    iifname \"{tap}\" ip saddr {guest} tcp dport 53 accept
    iifname \"{tap}\" ip saddr {guest} tcp dport {PROXY_PORT} ct state new \
      ct count over {MAX_PROXY_CONNECTIONS} counter drop
    iifname \"{tap}\" ip saddr {guest} tcp dport {PROXY_PORT} ct status dnat accept
  }}
  chain to_resolver {{
    type nat hook prerouting priority dstnat;
    iifname \"{tap}\" ip daddr @allowed tcp dport {{ {HTTP_PORT}, {HTTPS_PORT} }} redirect to :{PROXY_PORT}
{redirected}  }}
",
        unreachable_rules(&rules.bounds.private_networks, "jump refuse"),
    )
}

fn closed_chains() -> String {
    "  chain out {
    jump refuse
  }
  chain in {
  }
  chain input {
    type filter hook input priority filter; policy drop;
  }
"
    .to_owned()
}

/// Adds addresses to the loaded rules of an allow-list. An address that is there gets the new time.
pub fn for_addresses(addresses: &[(Ipv4Addr, Duration)]) -> String {
    let elements = elements(addresses);
    // An element's time cannot be changed in place. Adding one that is there changes nothing, so this
    // order works in both cases.
    ["add", "delete", "add"]
        .map(|verb| format!("{verb} element inet burrow allowed {{ {elements} }}\n"))
        .concat()
}

fn elements(addresses: &[(Ipv4Addr, Duration)]) -> String {
    let elements =
        addresses.iter().map(|(address, time)| format!("{address} timeout {}s", time.as_secs().max(1)));
    elements.collect::<Vec<_>>().join(", ")
}

/// The rules of the host, which replace our earlier ones. They run before other tables' rules, and
/// never accept what another table would drop. `private` is what the servers of the host allow together:
/// the rules of a sandbox's namespace allow what its own server does.
///
/// Sessions of runners are in the host's network because they ask its name servers for their guests. They
/// reach nothing else in it: no server of this host, and no metadata of a cloud.
pub fn for_host(nameservers: &[IpAddr], private: &[PrivateNetwork]) -> String {
    let names = dns_rules(nameservers, "return");
    let unreachable = unreachable_rules(private, "drop");
    let (first, last) = (SESSION_USERS.start(), SESSION_USERS.end());
    format!(
        "{}table inet burrow {{
  chain output {{
    type filter hook output priority filter - 10; policy accept;
    meta skuid {first}-{last} jump from_sessions
  }}
  chain from_sessions {{
    meta l4proto . th dport {DNS_PORTS} return
    counter reject with icmpx type admin-prohibited
  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname \"{HOST_LINK_PREFIX}*\" jump from_machines
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname \"{HOST_LINK_PREFIX}*\" jump from_machines
    oifname \"{HOST_LINK_PREFIX}*\" ct state established,related accept
    oifname \"{HOST_LINK_PREFIX}*\" counter drop
  }}
  chain from_machines {{
    ct state established,related return
{names}    meta nfproto ipv6 counter drop
    fib daddr type {{ local, broadcast, anycast, multicast }} counter drop
{unreachable}  }}
  chain translate {{
    type nat hook postrouting priority srcnat;
    ip saddr {SANDBOX_LINKS} oifname != \"{HOST_LINK_PREFIX}*\" masquerade
  }}
}}
",
        for_removal()
    )
}

/// One rule for what no sandbox reaches, and one for the private networks that are not allowed.
fn unreachable_rules(private: &[PrivateNetwork], verdict: &str) -> String {
    let unreachable = join(UNREACHABLE_NETWORKS.iter().map(|(network, _)| *network));
    // Networks that overlap cannot be in one set.
    let allowed = Ipv4Net::aggregate(&private.iter().map(|private| private.network()).collect());
    let except =
        if allowed.is_empty() { String::new() } else { format!("ip daddr != {{ {} }} ", join(allowed)) };
    let private = join(PRIVATE_NETWORKS);
    format!(
        "    ip daddr {{ {unreachable} }} counter {verdict}\n    \
         {except}ip daddr {{ {private} }} counter {verdict}\n"
    )
}

fn join(networks: impl IntoIterator<Item = Ipv4Net>) -> String {
    networks.into_iter().map(|network| network.to_string()).collect::<Vec<_>>().join(", ")
}

/// Removes our rules from the host, whether they exist or not.
pub fn for_removal() -> String {
    "table inet burrow\ndelete table inet burrow\n".to_owned()
}

/// Whether a link of the host is the host end of a sandbox's veth pair.
pub fn is_sandbox_link(link: &str) -> bool {
    link.strip_prefix(HOST_LINK_PREFIX).is_some_and(|slot| slot.parse::<u16>().is_ok())
}

/// One rule per name server. In a namespace the verdict accepts; on the host it is `return`, so that
/// the host's other rules apply.
fn dns_rules(nameservers: &[IpAddr], verdict: &str) -> String {
    let mut lines = String::new();
    for server in nameservers.iter().filter(|server| server.is_ipv4()) {
        let _ = writeln!(lines, "    ip daddr {server} meta l4proto . th dport {DNS_PORTS} {verdict}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_rules_come_before_drops() {
        let server: IpAddr = "10.0.0.53".parse().expect("valid");
        let namespace = for_namespace(&NamespaceRules {
            policy: &EffectivePolicy::Open,
            bounds: &NetworkBounds::default(),
            nameservers: &[server],
            generation: 1,
            addresses: &[],
        });
        for rules in [namespace, for_host(&[server], &[])] {
            let (names, drop) = (rules.find("10.0.0.53"), rules.find("169.254.0.0/16"));
            assert!(names.is_some() && names < drop, "{rules}");
        }
    }

    #[test]
    fn every_policy_has_limits() {
        let allowlist = EffectivePolicy::Allowlist { names: [].into() };
        for policy in [EffectivePolicy::Open, allowlist, EffectivePolicy::None] {
            let rules = |bounds: &NetworkBounds| {
                let nameservers = &[];
                for_namespace(&NamespaceRules {
                    policy: &policy,
                    bounds,
                    nameservers,
                    generation: 1,
                    addresses: &[],
                })
            };
            let limited = rules(&NetworkBounds { mbit_per_second: Some(8), ..NetworkBounds::default() });
            for link in ["guest", "up"] {
                let packets = format!("iifname \"{link}\" limit rate over 40000/second burst 40000 packets");
                let bytes =
                    format!("iifname \"{link}\" limit rate over 1000000 bytes/second burst 131072 bytes");
                assert!(limited.contains(&packets) && limited.contains(&bytes), "{limited}");
            }
            let free =
                NetworkBounds { packets_per_second: None, mbit_per_second: None, ..NetworkBounds::default() };
            assert!(!rules(&free).contains("limit rate over"));
        }
    }

    #[test]
    fn allowed_networks_are_excepted_once() {
        let private =
            ["10.1.0.0/16", "10.1.2.3/32", "192.168.0.0/24"].map(|text| text.parse().expect("private"));
        let rules = for_host(&[], &private);
        assert!(
            rules.contains("ip daddr != { 10.1.0.0/16, 192.168.0.0/24 } ip daddr { 10.0.0.0/8,"),
            "{rules}"
        );
        assert!(!for_host(&[], &[]).contains("!= {"));
    }

    #[test]
    fn only_sandbox_links_match() {
        for (name, ours) in
            [("bw0", true), ("bw16383", true), ("bw", false), ("bwlan0", false), ("eth0", false)]
        {
            assert_eq!(is_sandbox_link(name), ours, "{name}");
        }
    }
}
