//! The listening address of the gateway. The port is bound before anything is started, so that a
//! conflict shows immediately.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use protocol::ports::PreviewHost;

use crate::output::{CommandError, ErrorKind};

/// Binds the address, or explains why it cannot.
pub fn bind(ip: IpAddr, port: u16) -> Result<TcpListener, CommandError> {
    let address = SocketAddr::new(ip, port);
    let listener = TcpListener::bind(address).map_err(|error| refused(address, &error))?;
    listener.set_nonblocking(true).map_err(|error| refused(address, &error))?;
    Ok(listener)
}

/// Binds the address for metrics, if there is one.
pub fn bind_metrics(address: Option<SocketAddr>) -> Result<Option<TcpListener>, CommandError> {
    let listener = address.map(TcpListener::bind).transpose();
    listener.map_err(|error| {
        let what =
            format!("Cannot serve metrics at {}", address.map(|it| it.to_string()).unwrap_or_default());
        CommandError::error(what).because(&error).hint("choose another address for --metrics")
    })
}

/// How users reach the server.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// The address that the gateway listens on.
    pub bound: SocketAddr,
    /// The address that browsers use, if the operator has named it.
    pub public_url: Option<&'a str>,
    /// Whether the gateway speaks TLS.
    pub is_tls: bool,
}

impl Endpoint<'_> {
    /// The address that users type into a browser.
    pub fn address(self) -> String {
        let (scheme, bound) = (self.scheme(), self.bound);
        match self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None if bound.ip().is_unspecified() => format!("{scheme}://127.0.0.1:{}", bound.port()),
            None => format!("{scheme}://{bound}"),
        }
    }

    /// How to reach the server from another computer, as lines for users. The addresses are those of
    /// this computer at present; pages from any of its addresses are accepted.
    pub fn other_ways_in(self) -> Vec<String> {
        let (scheme, port) = (self.scheme(), self.bound.port());
        if self.public_url.is_some() {
            Vec::new()
        } else if self.bound.ip().is_loopback() {
            vec![
                "From another computer, forward the port, then open the same address there:".to_owned(),
                format!("  ssh -L {port}:127.0.0.1:{port} {}@{}", user_name(), host_name()),
            ]
        } else if self.bound.ip().is_unspecified() {
            let addresses = addresses_of_this_computer().into_iter().filter(IpAddr::is_ipv4);
            let links = addresses.map(|address| format!("{scheme}://{}", SocketAddr::new(address, port)));
            let links: Vec<String> = links.collect();
            if links.is_empty() {
                links
            } else {
                vec![format!("In this network it is at {}", links.join(", "))]
            }
        } else {
            Vec::new()
        }
    }

    /// Whether passwords travel over the network unencrypted.
    pub fn is_unencrypted(self) -> bool {
        match self.public_url {
            Some(url) => !url.to_ascii_lowercase().starts_with("https://"),
            None => !self.is_tls && !self.bound.ip().is_loopback(),
        }
    }

    /// The origins that the web app may have in a browser: the address, the names of this computer, and
    /// the public URL. The gateway adds the address that a browser is connected to.
    pub fn origins(self) -> Result<Vec<String>, CommandError> {
        let (scheme, ip, port) = (self.scheme(), self.bound.ip(), self.bound.port());
        let mut origins = vec![Self { public_url: None, ..self }.address()];
        if ip.is_loopback() || ip.is_unspecified() {
            origins.push(format!("{scheme}://localhost:{port}"));
        }
        if !ip.is_loopback() {
            let name = host_name().to_ascii_lowercase();
            origins.extend([format!("{scheme}://{name}:{port}"), format!("{scheme}://{name}.local:{port}")]);
        }
        if let Some(url) = self.public_url {
            origins.push(public_origin(url)?);
        }
        Ok(origins)
    }

    /// Where previews of ports are, by `--preview-host`. Without it, browsers on this computer find them at
    /// subdomains of localhost; there is no such name for a server with a public URL.
    pub fn preview_host(self, option: Option<&str>) -> Result<Option<PreviewHost>, CommandError> {
        let address = self.address();
        let is_local = self.public_url.is_none_or(|url| host_of(url).is_some_and(|host| is_loopback(&host)));
        let origin = match option {
            Some("none") => return Ok(None),
            None if !is_local => return Ok(None),
            None => with_host(&address, "localhost"),
            Some(origin) if origin.contains("://") => Some(origin.to_owned()),
            Some(name) => with_host(&address, name),
        };
        let host = origin.as_deref().and_then(origin_parts);
        host.filter(|host| is_host_name(&host.name)).map(Some).ok_or_else(|| {
            let what = format!("Cannot use --preview-host {}: it must be a name", option.unwrap_or_default());
            CommandError::new(ErrorKind::Usage, what).hint("burrow up --preview-host preview.example.org")
        })
    }

    fn scheme(self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// The scheme and port of a URL, with another host.
fn with_host(url: &str, host: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}://{host}{port}", uri.scheme_str()?))
}

