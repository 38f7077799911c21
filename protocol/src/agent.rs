//! The agent's HTTP routes: which exist, what access each needs, and the messages that only the
//! runner exchanges with the agent.
//!
//! The agent serves HTTP/2 over one byte stream, the *link*. Clients reach it through the gateway:
//! the public path `/api/v1/workspaces/{id}/agent/<rest>` maps to the agent's `/v1/<rest>`. The
//! gateway relays only the routes that [`Route::of`] knows, and connects previews to the one of
//! [`Route::of_preview`]; the front also relays those of the controller, [`Route::of_controller`].
//! `bootstrap`, `freeze`, `thaw`, `grow`, `clock` and `health` belong to the runner and are never relayed.
//!
//! The messages of the relayed routes are in [`crate::terminal`], [`crate::files`],
//! [`crate::document`], [`crate::search`], [`crate::git`], [`crate::languages`], [`crate::ports`] and
//! [`crate::exec`].

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{
    Access,
    git::MAX_RUN_BYTES,
    restore::{MAX_ARCHIVE_BYTES, MAX_COMPARE_BYTES},
    search::MAX_EDIT_BYTES,
};

/// Name of the virtio-serial port that carries the link.
pub const PORT_NAME: &str = "burrow.agent";

/// What the agent prints on the guest's console when the guest has booted, runs nothing but the agent, and
/// waits for its [`BootstrapRequest`].
pub const WAITING_MARK: &str = "the guest waits for its identity";

/// First bytes of a link, followed by a nonce of [`NONCE_BYTES`] that the runner chooses.
///
/// The agent discards all bytes up to the magic, then echoes magic and nonce. From then on both
/// sides speak HTTP/2, with the agent as the server. This keeps leftover bytes of an earlier link
/// out of the new one.
pub const LINK_MAGIC: [u8; 16] = *b"\0burrow-link-1\r\n";
/// Length of the nonce that follows [`LINK_MAGIC`].
pub const NONCE_BYTES: usize = 16;

/// Header that carries the caller's access, `read` or `write`. The runner's front sets it on every
/// relayed request and overwrites what the client sent.
///
/// The agent uses it only to decide what to show and whose terminal size counts. The front itself
/// drops messages that a read-only viewer may not send.
pub const ACCESS_HEADER: &str = "x-burrow-access";

/// `POST` [`BootstrapRequest`] → [`Health`].
pub const BOOTSTRAP: &str = "/v1/bootstrap";
/// `POST`: saves all edits and freezes the home's file system.
pub const FREEZE: &str = "/v1/freeze";
/// `POST`: thaws the home's file system.
pub const THAW: &str = "/v1/thaw";
/// `POST` [`ClockRequest`]: corrects the guest's clock.
pub const CLOCK: &str = "/v1/clock";
/// `GET` → [`Health`].
pub const HEALTH: &str = "/v1/health";
/// `POST` [`GrowRequest`]: enlarges the home's file system while it is mounted.
pub const GROW: &str = "/v1/grow";
/// Path: shows a message to everybody who looks at a terminal.
pub const NOTICE: &str = "/v1/notice";

/// Serial of the disk that holds the image, the read-only root file system.
pub const ROOT_SERIAL: &str = "burrow-root";
/// Serial of the disk that holds the writable layer above the image. It is deleted with the
/// sandbox.
pub const SCRATCH_SERIAL: &str = "burrow-scratch";
/// Serial of the home's disk.
pub const HOME_SERIAL: &str = "burrow-home";

/// Size of the home's disk as the guest sees it, the same for every home.
///
/// The file system covers only as much of the disk as the home's size allows, and the host refuses
/// writes beyond that. A home can therefore grow while it is mounted, without a change of the disk.
pub const HOME_DISK_BYTES: u64 = 1 << 40;

/// Address of every guest: each sandbox has a network namespace to itself.
pub const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 2);
/// The guest's default gateway: the host's end of the link.
pub const GUEST_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 111, 0, 1);
/// Prefix length of the guest's network.
pub const GUEST_PREFIX: u8 = 30;

/// What the runner sends to a guest that has just booted. The agent answers once the home is
/// mounted and a shell can start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapRequest {
    /// Host name of the guest.
    pub hostname: String,
    /// Unix nanoseconds. A guest without a battery-backed clock boots with a time in the past.
    pub clock_unix_nanos: i64,
    /// At least 32 bytes for the guest's random pool, in hexadecimal.
    pub entropy: String,
    /// `/etc/machine-id`: 32 hexadecimal digits, the same at each start of the workspace.
    pub machine_id: String,
    /// Most processes of the user. The bound keeps room for a terminal during a fork bomb.
    pub pids_max: u32,
    /// Name servers for `/etc/resolv.conf`.
    #[serde(default)]
    pub nameservers: Vec<std::net::IpAddr>,
    /// Size of the home, as in [`GrowRequest::home_bytes`]. 0 means the whole disk.
    #[serde(default)]
    pub home_bytes: u64,
}

