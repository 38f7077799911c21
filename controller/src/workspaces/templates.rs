//! Templates in the database.

use protocol::{api::template::Template, network::NetworkPolicy, workspace::Tier};

use super::view::resources;
use crate::db::{Scope, text::Text};

/// Lists the templates of the caller's tenant by name. Those of a tier that it may not use are left out.
pub async fn list(scope: &mut Scope) -> Result<Vec<Template>, sqlx::Error> {
    let tenant = scope.tenant();
    let rows = sqlx::query!(
        r#"select t.name, t.title, t.description, t.image, t.tier as "tier: Text<Tier>", t.vcpus,
               t.memory_mib, t.home_mib, t.scratch_mib, t.pids, t.network_policy
           from templates t join tenants n using (tenant_id)
           where t.tenant_id = $1 and t.tier = any(n.tiers) order by t.name limit 1000"#,
        tenant,
    )
    .fetch_all(scope.connection())
    .await?;
    let templates = rows.into_iter().map(|row| Template {
        name: row.name,
        title: row.title,
        description: row.description,
        image: row.image,
        tier: row.tier.0,
        resources: resources(row.vcpus, [row.memory_mib, row.home_mib, row.scratch_mib, row.pids]),
        network: NetworkPolicy::from_stored(row.network_policy),
    });
    Ok(templates.collect())
}
