//! The agent's HTTP routes: the list, who may use each, and the messages of those that only the runner uses.
//!
//! The agent serves HTTP/2 over one byte stream. The public path `/api/v1/workspaces/{id}/agent/<rest>` maps to the agent's
//! `/v1/<rest>`. A route that [`Route::of`] does not know is not relayed; `bootstrap`, `freeze`, `thaw`, `grow` and `health` are
//! the runner's own and never relayed.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::grant::Access;

/// Name of the virtio-serial port that carries the link.
pub const PORT_NAME: &str = "burrow.agent";

/// Bytes that begin a link, followed by [`NONCE_BYTES`] of the runner's choice. The agent discards everything until it has
/// read the magic, echoes magic and nonce, and then both speak HTTP/2 (the agent is the server). Bytes of an earlier link
/// are thereby never read as the new one's.
pub const LINK_MAGIC: [u8; 16] = *b"\0burrow-link-1\r\n";
pub const NONCE_BYTES: usize = 16;

/// Set by the runner's front on every relayed request, whatever the client sent: `read` or `write`. For politeness only
/// (what to show, whose size counts): what a reader may not do, the front does not pass on.
pub const ACCESS_HEADER: &str = "x-burrow-access";

pub const BOOTSTRAP: &str = "/v1/bootstrap";
pub const FREEZE: &str = "/v1/freeze";
pub const THAW: &str = "/v1/thaw";
pub const HEALTH: &str = "/v1/health";
/// `POST`, [`Grow`]: the home's file system grows while it is used.
pub const GROW: &str = "/v1/grow";

/// Serials of the machine's disks, by which the guest tells them apart: the read-only root, the layer above it that dies with
/// the machine, and the home.
pub const ROOT_SERIAL: &str = "burrow-root";
pub const SCRATCH_SERIAL: &str = "burrow-scratch";
pub const HOME_SERIAL: &str = "burrow-home";

/// Size of the home's disk as the guest sees it, whatever the home's size: its file system fills as much of it as the home
/// has, and the host refuses what is written beyond. So a home can grow while it is used.
pub const HOME_DISK_BYTES: u64 = 1 << 40;

/// The machine's network, the same in every guest: it lives in a network namespace of its own.
pub const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 2);
pub const GUEST_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 1);
pub const GUEST_PREFIX: u8 = 30;

/// What a new machine is told. The agent answers once the home is mounted and a shell could start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    pub hostname: String,
    /// Unix nanoseconds: a guest without a battery clock starts in the past.
    pub clock_unix_nanos: i64,
    /// 32 bytes or more, for the guest's random pool; hexadecimal.
    pub entropy: String,
    /// Bounds processes of the user, so that a fork bomb leaves room for a terminal.
    pub pids_max: u32,
    /// Whether there is an `eth0` to configure.
    pub network: bool,
    /// Whom the guest asks for names.
    #[serde(default)]
    pub nameservers: Vec<std::net::IpAddr>,
    /// As [`Grow::home_bytes`]. 0: the whole disk.
    #[serde(default)]
    pub home_bytes: u64,
}

/// The home's file system is to fill so many bytes of its disk, which is larger: what a home may take is the host's to say,
/// and grows without a change of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grow {
    pub home_bytes: u64,
}

/// The answer to [`Bootstrap`] and to `GET health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Version of the agent's build.
    pub version: String,
    pub ready: bool,
    #[serde(default)]
    pub home_used_bytes: u64,
    #[serde(default)]
    pub home_size_bytes: u64,
}

/// `GET stats`: for the status bar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stats {
    pub load_1m: f32,
    pub memory_used_bytes: u64,
    pub memory_total_bytes: u64,
    pub home_used_bytes: u64,
    pub home_total_bytes: u64,
    pub uptime_seconds: u64,
    pub terminals: u32,
    pub documents: u32,
}

/// Kinds of stream, by which a relay knows how to treat a read-only viewer's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Terminal,
    Document,
    Files,
    Exec,
    Stats,
}

/// A relayed route: what it is and the access it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub kind: Kind,
    /// The least access that may open it. A socket of a terminal or a document may be opened by a reader, whose messages
    /// then pass [`viewer_may_send`].
    pub access: Access,
    /// Whether it is a WebSocket (extended CONNECT on the inner links).
    pub socket: bool,
    /// Most bytes of a request body.
    pub body_bytes_max: u64,
}

