//! The firewall rules, as nft scripts. Pure.
//!
//! There are two sets: one in the sandbox's namespace, one on the host. Guests reach public addresses
//! only; towards the guest only replies pass. Both sets refuse addresses that are not public; only
//! the host's set refuses the host's own public addresses. All sandboxes have the same policy.

use std::{fmt::Write as _, net::IpAddr};

use protocol::agent::GUEST_ADDRESS;

use super::{HOST_LINK_PREFIX, links};

/// Addresses that are not public: this host, private networks, link-local with cloud metadata
/// services, Azure's metadata service, carrier-grade NAT with our own veth pairs, benchmarks,
/// multicast, reserved.
const NOT_PUBLIC: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16, \
                          172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3";
/// Connections that a guest may hold at once. They occupy the host's connection table, which all
/// sandboxes and the host share.
pub const MAX_CONNECTIONS: u32 = 2048;
/// Fails if our rules are not loaded.
pub const LIST: &str = "list table inet burrow\n";
/// The ports of name servers, in nft's notation.
const DNS_PORTS: &str = "{ udp . 53, tcp . 53 }";

/// The rules of a sandbox's namespace.
pub fn for_namespace(nameservers: &[IpAddr]) -> String {
    let (tap, up, guest) = (links::TAP, links::UPLINK, GUEST_ADDRESS);
    let names = dns_rules(nameservers, "accept");
    format!(
        "table inet burrow {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname \"{tap}\" oifname \"{up}\" ip saddr {guest} jump out
  }}
  chain out {{
    ct count over {MAX_CONNECTIONS} counter drop
{names}    ip daddr {{ {NOT_PUBLIC} }} counter drop
    accept
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname \"{tap}\" ip saddr {guest} icmp type echo-request accept
  }}
  chain translate {{
    type nat hook postrouting priority srcnat;
    oifname \"{up}\" masquerade
  }}
}}
"
    )
}

/// The rules of the host, which replace our earlier ones. They run before other tables' rules, and
/// never accept what another table would drop.
pub fn for_host(nameservers: &[IpAddr]) -> String {
    let names = dns_rules(nameservers, "return");
    format!(
        "{}table inet burrow {{
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
{names}    ip daddr {{ {NOT_PUBLIC} }} counter drop
    meta nfproto ipv6 counter drop
    fib daddr type local counter drop
  }}
  chain translate {{
    type nat hook postrouting priority srcnat;
    ip saddr 100.64.0.0/10 oifname != \"{HOST_LINK_PREFIX}*\" masquerade
  }}
}}
",
        for_removal()
    )
}

/// Removes our rules from the host, whether they exist or not.
pub fn for_removal() -> String {
    "table inet burrow\ndelete table inet burrow\n".to_owned()
}

/// Whether a link of the host is the host end of a sandbox's veth pair.
pub fn is_sandbox_link(link: &str) -> bool {
    link.strip_prefix(HOST_LINK_PREFIX).is_some_and(|slot| slot.parse::<u16>().is_ok())
}

/// One rule per name server. In a namespace the verdict is `accept`; on the host `return`, so that
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
        for rules in [for_namespace(&[server]), for_host(&[server])] {
            let (names, drop) = (rules.find("10.0.0.53"), rules.find("169.254.0.0/16"));
            assert!(names.is_some() && names < drop, "{rules}");
        }
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