/// Asks the agent to enlarge the home's file system. See [`HOME_DISK_BYTES`] for why the disk
/// itself stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrowRequest {
    /// Size that the file system gets, in bytes.
    pub home_bytes: u64,
}

/// The host's time. Sent every few seconds, because an emulated guest's clock runs slow on a busy host
/// and stands still while the host sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRequest {
    /// Unix nanoseconds.
    pub unix_nanos: i64,
}

/// Answer to [`BootstrapRequest`] and to `GET` [`HEALTH`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Version of the agent's build.
    pub version: String,
    /// Whether the home is mounted and programs can start.
    pub ready: bool,
    /// Used bytes of the home's file system.
    #[serde(default)]
    pub home_used_bytes: u64,
    /// Total bytes of the home's file system.
    #[serde(default)]
    pub home_size_bytes: u64,
    /// Bytes that the user can still write to the home. `None` if unknown.
    #[serde(default)]
    pub home_free_bytes: Option<u64>,
    /// Files that the user can still create in the home. `None` if unknown or unlimited.
    #[serde(default)]
    pub home_free_inodes: Option<u64>,
    /// What programs lack at the moment, if anything.
    #[serde(default)]
    pub pressure: Option<Pressure>,
    /// With [`Pressure::OutOfMemory`]: the name of the program, as the guest states it.
    #[serde(default)]
    pub killed_program: Option<String>,
    /// For how long nobody has used the workspace, and nothing has run in it that somebody waits for.
    #[serde(default)]
    pub idle_seconds: u64,
    /// Programs in the foreground of terminals, as the guest names them. At most
    /// [`crate::idle::MAX_AWAKE_REASONS`].
    #[serde(default)]
    pub jobs: Vec<String>,
    /// Whether a program of `exec` runs.
    #[serde(default)]
    pub has_exec: bool,
    /// Whether programs use the CPUs.
    #[serde(default)]
    pub is_cpu_busy: bool,
}

/// A limit of the sandbox that its programs have reached within the last moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pressure {
    /// The kernel has ended a program because memory ran out.
    OutOfMemory,
    /// A process could not be created, because there are as many as allowed.
    ProcessLimit,
}

/// A message for everybody who looks at a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRequest {
    /// One line of plain text.
    pub text: String,
}

/// Answer to `GET stats`: what the status bar shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stats {
    /// Load average of the last minute.
    pub load_1m: f32,
    /// Memory that is not available to new programs.
    pub memory_used_bytes: u64,
    /// Memory of the sandbox.
    pub memory_total_bytes: u64,
    /// Used bytes of the home's file system.
    pub home_used_bytes: u64,
    /// Total bytes of the home's file system.
    pub home_total_bytes: u64,
    /// Seconds since the guest booted.
    pub uptime_seconds: u64,
    /// Open terminals, including those whose program has ended.
    pub terminals: u32,
    /// Open documents.
    pub documents: u32,
}

/// What a relayed route is about. Relays treat a read-only viewer's messages by it, see
/// [`viewer_may_send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// The terminal list, and attaching to a terminal.
    Terminal,
    /// An open document.
    Document,
    /// Files of the home, and watching directories.
    Files,
    /// Git repositories of the home, and watching one.
    Git,
    /// Language servers: what they know, and their restart.
    Languages,
    /// Running one program.
    Exec,
    /// Figures for the status bar.
    Stats,
    /// Ports that programs listen on, and connections to them.
    Ports,
}

/// A relayed route: what it is and the access that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the route is about.
    pub kind: RouteKind,
    /// The least access that may open the route. A read-only viewer may open the WebSocket of a
    /// terminal or document; its messages then have to pass [`viewer_may_send`].
    pub access: Access,
    /// Whether the route is a WebSocket (extended CONNECT on the inner links).
    pub is_websocket: bool,
    /// Most bytes of a request body.
    pub max_body_bytes: u64,
    /// The port of a preview's stream. Only a grant for this port opens the route.
    pub preview_port: Option<u16>,
}

/// Most bytes of a JSON request body.
pub const MAX_JSON_BYTES: u64 = 64 * 1024;
/// Most bytes of one uploaded file.
pub const MAX_UPLOAD_BYTES: u64 = 1024 * 1024 * 1024;
/// Most bytes of one WebSocket message in either direction.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// What can be read of a repository.
const GIT_READS: [&str; 7] = ["repositories", "status", "references", "log", "diff", "content", "blame"];

