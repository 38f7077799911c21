//! Tests with a real Postgres.

mod accounts;
mod postgres;
mod world;
