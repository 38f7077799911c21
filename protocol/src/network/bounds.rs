//! What holds for the network of every sandbox of a host, whatever the policies say. The operator of the
//! host sets it. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Networks that are not public, and that an operator may open to sandboxes: private ones, those of
/// carrier-grade NAT, and those for benchmarks.
pub const PRIVATE_NETWORKS: [Ipv4Net; 5] = [
    network([10, 0, 0, 0], 8),
    network([100, 64, 0, 0], 10),
    network([172, 16, 0, 0], 12),
    network([192, 168, 0, 0], 16),
    network([198, 18, 0, 0], 15),
];
/// The links between sandboxes and the host: four addresses for each slot.
pub const SANDBOX_LINKS: Ipv4Net = network([100, 64, 0, 0], 16);
/// Networks that no sandbox reaches, and what they are.
pub const UNREACHABLE_NETWORKS: [(Ipv4Net, &str); 9] = [
    (network([0, 0, 0, 0], 8), "the host itself"),
    (network([127, 0, 0, 0], 8), "the host itself"),
    (network([169, 254, 0, 0], 16), "link-local addresses and the metadata services of clouds"),
    (network([168, 63, 129, 16], 32), "the metadata service of Azure"),
    (network([192, 0, 0, 0], 24), "reserved addresses and the metadata service of Oracle"),
    (network([224, 0, 0, 0], 3), "multicast, broadcast and reserved addresses"),
    (network([100, 100, 100, 200], 32), "the metadata service of Alibaba"),
    (network([10, 111, 0, 0], 30), "the link of every workspace"),
    (SANDBOX_LINKS, "the links between workspaces and the host"),
];

const fn network([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// What the operator of a host sets for the networks of all of its sandboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"packets_per_second": 40000, "mbit_per_second": 400,
    "private_networks": ["10.1.2.3/32"]}))]
pub struct NetworkBounds {
    /// Packets that a sandbox may send in a second, and as many that it may receive. Null: no limit.
    pub packets_per_second: Option<u32>,
    /// Megabits that a sandbox may send in a second, and as many that it may receive. Null: no limit.
    pub mbit_per_second: Option<u32>,
    /// Private networks that sandboxes reach as if they were public.
    pub private_networks: Vec<PrivateNetwork>,
}

impl Default for NetworkBounds {
    fn default() -> Self {
        Self {
            packets_per_second: Some(DEFAULT_PACKETS_PER_SECOND),
            mbit_per_second: Some(DEFAULT_MBIT_PER_SECOND),
            private_networks: Vec::new(),
        }
    }
}

/// Full packets at this rate are above [`DEFAULT_MBIT_PER_SECOND`], so only floods of small ones meet it.
pub const DEFAULT_PACKETS_PER_SECOND: u32 = 40_000;
/// Less than half of the link that most hosts have.
pub const DEFAULT_MBIT_PER_SECOND: u32 = 400;

impl NetworkBounds {
    /// Whether sandboxes may connect to an address, as far as their policies allow.
    pub fn is_reachable(&self, address: Ipv4Addr) -> bool {
        let is_private = PRIVATE_NETWORKS.iter().any(|network| network.contains(&address));
        let is_unreachable = UNREACHABLE_NETWORKS.iter().any(|(network, _)| network.contains(&address));
        !is_unreachable
            && (!is_private || self.private_networks.iter().any(|network| network.0.contains(&address)))
    }
}

/// A private network that an operator may open to sandboxes. It may contain addresses of the host and
/// [`UNREACHABLE_NETWORKS`], which stay out of reach, but is not only these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "10.1.2.3/32")]
pub struct PrivateNetwork(Ipv4Net);

impl PrivateNetwork {
    /// The network.
    pub fn network(self) -> Ipv4Net {
        self.0
    }
}

/// Why a network cannot be opened to sandboxes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateNetworkError {
    /// It is not written as a network.
    #[error("Expected an IPv4 network such as 10.1.0.0/16, or an address such as 10.1.2.3")]
    Malformed,
    /// Sandboxes have no IPv6.
    #[error("Sandboxes have no IPv6: only IPv4 networks can be allowed")]
    Ipv6,
    /// The address has bits that are not the network's.
    #[error("{given} is not the first address of its network: write {meant}")]
    HostBits {
        /// What was written.
        given: Ipv4Net,
        /// What was probably meant.
        meant: Ipv4Net,
    },
    /// It is, or contains, something that no sandbox may reach.
    #[error("{0} cannot be allowed: it has {1}, which no workspace may reach")]
    Unreachable(Ipv4Net, &'static str),
    /// It is not within one of [`PRIVATE_NETWORKS`].
    #[error(
        "{0} is not a private network, which is within 10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, \
         192.168.0.0/16 or 198.18.0.0/15. Public addresses need not be allowed"
    )]
    NotPrivate(Ipv4Net),
}

impl FromStr for PrivateNetwork {
    type Err = PrivateNetworkError;