impl Route {
    /// Finds the route of `path` (below `/v1/`, without the query) for `method`. WebSocket routes
    /// accept `GET` (HTTP/1.1 upgrade) and `CONNECT` (HTTP/2). Returns `None` for a route that must
    /// not be relayed.
    pub fn of(method: &str, path: &str) -> Option<Self> {
        use Access::{Read, Write};
        use RouteKind::{Document, Exec, Files, Git, Languages, Ports, Stats, Terminal};
        let segments: Vec<&str> = path.split('/').collect();
        let upgrades = matches!(method, "GET" | "CONNECT");
        let (kind, access, is_websocket, max_body_bytes) = match (method, segments.as_slice()) {
            ("GET", ["terminals"]) => (Terminal, Read, false, 0),
            ("POST", ["terminals"]) => (Terminal, Write, false, MAX_JSON_BYTES),
            ("GET", ["terminals", id]) if is_terminal_id(id) => (Terminal, Read, false, 0),
            ("DELETE", ["terminals", id]) if is_terminal_id(id) => (Terminal, Write, false, 0),
            ("POST", ["terminals", id, "rename"]) if is_terminal_id(id) => {
                (Terminal, Write, false, MAX_JSON_BYTES)
            }
            ("POST", ["terminals", id, "clear"]) if is_terminal_id(id) => (Terminal, Write, false, 0),
            (_, ["terminals", id, "attach"]) if upgrades && is_terminal_id(id) => (Terminal, Read, true, 0),
            (_, ["exec"]) if upgrades => (Exec, Write, true, 0),
            ("GET", ["files"] | ["files", "find" | "search"]) | ("GET" | "HEAD", ["files", "content"]) => {
                (Files, Read, false, 0)
            }
            ("PUT", ["files", "content"]) => (Files, Write, false, MAX_UPLOAD_BYTES),
            ("POST", ["files", "directory" | "rename" | "copy"]) => (Files, Write, false, MAX_JSON_BYTES),
            ("DELETE", ["files"]) => (Files, Write, false, 0),
            (_, ["files", "watch"]) if upgrades => (Files, Read, true, 0),
            (_, ["documents"]) if upgrades => (Document, Read, true, 0),
            ("POST", ["documents", "overwrite"]) => (Document, Write, false, MAX_JSON_BYTES),
            ("POST", ["documents", "edit"]) => (Document, Write, false, MAX_EDIT_BYTES),
            ("GET", ["git", name]) if GIT_READS.contains(name) => (Git, Read, false, 0),
            (_, ["git", "watch"]) if upgrades => (Git, Read, true, 0),
            ("POST", ["git", "run"]) => (Git, Write, false, MAX_RUN_BYTES),
            ("POST", ["git", "answer"]) => (Git, Write, false, MAX_JSON_BYTES),
            (_, ["languages", "watch"]) if upgrades => (Languages, Read, true, 0),
            ("POST", ["languages", "query"]) => (Languages, Read, false, MAX_JSON_BYTES),
            ("POST", ["languages", "rename" | "apply" | "undo" | "restart"]) => {
                (Languages, Write, false, MAX_JSON_BYTES)
            }
            ("GET", ["stats"]) => (Stats, Read, false, 0),
            ("GET", ["ports"]) => (Ports, Read, false, 0),
            (_, ["ports", "watch"]) if upgrades => (Ports, Read, true, 0),
            (_, ["ports", port, "connect"]) if upgrades && is_port(port) => (Ports, Write, true, 0),
            _ => return None,
        };
        Some(Self { kind, access, is_websocket, max_body_bytes, preview_port: None })
    }

    /// Finds the route that carries one connection of a preview, by its path below `/v1/`. Its bytes are
    /// those of the connection, without WebSocket frames, so it is for our own links only: no client
    /// reaches it by its path.
    pub fn of_preview(method: &str, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').collect();
        let ("CONNECT", ["ports", port, "stream"]) = (method, segments.as_slice()) else { return None };
        let preview_port = Some(crate::ports::parse_port(port)?);
        let (kind, access) = (RouteKind::Ports, Access::Write);
        Some(Self { kind, access, is_websocket: true, max_body_bytes: 0, preview_port })
    }

    /// The path below `/v1/` of [`Self::of_preview`].
    pub fn preview_path(port: u16) -> String {
        format!("ports/{port}/stream")
    }

    /// Finds a route that only the controller may open, by its path below `/v1/`. The front admits
    /// it with a grant, like the others; the gateway does not know it.
    pub fn of_controller(method: &str, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').collect();
        let max_body_bytes = match (method, segments.as_slice()) {
            ("POST", ["restores", "compare"]) => MAX_COMPARE_BYTES,
            ("POST", ["restores", id]) if is_restore_id(id) => MAX_JSON_BYTES,
            ("POST", ["restores", id, "entries"]) if is_restore_id(id) => MAX_ARCHIVE_BYTES,
            ("POST", ["restores", id, "finish" | "undo"]) if is_restore_id(id) => MAX_JSON_BYTES,
            _ => return None,
        };
        let (kind, access) = (RouteKind::Files, Access::Write);
        Some(Self { kind, access, is_websocket: false, max_body_bytes, preview_port: None })
    }
}

