//! Keeps the audit logs: stores anchors in the object store, verifies, and removes what retention does
//! not keep.
//!
//! An anchor is an object that is named by the number of an entry and contains its hash. It is created
//! only if there is none of the name, so a log that was cut off or written again does not fit to it, even
//! if that was done in the database.

use std::{collections::BTreeMap, pin::pin};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use protocol::{
    TenantId,
    api::audit::AuditVerification,
    audit::{ChainVerifier, EntryHash},
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use volume::{
    StoreError,
    store::{PutOutcome, list_pages, with_retries},
};

use super::query::{self, Filter, Head, Position};
use crate::{
    audit,
    core::{App, Core},
    db::Database,
};

/// Advisory lock in Postgres: one controller keeps or verifies logs at a time.
const AUDIT_LOCK: i64 = 0x6275_7272_6f77_0004;
/// How often new entries are anchored. What is younger relies on the database alone.
const ANCHOR_INTERVAL: std::time::Duration = std::time::Duration::from_mins(10);
/// Entries that are read at once.
const BATCH_ENTRIES: i64 = 2000;
/// Anchors that are kept. Each covers everything before it, so older ones only help to find the place.
const MAX_ANCHORS: usize = 500;
/// Anchors that are read at the same time.
const MAX_CONCURRENT_READS: usize = 16;
const MAX_ANCHOR_BYTES: u64 = 1024;
/// Entries of one tenant that are removed in one pass.
const MAX_PRUNED: i64 = 50_000;
/// Faults that a verification lists.
const MAX_FAULTS: usize = 20;

/// Why a log cannot be verified or kept.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    #[error("Cannot verify the audit log: another verification is running")]
    Busy,
    #[error("Cannot read the anchors of the audit log")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The content of an anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    tenant: TenantId,
    seq: u64,
    hash: EntryHash,
}

/// Anchors and prunes all logs until the shutdown.
pub async fn run(app: App) {
    let shutdown = app.tasks.shutdown().clone();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(ANCHOR_INTERVAL) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            kept = keep_all(&app, app.now()) => match kept {
                Ok(()) | Err(MaintenanceError::Busy) => {}
                Err(error) => tracing::error!(%error, "cannot keep the audit logs"),
            },
        }
    }
}

/// Anchors the new entries of all tenants and prunes what is too old.
pub async fn keep_all(core: &Core, now: OffsetDateTime) -> Result<(), MaintenanceError> {
    locked(&core.db, async {
        let mut system = core.db.system().await?;
        let tenants =
            sqlx::query_scalar!("select tenant_id from audit_heads where seq > 0 order by tenant_id")
                .fetch_all(system.connection())
                .await?;
        system.commit().await?;
        for tenant in tenants.into_iter().map(TenantId) {
            // One tenant's trouble does not stop the others.
            if let Err(error) = keep(core, now, tenant).await {
                tracing::error!(%tenant, %error, "cannot anchor or prune an audit log");
            }
        }
        Ok(())
    })
    .await
}

/// Runs one at a time on a database.
async fn locked<T>(
    db: &Database,
    work: impl Future<Output = Result<T, MaintenanceError>>,
) -> Result<T, MaintenanceError> {
    let lock = db.try_lock(AUDIT_LOCK).await?.ok_or(MaintenanceError::Busy)?;
    let result = work.await;
    if let Err(error) = lock.release().await {
        tracing::warn!(%error, "cannot release the lock of the audit logs; it ends with its connection");
    }
    result
}

async fn keep(core: &Core, now: OffsetDateTime, tenant: TenantId) -> Result<(), MaintenanceError> {
    anchor(core, tenant).await?;
    prune(core, now, tenant).await
}

