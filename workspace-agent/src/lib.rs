//! The agent in the machine: terminals, files, shared documents and programs over one HTTP/2 link, and, as PID 1, the machine
//! itself.
//!
//! Knows no users, tenants or grants: whoever reaches it over the link has been let in outside the machine, and nothing that
//! it says is believed there.

pub mod app;
mod children;
mod documents;
mod exec;
mod files;
pub mod fuzzing;
pub mod link;
pub mod machine;
pub mod person;
mod problem;
mod socket;
mod stats;
mod terminals;

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds.
fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
