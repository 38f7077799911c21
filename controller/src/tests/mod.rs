//! Tests of the controller as a whole, with a real Postgres.

mod audit;
mod audit_chain;
mod browse;
mod caches;
mod classes;
mod forks;
mod gc;
mod identity;
mod imports;
mod kms;
mod lifecycle;
mod limits;
mod master_key;
mod metrics;
mod network;
mod openapi;
mod postgres;
mod previews;
mod repair;
mod reports;
mod restores;
mod snapshots;
mod tenants;
mod tiers;
mod tokens;
mod users;
pub mod world;
