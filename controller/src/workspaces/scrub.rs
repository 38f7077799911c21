//! Scrubs homes: reads every object of their snapshots and verifies it. With repair, asks the
//! running workspace to store damaged objects again, and reads them again. Knows no HTTP.

use std::{collections::BTreeSet, time::Duration};

use protocol::{
    ManifestId, TenantId, UserId, WorkspaceId,
    api::scrub::{Damage, DamagedSnapshot, MAX_DAMAGED_SNAPSHOTS, Repair, ScrubReport, ScrubRequest},
    workspace::Phase,
};
use tokio::time::timeout;
use volume::{DataKey, SnapshotView, Verification, VolumeError};

use super::{
    repair_requests,
    repairs::{self, RepairError},
};
use crate::{
    authz::Allowed,
    core::Core,
    fair_permits::{Busy, FairPermit},
    snapshots::{self, SnapshotRecord, SnapshotRef},
    tenants::{self, OpenKeyError},
};

/// Longest wait for a turn. A turn is some seconds of reading, and users take them one after the
/// other.
const TURN_TIMEOUT: Duration = Duration::from_mins(10);
/// For one scrub.
const SCRUB_TIMEOUT: Duration = Duration::from_hours(1);
/// Most snapshots of one scrub.
const MAX_SNAPSHOTS: i64 = 10_000;
/// Repairs of one scrub: of manifests, then of the packs that these name, and once more for what
/// was damaged since.
const MAX_REPAIRS: usize = 3;
/// Older snapshots whose manifests are read after a repair, to find those that need what was
/// damaged.
const MAX_OLDER_SNAPSHOTS: i64 = 256;

/// Why a home was not scrubbed.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    #[error("the workspace has no such snapshot")]
    NoSnapshot,
    /// The user's other scrubs took all turns.
    #[error("other homes of the user are being scrubbed")]
    Busy,
    /// The scrub did not end within [`SCRUB_TIMEOUT`].
    #[error("the scrub did not end in time")]
    Timeout,
    /// The store failed. This says nothing about the home.
    #[error("cannot read manifest {manifest}: {source}")]
    Store { manifest: ManifestId, source: VolumeError },
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error(transparent)]
    Key(#[from] OpenKeyError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

type Result<T> = std::result::Result<T, ScrubError>;

/// Scrubs a home, and repairs it if the request says so.
pub async fn scrub_home(
    app: &Core,
    allowed: Allowed,
    id: WorkspaceId,
    request: ScrubRequest,
) -> Result<ScrubReport> {
    let scrub = Scrub::new(app, allowed, id, request).await?;
    let scrubbing = async {
        match request {
            ScrubRequest { repair: true, all } => scrub.repair(all).await,
            ScrubRequest { all: true, .. } => scrub.verify(scrub.list_snapshots(MAX_SNAPSHOTS).await?).await,
            ScrubRequest { all: false, .. } => scrub.verify(scrub.find_newest().await?).await,
        }
    };
    timeout(SCRUB_TIMEOUT, scrubbing).await.unwrap_or(Err(ScrubError::Timeout))
}

/// The scrub of one home.
struct Scrub<'a> {
    app: &'a Core,
    allowed: Allowed,
    id: WorkspaceId,
    tenant: TenantId,
    key: DataKey,
}

impl<'a> Scrub<'a> {
    async fn new(app: &'a Core, allowed: Allowed, id: WorkspaceId, request: ScrubRequest) -> Result<Self> {
        let tenant = allowed.caller().tenant;
        let mut scope = app.db.scope(allowed).await?;
        if request.repair {
            // Checked before reading for up to an hour.
            let status =
                repair_requests::find_status(&mut scope, id).await?.ok_or(RepairError::NoWorkspace)?;
            if status.phase != Phase::Running {
                return Err(RepairError::NotRunning.into());
            }
        }
        let key = tenants::open_key(&app.kms, scope).await?;
        Ok(Self { app, allowed, id, tenant, key })
    }

    async fn find_newest(&self) -> Result<Vec<SnapshotRecord>> {
        let mut scope = self.app.db.scope(self.allowed).await?;
        let newest = snapshots::find(&mut scope, self.id, SnapshotRef::Latest).await?;
        Ok(vec![newest.ok_or(ScrubError::NoSnapshot)?])
    }

    async fn list_snapshots(&self, limit: i64) -> Result<Vec<SnapshotRecord>> {
        let mut scope = self.app.db.scope(self.allowed).await?;
        let found = snapshots::list(&mut scope, self.id, None, limit).await?;
        if found.is_empty() { Err(ScrubError::NoSnapshot) } else { Ok(found) }
    }