/// Stores the hash of the newest entry.
async fn anchor(core: &Core, tenant: TenantId) -> Result<(), MaintenanceError> {
    let Some(head) = find_head(core, tenant).await? else { return Ok(()) };
    if head.seq == head.anchored_seq {
        return Ok(());
    }
    let anchor = Anchor { tenant, seq: head.seq.unsigned_abs(), hash: head.hash };
    let name = anchor_name(tenant, anchor.seq);
    let body = Bytes::from(serde_json::to_vec(&anchor).expect("plain data"));
    let outcome = with_retries(|| core.store.put_if_absent(&name, body.clone())).await?;
    if outcome == PutOutcome::Existed && read_anchor(core, &name).await? != Some(anchor) {
        // A verification reports it until somebody has looked.
        tracing::error!(%tenant, seq = head.seq, "the audit log was written again below an anchor");
        return Ok(());
    }
    let mut system = core.db.system().await?;
    sqlx::query!("select mark_audit_anchored($1, $2)", tenant.0, head.seq)
        .fetch_one(system.connection())
        .await?;
    system.commit().await?;
    let anchors = list_anchors(core, tenant).await?;
    for (_, name) in anchors.iter().take(anchors.len().saturating_sub(MAX_ANCHORS)) {
        with_retries(|| core.store.delete(name)).await?;
    }
    Ok(())
}

/// Removes the entries that are older than the tenant keeps them, and records that.
async fn prune(core: &Core, now: OffsetDateTime, tenant: TenantId) -> Result<(), MaintenanceError> {
    let mut system = core.db.system().await?;
    let days = query::find_retention_days(system.connection(), tenant).await?;
    let before = now - Duration::days(days.into());
    let up_to = sqlx::query_scalar!(
        "select max(seq) from (select seq, at from audit where tenant_id = $1 order by seq limit $3) oldest
         where at < $2",
        tenant.0,
        before,
        MAX_PRUNED,
    )
    .fetch_one(system.connection())
    .await?;
    let Some(up_to) = up_to else { return Ok(()) };
    let removed = sqlx::query_scalar!("select prune_audit($1, $2)", tenant.0, up_to)
        .fetch_one(system.connection())
        .await?;
    let removed = removed.unwrap_or_default();
    if removed > 0 {
        let detail = serde_json::json!({ "entries": removed, "days": days });
        audit::write_system(system.connection(), tenant, "audit.prune", &tenant.to_string(), detail).await?;
    }
    Ok(system.commit().await?)
}

/// Verifies all entries of a tenant and compares them with the anchors.
pub async fn verify(core: &Core, tenant: TenantId) -> Result<AuditVerification, MaintenanceError> {
    locked(&core.db, verify_locked(core, tenant)).await
}

async fn verify_locked(core: &Core, tenant: TenantId) -> Result<AuditVerification, MaintenanceError> {
    // Nothing is pruned in between, because that takes the lock too. Later entries are not read.
    let Some(head) = find_head(core, tenant).await? else { return Ok(empty()) };
    let anchors = read_anchors(core, tenant, head.pruned_seq.unsigned_abs()).await?;
    let mut report = AuditVerification {
        pruned_seq: head.pruned_seq.unsigned_abs(),
        anchors: anchors.len() as u64,
        last_anchored_seq: anchors.keys().next_back().copied().unwrap_or_default(),
        ..empty()
    };
    let mut faults = Faults::default();
    let mut chain = ChainVerifier::new(tenant, head.pruned_seq.unsigned_abs(), head.pruned_hash);
    let mut missing = anchors.clone();
    loop {
        let batch = read_batch(core, tenant, chain.head().0, head.seq).await?;
        if batch.is_empty() {
            break;
        }
        for entry in batch {
            if report.entries == 0 {
                report.first_seq = entry.seq;
            }
            report.entries += 1;
            report.last_seq = entry.seq;
            if let Err(fault) = chain.check(&entry) {
                faults.push(fault.to_string());
            }
            if missing.remove(&entry.seq).is_some_and(|anchored| anchored != entry.hash) {
                faults.push(format!("entry {} is not the one that was anchored", entry.seq));
            }
        }
    }
    if chain.head() != (head.seq.unsigned_abs(), head.hash) {
        faults.push(format!("the log ends with entry {} instead of {}", chain.head().0, head.seq));
    }
    if has_entries_after_head(core, tenant).await? {
        faults.push("the log has entries after its newest one".to_owned());
    }
    for seq in missing.keys() {
        faults.push(format!("entry {seq} was anchored and is missing"));
    }
    report.is_intact = faults.0.is_empty();
    report.faults = faults.0;
    Ok(report)
}

