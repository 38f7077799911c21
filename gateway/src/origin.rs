//! Checks that a request comes from one of our own pages. Pure.
//!
//! A browser adds our cookie to requests of any page, and lets any page open a WebSocket, but it
//! reports the page's origin truthfully. So every request that changes something, and every
//! upgrade, must come from an allowed origin. A program with a token sends no origin and needs
//! none.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue, Method, header};
use protocol::Code;

use crate::{
    credential::Credential,
    refusal::{Refusal, Result},
};

/// The origins of our own pages.
#[derive(Debug)]
pub struct Origins(Vec<String>);

/// The address of ours that a client has connected to. An extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct LocalAddress {
    /// The address and the port.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

impl LocalAddress {
    /// The origin of a page that was loaded from this address.
    fn origin(self) -> String {
        self.origin_with(if self.is_tls { "https" } else { "http" })
    }

    /// The origin of a page that is loaded from this address by https.
    pub fn https_origin(self) -> String {
        self.origin_with("https")
    }

    fn origin_with(self, scheme: &str) -> String {
        let address = SocketAddr::new(self.address.ip().to_canonical(), self.address.port());
        without_default_port(&format!("{scheme}://{address}"))
    }
}

impl Origins {
    /// `allowed` as browsers write them: `scheme://host[:port]`, lower case, no slash at the end.
    pub fn new(allowed: Vec<String>) -> Self {
        Self(allowed.iter().map(|origin| without_default_port(origin)).collect())
    }

    /// The origins that were configured.
    pub fn list(&self) -> &[String] {
        &self.0
    }

    /// Whether this host, with or without a port, is that of one of our pages.
    pub fn has_host(&self, host: &str) -> bool {
        let name = |host: &str| match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name.to_ascii_lowercase(),
            _ => host.to_ascii_lowercase(),
        };
        let mut hosts = self.0.iter().filter_map(|origin| origin.split_once("://"));
        hosts.any(|(_, ours)| name(ours) == name(host))
    }

    /// Refuses a request that a page of another origin may have caused. `is_upgrade`: it asks for a
    /// WebSocket. A page that was loaded from our own address is one of ours, because no other
    /// server can have that address.
    pub fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        is_upgrade: bool,
        local: Option<LocalAddress>,
    ) -> Result<()> {
        if method.is_safe() && !is_upgrade {
            return Ok(());
        }
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        match (origins.next(), origins.next()) {
            (None, _) if matches!(Credential::from_headers(headers), Some(Credential::Cookie(_))) => {
                Err(foreign_origin(None))
            }
            (None, _) => Ok(()),
            (Some(one), None) if self.is_allowed(one, local) => Ok(()),
            (Some(one), _) => Err(foreign_origin(Some(one))),
        }
    }

    fn is_allowed(&self, origin: &HeaderValue, local: Option<LocalAddress>) -> bool {
        let is_local = || local.is_some_and(|local| local.origin().as_bytes() == origin.as_bytes());
        self.0.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) || is_local()
    }

    /// Whether the browser that sent the request keeps cookies marked secure: its page was loaded
    /// by https, or from a loopback address. `host` is where the request was sent to, which a
    /// proxy may have replaced with our own address; the origin of a page is always the browser's.
    /// `is_tls`: the connection to us is encrypted.
    pub fn is_secure(&self, headers: &HeaderMap, host: &str, is_tls: bool) -> bool {
        if let Some(origin) = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()) {
            return origin.starts_with("https://") || origin.strip_prefix("http://").is_some_and(is_loopback);
        }
        let mut https = self.0.iter().filter_map(|origin| origin.strip_prefix("https://"));
        is_tls
            || https.any(|known| without_port(known, 443).eq_ignore_ascii_case(without_port(host, 443)))
            || (is_loopback(host) && !self.has_plain_public_origin())
    }

    /// Whether browsers use the server by plain http from other computers.
    fn has_plain_public_origin(&self) -> bool {
        let mut plain = self.0.iter().filter_map(|origin| origin.strip_prefix("http://"));
        plain.any(|host| !is_loopback(host))
    }
}

