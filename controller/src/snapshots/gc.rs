//! Removes from the store what no snapshot needs any more. Safe while everything runs.
//!
//! ```text
//! list objects ─▶ then read the roots ─▶ mark what they rest on ─▶ the rest is garbage, since when it was first seen
//!                                                                   └─ still garbage a grace period later: deleted
//! ```
//!
//! Listing comes before the roots, so what is stored meanwhile is not looked at, and what becomes a root meanwhile counts. What
//! a snapshot under way has stored is named by no root yet: the grace period is longer than any snapshot takes. A deleted
//! object was needed by no root at two times a grace period apart; a new root rests on an older root and on what is younger
//! than that. If anything cannot be read, nothing is deleted.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture};
use protocol::{ManifestId, TenantId, api::admin::GcReport};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use volume::{
    DataKey, ObjectStore, StoreError, VolumeError,
    store::{ObjectInfo, with_retries},
};

use crate::{
    audit,
    config::HistoryConfig,
    core::App,
    db::Database,
    snapshots,
    tenants::{self, TenantError, TenantKey},
};

/// Held by the one collector of a database.
const COLLECTOR_LOCK: i64 = 0x6275_7272_6f77_0003;
/// Objects that are looked at together: some 20 MiB of names.
const WINDOW_OBJECTS: usize = 200_000;
/// Rows in one statement.
const ROWS: usize = 1000;
const DELETIONS_AT_ONCE: usize = 8;
/// For one call to the store with its repetitions.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// After a start: whoever has just started wants their machines first.
const FIRST_AFTER: Duration = Duration::from_secs(15 * 60);

/// Whether the object of this name must stay.
pub type Reachable = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Follows manifests to all that they rest on.
pub trait Marking: Send + Sync + 'static {
    fn reachable(
        &self,
        store: Arc<dyn ObjectStore>,
        key: DataKey,
        tenant: TenantId,
        roots: Vec<ManifestId>,
    ) -> BoxFuture<'_, Result<Reachable, VolumeError>>;
}

/// As the volume writes them.
pub struct Manifests;

