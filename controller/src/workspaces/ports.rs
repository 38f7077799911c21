//! Settings of ports in the database: who may see their previews, and their labels.

use protocol::{
    WorkspaceId,
    api::port::{MAX_PORT_SETTINGS, PortSettings, PortVisibility},
};
use time::OffsetDateTime;

use crate::db::{Scope, text::Text};

/// The settings of all ports of a workspace that have any.
pub async fn list(scope: &mut Scope, workspace: WorkspaceId) -> Result<Vec<PortSettings>, sqlx::Error> {
    let tenant = scope.tenant();
    let rows = sqlx::query!(
        r#"select port, visibility as "visibility: Text<PortVisibility>", public_until, label
           from workspace_ports where tenant_id = $1 and workspace_id = $2 order by port"#,
        tenant,
        workspace.0,
    )
    .fetch_all(scope.connection())
    .await?;
    let settings = rows.into_iter().map(|row| PortSettings {
        port: u16::try_from(row.port).unwrap_or_default(),
        visibility: row.visibility.0,
        public_until: row.public_until,
        label: row.label,
    });
    Ok(settings.collect())
}

/// Writes the settings of a port. False: too many ports of the workspace have settings.
pub async fn write(
    scope: &mut Scope,
    workspace: WorkspaceId,
    settings: &PortSettings,
) -> Result<bool, sqlx::Error> {
    let (tenant, port) = (scope.tenant(), i32::from(settings.port));
    if settings.visibility == PortVisibility::Private && settings.label.is_empty() {
        sqlx::query!(
            "delete from workspace_ports where tenant_id = $1 and workspace_id = $2 and port = $3",
            tenant,
            workspace.0,
            port,
        )
        .execute(scope.connection())
        .await?;
        return Ok(true);
    }
    let others = sqlx::query_scalar!(
        r#"select count(*) as "count!" from workspace_ports
           where tenant_id = $1 and workspace_id = $2 and port <> $3"#,
        tenant,
        workspace.0,
        port,
    )
    .fetch_one(scope.connection())
    .await?;
    if others >= MAX_PORT_SETTINGS {
        return Ok(false);
    }
    sqlx::query!(
        "insert into workspace_ports (tenant_id, workspace_id, port, visibility, public_until, label)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, workspace_id, port)
             do update set visibility = $4, public_until = $5, label = $6",
        tenant,
        workspace.0,
        port,
        Text(settings.visibility).name(),
        settings.public_until,
        settings.label,
    )
    .execute(scope.connection())
    .await?;
    Ok(true)
}

/// Who may see a preview at present. A port that was public is private again.
pub fn effective_visibility(
    visibility: PortVisibility,
    public_until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> PortVisibility {
    let is_over = visibility == PortVisibility::Public && public_until.is_none_or(|until| until <= now);
    if is_over { PortVisibility::Private } else { visibility }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn public_port_is_private_after_its_time() {
        use PortVisibility::{Members, Private, Public};
        let now = OffsetDateTime::UNIX_EPOCH;
        for (visibility, until, expected) in [
            (Public, Some(now + Duration::SECOND), Public),
            (Public, Some(now), Private),
            (Public, None, Private),
            (Members, None, Members),
            (Private, None, Private),
        ] {
            assert_eq!(effective_visibility(visibility, until, now), expected, "{visibility:?} {until:?}");
        }
    }
}
