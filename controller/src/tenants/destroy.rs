//! Destroys the key of a tenant, and with it everything that the tenant's homes ever held.

use std::time::Duration;

use protocol::{Epoch, TenantId, VolumeId, WorkspaceId};
use tokio::time::Instant;

use super::{TenantError, key_destroyed_failure};
use crate::{
    audit,
    core::Core,
    lifecycle::{Event, RunnerEvent},
};

/// How long to wait for the tenant's runners. The engine kills what does not end by itself sooner.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Destroys a tenant's key: its homes and all their snapshots are unreadable from then on, wherever
/// copies of them are. Its runners are ended, and this host's caches of its homes, which are not
/// encrypted, are removed. Run it to its end; running it again does the rest of what an interrupted
/// run left.
pub async fn destroy_tenant_key(core: &Core, tenant: TenantId) -> Result<(), TenantError> {
    let mut system = core.db.system().await?;
    let connection = system.connection();
    let done = sqlx::query!(
        "update tenants set wrapped_key = null, key_destroyed_at = coalesce(key_destroyed_at, $2)
         where tenant_id = $1",
        tenant.0,
        core.now(),
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(TenantError::Unknown);
    }
    audit::write_system(connection, tenant, "tenant.destroy_key", &tenant.to_string(), serde_json::json!({}))
        .await?;
    system.commit().await?;
    core.browser.close(tenant);
    core.chunk_readers.close(tenant);
    end_runners(core, tenant).await?;
    remove_caches(core, tenant).await
}

async fn end_runners(core: &Core, tenant: TenantId) -> Result<(), TenantError> {
    let mut system = core.db.system().await?;
    let active = sqlx::query!(
        "select workspace_id, epoch from workspaces
         where tenant_id = $1 and phase <> 'terminated' and deleted_at is null",
        tenant.0,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    let deadline = Instant::now() + END_TIMEOUT;
    for row in active {
        let (workspace, epoch) = (WorkspaceId(row.workspace_id), Epoch(row.epoch.unsigned_abs()));
        // After a stop, the failure leads to rest: the workspace is not started again, and nothing
        // more is saved.
        core.apply_event(workspace, Event::Stop).await?;
        let failed = RunnerEvent::Failed(key_destroyed_failure());
        core.apply_event(workspace, Event::Runner(epoch, failed)).await?;
        while core.engine.is_busy(workspace) && Instant::now() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

async fn remove_caches(core: &Core, tenant: TenantId) -> Result<(), TenantError> {
    let mut system = core.db.system().await?;
    let volumes = sqlx::query_scalar!("select volume_id from volumes where tenant_id = $1", tenant.0)
        .fetch_all(system.connection())
        .await?;
    drop(system);
    for volume in volumes {
        match tokio::fs::remove_dir_all(core.config.cache_dir.join(VolumeId(volume).to_string())).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(TenantError::Cache(error));
            }
            _ => {}
        }
    }
    Ok(())
}
