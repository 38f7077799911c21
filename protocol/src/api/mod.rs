//! Requests and responses of the public HTTP API below `/api/v1`, one file per noun. The OpenAPI
//! document and the web app's types are generated from these types.
//!
//! Times are RFC 3339 in UTC. Sizes are bytes unless the name ends in `_mib`. Unknown fields are
//! ignored; absent optional fields are null. Every error is a [`crate::problem::Problem`].

pub mod admin;
pub mod audit;
pub mod auth;
pub mod budget;
pub mod class;
pub mod disk;
pub mod import;
pub mod internal;
pub mod network;
pub mod port;
pub mod restore;
pub mod scrub;
pub mod settings;
pub mod snapshot;
pub mod template;
pub mod usage;
pub mod user;
pub mod workspace;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The server's version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"version": "0.1.0", "api": 1}))]
pub struct Version {
    /// Version of the build.
    pub version: String,
    /// Version of the API. A client for another version refuses to continue.
    pub api: u32,
}
