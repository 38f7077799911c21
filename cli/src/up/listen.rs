//! The listening address of the gateway. The port is bound before anything is started, so that a
//! conflict shows immediately.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use crate::output::{CommandError, ErrorKind};

/// Binds the address, or explains why it cannot.
pub fn bind(ip: IpAddr, port: u16) -> Result<TcpListener, CommandError> {
    let address = SocketAddr::new(ip, port);
    let listener = TcpListener::bind(address).map_err(|error| refused(address, &error))?;
    listener.set_nonblocking(true).map_err(|error| refused(address, &error))?;
    Ok(listener)
}

/// The address that users type into a browser.
pub fn address(public_url: Option<&str>, bound: SocketAddr) -> String {
    match public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if bound.ip().is_unspecified() => format!("http://127.0.0.1:{}", bound.port()),
        None => format!("http://{bound}"),
    }
}

/// How to reach the server from another computer, as lines for users. The addresses are those of
/// this computer at present; pages from any of its addresses are accepted.
pub fn other_ways_in(public_url: Option<&str>, bound: SocketAddr) -> Vec<String> {
    let port = bound.port();
    if public_url.is_some() {
        Vec::new()
    } else if bound.ip().is_loopback() {
        vec![
            "From another computer, forward the port, then open the same address there:".to_owned(),
            format!("  ssh -L {port}:127.0.0.1:{port} {}@{}", user_name(), host_name()),
        ]
    } else if bound.ip().is_unspecified() {
        let addresses = addresses_of_this_computer();
        let links = addresses.iter().map(|address| format!("http://{}", SocketAddr::new(*address, port)));
        let links: Vec<String> = links.collect();
        if links.is_empty() { links } else { vec![format!("In this network it is at {}", links.join(", "))] }
    } else {
        Vec::new()
    }
}

/// Whether passwords travel over the network unencrypted.
pub fn is_unencrypted(public_url: Option<&str>, bound: SocketAddr) -> bool {
    match public_url {
        Some(url) => !url.to_ascii_lowercase().starts_with("https://"),
        None => !bound.ip().is_loopback(),
    }
}

/// The IPv4 addresses of this computer's network interfaces, without loopback and without our own
/// links to sandboxes.
fn addresses_of_this_computer() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter(|interface| !runner::network::is_sandbox_link(&interface.interface_name))
        .filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .filter(|ip| !ip.is_loopback() && !ip.is_link_local())
        .map(IpAddr::from)
        .collect()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn user_name() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "root".to_owned())
}

/// The origins that the web app may have in a browser: the address, the names of this computer, and
/// the public URL. The gateway adds the address that a browser is connected to.
pub fn origins(ip: IpAddr, port: u16, public_url: Option<&str>) -> Result<Vec<String>, CommandError> {
    let mut origins = vec![address(None, SocketAddr::new(ip, port))];
    if ip.is_loopback() || ip.is_unspecified() {
        origins.push(format!("http://localhost:{port}"));
    }
    if !ip.is_loopback() {
        let name = host_name().to_ascii_lowercase();
        origins.extend([format!("http://{name}:{port}"), format!("http://{name}.local:{port}")]);
    }
    if let Some(url) = public_url {
        origins.push(origin(url).ok_or_else(|| {
            CommandError::new(
                ErrorKind::Usage,
                format!("Cannot use --public-url {url}: it must be a scheme and a host"),
            )
            .hint("burrow up --public-url https://burrow.example.org")
        })?);
    }
    Ok(origins)
}

/// `scheme://host[:port]` in lower case. None if the URL has anything else.
fn origin(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/').to_ascii_lowercase();
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    (!host.is_empty() && host.chars().all(is_plain)).then_some(url)
}

fn refused(address: SocketAddr, error: &io::Error) -> CommandError {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => CommandError::new(
            ErrorKind::Conflict,
            format!("Cannot listen on {address}: another program uses this port"),
        )
        .hint(format!(
            "burrow up --port {}, or --port 0 for a free one",
            port.checked_add(1).unwrap_or(8080)
        )),
        io::ErrorKind::PermissionDenied => {
            CommandError::error(format!("Cannot listen on {address}: permission denied"))
                .hint("burrow up --port 8080")
        }
        io::ErrorKind::AddrNotAvailable => CommandError::error(format!(
            "Cannot listen on {address}: this computer does not have the address"
        ))
        .hint("burrow up --listen 127.0.0.1, or 0.0.0.0 for all"),
        _ => CommandError::error(format!("Cannot listen on {address}")).because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_browsers() {
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
        let name = host_name().to_ascii_lowercase();
        let all = origins(IpAddr::from([0, 0, 0, 0]), 8080, None).expect("valid");
        assert!(all.contains(&format!("http://{name}:8080")), "{all:?}");
    }

    #[test]
    fn other_ways_in_depend_on_the_address() {
        let ways = |address: &str, url| other_ways_in(url, address.parse().expect("valid")).join(" ");
        assert!(ways("127.0.0.1:8080", None).contains("ssh -L 8080:127.0.0.1:8080 "));
        assert_eq!(ways("127.0.0.1:8080", Some("https://burrow.example")), "");
        assert!(!ways("0.0.0.0:8080", None).contains("127.0.0.1"));
    }

    #[test]
    fn only_https_and_loopback_are_encrypted() {
        for (address, url, expected) in [
            ("127.0.0.1:80", None, false),
            ("0.0.0.0:80", None, true),
            ("192.168.1.5:80", None, true),
            ("0.0.0.0:80", Some("https://burrow.example"), false),
            ("127.0.0.1:80", Some("http://burrow.example"), true),
        ] {
            let address = address.parse().expect("valid");
            assert_eq!(is_unencrypted(url, address), expected, "{address} {url:?}");
        }
    }

    #[test]
    fn used_port_is_named() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let first = bind(loopback, 0).expect("a free one");
        let port = first.local_addr().expect("bound").port();
        let refused = bind(loopback, port).expect_err("taken");
        assert_eq!(refused.kind, ErrorKind::Conflict);
        assert!(refused.to_string().contains(&port.to_string()), "{refused}");
    }

    #[test]
    fn foreign_address_is_named() {
        let refused = bind(IpAddr::from([192, 0, 2, 1]), 0).expect_err("documentation's own");
        assert!(refused.to_string().contains("192.0.2.1"), "{refused}");
    }
}
