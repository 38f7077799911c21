//! The HTTP API: routes, authentication, handlers and their responses. No module outside of this
//! folder knows a status.
//!
//! What each route of the public API asks of the session is in the table of [`route_access`]. The
//! internal routes are for processes that can open the socket; the gateway passes no request from
//! outside to them.

mod access;
mod admin;
mod archive;
mod audit;
mod auth;
mod browse;
mod budgets;
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
mod network;
mod objects;
mod openapi;
mod ports;
mod restores;
mod retention;
mod rosters;
pub(crate) mod route_access;
mod scrub;
mod settings;
mod snapshots;
mod templates;
mod tokens;
mod usage;
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
    Code, TenantId, WorkspaceId,
    api::{
        Version,
        class::MAX_ROSTER_BYTES,
        import::MAX_CHUNKS_BYTES,
        internal::{
            GRANT_KEY_PATH, GRANTS_PATH, PREVIEW_GRANTS_PATH, PREVIEW_TICKETS_PATH, SESSIONS_CHECK_PATH,
            SIGN_IN_LINK_PATH, TENANT_BUDGETS_PATH,
        },
    },
    runner::REPORT_PATH,
};
use tokio::net::UnixListener;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::core::App;
use error::ApiError;
use objects::TenantObjects;
pub use objects::Uploads;
pub use openapi::openapi;

/// Version of the API; see [`Version`].
const API: u32 = 1;
pub(crate) const PREFIX: &str = "/api/v1";
/// Largest body of most requests: they have a few fields.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Largest body of an internal request: reports have console lines, and a check has all streams of
/// the gateway.
const MAX_INTERNAL_BODY_BYTES: usize = 8 * 1024 * 1024;

fn public() -> OpenApiRouter<App> {
    let routes = OpenApiRouter::new()
        .routes(routes!(get_version))
        .routes(routes!(auth::sign_in_with_link))
        .routes(routes!(auth::sign_in))
        .routes(routes!(auth::get_session))
        .routes(routes!(auth::sign_out))
        .routes(routes!(auth::set_password))
        .routes(routes!(auth::confirm_password))
        .routes(routes!(auth::start_device_login))
        .routes(routes!(auth::poll_device_login))
        .routes(routes!(auth::decide_device_login))
        .routes(routes!(auth::get_device_login))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::update_user))
        .routes(routes!(users::reset_user_password))
        .routes(routes!(users::end_user_sessions))
        .routes(routes!(users::get_current_user, users::update_current_user))
        .routes(routes!(settings::get_user_settings, settings::change_user_settings))
        .routes(routes!(settings::get_workspace_settings, settings::change_workspace_settings))
        .routes(routes!(templates::list_templates))
        .routes(routes!(workspaces::list_workspaces, workspaces::create_workspace))
        .routes(routes!(workspaces::list_deleted_workspaces))
        .routes(routes!(events::watch_workspaces))
        .routes(routes!(
            workspaces::get_workspace,
            workspaces::update_workspace,
            workspaces::delete_workspace
        ))
        .routes(routes!(network::get_workspace_network, network::set_workspace_network))
        .routes(routes!(network::allow_network_names))
        .routes(routes!(network::get_class_network, network::set_class_network))
        .routes(routes!(network::set_template_network))
        .routes(routes!(network::get_tenant_network, network::set_tenant_network))
        .routes(routes!(ports::list_port_settings))
        .routes(routes!(ports::set_port))
        .routes(routes!(ports::create_preview_ticket))
        .routes(routes!(workspaces::start_workspace))
        .routes(routes!(workspaces::stop_workspace))
        .routes(routes!(workspaces::hold_workspace))
        .routes(routes!(workspaces::undelete_workspace))
        .routes(routes!(snapshots::list_snapshots, snapshots::create_snapshot))
        .routes(routes!(snapshots::update_snapshot, snapshots::delete_snapshot))
        .routes(routes!(snapshots::restore_home))
        .routes(routes!(restores::restore_files))
        .routes(routes!(restores::undo_restore))
        .routes(routes!(forks::fork_workspace))
        .routes(routes!(browse::list_snapshot_files))
        .routes(routes!(browse::read_snapshot_file))
        .routes(routes!(archive::download_snapshot_archive))
        .routes(routes!(browse::list_snapshot_changes))
        .routes(routes!(browse::diff_snapshot_file))
        .routes(routes!(scrub::scrub_home))
        .routes(routes!(chunks::list_snapshot_chunks, chunks::read_snapshot_chunks))
        .routes(routes!(imports::create_import))
        .routes(routes!(imports::finish_import))
        .routes(routes!(retention::get_retention_policy, retention::set_retention_policy))
        .routes(routes!(budgets::list_budgets))
        .routes(routes!(budgets::set_user_budget))
        .routes(routes!(budgets::set_class_budget))
        .routes(routes!(usage::get_usage))
        .routes(routes!(usage::export_usage))
        .routes(routes!(audit::list_audit_entries))
        .routes(routes!(audit::export_audit_log))
        .routes(routes!(audit::verify_audit_log))
        .routes(routes!(audit::get_audit_retention, audit::set_audit_retention))
        .routes(routes!(admin::get_disk_usage))
        .routes(routes!(admin::run_gc))
        .routes(routes!(admin::get_tenant_key))
        .routes(routes!(admin::destroy_tenant_key))
        .routes(routes!(admin::keep_tenant_key))
        .routes(routes!(events::watch_workspace))
        .routes(routes!(classes::list_classes, classes::create_class))
        .routes(routes!(classes::get_class, classes::delete_class))
        .routes(routes!(classes::start_class))
        .routes(routes!(classes::stop_class))
        .routes(routes!(classes::remove_class_member))
        .routes(routes!(classes::renew_invitation))
        .routes(routes!(events::watch_class))
        .routes(routes!(invitations::preview_invitation))
        .routes(routes!(invitations::accept_invitation))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    let roster = OpenApiRouter::new()
        .routes(routes!(rosters::import_roster))
        .layer(DefaultBodyLimit::max(MAX_ROSTER_BYTES));
    let chunks = OpenApiRouter::new()
        .routes(routes!(imports::list_import_chunks, imports::upload_import_chunks))
        .layer(DefaultBodyLimit::max(MAX_CHUNKS_BYTES));
    OpenApiRouter::with_openapi(openapi::outline()).nest(PREFIX, routes.merge(roster).merge(chunks))
}

