//! Places queued workspaces whose turn it is, and starts their runners.
//!
//! Turns are given in one transaction: the order is [`super::admission`]'s decision, and each
//! placed workspace gets a new epoch and a token for its runner. A runner is started once that is
//! committed. If it cannot be started, the placement ends with [`Event::LaunchFailed`], and the
//! lifecycle decides whether to try again.

use std::collections::{HashMap, HashSet};

use protocol::{
    ClassId, TenantId, UserId, VolumeId, WorkspaceId,
    api::user::Role,
    workspace::{Failure, Phase, StartPriority, Step, Tier},
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    admission::{OwnerLimits, Placed, Turns, Waiting, WorkspaceOwner, assign_turns},
    network,
    queue_estimate::QueueRate,
    runs, view,
};
use crate::{
    api,
    budgets::{
        self,
        store::{self, SetLimits},
        usage::Subject,
    },
    core::{App, Core},
    db::text::Text,
    engine::{LaunchError, LaunchSpec},
    identity::secrets,
    kms::{
        KmsError,
        tenant_keys::{self, TenantKey, WrappedTenantKey},
    },
    lifecycle::{Event, record},
    snapshots::upload_allowance::UsedAllowance,
    tenants,
};

/// Queued and placed workspaces that are considered together.
const MAX_ROWS: i64 = 20_000;
/// A position is told again when it is off by more than one in so many.
const FAR_BEHIND: u32 = 20;
/// An estimate is told again when it is off by more than this, and by more than a tenth.
const MIN_ESTIMATE_CHANGE: Duration = Duration::seconds(10);
/// Advisory lock in Postgres: one controller gives turns at a time.
const TURNS_LOCK: i64 = 0x6275_7272_6f77_0002;

/// A workspace that has been placed: its runner can be started once its tenant's key is decrypted.
pub struct Placement {
    key: WrappedTenantKey,
    spec: LaunchSpec,
}

struct QueueRow {
    tenant_id: Uuid,
    owner_id: Uuid,
    owner_role: Text<Role>,
    workspace_id: Uuid,
    phase: Text<Phase>,
    host: Option<String>,
    class_id: Option<Uuid>,
    vcpus: i16,
    memory_mib: i32,
    scratch_mib: i32,
    queued_at: Option<OffsetDateTime>,
    not_before: Option<OffsetDateTime>,
    queue_position: Option<i32>,
    estimated_start_at: Option<OffsetDateTime>,
    is_held: bool,
    reserved_by: Option<String>,
    start_priority: Text<StartPriority>,
    queue_weight: i32,
    created_at: OffsetDateTime,
}

/// Places the workspaces whose turn it is, and writes the positions of the others.
pub async fn place_queued(core: &Core) -> Result<Vec<Placement>, sqlx::Error> {
    let now = core.now();
    let mut system = core.db.system().await?;
    let connection = system.connection();
    let is_any_queued = sqlx::query_scalar!(
        r#"select exists (select from workspaces where phase = 'queued' and deleted_at is null) as "is_any!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_any_queued {
        return Ok(vec![]);
    }
    sqlx::query!("select pg_advisory_xact_lock($1)", TURNS_LOCK).fetch_one(&mut *connection).await?;
    let rows = sqlx::query_as!(
        QueueRow,
        r#"select w.tenant_id, w.owner_id, u.role as "owner_role: Text<Role>", w.workspace_id,
                  w.phase as "phase: Text<Phase>", w.host, w.class_id, w.vcpus, w.memory_mib, w.scratch_mib,
                  w.queued_at, w.not_before, w.queue_position, w.estimated_start_at, w.is_held, w.reserved_by,
                  w.start_priority as "start_priority: Text<StartPriority>", n.queue_weight, w.created_at
           from workspaces w join users u on u.tenant_id = w.tenant_id and u.user_id = w.owner_id
           join tenants n on n.tenant_id = w.tenant_id
           where w.phase <> 'terminated' and w.deleted_at is null
           order by w.phase = 'queued', w.queued_at limit $1"#,
        MAX_ROWS,
    )
    .fetch_all(&mut *connection)
    .await?;
    let capacity = core.config.engine.capacity();
    let set = store::find(connection, None).await?;
    let turns = assign_turns(now, &waiting(core, now, &rows, &set), &placed(core, &rows), capacity);
    let queued_at = queued_times(&rows);
    write_places(core, connection, now, &rows, &turns).await?;
    let mut placements = Vec::new();
    for workspace in turns.admitted {
        let queued_at = queued_at.get(&workspace.0).copied().unwrap_or(now);
        placements.extend(place(core, connection, now, workspace, queued_at).await?);
    }
    system.commit().await?;
    Ok(placements)
}

