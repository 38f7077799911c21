//! Whether a home's objects are what they were: each is read from the store and opened; and where
//! they are not, the running machine is asked to store anew what it has, and they are read again.

use std::{collections::BTreeSet, time::Duration};

use axum::{Json, extract::State};
use protocol::{
    Code, ManifestId, TenantId, WorkspaceId,
    api::scrub::{Damage, DamagedSnapshot, MAX_DAMAGED_SNAPSHOTS, Repair, ScrubReport, ScrubRequest},
    workspace::Phase,
};
use tokio::{sync::Semaphore, time::timeout};
use volume::{DataKey, SnapshotView, VolumeError};

use super::{
    error::{ApiError, Result},
    extract::{Input, Params, Signed},
    repairs,
    snapshots::missing,
    workspaces::{allowed, forgotten},
};
use crate::{
    authz::{Action, Allowed},
    core::{App, Core},
    snapshots::{self, Found, Which},
    tenants::{self, TenantKey},
    workspaces::repair_requests as asked,
};

/// Reading a home whole takes the store's best; more at once would only make each slower.
static CHECKS: Semaphore = Semaphore::const_new(2);
const CHECK_TIMEOUT: Duration = Duration::from_secs(3600);
/// Snapshots of one check.
const MAX_SNAPSHOTS: i64 = 10_000;
/// Repairs of one check: of manifests, then of the packs that these name, and once more of what
/// broke meanwhile.
const MAX_REPAIRS: usize = 3;
/// Older snapshots that are looked at, after a repair, for what was damaged: only their manifests are read.
const MAX_OLDER: i64 = 256;

/// Verify a home
///
/// Reads every object that the home's snapshots refer to and reports damage. With `repair`, damaged
/// objects of the newest snapshot are stored again from the running workspace's cache.
#[utoipa::path(
    post,
    path = "/workspaces/{id}/scrub",
    tag = "snapshots",
    request_body = ScrubRequest,
    params(
        ("id" = WorkspaceId, Path, description = "The workspace."),
    ),
    responses((status = 200, body = ScrubReport, description = "The report")),
    extensions(("x-problem-codes" = json!(["conflict", "rate_limited", "timeout"]))),
)]
pub async fn scrub_home(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<WorkspaceId>,
    Input(request): Input<ScrubRequest>,
) -> Result<Json<ScrubReport>> {
    let allowed = allowed(&app, signed.caller(), id, Action::ChangeWorkspace).await?;
    let home = Home::of(&app, allowed, id, request).await?;
    let _turn = CHECKS.try_acquire().map_err(|_| {
        ApiError::new(Code::RateLimited, "Other homes are being checked. Try again in a while.")
    })?;
    let checking = async {
        match request {
            ScrubRequest { repair: true, all } => home.repair(all).await,
            ScrubRequest { all: true, .. } => home.check(home.snapshots(MAX_SNAPSHOTS).await?).await,
            ScrubRequest { all: false, .. } => home.check(home.newest().await?).await,
        }
    };
    let late = || {
        ApiError::new(Code::Timeout, "Reading the home took too long. ScrubRequest its newest snapshot only.")
    };
    timeout(CHECK_TIMEOUT, checking).await.unwrap_or_else(|_| Err(late())).map(Json)
}

/// A home that is being checked.
struct Home<'a> {
    app: &'a Core,
    allowed: Allowed,
    id: WorkspaceId,
    tenant: TenantId,
    key: DataKey,
}

impl<'a> Home<'a> {
    async fn of(app: &'a Core, allowed: Allowed, id: WorkspaceId, request: ScrubRequest) -> Result<Self> {
        let tenant = allowed.caller().tenant;
        let mut scope = app.db.scope(allowed).await?;
        if request.repair {
            // Told before anything is read for an hour.
            let seen = asked::look(&mut scope, id).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
            if seen.phase != Phase::Running {
                return Err(repairs::at_rest());
            }
        }
        let sealed = tenants::key(scope.connection(), tenant).await?;
        drop(scope);
        let TenantKey::Open(key) = sealed.open(&app.keeper).await? else {
            return Err(forgotten());
        };
        Ok(Self { app, allowed, id, tenant, key })
    }

    async fn newest(&self) -> Result<Vec<Found>> {
        let mut scope = self.app.db.scope(self.allowed).await?;
        let newest = snapshots::find(&mut scope, self.id, Which::Latest).await?;
        Ok(vec![newest.ok_or_else(missing)?])
    }

    async fn snapshots(&self, most: i64) -> Result<Vec<Found>> {
        let mut scope = self.app.db.scope(self.allowed).await?;
        let found = snapshots::list(&mut scope, self.id, None, most).await?;
        if found.is_empty() { Err(missing()) } else { Ok(found) }
    }

