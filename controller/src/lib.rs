//! The only place that decides who may do what and when a workspace runs, and the only one that writes the database.

mod accounts;
mod admission;
mod api;
mod audit;
mod authz;
mod classes;
mod collector;
mod config;
mod controller;
mod core;
mod db;
mod engine;
mod grants;
mod history;
mod hub;
mod installation;
mod keeper;
mod keys;
pub mod lifecycle;
mod limits;
mod password;
mod readers;
mod reports;
mod retention;
mod schedule;
mod secrets;
mod tar;
mod tenants;
#[cfg(test)]
mod tests;
mod workspaces;

pub use collector::{CollectError, Manifests, Marking, Reachable};
pub use config::{Config, EngineConfig, HistoryConfig};
pub use controller::{Controller, Parts, Persisted, Persisting, StartError};
pub use daemon::tasks::End;
pub use db::{DatabaseError, migrate};
pub use history::{NoPast, Past, PastError, PastHome};
pub use installation::{KeeperKind, Rotated, Rotation};
pub use keeper::{KeeperConfig, KeeperError, TokenSource, TransitConfig, TransitError};
pub use tenants::TenantError;

/// The API's description.
pub mod schema {
    pub use crate::api::openapi;
}

/// What reads bytes that a person sends, for whoever feeds it any.
pub mod fuzzing {
    /// A roster as it is pasted.
    pub fn roster(text: &[u8]) {
        let _ = crate::classes::roster::parse(text);
    }
}
