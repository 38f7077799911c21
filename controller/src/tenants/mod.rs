//! Tenants in the database: their key, how their snapshots thin out, and how all of theirs is forgotten.

use std::time::Duration;

use protocol::{
    Epoch, TenantId, VolumeId, WorkspaceId,
    api::snapshot::Retention,
    workspace::{Failure, Step},
};
use sqlx::PgConnection;
use tokio::time::Instant;

use crate::{
    audit,
    core::Core,
    db::Scope,
    kms::{
        Keeper, KeeperError,
        tenant_keys::{self, DataKey},
    },
    lifecycle::{Event, Word, record::phase},
    workspaces::reconciler,
};

/// How long machines of a forgotten tenant are waited for; the engine kills what does not end by itself sooner.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A tenant's key, as far as there is one.
pub enum TenantKey {
    Open(DataKey),
    /// Destroyed: nothing of the tenant's homes can be read any more.
    Forgotten,
}

#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    #[error("there is no such tenant")]
    Unknown,
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("a local cache of a home cannot be removed")]
    Cache(#[source] std::io::Error),
}

/// A tenant's key as the database has it: opening it may ask a key service, and nothing of the database is held meanwhile.
pub struct SealedKey {
    tenant: TenantId,
    sealed: Option<Vec<u8>>,
}

pub async fn key(connection: &mut PgConnection, tenant: TenantId) -> Result<SealedKey, sqlx::Error> {
    let sealed = sqlx::query_scalar!("select wrapped_key from tenants where tenant_id = $1", tenant.0)
        .fetch_one(connection)
        .await?;
    Ok(SealedKey { tenant, sealed })
}

impl SealedKey {
    pub async fn open(&self, keeper: &Keeper) -> Result<TenantKey, KeeperError> {
        match &self.sealed {
            Some(sealed) => Ok(TenantKey::Open(tenant_keys::data_key(keeper, self.tenant, sealed).await?)),
            None => Ok(TenantKey::Forgotten),
        }
    }
}

pub async fn all(connection: &mut PgConnection) -> Result<Vec<TenantId>, sqlx::Error> {
    let ids = sqlx::query_scalar!("select tenant_id from tenants order by tenant_id").fetch_all(connection);
    Ok(ids.await?.into_iter().map(TenantId).collect())
}

/// Whether the tenant's key was destroyed.
pub async fn is_forgotten(scope: &mut Scope) -> Result<bool, sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query_scalar!(
        r#"select key_destroyed_at is not null as "forgotten!" from tenants where tenant_id = $1"#,
        tenant,
    )
    .fetch_one(scope.connection())
    .await
}

pub async fn retention(connection: &mut PgConnection, tenant: TenantId) -> Result<Retention, sqlx::Error> {
    let row = sqlx::query!(
        "select retention_all_hours, retention_minutely_hours, retention_hourly_hours, retention_daily_hours
         from tenants where tenant_id = $1",
        tenant.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(Retention {
        all_hours: row.retention_all_hours.unsigned_abs(),
        minutely_hours: row.retention_minutely_hours.unsigned_abs(),
        hourly_hours: row.retention_hourly_hours.unsigned_abs(),
        daily_hours: row.retention_daily_hours.unsigned_abs(),
    })
}

/// Of the caller's tenant.
pub async fn set_retention(scope: &mut Scope, policy: &Retention) -> Result<(), sqlx::Error> {
    let tenant = scope.tenant();
    sqlx::query!(
        "update tenants set retention_all_hours = $2, retention_minutely_hours = $3, retention_hourly_hours = $4,
             retention_daily_hours = $5
         where tenant_id = $1",
        tenant,
        policy.all_hours as i32,
        policy.minutely_hours as i32,
        policy.hourly_hours as i32,
        policy.daily_hours as i32,
    )
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Destroys a tenant's key: all its homes and their past are unreadable from then on, wherever copies of them are. Its machines
/// end, and this host's caches of its homes, which are not encrypted, are removed.
pub async fn forget(core: &Core, tenant: TenantId) -> Result<(), TenantError> {
    let mut system = core.db.system().await?;
    let connection = system.connection();
    let done = sqlx::query!(
        "update tenants set wrapped_key = null, key_destroyed_at = coalesce(key_destroyed_at, $2) where tenant_id = $1",
        tenant.0,
        core.now(),
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(TenantError::Unknown);
    }
    audit::write_system(connection, tenant, "tenant.forget", &tenant.to_string(), serde_json::json!({}))
        .await?;
    system.commit().await?;
    core.homes.close(tenant);
    core.readers.close(tenant);
    end_machines(core, tenant).await?;
    remove_caches(core, tenant).await
}

async fn end_machines(core: &Core, tenant: TenantId) -> Result<(), TenantError> {
    let mut system = core.db.system().await?;
    let awake = sqlx::query!(
        "select workspace_id, phase, epoch from workspaces
         where tenant_id = $1 and phase <> 'terminated' and deleted_at is null",
        tenant.0,
    )
    .fetch_all(system.connection())
    .await?;
    drop(system);
    let deadline = Instant::now() + END_TIMEOUT;
    for row in awake {
        let (workspace, epoch) = (WorkspaceId(row.workspace_id), Epoch(row.epoch.unsigned_abs()));
        // Whatever it was about to do, its next step is rest: it is not started again, and nothing more is saved.
        reconciler::happen(core, workspace, Event::Stop).await?;
        if phase(&row.phase) != protocol::workspace::Phase::Queued {
            reconciler::happen(core, workspace, Event::Runner(epoch, Word::Failed(forgotten()))).await?;
        }
        while core.engine.busy(workspace) && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
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

/// Why nothing of a forgotten tenant runs.
pub const FORGOTTEN: &str =
    "This organisation's data was deleted for good: its homes can no longer be opened by anyone.";

pub fn forgotten() -> Failure {
    Failure {
        step: Step::Runner,
        cause: FORGOTTEN.to_owned(),
        action: "Delete the workspace, or begin anew in another organisation.".to_owned(),
        log: vec![],
    }
}
