//! TCP ports that programs of a workspace listen on, their previews, and connections to them.
//!
//! A *preview* is the web server at a port, shown at an origin of its own: `PORT--WORKSPACE.<preview host>`
//! ([`PreviewHost`]). `GET ports` returns a [`PortList`]; the WebSocket `ports/watch` sends one at each
//! change. `ports/{port}/connect` is a WebSocket whose binary messages are the bytes of one connection.

use std::str::FromStr as _;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::WorkspaceId;

/// Most ports that are listed.
pub const MAX_LISTED_PORTS: usize = 200;
/// Most bytes of the name of a process.
pub const MAX_PROCESS_BYTES: usize = 64;
/// Paths of a preview's origin that the gateway serves itself.
pub const PREVIEW_PATH_PREFIX: &str = "/.burrow/";
/// Exchanges a ticket for the preview's cookie: `?ticket=…&to=/path`.
pub const PREVIEW_TICKET_PATH: &str = "/.burrow/ticket";
/// Says whether something listens on the port: 204 if so, else 503.
pub const PREVIEW_READY_PATH: &str = "/.burrow/ready";
/// Cookie of a preview, for browsers that keep secure cookies.
pub const PREVIEW_COOKIE: &str = "__Host-burrow-preview";
/// Cookie of a preview over plain http.
pub const PREVIEW_COOKIE_PLAIN: &str = "burrow-preview";

/// Answer to `GET ports`, and each message of `ports/watch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "ports": [{ "port": 3000, "process": "node", "pid": 412 }] }))]
pub struct PortList {
    /// The ports, in ascending order. At most 200.
    pub ports: Vec<ListeningPort>,
}

/// A TCP port that accepts connections on the guest's loopback interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "port": 3000, "process": "node", "pid": 412 }))]
pub struct ListeningPort {
    /// The port.
    pub port: u16,
    /// Name of the process that listens, as the guest states it. Empty if unknown.
    pub process: String,
    /// Id of the process. 0 if unknown.
    pub pid: u32,
}

/// Parses a port in its canonical form: decimal, without leading zeros, not 0.
pub fn parse_port(text: &str) -> Option<u16> {
    let port = u16::from_str(text).ok().filter(|port| *port != 0)?;
    (port.to_string() == text).then_some(port)
}

/// What is shown at one origin of a preview host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PreviewTarget {
    /// The port in the guest.
    pub port: u16,
    /// The workspace.
    pub workspace: WorkspaceId,
}

impl PreviewTarget {
    /// The label of its host name: `3000--0190f3a1-…`.
    pub fn label(&self) -> String {
        format!("{}--{}", self.port, self.workspace)
    }

    fn parse(label: &str) -> Option<Self> {
        let (port, workspace) = label.split_once("--")?;
        let id: WorkspaceId = workspace.parse().ok()?;
        Some(Self { port: parse_port(port)?, workspace: id }).filter(|target| target.label() == label)
    }
}

/// How a host name relates to the preview host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// Not below the preview host: the app's.
    Other,
    /// Below the preview host, but of no preview. Nothing may be served there.
    Unknown,
    /// A preview's.
    Preview(PreviewTarget),
}

/// Where previews are: one origin for each port of each workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewHost {
    /// `http` or `https`: what browsers use.
    pub scheme: String,
    /// The name whose subdomains are previews, in lower case: `localhost`, `preview.example.org`.
    pub name: String,
    /// The port that browsers use.
    pub port: u16,
}

impl PreviewHost {
    /// The origin of a preview, as browsers write it.
    pub fn origin(&self, target: PreviewTarget) -> String {
        self.origin_of(&target.label())
    }

    /// A source expression of a content security policy that stands for all previews.
    pub fn csp_source(&self) -> String {
        self.origin_of("*")
    }

    fn origin_of(&self, label: &str) -> String {
        let Self { scheme, name, port } = self;
        let default = if scheme == "https" { 443 } else { 80 };
        if *port == default {
            format!("{scheme}://{label}.{name}")
        } else {
            format!("{scheme}://{label}.{name}:{port}")
        }
    }

