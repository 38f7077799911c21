//! Garbage collection of the object store: deletes the objects that no snapshot needs. Safe while
//! everything runs.
//!
//! ```text
//! list objects ─▶ read the roots ─▶ mark what they need ─▶ the rest is garbage: record since when
//!                                                          └─ still garbage after the grace: delete
//! ```
//!
//! Objects are listed before the roots are read. What is stored in between is not in the list, and
//! what becomes a root in between counts. A snapshot that is being uploaded has objects that no
//! root names yet: the grace period is longer than any upload takes. So a deleted object was needed
//! by no root at two times a grace period apart, and a new root needs only what an older root needs
//! and what is younger than that. If anything cannot be read, nothing is deleted.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use protocol::{TenantId, api::admin::GcReport};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use volume::{
    ObjectStore, StoreError, VolumeError,
    gc::Reachable,
    store::{ObjectInfo, with_retries},
};

use super::roots;
use crate::{
    audit,
    config::HistoryConfig,
    db::Database,
    kms::{
        Kms, KmsError,
        tenant_keys::{self, TenantKey},
    },
};

/// Advisory lock in Postgres: one gc at a time for a database.
const GC_LOCK: i64 = 0x6275_7272_6f77_0003;
/// Objects that are examined together: some 20 MiB of names.
const WINDOW_OBJECTS: usize = 200_000;
/// Rows in one statement.
const BATCH_ROWS: usize = 1000;
/// Deletions that run at the same time.
const MAX_CONCURRENT_DELETIONS: usize = 8;
/// For one call to the store with its retries.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Delay of the first gc after a start, when users want their workspaces first.
const FIRST_RUN_DELAY: Duration = Duration::from_secs(15 * 60);

