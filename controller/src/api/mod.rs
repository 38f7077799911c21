//! The HTTP side: routes, who may call them, and answers. Below this folder nobody knows a status.
//!
//! Every route of the public API needs a session unless it is on the list of open ones. The internal routes are for those who
//! can open the socket; the gateway passes no request from outside to them.

mod admin;
mod archive;
mod auth;
mod browse;
mod chunks;
mod classes;
pub mod error;
mod events;
mod extract;
mod forks;
mod imports;
mod internal;
mod invitations;
mod layers;
mod repairs;
mod retention;
mod scrub;
mod snapshots;
mod templates;
mod tokens;
mod users;
mod workspaces;

use std::future::IntoFuture as _;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use protocol::{
    Code, Problem,
    api::{
        Version,
        class::MAX_ROSTER_BYTES,
        import::MAX_CHUNKS_BYTES,
        internal::{GRANT_KEY_PATH, GRANTS_PATH, SESSIONS_CHECK_PATH},
    },
    runner::REPORT_PATH,
};
use tokio::net::UnixListener;
use utoipa::{
    OpenApi,
    openapi::{PathItem, path::Operation},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::core::App;
use error::ApiError;

/// Version of the API; see [`Version`].
const API: u32 = 1;
const PREFIX: &str = "/api/v1";
/// A request is a few fields.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Reports hold console lines; a check holds all live streams of the gateway.
const MAX_INTERNAL_BODY_BYTES: usize = 8 * 1024 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(title = "Burrow", description = "Workspaces in microVMs: the public HTTP API."),
    components(schemas(Problem)),
    tags(
        (name = "auth", description = "Signing in and out, tokens"),
        (name = "users"),
        (name = "templates"),
        (name = "workspaces"),
        (name = "snapshots", description = "Homes as they were: browse, restore, fork"),
        (name = "chunks", description = "Homes as they are moved to another installation"),
        (name = "imports", description = "Homes that are moved here from another installation"),
        (name = "classes"),
        (name = "invitations"),
        (name = "admin"),
    )
)]
struct Document;

/// The API as OpenAPI 3.1 describes it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = public().split_for_parts().1;
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        // Each name stands for one operation only, as the standard wants it: the noun, then the verb.
        let noun = operation.tags.as_ref().and_then(|tags| tags.first()).map_or("api", String::as_str);
        operation.operation_id = operation.operation_id.as_ref().map(|verb| format!("{noun}_{verb}"));
    }
    document
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete].into_iter().flatten()
}

fn public() -> OpenApiRouter<App> {
    let routes = OpenApiRouter::new()
        .routes(routes!(version))
        .routes(routes!(auth::link))
        .routes(routes!(auth::login))
        .routes(routes!(auth::session))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::password))
        .routes(routes!(auth::device))
        .routes(routes!(auth::device_token))
        .routes(routes!(auth::device_approve))
        .routes(routes!(auth::device_info))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(users::list))
        .routes(routes!(users::me, users::edit))
        .routes(routes!(templates::list))
        .routes(routes!(workspaces::list, workspaces::create))
        .routes(routes!(workspaces::deleted))
        .routes(routes!(events::all))
        .routes(routes!(workspaces::get, workspaces::edit, workspaces::delete))
        .routes(routes!(workspaces::start))
        .routes(routes!(workspaces::stop))
        .routes(routes!(workspaces::undelete))
        .routes(routes!(snapshots::list, snapshots::create))
        .routes(routes!(snapshots::edit, snapshots::delete))
        .routes(routes!(snapshots::restore))
        .routes(routes!(forks::fork))
        .routes(routes!(browse::files))
        .routes(routes!(browse::content))
        .routes(routes!(archive::archive))
        .routes(routes!(browse::changes))
        .routes(routes!(browse::diff))
        .routes(routes!(scrub::scrub))
        .routes(routes!(chunks::list, chunks::get))
        .routes(routes!(imports::begin))
        .routes(routes!(imports::finish))
        .routes(routes!(retention::get, retention::put))
        .routes(routes!(admin::run_gc))
        .routes(routes!(admin::destroy_tenant_key))
        .routes(routes!(events::one))
        .routes(routes!(classes::list, classes::create))
        .routes(routes!(classes::get, classes::delete))
        .routes(routes!(classes::start))
        .routes(routes!(classes::stop))
        .routes(routes!(classes::remove_member))
        .routes(routes!(classes::invite_again))
        .routes(routes!(events::class))
        .routes(routes!(invitations::view))
        .routes(routes!(invitations::accept))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    let roster =
        OpenApiRouter::new().routes(routes!(classes::roster)).layer(DefaultBodyLimit::max(MAX_ROSTER_BYTES));
    let chunks = OpenApiRouter::new()
        .routes(routes!(imports::list, imports::put))
        .layer(DefaultBodyLimit::max(MAX_CHUNKS_BYTES));
    OpenApiRouter::with_openapi(Document::openapi()).nest(PREFIX, routes.merge(roster).merge(chunks))
}

/// Everything that the socket answers.
pub fn router(app: App) -> Router {
    let guarded = public()
        .split_for_parts()
        .0
        .route_layer(middleware::from_fn_with_state(app.clone(), layers::authenticate));
    let internal = Router::new()
        .route(GRANTS_PATH, post(internal::grants))
        .route(SESSIONS_CHECK_PATH, post(internal::sessions_check))
        .route(GRANT_KEY_PATH, get(internal::grant_key))
        .route(REPORT_PATH, post(internal::report))
        .layer(DefaultBodyLimit::max(MAX_INTERNAL_BODY_BYTES));
    guarded
        .merge(internal)
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "This address takes other methods.")
        })
        .fallback(unknown)
        .layer(layers::catch_panics())
        .layer(middleware::from_fn(layers::request_id))
        .with_state(app)
}

async fn unknown() -> ApiError {
    ApiError::new(Code::NotFound, "There is nothing at this address.")
}

/// Answers on the socket until the shutdown.
pub async fn serve(app: App, listener: UnixListener) -> anyhow::Result<()> {
    let shutdown = app.tasks.shutdown().clone();
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(shutdown.cancelled_owned());
    Ok(server.into_future().await?)
}

/// The server's version. Open to all.
#[utoipa::path(get, path = "/version", tag = "auth", responses((status = 200, body = Version)))]
async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: API })
}