/// The processes that can open a socket of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Processes of our own user: `burrow` on this host.
    Host,
    /// The gateway, which talks to everybody and may therefore get none of our secrets.
    Gateway,
}

/// The routes that this audience may call: the public ones, and its internal ones.
pub fn router(app: App, audience: Audience) -> Router {
    let guarded = public()
        .split_for_parts()
        .0
        .route_layer(middleware::from_fn_with_state(app.clone(), layers::authenticate));
    let internal = match audience {
        Audience::Host => Router::new()
            .route(SIGN_IN_LINK_PATH, post(internal::sign_in_link))
            .route(TENANT_BUDGETS_PATH, post(budgets::tenant_budgets)),
        Audience::Gateway => Router::new()
            .route(GRANTS_PATH, post(internal::grants))
            .route(PREVIEW_GRANTS_PATH, post(internal::preview_grant))
            .route(PREVIEW_TICKETS_PATH, post(internal::redeem_preview_ticket))
            .route(SESSIONS_CHECK_PATH, post(internal::sessions_check))
            .route(GRANT_KEY_PATH, get(internal::grant_key)),
    };
    let internal = internal.layer(DefaultBodyLimit::max(MAX_INTERNAL_BODY_BYTES));
    guarded
        .merge(internal)
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "This address does not support the method.")
        })
        .fallback(unknown)
        .layer(layers::catch_panics())
        .layer(middleware::from_fn(layers::request_id))
        .with_state(app)
}

/// All that a runner may ask of this process, over a channel that only it has: to report, and objects of
/// its tenant.
pub fn runner_router(app: App, tenant: TenantId, workspace: WorkspaceId) -> Router {
    let objects = objects::router(TenantObjects::new(&app, tenant, workspace));
    Router::new()
        .route(REPORT_PATH, post(internal::report))
        .layer(DefaultBodyLimit::max(MAX_INTERNAL_BODY_BYTES))
        .merge(objects)
        .fallback(unknown)
        .layer(layers::catch_panics())
        .layer(middleware::from_fn(layers::request_id))
        .with_state(app)
}

async fn unknown() -> ApiError {
    ApiError::new(Code::NotFound, "There is nothing at this address.")
}

/// Serves the API on the socket of this audience until the shutdown.
pub async fn serve(app: App, audience: Audience, listener: UnixListener) -> anyhow::Result<()> {
    let shutdown = app.tasks.shutdown().clone();
    let server =
        axum::serve(listener, router(app, audience)).with_graceful_shutdown(shutdown.cancelled_owned());
    Ok(server.into_future().await?)
}

/// Get the server version
///
/// Needs no session. Clients compare `api` with the version that they were built for.
#[utoipa::path(
    get,
    path = "/version",
    tag = "auth",
    responses((status = 200, body = Version, description = "The version of the server and of its API")),
)]
async fn get_version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: API })
}
