//! Templates in the database.

use protocol::{api::template::Template, network::NetworkPolicy};

use super::view::resources;
use crate::db::Scope;

/// Lists the templates of the caller's tenant by name.
pub async fn list(scope: &mut Scope) -> Result<Vec<Template>, sqlx::Error> {
    let tenant = scope.tenant();
    let rows = sqlx::query!(
        "select name, title, description, image, vcpus, memory_mib, home_mib, scratch_mib, pids,
             network_policy from templates
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
        network: NetworkPolicy::from_stored(row.network_policy),
    });
    Ok(templates.collect())
}