    fn from_str(text: &str) -> Result<Self, PrivateNetworkError> {
        let text = text.trim();
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = match network {
            Ok(IpNet::V4(network)) => network,
            Ok(IpNet::V6(_)) => return Err(PrivateNetworkError::Ipv6),
            Err(_) => return Err(PrivateNetworkError::Malformed),
        };
        if network.addr() != network.network() {
            return Err(PrivateNetworkError::HostBits { given: network, meant: network.trunc() });
        }
        let is_private = |network| PRIVATE_NETWORKS.iter().any(|private| private.contains(network));
        let unreachable = UNREACHABLE_NETWORKS.iter().find(|(unreachable, _)| {
            // One that is within a private network stays out of reach when that is allowed.
            unreachable.contains(&network) || network.contains(unreachable) && !is_private(unreachable)
        });
        match unreachable {
            Some((_, what)) => Err(PrivateNetworkError::Unreachable(network, what)),
            None if is_private(&network) => Ok(Self(network)),
            None => Err(PrivateNetworkError::NotPrivate(network)),
        }
    }
}

impl TryFrom<String> for PrivateNetwork {
    type Error = PrivateNetworkError;

    fn try_from(text: String) -> Result<Self, PrivateNetworkError> {
        text.parse()
    }
}

impl From<PrivateNetwork> for String {
    fn from(network: PrivateNetwork) -> Self {
        network.to_string()
    }
}

impl fmt::Display for PrivateNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PrivateNetwork, PrivateNetworkError> {
        text.parse()
    }

    #[test]
    fn private_networks_are_accepted() {
        for (text, expected) in [
            ("100.64.0.0/10", "100.64.0.0/10"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            (" 10.1.2.3 ", "10.1.2.3/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.168.7.0/24", "192.168.7.0/24"),
            ("172.17.0.0/16", "172.17.0.0/16"),
            ("198.18.0.0/15", "198.18.0.0/15"),
        ] {
            assert_eq!(parse(text).map(|network| network.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn unreachable_networks_are_refused_in_any_spelling() {
        for text in [
            "169.254.169.254",
            "169.254.169.254/32",
            "169.254.0.0/16",
            "169.254.0.0/17",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192/32",
            "127.0.0.1",
            "127.0.0.0/8",
            "0.0.0.0",
            "0.0.0.0/0",
            "128.0.0.0/1",
            "224.0.0.0/4",
            "239.1.2.3",
            "255.255.255.255",
            "10.111.0.2",
            "100.64.0.0/16",
            "100.64.3.0/24",
        ] {
            let refused = parse(text).map_err(|error| matches!(error, PrivateNetworkError::Unreachable(..)));
            assert_eq!(refused, Err(true), "{text}");
        }
        for text in ["::ffff:169.254.169.254", "::ffff:a9fe:a9fe/128", "fd00:ec2::254", "::1/128", "::/0"] {
            assert_eq!(parse(text), Err(PrivateNetworkError::Ipv6), "{text}");
        }
        for text in [
            "",
            "2852039166",
            "0xa9fea9fe",
            "0xa9.254.169.254",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.254.169.254.",
            "10.0.0.0/33",
            "10.0.0.0/8,169.254.0.0/16",
            "10/8",
            "metadata.google.internal",
        ] {
            assert_eq!(parse(text), Err(PrivateNetworkError::Malformed), "{text}");
        }
        for text in ["10.1.2.3/16", "169.254.169.254/8", "10.0.0.0/4"] {
            assert!(matches!(parse(text), Err(PrivateNetworkError::HostBits { .. })), "{text}");
        }
        for text in ["8.8.8.8", "8.0.0.0/6", "172.0.0.0/8", "1.0.0.0/8"] {
            assert!(matches!(parse(text), Err(PrivateNetworkError::NotPrivate(_))), "{text}");
        }
    }

    #[test]
    fn only_allowed_private_addresses_are_reachable() {
        let closed = NetworkBounds::default();
        let private_networks =
            ["10.0.0.0/8", "100.64.0.0/10"].map(|text| parse(text).expect("private")).into();
        let open = NetworkBounds { private_networks, ..NetworkBounds::default() };
        for (address, expected) in [
            ("1.1.1.1", [true, true]),
            ("203.0.113.1", [true, true]),
            ("9.255.255.255", [true, true]),
            ("10.0.0.1", [false, true]),
            ("10.111.0.1", [false, false]),
            ("10.111.0.4", [false, true]),
            ("100.64.0.1", [false, false]),
            ("100.65.0.1", [false, true]),
            ("100.100.100.200", [false, false]),
            ("100.128.0.1", [true, true]),
            ("127.0.0.1", [false, false]),
            ("168.63.129.16", [false, false]),
            ("168.63.129.17", [true, true]),
            ("169.254.169.254", [false, false]),
            ("172.31.255.255", [false, false]),
            ("192.168.1.1", [false, false]),
            ("224.0.0.251", [false, false]),
            ("255.255.255.255", [false, false]),
            ("0.0.0.0", [false, false]),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!([&closed, &open].map(|bounds| bounds.is_reachable(address)), expected, "{address}");
        }
    }

    #[test]
    fn damaged_networks_are_refused() {
        let stored = serde_json::json!({ "private_networks": ["169.254.169.254/32"] });
        assert!(serde_json::from_value::<NetworkBounds>(stored).is_err());
        let stored = serde_json::json!({ "private_networks": ["10.1.0.0/16"], "packets_per_second": null });
        let bounds: NetworkBounds = serde_json::from_value(stored).expect("valid");
        assert_eq!(
            (bounds.packets_per_second, bounds.mbit_per_second),
            (None, Some(DEFAULT_MBIT_PER_SECOND))
        );
    }
}