fn is_port(text: &str) -> bool {
    crate::ports::parse_port(text).is_some()
}

fn is_restore_id(text: &str) -> bool {
    text.parse::<crate::RestoreId>().is_ok()
}

fn is_terminal_id(text: &str) -> bool {
    text.parse::<crate::TerminalId>().is_ok()
}

/// Whether a relay passes a read-only viewer's WebSocket message on to the guest.
pub fn viewer_may_send(kind: RouteKind, binary: bool, message: &[u8]) -> bool {
    match kind {
        RouteKind::Terminal => binary && crate::terminal::is_for_viewing(message),
        RouteKind::Document => binary && crate::document::is_query(message),
        // Only watch requests, which change nothing.
        RouteKind::Files | RouteKind::Git | RouteKind::Languages => true,
        RouteKind::Ports => true, // only pings of a watch: a connection needs write access
        RouteKind::Exec | RouteKind::Stats => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    mod route {
        use super::*;

        #[test]
        fn of_runner_paths_is_none() {
            for path in [BOOTSTRAP, FREEZE, THAW, GROW, CLOCK, HEALTH] {
                let rest = path.strip_prefix("/v1/").expect("every path begins with /v1/");
                for method in ["GET", "POST", "CONNECT", "PUT", "DELETE"] {
                    assert_eq!(Route::of(method, rest), None, "{method} {rest}");
                }
            }
        }

        #[test]
        fn of_controller_needs_write_access() {
            let id = crate::RestoreId::random();
            for path in
                ["restores/compare".to_owned(), format!("restores/{id}"), format!("restores/{id}/undo")]
            {
                let route = Route::of_controller("POST", &path).expect("a route");
                assert_eq!(route.access, Access::Write, "{path}");
                assert_eq!(Route::of("POST", &path), None, "{path}");
            }
            for path in ["restores", "restores/x", "restores/compare/undo", "files"] {
                assert_eq!(Route::of_controller("POST", path), None, "{path}");
            }
        }

        #[test]
        fn of_preview_is_for_links_only() {
            let path = Route::preview_path(3000);
            let route = Route::of_preview("CONNECT", &path).expect("a route");
            assert_eq!((route.access, route.preview_port), (Access::Write, Some(3000)));
            for method in ["GET", "POST", "CONNECT"] {
                assert_eq!(Route::of(method, &path), None, "{method}");
                assert_eq!(Route::of_controller(method, &path), None, "{method}");
            }
            for path in ["ports/0/stream", "ports/3000/connect", "ports/3000/stream/x"] {
                assert_eq!(Route::of_preview("CONNECT", path), None, "{path}");
            }
            assert_eq!(Route::of_preview("GET", &path), None);
        }

        #[test]
        fn of_malformed_paths_is_none() {
            for path in [
                "",
                "/",
                "files/",
                "files//content",
                "./files",
                "files/../bootstrap",
                "terminals/x",
                "ports/0/connect",
                "ports/03000/connect",
                "ports/65536/connect",
                "FILES",
                "files%2fcontent",
            ] {
                assert_eq!(Route::of("GET", path), None, "{path}");
            }
        }

        #[test]
        fn that_changes_the_guest_needs_write_access() {
            let id = crate::TerminalId::random();
            for (method, path) in [
                ("POST", "terminals".to_owned()),
                ("POST", format!("terminals/{id}/rename")),
                ("POST", format!("terminals/{id}/clear")),
                ("DELETE", format!("terminals/{id}")),
                ("GET", "exec".to_owned()),
                ("GET", "ports/3000/connect".to_owned()),
                ("PUT", "files/content".to_owned()),
                ("POST", "files/directory".to_owned()),
                ("POST", "files/rename".to_owned()),
                ("POST", "files/copy".to_owned()),
                ("POST", "documents/overwrite".to_owned()),
                ("POST", "documents/edit".to_owned()),
                ("DELETE", "files".to_owned()),
                ("POST", "git/run".to_owned()),
                ("POST", "git/answer".to_owned()),
                ("POST", "languages/rename".to_owned()),
                ("POST", "languages/apply".to_owned()),
                ("POST", "languages/undo".to_owned()),
                ("POST", "languages/restart".to_owned()),
            ] {
                let route = Route::of(method, &path).expect("a route");
                assert_eq!(route.access, Access::Write, "{method} {path}");
            }
        }
    }
}