/// Why a gc did not finish. Nothing that is needed has been deleted.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// Another gc runs, in this process or in another one on the same database.
    #[error("Cannot start a gc: another one is running")]
    Busy,
    /// The process shuts down. The next gc continues.
    #[error("Cannot finish the gc: the server is shutting down")]
    Cancelled,
    /// The object store failed.
    #[error("Cannot read or delete objects")]
    Store(#[from] StoreError),
    /// A manifest is missing or damaged, so it is unknown which objects it needs.
    #[error("Cannot read a snapshot's manifest")]
    Volume(#[from] VolumeError),
    /// The tenant's key cannot be decrypted.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Collects garbage. Each tenant is collected for itself, because objects are never shared between
/// tenants.
#[derive(Clone)]
pub struct Gc {
    pub db: Database,
    pub kms: Arc<Kms>,
    pub store: Arc<dyn ObjectStore>,
    pub config: HistoryConfig,
    pub shutdown: CancellationToken,
}

impl Gc {
    /// Collects all tenants every few hours until the shutdown.
    pub async fn run(self) {
        let mut pause = FIRST_RUN_DELAY;
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = self.config.gc_interval;
            match self.collect(OffsetDateTime::now_utc(), None).await {
                Ok(_) | Err(GcError::Busy | GcError::Cancelled) => {}
                Err(error) => tracing::error!(%error, "gc failed"),
            }
        }
    }

    /// Collects one tenant, or all.
    pub async fn collect(&self, now: OffsetDateTime, tenant: Option<TenantId>) -> Result<GcReport, GcError> {
        let lock = self.db.try_lock(GC_LOCK).await?.ok_or(GcError::Busy)?;
        let result = self.collect_locked(now, tenant).await;
        if let Err(error) = lock.release().await {
            tracing::warn!(%error, "cannot release the gc lock; it ends with its connection");
        }
        result
    }

    async fn collect_locked(
        &self,
        now: OffsetDateTime,
        tenant: Option<TenantId>,
    ) -> Result<GcReport, GcError> {
        let started = Instant::now();
        self.release_deleted_homes(now).await?;
        let tenants = match tenant {
            Some(tenant) => vec![tenant],
            None => list_tenants(self.db.system().await?.connection()).await?,
        };
        let mut total = GcReport::default();
        let mut failed = None;
        for tenant in tenants {
            // Damage in one tenant does not stop the others.
            match self.collect_tenant(now, tenant).await {
                Ok(report) => add(&mut total, &report),
                Err(GcError::Cancelled) => return Err(GcError::Cancelled),
                Err(error) => {
                    tracing::error!(%tenant, %error, "gc of a tenant failed");
                    failed = Some(error);
                }
            }
        }
        tracing::info!(
            objects = total.objects,
            garbage = total.garbage,
            deleted = total.deleted,
            deleted_bytes = total.deleted_bytes,
            failed = total.failed,
            seconds = started.elapsed().as_secs(),
            "gc finished"
        );
        failed.map_or(Ok(total), Err)
    }

    /// Homes of workspaces that were deleted long enough ago are roots no longer.
    async fn release_deleted_homes(&self, now: OffsetDateTime) -> Result<(), GcError> {
        let mut system = self.db.system().await?;
        let before = now - self.config.deleted_grace;
        let homes = roots::release_deleted_homes(system.connection(), before).await?;
        system.commit().await?;
        if homes > 0 {
            tracing::info!(homes, "released the homes of deleted workspaces");
        }
        Ok(())
    }

    async fn collect_tenant(&self, now: OffsetDateTime, tenant: TenantId) -> Result<GcReport, GcError> {
        let mut total = GcReport::default();
        let mut after: Option<String> = None;
        loop {
            let window = self.list_window(tenant, after.as_deref()).await?;
            let reachable = self.mark(tenant).await?;
            let report = self.sweep(now, tenant, after.as_deref(), &window, reachable.as_ref()).await?;
            add(&mut total, &report);
            match window.objects.last() {
                Some(last) if window.has_more => after = Some(last.name.clone()),
                _ => break,
            }
        }
        if total.deleted > 0 || total.failed > 0 {
            let detail = serde_json::to_value(total).expect("plain data");
            let mut system = self.db.system().await?;
            audit::write_system(system.connection(), tenant, "store.gc", &tenant.to_string(), detail).await?;
            system.commit().await?;
        }
        Ok(total)
    }

    /// The tenant's next objects, in the order of their names.
    async fn list_window(&self, tenant: TenantId, after: Option<&str>) -> Result<Window, GcError> {
        let prefix = format!("{tenant}/");
        let mut objects: Vec<ObjectInfo> = Vec::new();
        while objects.len() < WINDOW_OBJECTS {
            let after = objects.last().map(|last| last.name.as_str()).or(after);
            let page = self.call_store(|| self.store.list(&prefix, after)).await?;
            if page.is_empty() {
                return Ok(Window { objects, has_more: false });
            }
            objects.extend(page);
        }
        Ok(Window { objects, has_more: true })
    }

    /// What the tenant's snapshots need. Roots are read now, after the listing. None if the
    /// tenant's key is destroyed: nobody can read any of its objects, so all of them are garbage.
    async fn mark(&self, tenant: TenantId) -> Result<Option<Reachable>, GcError> {
        let mut system = self.db.system().await?;
        let key = tenant_keys::find(system.connection(), tenant).await?;
        let roots = roots::list_roots(system.connection(), tenant).await?;
        drop(system);
        let TenantKey::Open(key) = key.decrypt(&self.kms).await? else { return Ok(None) };
        tokio::select! {
            () = self.shutdown.cancelled() => Err(GcError::Cancelled),
            marked = volume::gc::find_reachable(self.store.clone(), key, tenant, roots) => Ok(Some(marked?)),
        }
    }

    /// Records what is garbage in this window, and deletes what has been garbage for the grace
    /// period.
    async fn sweep(
        &self,
        now: OffsetDateTime,
        tenant: TenantId,
        after: Option<&str>,
        window: &Window,
        reachable: Option<&Reachable>,
    ) -> Result<GcReport, GcError> {
        // The anchors of the audit log belong to no snapshot, and outlive the tenant's key.
        let anchors = audit::maintenance::anchor_prefix(tenant);
        let is_needed = |name: &str| {
            name.starts_with(&anchors) || reachable.is_some_and(|reachable| reachable.contains(name))
        };
        let garbage: Vec<&ObjectInfo> =
            window.objects.iter().filter(|object| !is_needed(&object.name)).collect();
        let names: HashSet<&str> = garbage.iter().map(|object| object.name.as_str()).collect();
        let until = window.objects.last().filter(|_| window.has_more).map(|last| last.name.as_str());
        let mut expired = Vec::new();
        let mut system = self.db.system().await?;
        for known in list_garbage(system.connection(), tenant, after, until).await? {
            if !names.contains(known.name.as_str()) {
                // It is needed again, or it is deleted already.
                remove_garbage(system.connection(), tenant, &[known.name]).await?;
            } else if known.first_seen <= now - self.config.gc_grace {
                expired.push(known);
            }
        }
        for rows in garbage.chunks(BATCH_ROWS) {
            insert_garbage(system.connection(), tenant, now, rows).await?;
        }
        system.commit().await?;
        let mut report = GcReport {
            objects: window.objects.len() as u64,
            bytes: window.objects.iter().map(|object| object.bytes).sum(),
            garbage: garbage.len() as u64,
            garbage_bytes: garbage.iter().map(|object| object.bytes).sum(),
            ..GcReport::default()
        };
        for rows in expired.chunks(BATCH_ROWS) {
            self.delete_objects(tenant, rows, &mut report).await?;
        }
        Ok(report)
    }

    async fn delete_objects(
        &self,
        tenant: TenantId,
        rows: &[Garbage],
        report: &mut GcReport,
    ) -> Result<(), GcError> {
        let deletions: Vec<_> = rows.iter().map(|row| self.delete_object(row)).collect();
        let outcomes: Vec<_> =
            futures_util::stream::iter(deletions).buffer_unordered(MAX_CONCURRENT_DELETIONS).collect().await;
        let mut deleted = Vec::new();
        for (row, outcome) in outcomes {
            match outcome {
                Ok(()) => {
                    report.deleted += 1;
                    report.deleted_bytes += row.bytes.unsigned_abs();
                    deleted.push(row.name.clone());
                }
                Err(GcError::Cancelled) => return Err(GcError::Cancelled),
                Err(error) => {
                    tracing::warn!(object = row.name, %error, "cannot delete an object");
                    report.failed += 1;
                }
            }
        }
        let mut system = self.db.system().await?;
        remove_garbage(system.connection(), tenant, &deleted).await?;
        system.commit().await?;
        Ok(())
    }

    async fn delete_object<'a>(&self, row: &'a Garbage) -> (&'a Garbage, Result<(), GcError>) {
        (row, self.call_store(|| self.store.delete(&row.name)).await)
    }

    /// Calls the store with the usual retries, until its timeout or the shutdown.
    async fn call_store<T, F>(&self, call: impl FnMut() -> F) -> Result<T, GcError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let late = || StoreError::Unavailable("it took too long".to_owned());
        tokio::select! {
            () = self.shutdown.cancelled() => Err(GcError::Cancelled),
            done = timeout(CALL_TIMEOUT, with_retries(call)) => Ok(done.unwrap_or_else(|_| Err(late()))?),
        }
    }
}

