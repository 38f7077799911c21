//! The disk of this host, which caches, scratch disks, objects, images and the database share: measured
//! every minute by kind and by owner, and its room every few seconds while homes are open. The decisions
//! are those of [`budget`]; runners get their homes' shares with each answer to a report.

pub mod budget;
pub mod measure;
pub mod report;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{
    Epoch, TenantId, UserId, VolumeId, WorkspaceId,
    api::user::Role,
    runner::{DiskShare, RuntimeKind},
};
use time::OffsetDateTime;
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    config::{Config, DiskConfig},
    core::{App, Core},
    db::text::Text,
};
use budget::{Allowances, Disk, RunningHome, divide, max_cache_bytes, max_unnamed_bytes};
use measure::{DiskUsage, is_cache_larger_than, measure_disk, measure_usage};

/// How often the room is divided while homes are open.
const DIVISION_INTERVAL: Duration = Duration::from_secs(2);
/// Shortest pause between two measurements of the use.
const MIN_USAGE_INTERVAL: Duration = Duration::from_mins(1);
/// A measurement is followed by a pause of this many times its own duration, so that a large store does
/// not keep the disk busy.
const USAGE_PAUSE_FACTOR: u32 = 20;
/// What was stored counts half after this time.
const CHARGE_HALF_LIFE: Duration = Duration::from_hours(1);
const MIB: u64 = 1 << 20;
/// Workspaces that are considered together.
const MAX_ROWS: i64 = 20_000;

/// What this controller knows of the disk. All that is in it is lost at its end, and so are its runners.
#[derive(Debug, Default)]
pub struct DiskMonitor {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    usage: Option<MeasuredUsage>,
    disk: Disk,
    homes: Vec<RunningHome>,
    shares: BTreeMap<WorkspaceId, u64>,
    uploads: HashMap<WorkspaceId, RecentUploads>,
}

/// What was found on the disk, and by whom it is used.
#[derive(Clone, Debug)]
pub struct MeasuredUsage {
    pub at: OffsetDateTime,
    /// Free space at that time.
    free: u64,
    pub disk: DiskUsage,
    pub users: BTreeMap<(TenantId, UserId), UserUsage>,
    owners: HashMap<VolumeId, (TenantId, UserId)>,
}

/// What one user takes, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserUsage {
    pub name: String,
    pub role: Role,
    pub caches: u64,
    pub scratch: u64,
    pub objects: u64,
}

impl UserUsage {
    /// Everything together.
    pub fn total(&self) -> u64 {
        self.caches + self.scratch + self.objects
    }
}

impl MeasuredUsage {
    /// What the users of a tenant take together.
    pub fn of_tenant(&self, tenant: TenantId) -> u64 {
        self.users.iter().filter(|((its, _), _)| *its == tenant).map(|(_, user)| user.total()).sum()
    }

    /// What is left to users and tenants that have a limit.
    fn allowances(&self, limits: &DiskConfig) -> Allowances {
        let mut left = Allowances::default();
        for ((tenant, user), usage) in &self.users {
            if let Some(limit) = limits.of(usage.role) {
                left.users.insert((*tenant, *user), limit.saturating_sub(usage.total()));
            }
            if let Some(limit) = limits.tenant_bytes {
                left.tenants.entry(*tenant).or_insert_with(|| limit.saturating_sub(self.of_tenant(*tenant)));
            }
        }
        left
    }
}

/// What a home has stored, the less the longer it is ago.
#[derive(Clone, Copy, Debug)]
struct RecentUploads {
    bytes: f64,
    at: Instant,
}

impl RecentUploads {
    fn bytes_at(self, now: Instant) -> f64 {
        let half_lives =
            now.saturating_duration_since(self.at).as_secs_f64() / CHARGE_HALF_LIFE.as_secs_f64();
        self.bytes * 0.5_f64.powf(half_lives)
    }
}