/// Whether somebody added entries without the head.
async fn has_entries_after_head(core: &Core, tenant: TenantId) -> Result<bool, MaintenanceError> {
    let mut system = core.db.system().await?;
    let found = sqlx::query_scalar!(
        r#"select exists (select from audit a join audit_heads h using (tenant_id)
               where a.tenant_id = $1 and a.seq > h.seq) as "found!""#,
        tenant.0,
    )
    .fetch_one(system.connection())
    .await?;
    Ok(found)
}

fn empty() -> AuditVerification {
    AuditVerification {
        is_intact: true,
        entries: 0,
        first_seq: 0,
        last_seq: 0,
        pruned_seq: 0,
        anchors: 0,
        last_anchored_seq: 0,
        faults: Vec::new(),
    }
}

/// What was found, up to a limit.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn push(&mut self, fault: String) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(fault);
        }
    }
}

/// Entries after one and up to another. Each batch is a transaction, so none runs for long.
async fn read_batch(
    core: &Core,
    tenant: TenantId,
    after: u64,
    up_to: i64,
) -> Result<Vec<protocol::api::audit::AuditEntry>, MaintenanceError> {
    let mut system = core.db.system().await?;
    let after = Position::After(i64::try_from(after).unwrap_or(i64::MAX));
    let mut batch =
        query::list(system.connection(), tenant, &Filter::default(), after, BATCH_ENTRIES).await?;
    batch.retain(|entry| entry.seq <= up_to.unsigned_abs());
    Ok(batch)
}

async fn find_head(core: &Core, tenant: TenantId) -> Result<Option<Head>, MaintenanceError> {
    let mut system = core.db.system().await?;
    Ok(query::find_head(system.connection(), tenant).await?)
}

/// Prefix of a tenant's anchors. The gc leaves them alone.
pub fn anchor_prefix(tenant: TenantId) -> String {
    format!("{tenant}/audit/")
}

/// Numbers have one length, so that a listing is in their order.
fn anchor_name(tenant: TenantId, seq: u64) -> String {
    format!("{}anchor-{seq:020}", anchor_prefix(tenant))
}

/// The anchors of a tenant, the oldest first: number and name.
async fn list_anchors(core: &Core, tenant: TenantId) -> Result<Vec<(u64, String)>, MaintenanceError> {
    let prefix = format!("{}anchor-", anchor_prefix(tenant));
    let mut anchors: Vec<(u64, String)> = Vec::new();
    let mut pages = pin!(list_pages(&*core.store, &prefix, None));
    while let Some(page) = pages.try_next().await? {
        anchors.extend(page.into_iter().filter_map(|object| {
            let seq = object.name.strip_prefix(&prefix)?.parse().ok()?;
            Some((seq, object.name))
        }));
    }
    Ok(anchors)
}

/// The hashes of the anchored entries after `pruned`.
async fn read_anchors(
    core: &Core,
    tenant: TenantId,
    pruned: u64,
) -> Result<BTreeMap<u64, EntryHash>, MaintenanceError> {
    let names = list_anchors(core, tenant).await?.into_iter().filter(|(seq, _)| *seq > pruned);
    futures_util::stream::iter(names)
        .map(|(seq, name)| async move {
            // One that cannot be read does not fit to its entry.
            let anchor = read_anchor(core, &name).await?;
            let anchor = anchor.filter(|anchor| anchor.tenant == tenant && anchor.seq == seq);
            Ok((seq, anchor.map_or(EntryHash::ZERO, |anchor| anchor.hash)))
        })
        .buffer_unordered(MAX_CONCURRENT_READS)
        .try_collect()
        .await
}

async fn read_anchor(core: &Core, name: &str) -> Result<Option<Anchor>, MaintenanceError> {
    let body = with_retries(|| core.store.get(name, MAX_ANCHOR_BYTES)).await?;
    Ok(serde_json::from_slice(&body).ok())
}
