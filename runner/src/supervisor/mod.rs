//! The two processes of a runner.
//!
//! ```text
//! server ── spec ──▶ supervisor (root) ── starts ──▶ QEMU in its jail, or an OCI runtime
//!                        │ ▲
//!                  starts│ │ operations: a fixed list
//!                        ▼ │
//!                     session (a user without privileges) ── objects, reports ──▶ server
//! ```
//!
//! The *session* ([`session`]) does all that a runner does, and parses all that guests, viewers and the VMM
//! send: streams, disk requests, DNS, TLS handshakes, console lines, QEMU's answers. It serves the home: to
//! the VMM, or to the host's kernel, which mounts that of a container. It has a user of its own, no
//! capabilities, and a root directory with two directories: its sockets, and the cache of its home.
//! It starts no programs, and of the host's network it reaches only name servers ([`SESSION_USERS`]).
//!
//! The *supervisor* ([`process`]) keeps root for what needs it: the sandbox's network, cgroup, jail and
//! mounts. It parses the specification, which comes from the server, and [`messages::Operation`]s, and builds
//! what it executes (rules, the VMM's arguments, the container's configuration, paths) from the specification
//! itself. A session that was taken over can therefore ask it for nothing that does not concern its own
//! sandbox, except to remove a prototype, once, which another start then makes again.
//!
//! Neither outlives the other: the kernel kills the session with its supervisor, and the supervisor ends the
//! sandbox when the session exits, however it does.

use std::ops::RangeInclusive;

use protocol::runner::MAX_SLOT;

mod client;
mod host;
pub(crate) mod messages;
mod outcome;
mod process;
pub mod session;
mod socket;
mod system_calls;

#[cfg(test)]
pub(crate) use self::{host::SandboxHost, process::serve};
pub use client::{LaunchedVmm, OperationError, StartedContainer, Supervisor};
pub(crate) use host::{HostError, Performed, perform_on_network};
pub(crate) use outcome::write as write_outcome;
pub use process::{SupervisorError, supervise};

/// The users of sessions, one for each slot. Above those of containers.
pub(crate) const SESSION_USERS: RangeInclusive<u32> = 660_000..=660_000 + MAX_SLOT as u32;

/// The descriptor that a session inherits: its socket to the supervisor.
const SUPERVISOR_SOCKET: i32 = 4;
