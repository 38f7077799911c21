//! The only place that decides who may do what and when a workspace runs, and the only one that writes the database.

mod api;
mod audit;
mod authz;
mod classes;
mod config;
mod controller;
mod core;
mod db;
mod engine;
mod events;
mod identity;
mod installation;
mod kms;
mod lifecycle;
mod snapshots;
mod tenants;
#[cfg(test)]
mod tests;
mod workspaces;

pub use config::{Config, EngineConfig, HistoryConfig};
pub use controller::{Controller, Parts, Persisted, Persisting, StartError};
pub use daemon::ShutdownOutcome;
pub use db::{DatabaseError, migrate};
pub use installation::{KeeperKind, Rotated, Rotation};
pub use kms::{KeeperConfig, KeeperError, TokenSource, TransitConfig, TransitError};
pub use snapshots::{
    browser::{NoPast, Past, PastError, PastHome},
    gc::{CollectError, Manifests, Marking, Reachable},
};
pub use tenants::TenantError;

/// The API's description.
pub mod schema {
    pub use crate::api::openapi;
}

/// Entry points for the fuzz targets: parsers of text that users send.
pub mod fuzzing {
    /// Parses a pasted roster.
    pub fn roster(text: &[u8]) {
        let _ = crate::classes::roster::parse(text);
    }
}
