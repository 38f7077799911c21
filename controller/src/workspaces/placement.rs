//! Places queued workspaces whose turn it is, and starts their runners.
//!
//! Turns are given in one transaction: the order is [`super::admission`]'s decision, and each
//! placed workspace gets a new epoch and a token for its runner. A runner is started once that is
//! committed. If it cannot be started, the placement ends with [`Event::LaunchFailed`], and the
//! lifecycle decides whether to try again.

use std::collections::HashSet;

use protocol::{
    ClassId, TenantId, UserId, VolumeId, WorkspaceId,
    api::user::Role,
    workspace::{Failure, Phase, Step, Tier},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    admission::{OwnerLimits, Placed, Waiting, WorkspaceOwner, assign_turns},
    network, view,
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
                  w.queued_at, w.not_before, w.queue_position, w.created_at
           from workspaces w join users u on u.tenant_id = w.tenant_id and u.user_id = w.owner_id
           where w.phase <> 'terminated' and w.deleted_at is null limit $1"#,
        MAX_ROWS,
    )
    .fetch_all(&mut *connection)
    .await?;
    let capacity = core.config.engine.capacity();
    let set = store::find(connection, None).await?;
    let turns = assign_turns(&waiting(core, now, &rows, &set), &placed(core, &rows), capacity);
    let admitted: HashSet<WorkspaceId> = turns.admitted.iter().copied().collect();
    let rest: Vec<WorkspaceId> = turns.order.into_iter().filter(|id| !admitted.contains(id)).collect();
    write_positions(connection, &rows, &rest).await?;
    let mut placements = Vec::new();
    for workspace in turns.admitted {
        placements.extend(place(core, connection, now, workspace).await?);
    }
    system.commit().await?;
    Ok(placements)
}

impl QueueRow {
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
            queued_at: row.queued_at.unwrap_or(row.created_at),
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

async fn write_positions(
    connection: &mut PgConnection,
    rows: &[QueueRow],
    order: &[WorkspaceId],
) -> Result<(), sqlx::Error> {
    for (index, workspace) in order.iter().enumerate() {
        let position = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let known = rows.iter().find(|row| row.workspace_id == workspace.0);
        if known.is_some_and(|row| row.queue_position == Some(position)) {
            continue;
        }
        sqlx::query!(
            "update workspaces set queue_position = $2 where workspace_id = $1 and phase = 'queued'",
            workspace.0,
            position,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Places one workspace. None if it is not queued any more.
async fn place(
    core: &Core,
    connection: &mut PgConnection,
    now: OffsetDateTime,
    workspace: WorkspaceId,
) -> Result<Option<Placement>, sqlx::Error> {
    let Some(locked) = record::place_workspace(connection, now, workspace).await? else { return Ok(None) };
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
