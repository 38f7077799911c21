//! Reverse proxies that the operator trusts. Only what they say about a client is believed: anybody
//! can send the headers of a proxy.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Most addresses of X-Forwarded-For that are read. A chain of proxies is short.
const MAX_HOPS: usize = 16;

/// The networks of trusted proxies.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the proxies in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The client of a request from `peer`: the last address of X-Forwarded-For that is not a trusted
    /// proxy, because each proxy appends the address that it has seen. `peer` itself if it is not trusted.
    pub fn find_client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<&str> =
            headers.get_all(FORWARDED_FOR).into_iter().filter_map(|line| line.to_str().ok()).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        for hop in hops.take(MAX_HOPS) {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = parse_address(hop) else { break };
            client = address;
        }
        client
    }

    /// Whether a trusted proxy says that the browser uses https. None if no trusted proxy says anything.
    pub fn find_is_https(&self, peer: IpAddr, headers: &HeaderMap) -> Option<bool> {
        if !self.trusts(peer.to_canonical()) {
            return None;
        }
        let scheme = headers.get_all(FORWARDED_PROTO).into_iter().next_back()?.to_str().ok()?;
        match scheme.rsplit(',').next()?.trim().to_ascii_lowercase().as_str() {
            "https" | "wss" => Some(true),
            "http" | "ws" => Some(false),
            _ => None,
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// `198.51.100.7`, `198.51.100.7:4711`, `2001:db8::1` or `[2001:db8::1]:4711`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().expect("valid"));
        }
        headers
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies = TrustedProxies::new(vec![
            "10.0.0.0/8".parse().expect("valid"),
            "::1/128".parse().expect("valid"),
        ]);
        proxies.find_client(peer.parse().expect("valid"), &headers("x-forwarded-for", lines)).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("203.0.113.9", &["198.51.100.7"]), "203.0.113.9", "a client that pretends");
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(client("::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, 198.51.100.7"]), "198.51.100.7", "the proxy appends");
        assert_eq!(client("10.0.0.1", &["1.2.3.4", "198.51.100.7, 10.0.0.2"]), "198.51.100.7", "two proxies");
        assert_eq!(client("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn scheme_comes_from_trusted_proxies() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("valid")]);
        let is_https = |peer: &str, lines: &[&str]| {
            proxies.find_is_https(peer.parse().expect("valid"), &headers("x-forwarded-proto", lines))
        };
        assert_eq!(is_https("10.0.0.1", &["https"]), Some(true));
        assert_eq!(is_https("10.0.0.1", &["https, http"]), Some(false));
        assert_eq!(is_https("203.0.113.9", &["https"]), None);
        assert_eq!(is_https("10.0.0.1", &[]), None);
    }
}
