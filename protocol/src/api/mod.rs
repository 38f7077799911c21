//! The public HTTP API below `/api/v1`: requests and answers, one file a noun. OpenAPI and the
//! web's types are made of these.
//!
//! Times are RFC 3339, UTC. Sizes are bytes unless the name says MiB. Unknown fields are ignored;
//! absent optional fields are null. Every error is a [`crate::problem::Problem`].

pub mod admin;
pub mod auth;
pub mod class;
pub mod import;
pub mod internal;
pub mod scrub;
pub mod snapshot;
pub mod template;
pub mod user;
pub mod workspace;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/version`: open to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of the server's build.
    pub version: String,
    /// Version of the API; clients of another major refuse with a clear word.
    pub api: u32,
}