    /// Finds out what a host, with or without a port, stands for. The name of `localhost` itself is the
    /// app's, and so is any name that is not below the preview host.
    pub fn classify(&self, host: &str) -> HostKind {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let Some(label) = name.strip_suffix(&self.name).and_then(|rest| rest.strip_suffix('.')) else {
            return HostKind::Other;
        };
        PreviewTarget::parse(label).map_or(HostKind::Unknown, HostKind::Preview)
    }

    /// Finds the preview whose origin this is.
    pub fn parse_origin(&self, origin: &str) -> Option<PreviewTarget> {
        let (_, host) = origin.split_once("://")?;
        match self.classify(host) {
            HostKind::Preview(target) if self.origin(target) == origin => Some(target),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> PreviewHost {
        PreviewHost { scheme: "http".to_owned(), name: name.to_owned(), port: 8080 }
    }

    #[test]
    fn host_is_of_the_app_or_a_preview() {
        let workspace = WorkspaceId::random();
        let host = host("preview.example");
        let preview = HostKind::Preview(PreviewTarget { port: 3000, workspace });
        let cases = [
            (format!("3000--{workspace}.preview.example:8080"), preview),
            (format!("3000--{workspace}.preview.example"), preview),
            (format!("3000--{workspace}.preview.example."), preview),
            (format!("3000--{workspace}.PREVIEW.example:8080"), preview),
            ("preview.example".to_owned(), HostKind::Other),
            ("burrow.example".to_owned(), HostKind::Other),
            (format!("3000--{workspace}.xpreview.example"), HostKind::Other),
            (format!("3000--{workspace}.preview.example.evil"), HostKind::Other),
            ("127.0.0.1:8080".to_owned(), HostKind::Other),
            ("[::1]:8080".to_owned(), HostKind::Other),
            (String::new(), HostKind::Other),
            (".preview.example".to_owned(), HostKind::Unknown),
            ("www.preview.example".to_owned(), HostKind::Unknown),
            (format!("x.3000--{workspace}.preview.example"), HostKind::Unknown),
            (format!("0--{workspace}.preview.example"), HostKind::Unknown),
            (format!("03000--{workspace}.preview.example"), HostKind::Unknown),
            (format!("+3000--{workspace}.preview.example"), HostKind::Unknown),
            (format!("65536--{workspace}.preview.example"), HostKind::Unknown),
            (format!("3000-{workspace}.preview.example"), HostKind::Unknown),
            (format!("3000--{}.preview.example", workspace.0.simple()), HostKind::Unknown),
            ("3000--demo.preview.example".to_owned(), HostKind::Unknown),
        ];
        for (text, expected) in cases {
            assert_eq!(host.classify(&text), expected, "{text}");
        }
    }

    #[test]
    fn localhost_itself_is_of_the_app() {
        let workspace = WorkspaceId::random();
        assert_eq!(host("localhost").classify("localhost:8080"), HostKind::Other);
        let preview = HostKind::Preview(PreviewTarget { port: 80, workspace });
        assert_eq!(host("localhost").classify(&format!("80--{workspace}.localhost:8080")), preview);
    }

    #[test]
    fn origins_round_trip() {
        let target = PreviewTarget { port: 5173, workspace: WorkspaceId::random() };
        let secure = PreviewHost { scheme: "https".to_owned(), name: "p.example".to_owned(), port: 443 };
        let origin = secure.origin(target);
        assert_eq!(origin, format!("https://5173--{}.p.example", target.workspace));
        assert_eq!(secure.parse_origin(&origin), Some(target));
        assert_eq!(secure.csp_source(), "https://*.p.example");
        assert_eq!(
            host("p.example").origin(target),
            format!("http://5173--{}.p.example:8080", target.workspace)
        );
        for foreign in [origin.replace("https", "http"), format!("{origin}:8443"), format!("{origin}/")] {
            assert_eq!(secure.parse_origin(&foreign), None, "{foreign}");
        }
    }
}
