//! Settings of ports, and tickets for their previews.

use axum::{Json, extract::State};
use protocol::{
    Code, WorkspaceId,
    api::port::{
        EditPort, MAX_LABEL_CHARS, MAX_PORT_SETTINGS, MAX_PUBLIC_HOURS, PortSettings, PortSettingsList,
        PortVisibility, PreviewTicket,
    },
    ports::{PREVIEW_TICKET_PATH, PreviewTarget, parse_port},
};
use time::{Duration, OffsetDateTime};

use super::{
    access::authorize_workspace,
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
};
use crate::{
    audit,
    authz::{Action, authorize},
    core::App,
    workspaces::{ports, previews},
};

/// List port settings
///
/// Returns where previews are, and who may see those of this workspace. Which ports are open says
/// `GET agent/ports`.
#[utoipa::path(
    get,
    path = "/workspaces/{id}/port-settings",
    tag = "ports",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = PortSettingsList, description = "The ports that have settings")),
)]
pub async fn list_port_settings(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
) -> Result<Json<PortSettingsList>> {
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ReadWorkspace).await?;
    let mut scope = app.db.scope(allowed).await?;
    let ports = ports::list(&mut scope, id).await?;
    Ok(Json(PortSettingsList { preview: app.config.preview.as_ref().map(Into::into), ports }))
}

/// Set the visibility of a port
///
/// Says who may see the preview of a port, and what it is called. Streams of visitors who may not see it any
/// more end within two seconds. A public port is private again after `public_hours`.
#[utoipa::path(
    put,
    path = "/workspaces/{id}/port-settings/{port}",
    tag = "ports",
    request_body = EditPort,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
        ("port" = u16, Path, description = "The port."),
    ),
    responses((status = 200, body = PortSettings, description = "The new settings")),
)]
pub async fn set_port(
    State(app): State<App>,
    signed: Signed,
    Params((id, port)): Params<(WorkspaceId, String)>,
    Input(request): Input<EditPort>,
) -> Result<Json<PortSettings>> {
    let port = parse_port(&port).ok_or_else(|| ApiError::not_found("port"))?;
    let allowed = authorize_workspace(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let settings = new_settings(port, request, app.now())?;
    let mut scope = app.db.scope(allowed).await?;
    if !ports::write(&mut scope, id, &settings).await? {
        return Err(ApiError::new(
            Code::QuotaExceeded,
            format!(
                "{MAX_PORT_SETTINGS} ports of this workspace have settings. Make one of them private, \
                 without a label."
            ),
        ));
    }
    let detail = serde_json::json!({
        "port": port, "visibility": settings.visibility, "public_until": settings.public_until
    });
    audit::write(&mut scope, "workspace.port", &id.to_string(), detail).await?;
    scope.commit().await?;
    Ok(Json(settings))
}

fn new_settings(port: u16, request: EditPort, now: OffsetDateTime) -> Result<PortSettings> {
    let EditPort { visibility, public_hours, label } = request;
    let label = label.trim().to_owned();
    if label.chars().count() > MAX_LABEL_CHARS || label.chars().any(char::is_control) {
        return Err(ApiError::invalid(
            "label",
            &format!("Use at most {MAX_LABEL_CHARS} characters in one line."),
        ));
    }
    let public_until = match (visibility, public_hours) {
        (PortVisibility::Public, Some(hours)) if (1..=MAX_PUBLIC_HOURS).contains(&hours) => {
            Some(now + Duration::hours(hours.into()))
        }
        (PortVisibility::Public, _) => {
            let expected =
                format!("Say for how many hours the port is public, from 1 to {MAX_PUBLIC_HOURS}.");
            return Err(ApiError::invalid("public_hours", &expected));
        }
        _ => None,
    };
    Ok(PortSettings { port, visibility, public_until, label })
}

/// Create a preview ticket
///
/// Returns an address that opens the preview of a port in a browser: once, within a minute, and only as long
/// as the port has the same visibility. Needs the session of a browser.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/port-settings/{port}/ticket",
    tag = "ports",
    params(
        ("id" = WorkspaceId, Path, description = "The workspace, also another user's."),
        ("port" = u16, Path, description = "The port."),
    ),
    responses((status = 200, body = PreviewTicket, description = "The ticket")),
)]
pub async fn create_preview_ticket(
    State(app): State<App>,
    signed: Signed,
    Params((workspace, port)): Params<(WorkspaceId, String)>,
) -> Result<Json<PreviewTicket>> {
    let port = parse_port(&port).ok_or_else(|| ApiError::not_found("port"))?;
    let host = app.config.preview.as_ref().ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            "This server has no addresses for previews. Start it with `burrow up --preview-host`.",
        )
    })?;
    let target = PreviewTarget { port, workspace };
    let allowed = authorize(signed.caller(), Action::UseWorkspaces)?;
    let ticket = previews::create_ticket(&app, allowed, target).await?.ok_or_else(|| {
        ApiError::new(Code::NotFound, "There is no such preview, or you may not see it. Ask its owner.")
    })?;
    let origin = host.origin(target);
    let ticket_url = format!("{origin}{PREVIEW_TICKET_PATH}?ticket={}", ticket.expose());
    Ok(Json(PreviewTicket { origin, ticket_url }))
}