impl Marking for Manifests {
    fn reachable(
        &self,
        store: Arc<dyn ObjectStore>,
        key: DataKey,
        tenant: TenantId,
        roots: Vec<ManifestId>,
    ) -> BoxFuture<'_, Result<Reachable, VolumeError>> {
        Box::pin(async move {
            let reachable = volume::gc::find_reachable(store, key, tenant, roots).await?;
            Ok(Box::new(move |name: &str| reachable.contains(name)) as Reachable)
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("another collection is under way")]
    Busy,
    #[error("the server is ending")]
    Cancelled,
    #[error("the store does not answer as it should")]
    Store(#[from] StoreError),
    #[error("a snapshot cannot be followed")]
    Marking(#[from] VolumeError),
    #[error(transparent)]
    Tenant(#[from] TenantError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Collects every few hours until the shutdown.
pub async fn run(app: App) {
    let shutdown = app.tasks.shutdown().clone();
    let mut pause = FIRST_AFTER;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = app.config.history.collect_every;
        match collect(&app, None).await {
            Ok(_) | Err(CollectError::Busy | CollectError::Cancelled) => {}
            Err(error) => tracing::error!(%error, "collection"),
        }
    }
}

/// One collection, of one tenant or of all.
pub async fn collect(app: &App, tenant: Option<TenantId>) -> Result<GcReport, CollectError> {
    let collector = Collector {
        app: app.clone(),
        store: app.store.clone(),
        now: app.now(),
        shutdown: app.tasks.shutdown().clone(),
    };
    collector.collect(tenant).await
}

pub struct Collector {
    pub app: App,
    pub store: Arc<dyn ObjectStore>,
    pub now: OffsetDateTime,
    pub shutdown: CancellationToken,
}

impl Collector {
    pub async fn collect(&self, tenant: Option<TenantId>) -> Result<GcReport, CollectError> {
        let lock = self.db().hold(COLLECTOR_LOCK).await?.ok_or(CollectError::Busy)?;
        let done = self.collect_alone(tenant).await;
        if let Err(error) = lock.release().await {
            tracing::warn!(%error, "the collector's lock goes with its connection");
        }
        done
    }

    async fn collect_alone(&self, tenant: Option<TenantId>) -> Result<GcReport, CollectError> {
        let begun = Instant::now();
        self.give_up_homes().await?;
        let tenants = match tenant {
            Some(tenant) => vec![tenant],
            None => tenants::all(self.db().system().await?.connection()).await?,
        };
        let mut sum = GcReport::default();
        let mut failed = None;
        for tenant in tenants {
            // One tenant's damage is not the others'.
            match self.collect_one(tenant).await {
                Ok(done) => add(&mut sum, &done),
                Err(CollectError::Cancelled) => return Err(CollectError::Cancelled),
                Err(error) => {
                    tracing::error!(%tenant, %error, "a tenant's objects are not collected");
                    failed = Some(error);
                }
            }
        }
        tracing::info!(
            objects = sum.objects,
            garbage = sum.garbage,
            deleted = sum.deleted,
            deleted_bytes = sum.deleted_bytes,
            failed = sum.failed,
            seconds = begun.elapsed().as_secs(),
            "collected"
        );
        failed.map_or(Ok(sum), Err)
    }

    /// Homes of workspaces that were deleted long enough ago are roots no longer.
    async fn give_up_homes(&self) -> Result<(), CollectError> {
        let mut system = self.db().system().await?;
        let homes = snapshots::give_up(system.connection(), self.now - self.config().deleted_grace).await?;
        system.commit().await?;
        if homes > 0 {
            tracing::info!(homes, "homes of deleted workspaces are given up");
        }
        Ok(())
    }

    async fn collect_one(&self, tenant: TenantId) -> Result<GcReport, CollectError> {
        let mut sum = GcReport::default();
        let mut after: Option<String> = None;
        loop {
            let window = self.list(tenant, after.as_deref()).await?;
            let reachable = self.mark(tenant).await?;
            let done = self.sweep(tenant, after.as_deref(), &window, &reachable).await?;
            add(&mut sum, &done);
            match window.objects.last() {
                Some(last) if window.more => after = Some(last.name.clone()),
                _ => break,
            }
        }
        if sum.deleted > 0 || sum.failed > 0 {
            let detail = serde_json::to_value(sum).expect("plain data");
            let mut system = self.db().system().await?;
            audit::write_system(system.connection(), tenant, "store.collect", &tenant.to_string(), detail)
                .await?;
            system.commit().await?;
        }
        Ok(sum)
    }

    /// The tenant's next objects, in the order of their names.
    async fn list(&self, tenant: TenantId, after: Option<&str>) -> Result<Window, CollectError> {
        let prefix = format!("{tenant}/");
        let mut objects: Vec<ObjectInfo> = Vec::new();
        while objects.len() < WINDOW_OBJECTS {
            let after = objects.last().map(|last| last.name.as_str()).or(after);
            let page = self.call(|| self.store.list(&prefix, after)).await?;
            if page.is_empty() {
                return Ok(Window { objects, more: false });
            }
            objects.extend(page);
        }
        Ok(Window { objects, more: true })
    }

    /// Roots are read now, after the listing.
    async fn mark(&self, tenant: TenantId) -> Result<Reachable, CollectError> {
        let mut system = self.db().system().await?;
        let key = tenants::key(system.connection(), tenant).await?;
        let roots = snapshots::roots(system.connection(), tenant).await?;
        drop(system);
        let TenantKey::Open(key) = key.open(&self.app.keeper).await.map_err(TenantError::Keeper)? else {
            // Nobody can read any of it.
            return Ok(Box::new(|_| false));
        };
        tokio::select! {
            () = self.shutdown.cancelled() => Err(CollectError::Cancelled),
            marked = self.app.marking.reachable(self.store.clone(), key, tenant, roots) => Ok(marked?),
        }
    }

    /// Writes down what is garbage in this window, and deletes what has been for long enough.
    async fn sweep(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        window: &Window,
        reachable: &Reachable,
    ) -> Result<GcReport, CollectError> {
        let garbage: Vec<&ObjectInfo> =
            window.objects.iter().filter(|object| !reachable(&object.name)).collect();
        let names: HashSet<&str> = garbage.iter().map(|object| object.name.as_str()).collect();
        let until = window.objects.last().filter(|_| window.more).map(|last| last.name.as_str());
        let mut doomed = Vec::new();
        let mut system = self.db().system().await?;
        for known in seen(system.connection(), tenant, after, until).await? {
            if !names.contains(known.name.as_str()) {
                // It is needed again, or gone.
                forget(system.connection(), tenant, &[known.name]).await?;
            } else if known.first_seen <= self.now - self.config().collect_grace {
                doomed.push(known);
            }
        }
        for rows in garbage.chunks(ROWS) {
            remember(system.connection(), tenant, self.now, rows).await?;
        }
        system.commit().await?;
        let mut sum = GcReport {
            objects: window.objects.len() as u64,
            bytes: window.objects.iter().map(|object| object.bytes).sum(),
            garbage: garbage.len() as u64,
            garbage_bytes: garbage.iter().map(|object| object.bytes).sum(),
            ..GcReport::default()
        };
        for rows in doomed.chunks(ROWS) {
            self.delete(tenant, rows, &mut sum).await?;
        }
        Ok(sum)
    }

    async fn delete(&self, tenant: TenantId, rows: &[Known], sum: &mut GcReport) -> Result<(), CollectError> {
        let deletions: Vec<_> = rows.iter().map(|row| self.delete_one(row)).collect();
        let outcomes: Vec<_> =
            futures_util::stream::iter(deletions).buffer_unordered(DELETIONS_AT_ONCE).collect().await;
        let mut gone = Vec::new();
        for (row, outcome) in outcomes {
            match outcome {
                Ok(()) => {
                    sum.deleted += 1;
                    sum.deleted_bytes += row.bytes.unsigned_abs();
                    gone.push(row.name.clone());
                }
                Err(CollectError::Cancelled) => return Err(CollectError::Cancelled),
                Err(error) => {
                    tracing::warn!(object = row.name, %error, "an object is not deleted");
                    sum.failed += 1;
                }
            }
        }
        let mut system = self.db().system().await?;
        forget(system.connection(), tenant, &gone).await?;
        system.commit().await?;
        Ok(())
    }

    async fn delete_one<'a>(&self, row: &'a Known) -> (&'a Known, Result<(), CollectError>) {
        (row, self.call(|| self.store.delete(&row.name)).await)
    }

    /// A call to the store, tried again as is usual, until its deadline or the shutdown.
    async fn call<T, F>(&self, call: impl FnMut() -> F) -> Result<T, CollectError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let late = || StoreError::Unavailable("it took too long".to_owned());
        tokio::select! {
            () = self.shutdown.cancelled() => Err(CollectError::Cancelled),
            done = timeout(CALL_TIMEOUT, with_retries(call)) => Ok(done.unwrap_or_else(|_| Err(late()))?),
        }
    }

    fn db(&self) -> &Database {
        &self.app.db
    }

    fn config(&self) -> &HistoryConfig {
        &self.app.config.history
    }
}

/// A part of a listing.
struct Window {
    objects: Vec<ObjectInfo>,
    /// Others follow.
    more: bool,
}

struct Known {
    name: String,
    first_seen: OffsetDateTime,
    bytes: i64,
}

/// What is known as garbage behind one name and up to another.
async fn seen(
    connection: &mut PgConnection,
    tenant: TenantId,
    after: Option<&str>,
    until: Option<&str>,
) -> Result<Vec<Known>, sqlx::Error> {
    sqlx::query_as!(
        Known,
        "select name, first_seen, bytes from garbage
         where tenant_id = $1 and ($2::text is null or name > $2) and ($3::text is null or name <= $3) order by name",
        tenant.0,
        after,
        until,
    )
    .fetch_all(connection)
    .await
}

async fn remember(
    connection: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
    objects: &[&ObjectInfo],
) -> Result<(), sqlx::Error> {
    let names: Vec<String> = objects.iter().map(|object| object.name.clone()).collect();
    let bytes: Vec<i64> = objects.iter().map(|object| object.bytes as i64).collect();
    sqlx::query!(
        "insert into garbage (tenant_id, name, first_seen, bytes)
         select $1, one.name, $2, one.bytes from unnest($3::text[], $4::bigint[]) as one(name, bytes)
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

async fn forget(
    connection: &mut PgConnection,
    tenant: TenantId,
    names: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from garbage where tenant_id = $1 and name = any($2)", tenant.0, names)
        .execute(connection)
        .await?;
    Ok(())
}

fn add(sum: &mut GcReport, one: &GcReport) {
    sum.objects += one.objects;
    sum.bytes += one.bytes;
    sum.garbage += one.garbage;
    sum.garbage_bytes += one.garbage_bytes;
    sum.deleted += one.deleted;
    sum.deleted_bytes += one.deleted_bytes;
    sum.failed += one.failed;
}
