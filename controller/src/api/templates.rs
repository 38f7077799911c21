//! Templates.

use axum::{Json, extract::State};
use protocol::api::template::TemplateList;

use super::{error::Result, extract::Signed};
use crate::{
    authz::{Action, authorize},
    core::App,
    workspaces::templates,
};

/// List templates
///
/// A template names the image and the size of a new workspace.
#[utoipa::path(
    get,
    path = "/templates",
    tag = "templates",
    responses((status = 200, body = TemplateList, description = "The templates of the tenant")),
)]
pub async fn list_templates(State(app): State<App>, signed: Signed) -> Result<Json<TemplateList>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::UseTemplates)?).await?;
    Ok(Json(TemplateList { templates: templates::list(&mut scope).await? }))
}