    async fn check(&self, snapshots: Vec<Found>) -> Result<ScrubReport> {
        let mut checked = ScrubReport { newest_is_whole: true, ..ScrubReport::default() };
        for found in snapshots {
            let one = self.verified(found.manifest).await?;
            checked.newest_is_whole &= one.damaged.is_empty() || !found.is_head;
            add(&mut checked, &found, one);
        }
        Ok(checked)
    }

    /// Checks the newest snapshot and has it repaired, until it is whole or what is left has no copy.
    async fn repair(&self, all: bool) -> Result<ScrubReport> {
        let mut checked = self.check(self.newest().await?).await?;
        let mut was_damaged = BTreeSet::new();
        let mut done: Option<Repair> = None;
        for _ in 0..MAX_REPAIRS {
            let damaged = objects(&checked);
            if damaged.iter().all(|object| was_damaged.contains(object)) {
                break;
            }
            let repair = repairs::repair(self.app, self.allowed, self.id, &damaged).await?;
            let before = done.take().map_or(0, |done| done.renewed_bytes);
            // All that is damaged was asked for again, so what is lost of it is told anew.
            done = Some(Repair { renewed_bytes: before + repair.renewed_bytes, ..repair });
            was_damaged.extend(damaged);
            checked = self.check(self.newest().await?).await?;
        }
        if all {
            checked = self.check(self.snapshots(MAX_SNAPSHOTS).await?).await?;
        } else if !was_damaged.is_empty() {
            self.name_older(&mut checked, &was_damaged).await?;
        }
        Ok(ScrubReport { repair: done, ..checked })
    }

    /// Names the older snapshots that rest on what was damaged: they are as they were.
    async fn name_older(&self, checked: &mut ScrubReport, damaged: &BTreeSet<String>) -> Result<()> {
        for found in self.snapshots(MAX_OLDER).await?.into_iter().filter(|found| !found.is_head) {
            let rests_on_it = match self.open(found.manifest).await {
                Ok(reader) => damaged.iter().any(|object| reader.uses_object(object)),
                Err(error) if damage(self.tenant, &error).is_some() => true,
                Err(error) => return Err(unavailable(&error, found.manifest)),
            };
            if rests_on_it {
                name(checked, &found);
            }
        }
        Ok(())
    }

    async fn open(&self, manifest: ManifestId) -> std::result::Result<SnapshotView, VolumeError> {
        SnapshotView::open(self.app.store.clone(), self.key.clone(), self.tenant, manifest).await
    }

    async fn verified(&self, manifest: ManifestId) -> Result<ScrubReport> {
        let read = async { self.open(manifest).await?.verify().await };
        match read.await {
            Ok(verified) => Ok(ScrubReport {
                snapshots: 1,
                objects: verified.objects,
                bytes: verified.bytes,
                damaged: verified
                    .damaged
                    .into_iter()
                    .map(|object| Damage { object, message: "missing or altered".to_owned() })
                    .collect(),
                ..ScrubReport::default()
            }),
            Err(error) => match damage(self.tenant, &error) {
                Some(damage) => {
                    Ok(ScrubReport { snapshots: 1, damaged: vec![damage], ..ScrubReport::default() })
                }
                None => Err(unavailable(&error, manifest)),
            },
        }
    }
}

/// A manifest that is missing or altered: without it nothing of a snapshot is read.
fn damage(tenant: TenantId, error: &VolumeError) -> Option<Damage> {
    match error {
        VolumeError::Manifest { id, source } => {
            Some(Damage { object: format!("{tenant}/manifests/{id}"), message: source.to_string() })
        }
        error => error
            .damaged_object()
            .map(|object| Damage { object: object.to_owned(), message: "missing".to_owned() }),
    }
}

fn unavailable(error: &VolumeError, manifest: ManifestId) -> ApiError {
    tracing::error!(%error, %manifest, "a home cannot be checked");
    ApiError::new(Code::Unavailable, "The store does not answer as it should. Try again.")
}

fn objects(checked: &ScrubReport) -> Vec<String> {
    checked.damaged.iter().map(|damage| damage.object.clone()).collect()
}

fn add(sum: &mut ScrubReport, found: &Found, one: ScrubReport) {
    sum.snapshots += one.snapshots;
    sum.objects += one.objects;
    sum.bytes += one.bytes;
    if !one.damaged.is_empty() {
        name(sum, found);
    }
    for damage in one.damaged {
        if !sum.damaged.contains(&damage) {
            sum.damaged.push(damage);
        }
    }
}

fn name(checked: &mut ScrubReport, found: &Found) {
    if checked.damaged_snapshots.len() < MAX_DAMAGED_SNAPSHOTS {
        let snapshot = &found.snapshot;
        checked.damaged_snapshots.push(DamagedSnapshot {
            id: snapshot.id,
            created_at: snapshot.created_at,
            name: snapshot.name.clone(),
        });
    }
}