/// Most bytes of a JSON request body.
pub const MAX_JSON_BYTES: u64 = 64 * 1024;
/// Most bytes of one uploaded file.
pub const MAX_UPLOAD_BYTES: u64 = 1024 * 1024 * 1024;
/// Most bytes of one WebSocket message in either direction.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

impl Route {
    /// Finds the route of `path` (below `/v1/`, without the query) for `method`. WebSocket routes take `GET` (HTTP/1.1
    /// upgrade) and `CONNECT` (HTTP/2). `None`: not relayed.
    pub fn of(method: &str, path: &str) -> Option<Self> {
        use Access::{Read, Write};
        use Kind::{Document, Exec, Files, Stats, Terminal};
        let segments: Vec<&str> = path.split('/').collect();
        let socket = matches!(method, "GET" | "CONNECT");
        let (kind, access, socket, body_bytes_max) = match (method, segments.as_slice()) {
            ("GET", ["terminals"]) => (Terminal, Read, false, 0),
            ("POST", ["terminals"]) => (Terminal, Write, false, MAX_JSON_BYTES),
            ("GET", ["terminals", id]) if is_id(id) => (Terminal, Read, false, 0),
            ("DELETE", ["terminals", id]) if is_id(id) => (Terminal, Write, false, 0),
            (_, ["terminals", id, "attach"]) if socket && is_id(id) => (Terminal, Read, true, 0),
            (_, ["exec"]) if socket => (Exec, Write, true, 0),
            ("GET", ["files"]) | ("GET" | "HEAD", ["files", "content"]) => (Files, Read, false, 0),
            ("PUT", ["files", "content"]) => (Files, Write, false, MAX_UPLOAD_BYTES),
            ("POST", ["files", "directory" | "rename"]) => (Files, Write, false, MAX_JSON_BYTES),
            ("DELETE", ["files"]) => (Files, Write, false, 0),
            (_, ["files", "watch"]) if socket => (Files, Read, true, 0),
            (_, ["documents"]) if socket => (Document, Read, true, 0),
            ("GET", ["stats"]) => (Stats, Read, false, 0),
            _ => return None,
        };
        Some(Self { kind, access, socket, body_bytes_max })
    }
}

fn is_id(text: &str) -> bool {
    text.parse::<crate::TerminalId>().is_ok()
}

/// Whether a read-only viewer's WebSocket message may pass on to the guest.
pub fn viewer_may_send(kind: Kind, binary: bool, message: &[u8]) -> bool {
    match kind {
        Kind::Terminal => binary && crate::terminal::is_acknowledgement(message),
        Kind::Document => binary && crate::document::is_question(message),
        Kind::Files => true, // `watch` and `unwatch`: what to look at
        Kind::Exec | Kind::Stats => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_own_routes_are_not_relayed() {
        for path in [BOOTSTRAP, FREEZE, THAW, GROW, HEALTH] {
            let rest = path.strip_prefix("/v1/").expect("all begin so");
            for method in ["GET", "POST", "CONNECT", "PUT", "DELETE"] {
                assert_eq!(Route::of(method, rest), None, "{method} {rest}");
            }
        }
    }

    #[test]
    fn crooked_paths_are_no_routes() {
        for path in [
            "",
            "/",
            "files/",
            "files//content",
            "./files",
            "files/../bootstrap",
            "terminals/x",
            "FILES",
            "files%2fcontent",
        ] {
            assert_eq!(Route::of("GET", path), None, "{path}");
        }
    }

    #[test]
    fn what_changes_the_guest_needs_write() {
        let id = crate::TerminalId::random();
        for (method, path) in [
            ("POST", "terminals".to_owned()),
            ("DELETE", format!("terminals/{id}")),
            ("GET", "exec".to_owned()),
            ("PUT", "files/content".to_owned()),
            ("POST", "files/directory".to_owned()),
            ("POST", "files/rename".to_owned()),
            ("DELETE", "files".to_owned()),
        ] {
            assert_eq!(Route::of(method, &path).expect("a route").access, Access::Write, "{method} {path}");
        }
    }
}
