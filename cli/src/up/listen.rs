//! The port, taken before anything else is begun: who finds it taken should know at once.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use crate::failure::{Failure, Kind};

pub fn bind(ip: IpAddr, port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(ip, port);
    let listener = TcpListener::bind(address).map_err(|error| refused(address, &error))?;
    listener.set_nonblocking(true).map_err(|error| refused(address, &error))?;
    Ok(listener)
}

/// Where people reach it, as they type it.
pub fn address(public_url: Option<&str>, bound: SocketAddr) -> String {
    match public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if bound.ip().is_unspecified() => format!("http://127.0.0.1:{}", bound.port()),
        None => format!("http://{bound}"),
    }
}

/// Origins that our own pages have: what the address, and the names of this machine, look like in a browser.
pub fn origins(ip: IpAddr, port: u16, public_url: Option<&str>) -> Result<Vec<String>, Failure> {
    let mut origins = vec![address(None, SocketAddr::new(ip, port))];
    if ip.is_loopback() || ip.is_unspecified() {
        origins.push(format!("http://localhost:{port}"));
    }
    if let Some(url) = public_url {
        origins.push(origin(url).ok_or_else(|| {
            Failure::new(Kind::Usage, format!("--public-url {url} is not an address of a site"))
                .next("burrow up --public-url https://burrow.example.org")
        })?);
    }
    Ok(origins)
}

/// `scheme://host[:port]`, lower case, if that is all that the address holds.
fn origin(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/').to_ascii_lowercase();
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then_some(url)
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(
            Kind::Conflict,
            format!("Port {port} of {} is taken by another program", address.ip()),
        )
        .next(format!(
            "burrow up --port {}, or --port 0 for a free one",
            port.checked_add(1).unwrap_or(8080)
        )),
        io::ErrorKind::PermissionDenied => {
            Failure::error(format!("Port {port} may not be used by this user")).next("burrow up --port 8080")
        }
        io::ErrorKind::AddrNotAvailable => {
            Failure::error(format!("{} is no address of this machine", address.ip()))
                .next("burrow up --listen 127.0.0.1, or 0.0.0.0 for all")
        }
        _ => Failure::error(format!("Cannot listen on {address}")).because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_write_them() {
        for (url, expected) in [
            ("https://Burrow.Example.org/", Some("https://burrow.example.org")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("https://burrow.example.org/path", None),
            ("burrow.example.org", None),
            ("https://", None),
        ] {
            assert_eq!(origin(url).as_deref(), expected, "{url}");
        }
        let loopback = origins(IpAddr::from([127, 0, 0, 1]), 80, None).expect("valid");
        assert_eq!(loopback, ["http://127.0.0.1:80", "http://localhost:80"]);
    }

    #[test]
    fn a_taken_port_is_named() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let first = bind(loopback, 0).expect("a free one");
        let port = first.local_addr().expect("bound").port();
        let refused = bind(loopback, port).expect_err("taken");
        assert_eq!(refused.kind, Kind::Conflict);
        assert!(refused.to_string().contains(&port.to_string()), "{refused}");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let refused = bind(IpAddr::from([192, 0, 2, 1]), 0).expect_err("documentation's own");
        assert!(refused.to_string().contains("192.0.2.1"), "{refused}");
    }
}
