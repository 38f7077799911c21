//! The OpenAPI document of the whole public API. Controller and agent describe their own routes and
//! know nothing of each other, so they meet here, outside of the product's executables.

use utoipa::openapi::OpenApi;

/// The controller's document with the agent's routes, as a client of the gateway sees them.
pub fn document() -> OpenApi {
    controller::schema::openapi().merge_from(workspace_agent::openapi())
}