/// A part of a listing.
struct Window {
    objects: Vec<ObjectInfo>,
    has_more: bool,
}

/// An object that no snapshot needed when it was last examined.
struct Garbage {
    name: String,
    first_seen: OffsetDateTime,
    bytes: i64,
}

async fn list_tenants(connection: &mut PgConnection) -> Result<Vec<TenantId>, sqlx::Error> {
    let ids = sqlx::query_scalar!("select tenant_id from tenants order by tenant_id").fetch_all(connection);
    Ok(ids.await?.into_iter().map(TenantId).collect())
}

/// The garbage that is recorded after one name and up to another.
async fn list_garbage(
    connection: &mut PgConnection,
    tenant: TenantId,
    after: Option<&str>,
    until: Option<&str>,
) -> Result<Vec<Garbage>, sqlx::Error> {
    sqlx::query_as!(
        Garbage,
        "select name, first_seen, bytes from garbage
         where tenant_id = $1 and ($2::text is null or name > $2)
           and ($3::text is null or name <= $3)
         order by name",
        tenant.0,
        after,
        until,
    )
    .fetch_all(connection)
    .await
}

async fn insert_garbage(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
    objects: &[&ObjectInfo],
) -> Result<(), sqlx::Error> {
    let names: Vec<String> = objects.iter().map(|object| object.name.clone()).collect();
    let bytes: Vec<i64> = objects.iter().map(|object| object.bytes as i64).collect();
    sqlx::query!(
        "insert into garbage (tenant_id, name, first_seen, bytes)
         select $1, object.name, $2, object.bytes from unnest($3::text[], $4::bigint[]) as object(name, bytes)
         on conflict do nothing",
        tenant.0,
        now,
        &names,
        &bytes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn remove_garbage(
    connection: &mut PgConnection,
    tenant: TenantId,
    names: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from garbage where tenant_id = $1 and name = any($2)", tenant.0, names)
        .execute(connection)
        .await?;
    Ok(())
}

fn add(total: &mut GcReport, report: &GcReport) {
    total.objects += report.objects;
    total.bytes += report.bytes;
    total.garbage += report.garbage;
    total.garbage_bytes += report.garbage_bytes;
    total.deleted += report.deleted;
    total.deleted_bytes += report.deleted_bytes;
    total.failed += report.failed;
}