/// Who is at a limit of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskRefusal {
    /// Free space and what is needed.
    Disk { free: u64, reserve: u64, needed: u64 },
    /// What Burrow takes, and the budget.
    Budget { used: u64, budget: u64 },
    /// What the user takes, and the limit.
    User { used: u64, limit: u64 },
    /// What the tenant takes, and the limit.
    Tenant { used: u64, limit: u64 },
}

impl DiskMonitor {
    /// The share of a home that runs. One that is not known yet gets no more than an equal part.
    pub fn share(&self, workspace: WorkspaceId) -> DiskShare {
        let state = self.state();
        if state.disk.total == 0 {
            return DiskShare::default();
        }
        let of_new = || state.disk.shared() / (state.homes.len() as u64 + 1);
        DiskShare {
            max_unsaved_bytes: Some(state.shares.get(&workspace).copied().unwrap_or_else(of_new)),
            must_shrink: !state.disk.has_room_for_start(),
        }
    }

    /// Records what a snapshot of a running home has stored.
    pub fn record_upload(&self, workspace: WorkspaceId, bytes: u64) {
        let now = Instant::now();
        let mut state = self.state();
        let recent = state.uploads.entry(workspace).or_insert(RecentUploads { bytes: 0.0, at: now });
        *recent = RecentUploads { bytes: recent.bytes_at(now) + bytes as f64, at: now };
    }

    /// Measures the room now, and decides whether something new may begin.
    pub fn check_start(&self, config: &Config) -> Result<(), DiskRefusal> {
        // A disk that cannot be measured is no reason to refuse.
        let Ok(disk) = self.measure(config) else { return Ok(()) };
        if disk.has_room_for_start() {
            return Ok(());
        }
        let budget = disk.budget.filter(|budget| budget.saturating_sub(disk.used) < disk.start);
        Err(budget.map_or(
            DiskRefusal::Disk { free: disk.free, reserve: disk.reserve, needed: disk.start },
            |budget| DiskRefusal::Budget { used: disk.used, budget },
        ))
    }

    /// Decides whether workspaces of a user may start, as of the last measurement.
    pub fn check_owner(
        &self,
        limits: &DiskConfig,
        tenant: TenantId,
        user: UserId,
    ) -> Result<(), DiskRefusal> {
        let state = self.state();
        let Some(usage) = &state.usage else { return Ok(()) };
        let Some(of_user) = usage.users.get(&(tenant, user)) else { return Ok(()) };
        let used = of_user.total();
        if let Some(limit) = limits.of(of_user.role).filter(|limit| used >= *limit) {
            return Err(DiskRefusal::User { used, limit });
        }
        let used = usage.of_tenant(tenant);
        match limits.tenant_bytes.filter(|limit| used >= *limit) {
            Some(limit) => Err(DiskRefusal::Tenant { used, limit }),
            None => Ok(()),
        }
    }

    /// The disk as it is now.
    pub fn measure(&self, config: &Config) -> io::Result<Disk> {
        let known = self.state().usage.as_ref().map(|usage| (usage.disk.total(), usage.free));
        let disk = measure_disk(config, 0)?;
        // What was used since the use was measured is what is less free now.
        let used = known.map_or(0, |(used, free)| (used + free).saturating_sub(disk.free));
        Ok(Disk { used, ..disk })
    }

