//! Whether a request comes from a page of ours. Pure.
//!
//! A browser sends our cookie along whoever's page asks, and lets every page open a WebSocket; it says truly from where. So
//! what changes something, and every upgrade, must come from an origin on the list. A program that shows a token sends no
//! origin and needs none.

use http::{HeaderMap, Method, header};
use protocol::Code;

use crate::{
    credential::Credential,
    refusal::{Outcome, Refusal},
};

/// The origins of our own pages.
#[derive(Debug)]
pub struct Origins(Vec<String>);

impl Origins {
    pub fn new(allowed: Vec<String>) -> Self {
        Self(allowed)
    }

    /// Refuses what a page of another origin could have caused. `upgrade`: a WebSocket is asked for.
    pub fn check(&self, method: &Method, headers: &HeaderMap, upgrade: bool) -> Outcome<()> {
        if method.is_safe() && !upgrade {
            return Ok(());
        }
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        match (origins.next(), origins.next()) {
            (None, _) if matches!(Credential::of(headers), Some(Credential::Cookie(_))) => {
                Err(foreign("the browser did not say where it comes from"))
            }
            (None, _) => Ok(()),
            (Some(one), None) if self.0.iter().any(|allowed| allowed.as_bytes() == one.as_bytes()) => Ok(()),
            (Some(one), _) => Err(foreign(&String::from_utf8_lossy(one.as_bytes()))),
        }
    }

    /// Whether the browser that asked `host` keeps cookies marked secure: https, or this very machine.
    pub fn is_secure(&self, host: &str) -> bool {
        let https = self.0.iter().filter_map(|origin| origin.strip_prefix("https://"));
        https.into_iter().any(|known| known.eq_ignore_ascii_case(host)) || is_loopback(host)
    }
}

fn foreign(origin: &str) -> Refusal {
    let detail = "Open Burrow at its own address; if this is its address, the server must be told of it.";
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

    fn allowed(method: &Method, pairs: &[(&'static str, &str)], upgrade: bool) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("valid"));
        }
        origins().check(method, &headers, upgrade).is_ok()
    }

    #[test]
    fn our_own_pages_may() {
        for origin in ["https://burrow.example", "http://127.0.0.1:8080"] {
            let headers = [("origin", origin), ("cookie", "burrow=s")];
            assert!(allowed(&Method::POST, &headers, false));
            assert!(allowed(&Method::GET, &headers, true));
        }
    }

    #[test]
    fn others_may_not() {
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
                assert!(!allowed(&Method::POST, &headers, false), "{origin}");
                assert!(!allowed(&Method::GET, &headers, true), "{origin}");
                assert!(!allowed(&Method::CONNECT, &headers, true), "{origin}");
            }
        }
        let two = [("origin", "https://burrow.example"), ("origin", "https://evil.example")];
        assert!(!allowed(&Method::POST, &two, false));
    }

    #[test]
    fn without_an_origin_only_programs_may() {
        assert!(!allowed(&Method::POST, &[("cookie", "burrow=s")], false));
        assert!(!allowed(&Method::GET, &[("cookie", "burrow=s")], true));
        assert!(allowed(&Method::GET, &[("cookie", "burrow=s")], false));
        assert!(allowed(&Method::GET, &[("authorization", "Bearer t"), ("cookie", "burrow=s")], true));
        assert!(allowed(&Method::POST, &[], false));
    }

    #[test]
    fn secure_is_https_or_this_machine() {
        for host in ["burrow.example", "127.0.0.1:8080", "localhost", "localhost:80", "[::1]:8080"] {
            assert!(origins().is_secure(host), "{host}");
        }
        for host in ["192.168.1.2:8080", "evil.example", "localhost.evil.example", "", ":"] {
            assert!(!origins().is_secure(host), "{host}");
        }
    }
}
