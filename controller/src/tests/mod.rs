//! Tests with a real Postgres.

mod accounts;
mod classes;
mod collector;
mod forks;
mod history;
mod imports;
mod keys;
mod lives;
mod postgres;
mod snapshots;
mod streaming;
mod tenants;
pub mod world;
