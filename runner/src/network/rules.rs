//! The firewall's rules, as nft reads them. Pure.
//!
//! Two walls, each enough by itself: one in the machine's namespace, one on the host. Only what is meant for everyone on the
//! internet is let out; the way back is open only to answers. There is one policy yet.

use std::{fmt::Write as _, net::IpAddr};

use protocol::agent::GUEST_ADDRESS;

use super::{HOST_END, links};

/// Nobody's public addresses: this host, its networks, link-local with clouds' metadata, carriers' NAT and our own pairs,
/// benchmarks, multicast, reserved.
const NOT_PUBLIC: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, \
                          192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3";
/// Only these may be asked, and only for names.
const NAMES: &str = "{ udp . 53, tcp . 53 }";

/// Rules of a machine's namespace.
pub fn of_namespace(nameservers: &[IpAddr]) -> String {
    let (tap, up, guest) = (links::TAP, links::UP, GUEST_ADDRESS);
    let names = names(nameservers, "accept");
    format!(
        "table inet burrow {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname \"{tap}\" oifname \"{up}\" ip saddr {guest} jump out
  }}
  chain out {{
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

/// Rules of the host, in place of those that were there before. They come before other tables' rules, and never accept for
/// good what another table would drop.
pub fn of_host(nameservers: &[IpAddr]) -> String {
    let names = names(nameservers, "return");
    format!(
        "{}table inet burrow {{
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname \"{HOST_END}*\" jump from_machines
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname \"{HOST_END}*\" jump from_machines
    oifname \"{HOST_END}*\" ct state established,related accept
    oifname \"{HOST_END}*\" counter drop
  }}
  chain from_machines {{
    ct state established,related return
{names}    ip daddr {{ {NOT_PUBLIC} }} counter drop
    meta nfproto ipv6 counter drop
    fib daddr type local counter drop
  }}
  chain translate {{
    type nat hook postrouting priority srcnat;
    ip saddr 100.64.0.0/10 oifname != \"{HOST_END}*\" masquerade
  }}
}}
",
        of_no_host()
    )
}

/// Takes the host's rules away, whether they are there or not.
pub fn of_no_host() -> String {
    "table inet burrow\ndelete table inet burrow\n".to_owned()
}

pub fn is_host_end(link: &str) -> bool {
    link.strip_prefix(HOST_END).is_some_and(|slot| slot.parse::<u16>().is_ok())
}

/// One line for each: in a namespace it is let through, on the host it goes on to the host's other rules.
fn names(nameservers: &[IpAddr], verdict: &str) -> String {
    let mut lines = String::new();
    for server in nameservers.iter().filter(|server| server.is_ipv4()) {
        let _ = writeln!(lines, "    ip daddr {server} meta l4proto . th dport {NAMES} {verdict}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_let_through_before_anything_is_dropped() {
        let server: IpAddr = "10.0.0.53".parse().expect("valid");
        for rules in [of_namespace(&[server]), of_host(&[server])] {
            let (names, drop) = (rules.find("10.0.0.53"), rules.find("169.254.0.0/16"));
            assert!(names.is_some() && names < drop, "{rules}");
        }
    }

    #[test]
    fn only_our_own_links_are_ours() {
        for (name, ours) in
            [("bw0", true), ("bw16383", true), ("bw", false), ("bwlan0", false), ("eth0", false)]
        {
            assert_eq!(is_host_end(name), ours, "{name}");
        }
    }
}
