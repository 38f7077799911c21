//! The two processes of a runner whose sandbox is a virtual machine.
//!
//! ```text
//! server ── spec ──▶ supervisor (root) ── starts ──▶ QEMU, in its jail
//!                        │ ▲
//!                  starts│ │ operations: a fixed list
//!                        ▼ │
//!                     session (a user without privileges) ── objects, reports ──▶ server
//! ```
//!
//! The *session* ([`session`]) does all that a runner does, and parses all that guests, viewers and the VMM
//! send: streams, disk requests, DNS, TLS handshakes, console lines, QEMU's answers. It has a user of its
//! own, no capabilities, and a root directory with two directories: its sockets, and the cache of its home.
//! It starts no programs, and of the host's network it reaches only name servers
//! ([`SESSION_USERS`]).
//!
//! The *supervisor* ([`process`]) keeps root for what needs it: the sandbox's network, cgroup and jail. It
//! parses the specification, which comes from the server, and [`messages::Operation`]s, and builds what it
//! executes (rules, the VMM's arguments, paths) from the specification itself. A session that was taken over
//! can therefore ask it for nothing that does not concern its own sandbox, except to remove a prototype,
//! once, which another start then makes again.
//!
//! Neither outlives the other: the kernel kills the session with its supervisor, and the supervisor ends the
//! sandbox when the session exits, however it does.

use std::ops::RangeInclusive;

use protocol::runner::MAX_SLOT;

mod client;
pub(crate) mod messages;
mod process;
pub mod session;
mod socket;
mod system_calls;

pub use client::{LaunchedVmm, OperationError, Supervisor};
pub use process::{SupervisorError, supervise};

/// The users of sessions, one for each slot. Above those of containers.
pub(crate) const SESSION_USERS: RangeInclusive<u32> = 660_000..=660_000 + MAX_SLOT as u32;

/// The descriptor that a session inherits: its socket to the supervisor.
const SUPERVISOR_SOCKET: i32 = 4;
