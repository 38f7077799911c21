//! The agent: Burrow's only service inside a guest. It serves terminals, files, documents and
//! programs over one HTTP/2 link, and in a microVM it is also PID 1.
//!
//! The agent knows no users, tenants or grants. The runner's front checks every request before it
//! reaches the link, and nothing outside the guest trusts what the agent answers.
//!
//! # Structure
//!
//! ```text
//! main → link → routes → state → terminals, documents, exec, files, git,
//!                                  languages, ports, guest
//!                                → user, socket, tasks
//! ```
//!
//! [`routes`] translates HTTP into calls on the parts of [`state::AgentState`]. The parts below it
//! know no routes, and each of them ([`guest`] included) works without the others, except that
//! documents are files of the home, and language servers read documents.

mod activity;
mod children;
mod documents;
mod error;
mod exec;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod git;
pub mod guest;
mod languages;
pub mod link;
mod login_path;
mod ports;
mod pressure;
pub mod routes;
mod socket;
pub mod state;
mod stats;
pub mod tasks;
mod terminals;
pub mod user;

pub use routes::openapi::openapi;

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in Unix milliseconds.
fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