    /// The volumes of users who are at their limit, or whose tenant is.
    pub fn volumes_over_limit(&self, limits: &DiskConfig) -> Vec<VolumeId> {
        let state = self.state();
        let Some(usage) = &state.usage else { return vec![] };
        let left = usage.allowances(limits);
        let is_over = |(tenant, user): &(TenantId, UserId)| {
            left.users.get(&(*tenant, *user)) == Some(&0) || left.tenants.get(tenant) == Some(&0)
        };
        usage.owners.iter().filter(|(_, owner)| is_over(owner)).map(|(volume, _)| *volume).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Divides the room until the shutdown.
pub async fn run_division(app: App) {
    loop {
        if let Err(error) = divide_room(&app).await {
            tracing::warn!(%error, "cannot divide the space of the disk");
        }
        tokio::select! {
            () = app.tasks.shutdown().cancelled() => return,
            () = tokio::time::sleep(DIVISION_INTERVAL) => {}
        }
    }
}

/// Measures the use until the shutdown.
pub async fn run_measurement(app: App) {
    loop {
        let begun = Instant::now();
        if let Err(error) = record_usage(&app).await {
            tracing::warn!(%error, "cannot measure the use of the disk");
        }
        let pause = MIN_USAGE_INTERVAL.max(begun.elapsed() * USAGE_PAUSE_FACTOR);
        tokio::select! {
            () = app.tasks.shutdown().cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Why the disk is not measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error("Cannot read the workspaces: {0}")]
    Database(#[from] sqlx::Error),
    #[error("Cannot read the disk: {0}")]
    Disk(#[from] io::Error),
    #[error("Cannot read the disk: the task failed")]
    Task(#[from] tokio::task::JoinError),
}

/// Divides the room once, and ends runners that take more than a cache can need. If the database's reserve is
/// used up, it measures again who takes what, because files without a name are found only then.
pub async fn divide_room(core: &Core) -> Result<(), MeasureError> {
    let homes = if core.engine.has_runners() { find_running(core).await? } else { vec![] };
    let disk = core.disk.measure(&core.config)?;
    if disk.free < disk.reserve && !homes.is_empty() {
        record_usage(core).await?;
    }
    // A fake runtime has a directory of the user's files there.
    if core.config.engine.runtime != RuntimeKind::Fake {
        end_excessive(core, &homes).await?;
    }
    let now = Instant::now();
    let mut state = core.disk.state();
    let State { usage, uploads, .. } = &mut *state;
    uploads.retain(|workspace, _| homes.iter().any(|open| open.home.workspace == *workspace));
    let scratch = |volume| {
        usage.as_ref().and_then(|usage| usage.disk.scratch.get(&volume)).copied().unwrap_or_default()
    };
    let charged = |OpenHome { home, volume, .. }: OpenHome| {
        let uploaded = uploads.get(&home.workspace).filter(|_| disk.has_store);
        let uploaded = uploaded.map_or(0.0, |recent| recent.bytes_at(now));
        RunningHome { charge: uploaded as u64 + scratch(volume), ..home }
    };
    let homes: Vec<RunningHome> = homes.into_iter().map(charged).collect();
    let left = usage.as_ref().map(|usage| usage.allowances(&core.config.disk)).unwrap_or_default();
    state.shares = divide(&disk, &homes, &left);
    (state.disk, state.homes) = (disk, homes);
    Ok(())
}

/// A home that is open on this host.
struct OpenHome {
    /// Without what is charged to it.
    home: RunningHome,
    volume: VolumeId,
    home_bytes: u64,
    scratch_bytes: u64,
}

/// Ends the runners whose caches take more of the disk than an honest one can. Nothing of such a home is
/// saved any more; what it has written beside the cache is removed at its next start.
async fn end_excessive(core: &Core, homes: &[OpenHome]) -> Result<(), MeasureError> {
    let caches: Vec<_> = homes
        .iter()
        .map(|open| {
            let directory = core.config.cache_dir.join(open.volume.to_string());
            (open.home.workspace, directory, max_cache_bytes(open.home_bytes))
        })
        .collect();
    let is_excessive =
        |(_, directory, max): &(WorkspaceId, PathBuf, u64)| is_cache_larger_than(directory, *max);
    let named = spawn_blocking(move || caches.into_iter().filter(is_excessive).map(|(id, ..)| id).collect());
    let mut excessive: Vec<WorkspaceId> = named.await?;
    if let Some(usage) = &mut core.disk.state().usage {
        for open in homes {
            let max = max_unnamed_bytes(open.home_bytes, open.scratch_bytes);
            if usage.disk.scratch.get(&open.volume).is_some_and(|bytes| *bytes > max) {
                excessive.push(open.home.workspace);
                // They end with the runner. Its next one has not taken them.
                usage.disk.scratch.remove(&open.volume);
            }
        }
    }
    for workspace in excessive {
        tracing::error!(%workspace, "its runner takes more of the disk than its home can need: ending it");
        core.engine.end(workspace, Epoch(u64::MAX));
    }
    Ok(())
}

/// The homes that are open on this host.
async fn find_running(core: &Core) -> Result<Vec<OpenHome>, sqlx::Error> {
    let mut system = core.db.system().await?;
    let rows = sqlx::query!(
        r#"select tenant_id, owner_id, workspace_id, volume_id, home_mib, scratch_mib,
                  coalesce(dirty_bytes, 0) as "unsaved!"
           from workspaces
           where host = $1 and phase in ('provisioning', 'running') and deleted_at is null limit $2"#,
        core.config.host,
        MAX_ROWS,
    )
    .fetch_all(system.connection())
    .await?;
    let homes = rows.into_iter().map(|row| {
        let home = RunningHome {
            tenant: TenantId(row.tenant_id),
            user: UserId(row.owner_id),
            workspace: WorkspaceId(row.workspace_id),
            unsaved: row.unsaved.unsigned_abs(),
            charge: 0,
        };
        let bytes = |mib: i32| u64::from(mib.unsigned_abs()) * MIB;
        OpenHome {
            home,
            volume: VolumeId(row.volume_id),
            home_bytes: bytes(row.home_mib),
            scratch_bytes: bytes(row.scratch_mib),
        }
    });
    Ok(homes.collect())
}

/// Measures the use once.
pub async fn record_usage(core: &Core) -> Result<(), MeasureError> {
    let config = core.config.clone();
    let (usage, disk) =
        spawn_blocking(move || (measure_usage(&config.disk_paths()), measure_disk(&config, 0))).await?;
    let disk = disk?;
    let mut measured = MeasuredUsage {
        at: core.now(),
        free: disk.free,
        disk: usage,
        users: BTreeMap::new(),
        owners: HashMap::new(),
    };
    add_users(core, &mut measured, disk.has_store).await?;
    core.disk.state().usage = Some(measured);
    Ok(())
}

async fn add_users(core: &Core, measured: &mut MeasuredUsage, has_store: bool) -> Result<(), sqlx::Error> {
    let mut system = core.db.system().await?;
    let rows = sqlx::query!(
        r#"select w.tenant_id, w.owner_id, u.name, u.role as "role: Text<Role>", w.volume_id,
                  coalesce(s.stored_bytes, 0)::bigint as "stored_bytes!"
           from workspaces w join users u on u.tenant_id = w.tenant_id and u.user_id = w.owner_id
               left join (
                   select tenant_id, volume_id, sum(uploaded_bytes) as stored_bytes
                   from snapshots group by tenant_id, volume_id
               ) s on s.tenant_id = w.tenant_id and s.volume_id = w.volume_id
           limit $1"#,
        MAX_ROWS,
    )
    .fetch_all(system.connection())
    .await?;
    for row in rows {
        let (owner, volume) = ((TenantId(row.tenant_id), UserId(row.owner_id)), VolumeId(row.volume_id));
        let bytes = |of: &HashMap<VolumeId, u64>| of.get(&volume).copied().unwrap_or_default();
        let (caches, scratch) = (bytes(&measured.disk.caches), bytes(&measured.disk.scratch));
        measured.owners.insert(volume, owner);
        let user = measured.users.entry(owner).or_insert_with(|| UserUsage {
            name: row.name,
            role: row.role.0,
            caches: 0,
            scratch: 0,
            objects: 0,
        });
        user.caches += caches;
        user.scratch += scratch;
        user.objects += if has_store { row.stored_bytes.unsigned_abs() } else { 0 };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_count_half_after_an_hour() {
        let at = Instant::now();
        let recent = RecentUploads { bytes: 1000.0, at };
        for (hours, expected) in [(0, 1000.0), (1, 500.0), (3, 125.0)] {
            let bytes = recent.bytes_at(at + Duration::from_hours(hours));
            assert!((bytes - expected).abs() < 1e-6, "{bytes} after {hours} h");
        }
    }
}
