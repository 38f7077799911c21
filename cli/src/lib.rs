//! The `burrow` executable: arguments become roles and client commands.
//!
//! This library holds everything but `main`, so that tests stand at its walls. It decides nothing about workspaces.

pub mod arguments;
pub mod credentials;
pub mod failure;
pub mod output;
pub mod progress;
pub mod terminal;
pub mod up;
