//! Tests with a real Postgres.

mod accounts;
mod classes;
mod lives;
mod postgres;
mod tenants;
mod world;