impl QueueRow {
    /// The place that is shown now.
    fn place(&self, host: &str) -> QueuePlace {
        QueuePlace {
            position: self.queue_position,
            estimated_start_at: self.estimated_start_at,
            is_held: self.is_held,
            is_reserved: self.reserved_by.as_deref() == Some(host),
        }
    }

    fn owner(&self) -> WorkspaceOwner {
        let (tenant, user) = (TenantId(self.tenant_id), UserId(self.owner_id));
        WorkspaceOwner { tenant, user, class: self.class_id.map(ClassId) }
    }

    fn limits(&self, core: &Core, set: &SetLimits) -> OwnerLimits {
        let WorkspaceOwner { tenant, user, class } = self.owner();
        let of = |subject| {
            let defaults = store::defaults(&core.config.limits, subject, self.owner_role.0);
            set.of(tenant, subject, &defaults)
        };
        OwnerLimits {
            user: of(Subject::User(user)),
            class: class.map(|class| of(Subject::Class(class))).unwrap_or_default(),
            tenant: of(Subject::Tenant),
        }
    }
}

fn waiting(core: &Core, now: OffsetDateTime, rows: &[QueueRow], set: &SetLimits) -> Vec<Waiting> {
    let queued = rows.iter().filter(|row| row.phase.0 == Phase::Queued);
    queued
        .map(|row| Waiting {
            owner: row.owner(),
            workspace: WorkspaceId(row.workspace_id),
            needs: budgets::running_amounts(row.vcpus, row.memory_mib, row.scratch_mib),
            limits: row.limits(core, set),
            priority: row.start_priority.0,
            weight: row.queue_weight.unsigned_abs(),
            queued_at: row.queued_at.unwrap_or(row.created_at),
            is_reserved: row.reserved_by.as_ref() == Some(&core.config.host),
            is_ready: row.not_before.is_none_or(|time| time <= now)
                && !core.engine.is_busy(WorkspaceId(row.workspace_id)),
        })
        .collect()
}

/// The workspaces that have a runner, on all hosts.
fn placed(core: &Core, rows: &[QueueRow]) -> Vec<Placed> {
    let placed = rows.iter().filter(|row| row.phase.0 != Phase::Queued);
    placed
        .map(|row| Placed {
            owner: row.owner(),
            needs: budgets::running_amounts(row.vcpus, row.memory_mib, row.scratch_mib),
            is_starting: row.phase.0 == Phase::Provisioning,
            is_here: row.host.as_ref() == Some(&core.config.host),
        })
        .collect()
}

/// The place of a waiting start, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct QueuePlace {
    position: Option<i32>,
    estimated_start_at: Option<OffsetDateTime>,
    is_held: bool,
    is_reserved: bool,
}

impl QueuePlace {
    /// Whether the place is worth telling. Far behind, a few places and seconds do not matter, and telling
    /// all of a long queue of each start would take longer than the starts.
    fn differs(self, shown: Self, now: OffsetDateTime) -> bool {
        let position = match (self.position, shown.position) {
            (Some(now), Some(shown)) => now.abs_diff(shown) > now.unsigned_abs() / FAR_BEHIND,
            (now, shown) => now != shown,
        };
        let estimate = match (self.estimated_start_at, shown.estimated_start_at) {
            (Some(start), Some(shown)) => {
                let wait: Duration = start - now;
                (start - shown).abs() > (wait / 10_i32).max(MIN_ESTIMATE_CHANGE)
            }
            (start, shown) => start != shown,
        };
        let flags = (self.is_held, self.is_reserved) != (shown.is_held, shown.is_reserved);
        position || estimate || flags
    }
}