fn origin_parts(text: &str) -> Option<PreviewHost> {
    let uri: http::Uri = origin(text)?.parse().ok()?;
    let scheme = uri.scheme_str()?.to_owned();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some(PreviewHost { scheme, name: uri.host()?.to_owned(), port })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a text is a name that can have subdomains. An address cannot.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && !label.starts_with('-') && label.chars().all(is_inner)
    };
    text.parse::<IpAddr>().is_err() && text.split('.').all(is_label)
}

/// The names and addresses of a server that listens on `ip`, as they are in its certificate. `preview_name`:
/// whose subdomains are previews.
pub fn names(ip: IpAddr, public_url: Option<&str>, preview_name: Option<&str>) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !ip.is_loopback() {
        let host = host_name().to_ascii_lowercase();
        names.extend([format!("{host}.local"), host]);
    }
    if ip.is_unspecified() {
        names.extend(addresses_of_this_computer().iter().map(ToString::to_string));
    } else {
        names.push(ip.to_string());
    }
    names.extend(public_url.and_then(host_of));
    names.extend(preview_name.map(|name| format!("*.{name}")));
    let is_name = |name: &String| {
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
        name.parse::<IpAddr>().is_ok() || (!name.starts_with('.') && name.chars().all(is_host))
    };
    names.retain(is_name);
    names
}

/// The name or address in a URL.
fn host_of(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    Some(uri.host()?.trim_matches(['[', ']']).to_ascii_lowercase())
}

/// The addresses of this computer's network interfaces, without loopback and without our own
/// links to sandboxes.
fn addresses_of_this_computer() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter(|interface| !runner::network::is_sandbox_link(&interface.interface_name))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
        })
        .filter(|ip| !ip.is_loopback() && !is_link_local(*ip))
        .collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn user_name() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "root".to_owned())
}

/// The origin of `--public-url`.
pub fn public_origin(url: &str) -> Result<String, CommandError> {
    origin(url).ok_or_else(|| {
        let what = format!("Cannot use --public-url {url}: it must be a scheme and a host");
        CommandError::new(ErrorKind::Usage, what).hint("burrow up --public-url https://burrow.example.org")
    })
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

    fn endpoint<'a>(bound: &str, public_url: Option<&'a str>) -> Endpoint<'a> {
        Endpoint { bound: bound.parse().expect("valid"), public_url, is_tls: false }
    }

    #[test]
    fn names_are_those_of_the_listener() {
        let loopback = names(IpAddr::from([127, 0, 0, 1]), None, Some("localhost"));
        assert_eq!(loopback, ["localhost", "127.0.0.1", "::1", "127.0.0.1", "*.localhost"]);
        let one = names(IpAddr::from([192, 0, 2, 7]), Some("https://Lab.Example.org:8443"), None);
        assert!(
            one.contains(&"192.0.2.7".to_owned()) && one.contains(&"lab.example.org".to_owned()),
            "{one:?}"
        );
    }

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
        let loopback = endpoint("127.0.0.1:80", None).origins().expect("valid");
        assert_eq!(loopback, ["http://127.0.0.1:80", "http://localhost:80"]);
        let name = host_name().to_ascii_lowercase();
        let all = endpoint("0.0.0.0:8080", None).origins().expect("valid");
        assert!(all.contains(&format!("http://{name}:8080")), "{all:?}");
        let encrypted = Endpoint { is_tls: true, ..endpoint("0.0.0.0:8080", None) }.origins().expect("valid");
        assert!(encrypted.iter().all(|origin| origin.starts_with("https://")), "{encrypted:?}");
    }

    #[test]
    fn previews_have_a_host_by_default_or_option() {
        let host = |url, option| endpoint("127.0.0.1:8080", url).preview_host(option);
        let origin = |url, option| {
            let host = host(url, option).expect("valid");
            host.map(|PreviewHost { scheme, name, port }| format!("{scheme}://{name}:{port}"))
        };
        let public = Some("https://burrow.example");
        for (url, option, expected) in [
            (None, None, Some("http://localhost:8080")),
            (None, Some("none"), None),
            (None, Some("preview.example"), Some("http://preview.example:8080")),
            (public, None, None),
            (public, Some("Preview.example"), Some("https://preview.example:443")),
            (Some("https://burrow.example:8443/"), Some("p.example"), Some("https://p.example:8443")),
            (public, Some("http://p.example:81"), Some("http://p.example:81")),
            (Some("http://localhost:9000"), None, Some("http://localhost:9000")),
        ] {
            assert_eq!(origin(url, option).as_deref(), expected, "{url:?} {option:?}");
        }
        for option in ["", "a b", "1.2.3.4", "*.example", "a/b", "https://", "-x.example", "a..b"] {
            assert!(host(public, Some(option)).is_err(), "{option}");
        }
    }

    #[test]
    fn other_ways_in_depend_on_the_address() {
        let ways = |address: &str, url| endpoint(address, url).other_ways_in().join(" ");
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
            assert_eq!(endpoint(address, url).is_unencrypted(), expected, "{address} {url:?}");
        }
        assert!(!Endpoint { is_tls: true, ..endpoint("0.0.0.0:80", None) }.is_unencrypted());
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
