//! The controller: it decides who may do what and when a workspace runs, and it is the only writer
//! of the database.
//!
//! ```text api ─▶ workspaces, classes, tenants ─▶ budgets ─▶ core ─▶ lifecycle, engine, snapshots,
//! identity, kms ─▶ db ─▶ authz
//! ```
//!
//! - [`lifecycle`] is the pure heart: which phase follows which event. [`workspaces`] has the
//!   reconciler, which applies the events of time, and the reports of runners.
//! - [`budgets`] decides whether a user, a class and a tenant may use more; the decision is pure.
//! - [`disk`] measures the host's disk and divides it; its decisions are pure.
//! - [`snapshots`] are a home's history; [`kms`] protects the keys that encrypt it.
//! - [`authz`] is the table of permissions. A database transaction of a user needs its proof.
//! - [`api`] is the only module that knows HTTP. No module imports one that imports it.

mod api;
mod audit;
mod authz;
mod budgets;
mod classes;
mod config;
mod controller;
mod core;
mod db;
mod disk;
mod engine;
mod error;
mod events;
mod fair_permits;
mod identity;
mod installation;
mod kms;
mod lifecycle;
mod metrics;
mod snapshots;
mod tenants;
#[cfg(test)]
mod tests;
mod usage;
mod workspaces;

pub use budgets::amounts::BudgetLimits;
pub use config::{Config, DiskConfig, EngineConfig, HistoryConfig, IdleLimits, Limits, SOCKET};
pub use controller::{Controller, StopReport, StoppingWorkspace};
pub use daemon::tasks::ShutdownOutcome;
pub use db::{DatabaseError, migrate};
pub use disk::measure::{DiskPaths, DiskUsage, measure_usage as measure_disk_usage};
pub use error::StartError;
pub use installation::{MasterKeyLocation, Rotation, RotationReport};
pub use kms::{KmsConfig, KmsError, TokenSource, VaultConfig, VaultError};
pub use snapshots::gc::GcError;
pub use tenants::TenantError;

/// The OpenAPI document of the public API.
pub mod schema {
    pub use crate::api::openapi;
}

/// Entry points for the fuzz targets: parsers of text that users send.
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing {
    /// Parses a pasted roster.
    pub fn roster(text: &[u8]) {
        let _ = crate::classes::roster::parse(text);
    }
}