/// Writes the places of those that go on waiting, and the estimates of when they start.
async fn write_places(
    core: &Core,
    connection: &mut PgConnection,
    now: OffsetDateTime,
    rows: &[QueueRow],
    turns: &Turns,
) -> Result<(), sqlx::Error> {
    let admitted: HashSet<WorkspaceId> = turns.admitted.iter().copied().collect();
    let rest: Vec<WorkspaceId> = turns.order.iter().copied().filter(|id| !admitted.contains(id)).collect();
    let rate = if rest.is_empty() { None } else { Some(find_rate(core, connection, now, rows).await?) };
    let queued_at = queued_times(rows);
    let mut places: HashMap<Uuid, QueuePlace> = HashMap::new();
    for (index, workspace) in rest.iter().enumerate() {
        let queued_at = queued_at.get(&workspace.0).copied().unwrap_or(now);
        let wait = rate.as_ref().and_then(|rate| rate.wait(now, index + 1, queued_at));
        let place = QueuePlace {
            position: Some(i32::try_from(index + 1).unwrap_or(i32::MAX)),
            estimated_start_at: wait.map(|wait| now + wait),
            is_held: false,
            is_reserved: turns.reserved == Some(*workspace),
        };
        places.insert(workspace.0, place);
    }
    let held = QueuePlace { position: None, estimated_start_at: None, is_held: true, is_reserved: false };
    places.extend(turns.held.iter().map(|workspace| (workspace.0, held)));
    let mut changed: Vec<(Uuid, QueuePlace)> = Vec::new();
    for row in rows.iter().filter(|row| row.phase.0 == Phase::Queued) {
        let Some(place) = places.get(&row.workspace_id) else { continue };
        if place.differs(row.place(&core.config.host), now) {
            changed.push((row.workspace_id, *place));
        }
    }
    update_places(connection, &core.config.host, &changed).await
}

/// When each workspace was queued.
fn queued_times(rows: &[QueueRow]) -> HashMap<Uuid, OffsetDateTime> {
    rows.iter().map(|row| (row.workspace_id, row.queued_at.unwrap_or(row.created_at))).collect()
}

/// How fast places of this host become free.
async fn find_rate(
    core: &Core,
    connection: &mut PgConnection,
    now: OffsetDateTime,
    rows: &[QueueRow],
) -> Result<QueueRate, sqlx::Error> {
    let runs = runs::list_recent(connection, &core.config.host).await?;
    let queued = rows.iter().filter(|row| row.phase.0 == Phase::Queued);
    let since = queued.filter_map(|row| row.queued_at).min().unwrap_or(now);
    let here = placed(core, rows).iter().filter(|placed| placed.is_here).count();
    let free = core.config.engine.capacity().sandboxes.saturating_sub(here);
    Ok(QueueRate::of(now, since, &runs, free))
}

async fn update_places(
    connection: &mut PgConnection,
    host: &str,
    changed: &[(Uuid, QueuePlace)],
) -> Result<(), sqlx::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = changed.iter().map(|(workspace, _)| *workspace).collect();
    let positions: Vec<Option<i32>> = changed.iter().map(|(_, place)| place.position).collect();
    let estimates: Vec<Option<OffsetDateTime>> =
        changed.iter().map(|(_, place)| place.estimated_start_at).collect();
    let held: Vec<bool> = changed.iter().map(|(_, place)| place.is_held).collect();
    let reserved: Vec<bool> = changed.iter().map(|(_, place)| place.is_reserved).collect();
    sqlx::query!(
        "update workspaces w
         set queue_position = p.position, estimated_start_at = p.estimate, is_held = p.is_held,
             reserved_by = case when p.is_reserved then $6
                 when w.reserved_by = $6 then null else w.reserved_by end
         from unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::bool[], $5::bool[])
             as p (workspace_id, position, estimate, is_held, is_reserved)
         where w.workspace_id = p.workspace_id and w.phase = 'queued'",
        &ids,
        &positions as &[Option<i32>],
        &estimates as &[Option<OffsetDateTime>],
        &held,
        &reserved,
        host,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Places one workspace. None if it is not queued any more.
