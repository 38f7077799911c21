//! Templates.

use axum::{Json, extract::State};
use protocol::api::template::{Template, TemplateList};

use super::{error::Result, extract::Signed};
use crate::{
    authz::{Action, authorize},
    core::App,
    workspaces::view::resources,
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
    let tenant = scope.tenant();
    let rows = sqlx::query!(
        "select name, title, description, image, vcpus, memory_mib, home_mib, scratch_mib, pids from templates
         where tenant_id = $1 order by name limit 1000",
        tenant,
    )
    .fetch_all(scope.connection())
    .await?;
    let templates = rows.into_iter().map(|row| Template {
        name: row.name,
        title: row.title,
        description: row.description,
        image: row.image,
        resources: resources(row.vcpus, [row.memory_mib, row.home_mib, row.scratch_mib, row.pids]),
    });
    Ok(Json(TemplateList { templates: templates.collect() }))
}