/// The refusal for a page of another origin, or for a cookie without an origin.
fn foreign_origin(origin: Option<&HeaderValue>) -> Refusal {
    let Some(origin) = origin else {
        let detail = "A request with a cookie must have the header `origin`. Use a token instead.";
        return Refusal::new(Code::ForeignOrigin, detail).because("a cookie without an origin");
    };
    let origin = String::from_utf8_lossy(origin.as_bytes());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:/[]".contains(c);
    let detail = if origin.starts_with("http") && origin.chars().all(is_plain) {
        format!(
            "This server does not know the address {origin}. If it is its address, start it with \
             `burrow up --public-url {origin}`. Otherwise open Burrow at its own address."
        )
    } else {
        "Open Burrow at its own address.".to_owned()
    };
    Refusal::new(Code::ForeignOrigin, &detail).because(origin)
}

/// Browsers leave out the port 80 of http and the port 443 of https.
fn without_default_port(origin: &str) -> String {
    let port = if origin.starts_with("https://") { 443 } else { 80 };
    without_port(origin, port).to_owned()
}

fn without_port(host: &str, port: u16) -> &str {
    host.strip_suffix(&format!(":{port}")).unwrap_or(host)
}

/// Whether a host, with or without a port, is this computer only.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential;

    fn origins() -> Origins {
        Origins::new(vec!["https://burrow.example".to_owned(), "http://127.0.0.1:8080".to_owned()])
    }

    fn is_allowed(method: &Method, pairs: &[(&'static str, &str)], is_upgrade: bool) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("valid"));
        }
        let local = LocalAddress { address: "192.168.1.5:8080".parse().expect("valid"), is_tls: false };
        origins().check(method, &headers, is_upgrade, Some(local)).is_ok()
    }

    #[test]
    fn host_of_a_page_is_known() {
        for host in ["burrow.example", "BURROW.example:443", "127.0.0.1:8080", "127.0.0.1"] {
            assert!(origins().has_host(host), "{host}");
        }
        for host in ["x.burrow.example", "example", "", "[::1]:8080"] {
            assert!(!origins().has_host(host), "{host}");
        }
    }

    #[test]
    fn own_page_is_allowed() {
        for origin in ["https://burrow.example", "http://127.0.0.1:8080", "http://192.168.1.5:8080"] {
            let headers = [("origin", origin), ("cookie", "burrow=s")];
            assert!(is_allowed(&Method::POST, &headers, false));
            assert!(is_allowed(&Method::GET, &headers, true));
        }
    }

    #[test]
    fn other_origin_is_refused() {
        for origin in [
            "null",
            "",
            "https://evil.example",
            "https://burrow.example.evil.example",
            "https://evil-burrow.example",
            "https://8080-w.burrow.example",
            "https://burrow.example.",
            "https://burrow.example:8443",
            "http://burrow.example",
            "https://BURROW.example",
            "https://burrow.example/",
            "https://xn--burrw-jua.example",
            "http://192.168.1.5",
            "https://192.168.1.5:8080",
            "http://192.168.1.6:8080",
        ] {
            for credential in [("cookie", "burrow=s"), ("authorization", "Bearer t"), ("accept", "*/*")] {
                let headers = [("origin", origin), credential];
                assert!(!is_allowed(&Method::POST, &headers, false), "{origin}");
                assert!(!is_allowed(&Method::GET, &headers, true), "{origin}");
                assert!(!is_allowed(&Method::CONNECT, &headers, true), "{origin}");
            }
        }
        let two = [("origin", "https://burrow.example"), ("origin", "https://evil.example")];
        assert!(!is_allowed(&Method::POST, &two, false));
    }

    #[test]
    fn missing_origin_is_allowed_without_cookie() {
        assert!(!is_allowed(&Method::POST, &[("cookie", "burrow=s")], false));
        assert!(!is_allowed(&Method::GET, &[("cookie", "burrow=s")], true));
        assert!(is_allowed(&Method::GET, &[("cookie", "burrow=s")], false));
        assert!(is_allowed(&Method::GET, &[("authorization", "Bearer t"), ("cookie", "burrow=s")], true));
        assert!(is_allowed(&Method::POST, &[], false));
    }

    #[test]
    fn default_ports_are_left_out() {
        let origins =
            Origins::new(vec!["https://burrow.example:443".to_owned(), "http://127.0.0.1:80".to_owned()]);
        assert_eq!(origins.0, ["https://burrow.example", "http://127.0.0.1"]);
        for (local, origin) in [
            ("192.168.1.5:80", "http://192.168.1.5"),
            ("[::ffff:192.168.1.5]:8080", "http://192.168.1.5:8080"),
            ("[fe80::1]:80", "http://[fe80::1]"),
        ] {
            let local = LocalAddress { address: local.parse().expect("valid"), is_tls: false };
            assert_eq!(local.origin(), origin);
        }
    }

    fn is_secure(origins: &Origins, origin: Option<&str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("valid"));
        }
        origins.is_secure(&headers, host, false)
    }

    #[test]
    fn secure_means_https_or_loopback() {
        for host in [
            "burrow.example",
            "burrow.example:443",
            "127.0.0.1:8080",
            "localhost",
            "localhost:80",
            "[::1]:8080",
        ] {
            assert!(is_secure(&origins(), None, host), "{host}");
        }
        for host in ["192.168.1.2:8080", "evil.example", "localhost.evil.example", "", ":"] {
            assert!(!is_secure(&origins(), None, host), "{host}");
        }
    }

    #[test]
    fn encrypted_connection_is_secure() {
        assert!(origins().is_secure(&HeaderMap::new(), "192.168.1.5:8080", true));
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://192.168.1.5:8080"));
        assert!(
            !origins().is_secure(&headers, "192.168.1.5:8080", true),
            "a proxy encrypts, not the browser"
        );
        let local = LocalAddress { address: "192.168.1.5:443".parse().expect("valid"), is_tls: true };
        assert_eq!(local.origin(), "https://192.168.1.5");
    }

    /// Proxies often send our own address as the host instead of the one that the browser used.
    #[test]
    fn origin_decides_behind_a_proxy() {
        let plain =
            Origins::new(vec!["http://burrow.example".to_owned(), "http://127.0.0.1:8080".to_owned()]);
        let our_address = "127.0.0.1:8080";
        assert!(!is_secure(&plain, Some("http://burrow.example"), our_address));
        assert!(!is_secure(&plain, None, our_address), "the request may have come by plain http");
        assert!(is_secure(&plain, Some("http://127.0.0.1:8080"), our_address));
        assert!(is_secure(&origins(), Some("https://burrow.example"), our_address));
        assert!(is_secure(&origins(), None, our_address));
    }

    #[test]
    fn plain_cookie_is_removed_over_https() {
        let cookies = |origins: &Origins, host: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static("burrow=p; theme=dark;  burrow =q"));
            headers.append(header::COOKIE, HeaderValue::from_static("burrow=r"));
            headers.append(header::COOKIE, HeaderValue::from_static("__Host-burrow=s"));
            let is_secure = origins.is_secure(&headers, host, false);
            credential::remove_plain_cookie(&mut headers, is_secure);
            let lines = headers.get_all(header::COOKIE).into_iter();
            lines.map(|line| line.to_str().expect("text").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(cookies(&origins(), "burrow.example"), ["theme=dark", "__Host-burrow=s"]);
        assert_eq!(cookies(&origins(), "192.168.1.5:8080").len(), 3);
    }
}