async fn place(
    core: &Core,
    connection: &mut PgConnection,
    now: OffsetDateTime,
    workspace: WorkspaceId,
    queued_at: OffsetDateTime,
) -> Result<Option<Placement>, sqlx::Error> {
    let Some(locked) = record::place_workspace(connection, now, workspace).await? else { return Ok(None) };
    let run = (locked.tenant, workspace, locked.life.epoch);
    runs::begin(connection, run, &core.config.host, queued_at, now).await?;
    let token = secrets::generate_secret();
    let row = sqlx::query!(
        r#"update workspaces w set host = $2, runner_hash = $3, last_used_at = $4, network_refused = '[]',
             network_sent_bytes = null, network_received_bytes = null
         from volumes v, tenants n
         where w.workspace_id = $1 and v.tenant_id = w.tenant_id and v.volume_id = w.volume_id
             and n.tenant_id = w.tenant_id
         returning w.name, w.vcpus, w.memory_mib, w.home_mib, w.scratch_mib, w.pids, w.image, v.head_of,
             v.lineage, v.allowance_used_bytes, v.allowance_used_at, w.tier as "tier: Text<Tier>",
             w.tier = any(n.tiers) as "is_tier_allowed!", v.written_by as "written_by: Text<Tier>""#,
        workspace.0,
        core.config.host,
        &secrets::hash_secret(token.expose())[..],
        now,
    )
    .fetch_one(&mut *connection)
    .await?;
    record_writer(connection, workspace).await?;
    let used = UsedAllowance { bytes: row.allowance_used_bytes, at: row.allowance_used_at };
    let key = tenant_keys::find(connection, locked.tenant).await?;
    let network = network::find_spec(connection, (locked.tenant, workspace)).await?;
    let spec = LaunchSpec {
        tenant: locked.tenant,
        workspace,
        name: row.name,
        epoch: locked.life.epoch,
        resources: view::resources(row.vcpus, [row.memory_mib, row.home_mib, row.scratch_mib, row.pids]),
        image: row.image,
        tier: row.tier.0,
        is_tier_allowed: row.is_tier_allowed,
        written_by: row.written_by.map(|tier| tier.0),
        volume: locked.volume,
        head: locked.life.head,
        head_of: row.head_of.map(VolumeId),
        lineage: row.lineage.unsigned_abs(),
        snapshot_requested: locked.snapshot_requests.requested,
        repair_requested: locked.repair_requests.requested,
        upload_allowance_used: used.at(now, core.config.history.upload_bytes_per_hour()),
        network,
        token,
        grant_key: core.signing.verifying_key().to_hex(),
    };
    Ok(Some(Placement { key, spec }))
}

/// Records that sandboxes of the workspace's tier write its home from now on, before one can. What a
/// virtual machine may have written stays so for ever.
async fn record_writer(connection: &mut PgConnection, workspace: WorkspaceId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update volumes v
         set written_by = case when w.tier = 'microvm' then w.tier else coalesce(v.written_by, w.tier) end
         from workspaces w
         where w.workspace_id = $1 and v.tenant_id = w.tenant_id and v.volume_id = w.volume_id",
        workspace.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Starts the runner of a committed placement. Decrypting the key may take a key service some time;
/// nothing else waits.
pub async fn launch(app: App, placement: Placement) {
    let Placement { key, spec } = placement;
    let (workspace, epoch, tenant) = (spec.workspace, spec.epoch, spec.tenant);
    let decrypted = tokio::select! {
        () = app.tasks.shutdown().cancelled() => return,
        decrypted = key.decrypt(&app.kms) => decrypted,
    };
    let launched = match decrypted {
        Ok(TenantKey::Open(key)) => {
            app.uploads.set_home_size(workspace, spec.resources.home_mib);
            let services = api::runner_router(app.clone(), spec.tenant, spec.workspace);
            app.engine.launch(spec, key.to_hex(), services).map_err(|error| launch_failure(&error))
        }
        Ok(TenantKey::Destroyed) => Err(tenants::key_destroyed_failure()),
        Err(error) => {
            tracing::error!(%error, %tenant, "cannot decrypt a tenant's key");
            Err(key_failure(&error))
        }
    };
    let Err(failure) = launched else { return };
    tracing::warn!(%workspace, %epoch, cause = failure.cause, "cannot start a runner");
    if let Err(error) = app.apply_event(workspace, Event::LaunchFailed(epoch, failure)).await {
        // The placement ends at its deadline.
        tracing::error!(%error, %workspace, "cannot record a failed launch");
    }
}

fn key_failure(error: &KmsError) -> Failure {
    let (cause, action) = match error {
        KmsError::Key(_) => ("Cannot decrypt the key of this organisation's homes.", error.hint()),
        KmsError::Vault(_) => (
            "The key service did not decrypt the key of this organisation's homes.",
            "Start the workspace again. If it keeps failing, the operator of this server finds \
             the reason in its log."
                .to_owned(),
        ),
    };
    Failure { step: Step::Runner, cause: cause.to_owned(), action, log: vec![] }
}

fn launch_failure(error: &LaunchError) -> Failure {
    let (cause, action) = (format!("{error}."), error.hint().to_owned());
    Failure { step: Step::Runner, cause, action, log: vec![] }
}
