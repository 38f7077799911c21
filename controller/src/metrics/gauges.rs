//! What is, read from the database and the disk of this host at each scrape.

use std::collections::BTreeMap;

use metrics::{Unit, describe_gauge, gauge};
use protocol::workspace::Phase;
use time::OffsetDateTime;
use uuid::Uuid;

use super::seconds_between;
use crate::{
    core::Core,
    db::text::{Text, TextEnum as _},
    disk::report::DiskGauges,
};

const WORKSPACES: &str = "burrow_workspaces";
const QUEUE_WAIT: &str = "burrow_queue_wait_seconds";
const UNREPLICATED: &str = "burrow_unreplicated_seconds";
const HOME_BYTES: &str = "burrow_home_used_bytes";
const DISK_BYTES: &str = "burrow_disk_bytes";
const DISK_TENANT_BYTES: &str = "burrow_disk_tenant_bytes";
const DISK_FREE: &str = "burrow_disk_free_bytes";
const DISK_ROOM: &str = "burrow_disk_room_bytes";
const DISK_SLOWED: &str = "burrow_disk_slowed_homes";

/// What one tenant has.
#[derive(Debug, Default, PartialEq)]
struct TenantGauges {
    by_phase: BTreeMap<&'static str, i64>,
    queued_since: Option<OffsetDateTime>,
    unreplicated_ms: i64,
    home_bytes: i64,
}

/// Describes the gauges.
pub fn describe() {
    describe_gauge!(WORKSPACES, Unit::Count, "Workspaces by phase");
    describe_gauge!(QUEUE_WAIT, Unit::Seconds, "How long the first workspace in the queue has waited");
    describe_gauge!(UNREPLICATED, Unit::Seconds, "Age of the oldest write that no snapshot in the store has");
    describe_gauge!(HOME_BYTES, Unit::Bytes, "Bytes that files in homes use");
    describe_gauge!(DISK_BYTES, Unit::Bytes, "Bytes that Burrow takes of the disk of this host, by kind");
    describe_gauge!(DISK_TENANT_BYTES, Unit::Bytes, "Bytes that the users of a tenant take of that disk");
    describe_gauge!(DISK_FREE, Unit::Bytes, "Free bytes of that disk");
    describe_gauge!(DISK_ROOM, Unit::Bytes, "Bytes that Burrow may still use of that disk");
    describe_gauge!(DISK_SLOWED, Unit::Count, "Homes that have nearly used up their share of that disk");
}

/// Reads the database and sets the gauges.
pub async fn update(core: &Core) -> Result<(), sqlx::Error> {
    for (tenant, gauges) in read(core).await? {
        set(tenant, &gauges, core.now());
    }
    if let Some(disk) = core.disk.gauges(&core.config) {
        set_disk(&disk);
    }
    Ok(())
}

async fn read(core: &Core) -> Result<BTreeMap<Uuid, TenantGauges>, sqlx::Error> {
    let mut system = core.db.system().await?;
    let rows = sqlx::query!(
        r#"select t.tenant_id, w.phase as "phase?: Text<Phase>", count(w.workspace_id) as "count!",
                  min(w.queued_at) as queued_since, max(w.unreplicated_ms) as unreplicated_ms,
                  coalesce(sum(w.home_used_bytes), 0)::bigint as "home_bytes!"
           from tenants t left join workspaces w on w.tenant_id = t.tenant_id and w.deleted_at is null
           group by t.tenant_id, w.phase"#
    )
    .fetch_all(system.connection())
    .await?;
    let mut tenants = BTreeMap::<Uuid, TenantGauges>::new();
    for row in rows {
        let gauges = tenants.entry(row.tenant_id).or_default();
        if let Some(phase) = row.phase {
            gauges.by_phase.insert(phase.name(), row.count);
        }
        gauges.queued_since = gauges.queued_since.into_iter().chain(row.queued_since).min();
        gauges.unreplicated_ms = gauges.unreplicated_ms.max(row.unreplicated_ms.unwrap_or_default());
        gauges.home_bytes += row.home_bytes;
    }
    Ok(tenants)
}

fn set_disk(disk: &DiskGauges) {
    for (kind, bytes) in &disk.kinds {
        gauge!(DISK_BYTES, "kind" => kind.name()).set(*bytes as f64);
    }
    for (tenant, bytes) in &disk.tenants {
        gauge!(DISK_TENANT_BYTES, "tenant" => tenant.to_string()).set(*bytes as f64);
    }
    gauge!(DISK_FREE).set(disk.free as f64);
    gauge!(DISK_ROOM).set(disk.room as f64);
    gauge!(DISK_SLOWED).set(disk.slowed as f64);
}

/// Sets all gauges of a tenant, also those that are zero: otherwise the last value would stay.
fn set(tenant: Uuid, gauges: &TenantGauges, now: OffsetDateTime) {
    let tenant = tenant.to_string();
    for (_, phase) in Phase::NAMES {
        let count = gauges.by_phase.get(phase).copied().unwrap_or_default();
        gauge!(WORKSPACES, "tenant" => tenant.clone(), "phase" => *phase).set(count as f64);
    }
    let wait = gauges.queued_since.map_or(0.0, |since| seconds_between(since, now));
    gauge!(QUEUE_WAIT, "tenant" => tenant.clone()).set(wait);
    gauge!(UNREPLICATED, "tenant" => tenant.clone()).set(gauges.unreplicated_ms as f64 / 1000.0);
    gauge!(HOME_BYTES, "tenant" => tenant).set(gauges.home_bytes as f64);
}
