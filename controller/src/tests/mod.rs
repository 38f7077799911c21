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
mod repairs;
mod snapshots;
mod streaming;
mod tenants;
mod transit;
pub mod world;
