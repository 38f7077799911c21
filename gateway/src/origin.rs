//! Checks that a request comes from one of our own pages. Pure.
//!
//! A browser adds our cookie to requests of any page, and lets any page open a WebSocket, but it
//! reports the page's origin truthfully. So every request that changes something, and every
//! upgrade, must come from an allowed origin. A program with a token sends no origin and needs
//! none.

use http::{HeaderMap, Method, header};
use protocol::Code;

use crate::{
    credential::Credential,
    refusal::{Refusal, Result},
};

/// The origins of our own pages.
#[derive(Debug)]
pub struct Origins(Vec<String>);

impl Origins {
    /// `allowed` as browsers write them: `scheme://host[:port]`, lower case, no slash at the end.
    pub fn new(allowed: Vec<String>) -> Self {
        Self(allowed)
    }

    /// Refuses a request that a page of another origin may have caused. `is_upgrade`: it asks for a
    /// WebSocket.
    pub fn check(&self, method: &Method, headers: &HeaderMap, is_upgrade: bool) -> Result<()> {
        if method.is_safe() && !is_upgrade {
            return Ok(());
        }
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        match (origins.next(), origins.next()) {
            (None, _) if matches!(Credential::from_headers(headers), Some(Credential::Cookie(_))) => {
                Err(foreign_origin("a cookie without an origin"))
            }
            (None, _) => Ok(()),
            (Some(one), None) if self.0.iter().any(|allowed| allowed.as_bytes() == one.as_bytes()) => Ok(()),
            (Some(one), _) => Err(foreign_origin(&String::from_utf8_lossy(one.as_bytes()))),
        }
    }

    /// Whether a browser that sent the request to `host` keeps cookies marked secure: https, or a
    /// loopback address.
    pub fn is_secure(&self, host: &str) -> bool {
        let https = self.0.iter().filter_map(|origin| origin.strip_prefix("https://"));
        https.into_iter().any(|known| known.eq_ignore_ascii_case(host)) || is_loopback(host)
    }
}

fn foreign_origin(origin: &str) -> Refusal {
    let detail =
        "Open Burrow at its own address. If this is its address, add it to the server's allowed origins.";
    Refusal::new(Code::ForeignOrigin, detail).because(origin)
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        Origins::new(vec!["https://burrow.example".to_owned(), "http://127.0.0.1:8080".to_owned()])
    }

    fn is_allowed(method: &Method, pairs: &[(&'static str, &str)], is_upgrade: bool) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("valid"));
        }
        origins().check(method, &headers, is_upgrade).is_ok()
    }

    #[test]
    fn own_page_is_allowed() {
        for origin in ["https://burrow.example", "http://127.0.0.1:8080"] {
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
    fn secure_means_https_or_loopback() {
        for host in ["burrow.example", "127.0.0.1:8080", "localhost", "localhost:80", "[::1]:8080"] {
            assert!(origins().is_secure(host), "{host}");
        }
        for host in ["192.168.1.2:8080", "evil.example", "localhost.evil.example", "", ":"] {
            assert!(!origins().is_secure(host), "{host}");
        }
    }
}