    /// Verifies every object of these snapshots.
    async fn verify(&self, snapshots: Vec<SnapshotRecord>) -> Result<ScrubReport> {
        let mut report = ScrubReport { newest_is_whole: true, ..ScrubReport::default() };
        for snapshot in snapshots {
            let one = self.verify_snapshot(snapshot.manifest).await?;
            report.newest_is_whole &= one.damaged.is_empty() || !snapshot.is_head;
            add(&mut report, &snapshot, one);
        }
        Ok(report)
    }

    /// Verifies the newest snapshot and repairs it, until it is whole or the rest has no copy.
    async fn repair(&self, all: bool) -> Result<ScrubReport> {
        let mut report = self.verify(self.find_newest().await?).await?;
        let mut was_damaged = BTreeSet::new();
        let mut repaired: Option<Repair> = None;
        for _ in 0..MAX_REPAIRS {
            let damaged = damaged_objects(&report);
            if damaged.iter().all(|object| was_damaged.contains(object)) {
                break;
            }
            let repair = repairs::repair(self.app, self.allowed, self.id, &damaged).await?;
            let before = repaired.take().map_or(0, |repaired| repaired.rewritten_bytes);
            // The last repair was asked for everything that is damaged, so its lost bytes are
            // complete.
            repaired = Some(Repair { rewritten_bytes: before + repair.rewritten_bytes, ..repair });
            was_damaged.extend(damaged);
            report = self.verify(self.find_newest().await?).await?;
        }
        if all {
            report = self.verify(self.list_snapshots(MAX_SNAPSHOTS).await?).await?;
        } else if !was_damaged.is_empty() {
            self.add_older_damaged(&mut report, &was_damaged).await?;
        }
        Ok(ScrubReport { repair: repaired, ..report })
    }

    /// Adds the older snapshots that need objects that were damaged: the repair does not change
    /// those snapshots.
    async fn add_older_damaged(&self, report: &mut ScrubReport, damaged: &BTreeSet<String>) -> Result<()> {
        for snapshot in
            self.list_snapshots(MAX_OLDER_SNAPSHOTS).await?.into_iter().filter(|snapshot| !snapshot.is_head)
        {
            let needs_damaged = match self.open(snapshot.manifest).await {
                Ok(reader) => damaged.iter().any(|object| reader.uses_object(object)),
                Err(error) if damage(self.tenant, &error).is_some() => true,
                Err(source) => return Err(ScrubError::Store { manifest: snapshot.manifest, source }),
            };
            if needs_damaged {
                add_damaged_snapshot(report, &snapshot);
            }
        }
        Ok(())
    }

    async fn open(&self, manifest: ManifestId) -> std::result::Result<SnapshotView, VolumeError> {
        SnapshotView::open(self.app.store.clone(), self.key.clone(), self.tenant, manifest).await
    }

    /// Reads a snapshot in turns, so that other users' scrubs advance too.
    async fn read_snapshot(
        &self,
        manifest: ManifestId,
    ) -> Result<std::result::Result<Verification, VolumeError>> {
        let (mut total, mut next) = (Verification::default(), Some(0));
        let reader = {
            let _turn = self.wait_for_turn().await?;
            match self.open(manifest).await {
                Ok(reader) => reader,
                Err(error) => return Ok(Err(error)),
            }
        };
        while let Some(from) = next {
            let _turn = self.wait_for_turn().await?;
            match reader.verify_window(from).await {
                Ok((verified, rest)) => {
                    total.add(verified);
                    next = rest;
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(total))
    }

    async fn wait_for_turn(&self) -> Result<FairPermit<UserId>> {
        let user = self.allowed.caller().user;
        self.app.scrub_permits.acquire(user, TURN_TIMEOUT).await.map_err(|Busy| ScrubError::Busy)
    }

    async fn verify_snapshot(&self, manifest: ManifestId) -> Result<ScrubReport> {
        match self.read_snapshot(manifest).await? {
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
                None => Err(ScrubError::Store { manifest, source: error }),
            },
        }
    }
}

/// The damage that prevents a snapshot from being read, if that is the reason.
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

fn damaged_objects(report: &ScrubReport) -> Vec<String> {
    report.damaged.iter().map(|damage| damage.object.clone()).collect()
}

fn add(total: &mut ScrubReport, snapshot: &SnapshotRecord, one: ScrubReport) {
    total.snapshots += one.snapshots;
    total.objects += one.objects;
    total.bytes += one.bytes;
    if !one.damaged.is_empty() {
        add_damaged_snapshot(total, snapshot);
    }
    for damage in one.damaged {
        if !total.damaged.contains(&damage) {
            total.damaged.push(damage);
        }
    }
}

fn add_damaged_snapshot(report: &mut ScrubReport, record: &SnapshotRecord) {
    if report.damaged_snapshots.len() < MAX_DAMAGED_SNAPSHOTS {
        let snapshot = &record.snapshot;
        report.damaged_snapshots.push(DamagedSnapshot {
            id: snapshot.id,
            created_at: snapshot.created_at,
            name: snapshot.name.clone(),
        });
    }
}
