//! Destroys the key of a tenant, and with it everything that the tenant's homes ever held. A request of an
//! owner is carried out after a grace period, in which workspaces continue as before and every user is
//! warned; until then it can be undone.

use std::{collections::BTreeSet, time::Duration};

use protocol::{Epoch, TenantId, VolumeId, WorkspaceId};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{TenantError, key_destroyed_failure};
use crate::{
    audit,
    core::{App, Core},
    db::{Scope, System},
    lifecycle::{Event, RunnerEvent},
};

/// How long to wait for the tenant's runners. The engine kills what does not end by itself sooner.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a request can be undone.
pub const DESTROY_GRACE: time::Duration = time::Duration::days(7);
/// How often requests whose time has come are looked for.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// Requests the destruction of the key of the caller's tenant. A request that exists keeps its time.
/// Returns when the key is going to be destroyed, or None if it was destroyed before.
pub async fn schedule(scope: &mut Scope, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    let tenant = scope.tenant();
    let at = sqlx::query_scalar!(
        r#"update tenants set destroy_key_at = coalesce(destroy_key_at, $2)
           where tenant_id = $1 and key_destroyed_at is null returning destroy_key_at as "at!""#,
        tenant,
        now + DESTROY_GRACE,
    )
    .fetch_optional(scope.connection())
    .await?;
    if let Some(at) = at {
        let detail = serde_json::json!({ "at": at.unix_timestamp() });
        let subject = TenantId(tenant).to_string();
        audit::write(scope, "tenant.destroy_key.request", &subject, detail).await?;
    }
    Ok(at)
}

/// Undoes a request. False if the key was destroyed before.
pub async fn cancel(scope: &mut Scope) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    let done = sqlx::query!(
        "update tenants set destroy_key_at = null where tenant_id = $1 and key_destroyed_at is null",
        tenant,
    )
    .execute(scope.connection())
    .await?;
    let subject = TenantId(tenant).to_string();
    audit::write(scope, "tenant.destroy_key.undo", &subject, serde_json::json!({})).await?;
    Ok(done.rows_affected() > 0)
}

/// Carries requests out when their time has come, until the shutdown.
pub async fn run(core: App) {
    let mut unfinished = BTreeSet::new();
    let mut is_first = true;
    loop {
        let found =
            if is_first { list_destroyed(&core).await.map(|found| unfinished.extend(found)) } else { Ok(()) };
        is_first = is_first && found.is_err();
        let destroyed = match found {
            Ok(()) => destroy_due(&core, core.now()).await.map(|found| unfinished.extend(found)),
            Err(error) => Err(error),
        };
        if let Err(error) = destroyed {
            tracing::error!(%error, "cannot look for tenants whose key has to be destroyed");
        }
        finish_all(&core, &mut unfinished).await;
        tokio::select! {
            () = core.tasks.shutdown().cancelled() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    }
}

/// Does what is left of destructions. Those that fail stay in the set.
async fn finish_all(core: &Core, unfinished: &mut BTreeSet<TenantId>) {
    for tenant in unfinished.clone() {
        match finish(core, tenant).await {
            Ok(()) => {
                unfinished.remove(&tenant);
            }
            Err(error) => tracing::error!(%error, %tenant, "cannot destroy a tenant's key completely"),
        }
    }
}

/// Tenants whose key was destroyed. A run that was interrupted may have left something of them.
async fn list_destroyed(core: &Core) -> Result<Vec<TenantId>, sqlx::Error> {
    let mut system = core.db.system().await?;
    let found = sqlx::query_scalar!("select tenant_id from tenants where key_destroyed_at is not null")
        .fetch_all(system.connection())
        .await?;
    Ok(found.into_iter().map(TenantId).collect())
}

/// Destroys the keys whose time has come. [`finish`] does the rest.
pub async fn destroy_due(core: &Core, now: OffsetDateTime) -> Result<Vec<TenantId>, sqlx::Error> {
    let mut system = core.db.system().await?;
    let due = sqlx::query_scalar!(
        "update tenants set wrapped_key = null, key_destroyed_at = $1
         where destroy_key_at <= $1 and key_destroyed_at is null returning tenant_id",
        now,
    )
    .fetch_all(system.connection())
    .await?;
    let due: Vec<TenantId> = due.into_iter().map(TenantId).collect();
    for tenant in &due {
        record(&mut system, *tenant).await?;
    }
    system.commit().await?;
    Ok(due)
}

async fn record(system: &mut System, tenant: TenantId) -> Result<(), sqlx::Error> {
    let subject = tenant.to_string();
    audit::write_system(system.connection(), tenant, "tenant.destroy_key", &subject, serde_json::json!({}))
        .await
}

/// Destroys a tenant's key now: its homes and all their snapshots are unreadable from then on, wherever
/// copies of them are. Its runners are ended, and this host's caches of its homes, which are not
/// encrypted, are removed. Run it to its end; running it again does the rest of what an interrupted
/// run left.
pub async fn destroy_tenant_key(core: &Core, tenant: TenantId) -> Result<(), TenantError> {
    let mut system = core.db.system().await?;
    let done = sqlx::query!(
        "update tenants set wrapped_key = null, key_destroyed_at = coalesce(key_destroyed_at, $2)
         where tenant_id = $1",
        tenant.0,
        core.now(),
    )
    .execute(system.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Err(TenantError::Unknown);
    }
    record(&mut system, tenant).await?;
    system.commit().await?;
    finish(core, tenant).await
}

/// Ends what still uses a key that was destroyed, and removes what this host has decrypted with it.
pub async fn finish(core: &Core, tenant: TenantId) -> Result<(), TenantError> {
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
