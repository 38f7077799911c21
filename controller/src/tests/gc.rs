//! Gc deletes nothing that a snapshot needs, whatever the store does, and in the end what none
//! needs.
//!
//! Homes are real volumes here, forks among them. What gc marks is compared with what reading a
//! snapshot requests from the store.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::{
    ManifestId, SnapshotId, TenantId, VolumeId, WorkspaceId,
    api::{admin::GcReport, workspace::Workspace},
    runner::{Report, RunnerSpec},
    workspace::Phase,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use time::Duration;
use volume::{
    BLOCK_BYTES, DataKey, ObjectStore, SnapshotView, StoreError, Volume, VolumeError, VolumeOptions,
    store::{DirectoryStore, Faults, FaultyStore, ObjectInfo, PutOutcome},
};

use super::world::{Client, Runner, World, seed, soak_factor, stream};
use crate::{
    GcError,
    kms::tenant_keys::{self, TenantKey},
    snapshots::{self, gc::Gc, roots},
};

const BLOCKS: u64 = 12;
/// Workspaces that run at the same time.
const MAX_HOMES: usize = 4;
const BYTES: u64 = BLOCKS * BLOCK_BYTES;

async fn open(
    (store, key, tenant): (Arc<dyn ObjectStore>, DataKey, TenantId),
    spec: &RunnerSpec,
    cache: PathBuf,
) -> Volume {
    let opening = VolumeOptions {
        tenant,
        volume: spec.volume,
        size_bytes: BYTES,
        epoch: spec.epoch,
        head: spec.head,
        head_of: spec.head_of,
        lineage: 0,
        cache,
        key,
        store,
    };
    Volume::open(opening).await.expect("opens")
}

/// Reads all of a snapshot from the store.
async fn read(
    store: Arc<dyn ObjectStore>,
    key: DataKey,
    tenant: TenantId,
    manifest: ManifestId,
) -> Result<Bytes, VolumeError> {
    SnapshotView::open(store, key, tenant, manifest).await?.read(0, BYTES).await
}

/// Records the names of the objects that are read through it.
struct Recording {
    inner: Arc<dyn ObjectStore>,
    names: Mutex<HashSet<String>>,
}

impl ObjectStore for Recording {
    fn put_if_absent<'a>(&'a self, name: &'a str, _: Bytes) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move { Err(StoreError::Denied(name.to_owned())) })
    }

    fn get<'a>(&'a self, name: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.names.lock().expect("sound").insert(name.to_owned());
        self.inner.get(name, bytes_max)
    }

    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.names.lock().expect("sound").insert(name.to_owned());
        self.inner.get_range(name, range)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        self.inner.list(prefix, after)
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { Err(StoreError::Denied(name.to_owned())) })
    }
}

/// Verifies what gc marks by reading: each snapshot once, because none ever changes.
struct MarkingProof {
    store: Arc<dyn ObjectStore>,
    /// The objects that each snapshot needs.
    needed: Mutex<HashMap<ManifestId, HashSet<String>>>,
}

impl MarkingProof {
    /// Fails if reading one of the roots needs an object that is not marked.
    async fn verify(&self, key: DataKey, tenant: TenantId, roots: Vec<ManifestId>) {
        let marked = volume::gc::find_reachable(self.store.clone(), key.clone(), tenant, roots.clone()).await;
        let marked = marked.expect("marked");
        for root in roots {
            let needed = self.needed(key.clone(), tenant, root).await.expect("readable");
            let missed: Vec<&String> = needed.iter().filter(|name| !marked.contains(name)).collect();
            assert!(missed.is_empty(), "{root} needs {missed:?} too");
        }
    }

    async fn needed(
        &self,
        key: DataKey,
        tenant: TenantId,
        root: ManifestId,
    ) -> Result<HashSet<String>, VolumeError> {
        if let Some(names) = self.needed.lock().expect("sound").get(&root) {
            return Ok(names.clone());
        }
        let recording = Arc::new(Recording { inner: self.store.clone(), names: Mutex::default() });
        read(recording.clone(), key, tenant, root).await?;
        let names = recording.names.lock().expect("sound").clone();
        self.needed.lock().expect("sound").insert(root, names.clone());
        Ok(names)
    }
}

/// A running home.
struct Home {
    id: WorkspaceId,
    runner: Runner,
    volume: Volume,
    content: Vec<u8>,
}

struct Play {
    world: World,
    owner: Client,
    store: Arc<dyn ObjectStore>,
    proof: MarkingProof,
    faulty: Arc<FaultyStore>,
    random: StdRng,
    tenant: TenantId,
    key: Option<DataKey>,
    homes: Vec<Home>,
    forks: Vec<WorkspaceId>,
    /// What each committed manifest must hold for ever.
    promised: BTreeMap<ManifestId, Vec<u8>>,
    /// How far time has been moved on.
    later: Duration,
    number: u32,
    caches: tempfile::TempDir,
    deleted: u64,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let world = World::new().await;
        let objects = world.directory.path().join("objects");
        let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::open(objects).await.expect("a store"));
        let owner = world.owner().await;
        let tenant = owner.session().await.user.tenant;
        Self {
            faulty: Arc::new(FaultyStore::new(store.clone(), seed, Faults::default())),
            world,
            owner,
            proof: MarkingProof { store: store.clone(), needed: Mutex::default() },
            store,
            random: StdRng::seed_from_u64(seed),
            tenant,
            key: None,
            homes: vec![],
            forks: vec![],
            promised: BTreeMap::new(),
            later: Duration::ZERO,
            number: 0,
            caches: tempfile::tempdir().expect("a directory"),
            deleted: 0,
        }
    }

    fn whole(&self) -> (Arc<dyn ObjectStore>, DataKey, TenantId) {
        (self.store.clone(), self.key.clone().expect("a first home was made"), self.tenant)
    }

    fn next_name(&mut self) -> String {
        self.number += 1;
        format!("h{}", self.number)
    }

    async fn begin(&mut self, id: WorkspaceId, epoch: u64) -> (Runner, Volume) {
        let runner = self.world.runner(id, epoch).await;
        runner.ready().await;
        self.key = Some(DataKey::from_hex(runner.spec.data_key.expose()).expect("a key"));
        let cache = self.caches.path().join(format!("{id}-{epoch}"));
        let volume = open(self.whole(), &runner.spec, cache).await;
        (runner, volume)
    }

    async fn make(&mut self) {
        let name = self.next_name();
        let id = self.owner.create(&name).await.id;
        let (runner, volume) = self.begin(id, 1).await;
        self.homes.push(Home { id, runner, volume, content: vec![0; BYTES as usize] });
    }

    fn any_home(&mut self) -> Option<usize> {
        (!self.homes.is_empty()).then(|| self.random.random_range(0..self.homes.len()))
    }

    /// Writes a little, stores it, and has it committed.
    async fn stream(&mut self) {
        let Some(index) = self.any_home() else { return };
        for _ in 0..self.random.random_range(1..4) {
            let block = self.random.random_range(0..BLOCKS) as usize;
            let fill: [u8; 64] = self.random.random();
            let bytes = fill.repeat(BLOCK_BYTES as usize / 64);
            let home = &mut self.homes[index];
            let from = block * BLOCK_BYTES as usize;
            home.content[from..from + bytes.len()].copy_from_slice(&bytes);
            home.volume.write(from as u64, bytes.into()).await.expect("written");
        }
        let home = &self.homes[index];
        let taken = home.volume.snapshot(|_| ()).await.expect("stored");
        let report = match stream(0) {
            Report::Snapshot {
                kind, consistency, answers, changed_bytes, uploaded_bytes, objects, ..
            } => Report::Snapshot {
                manifest: taken.manifest,
                kind,
                consistency,
                answers,
                cut_at: time::OffsetDateTime::now_utc(),
                changed_bytes,
                uploaded_bytes,
                objects,
                stored_bytes: taken.stored_bytes,
            },
            other => other,
        };
        let reply = home.runner.report(vec![report]).await.expect("accepted");
        assert_eq!(reply.committed, [taken.manifest]);
        home.volume.confirm_commit(taken.manifest).await.expect("known");
        self.promised.insert(taken.manifest, home.content.clone());
    }

    /// Stored by someone whose word never comes.
    async fn litter(&mut self) {
        let Some(index) = self.any_home() else { return };
        let cache = self.next_name();
        let spec =
            RunnerSpec { volume: VolumeId::random(), head: None, ..self.homes[index].runner.spec.clone() };
        let volume = open(self.whole(), &spec, self.caches.path().join(cache)).await;
        volume.write(0, Bytes::from(vec![7; BLOCK_BYTES as usize])).await.expect("written");
        volume.snapshot(|_| ()).await.expect("stored");
    }

    async fn any_snapshot(&mut self) -> Option<(WorkspaceId, SnapshotId)> {
        let index = self.any_home()?;
        let id = self.homes[index].id;
        let all = self.owner.snapshots(id).await;
        (!all.is_empty()).then(|| (id, all[self.random.random_range(0..all.len())].id))
    }

    async fn fork(&mut self) {
        let Some((id, snapshot)) = self.any_snapshot().await else { return };
        let start = self.homes.len() < MAX_HOMES && self.random.random_bool(0.5);
        let wish = json!({ "name": self.next_name(), "snapshot": snapshot, "start": start });
        let forked: Workspace = self.owner.post(&format!("/api/v1/workspaces/{id}/fork"), &wish).await.ok();
        if !start {
            self.forks.push(forked.id);
            return;
        }
        let (runner, volume) = self.begin(forked.id, 1).await;
        let content = self.promised[&runner.spec.head.expect("a base")].clone();
        assert!(volume.read(0, BYTES).await.expect("whole") == content);
        self.homes.push(Home { id: forked.id, runner, volume, content });
    }

    async fn delete_snapshot(&mut self) {
        let Some((id, snapshot)) = self.any_snapshot().await else { return };
        let answer = self.owner.delete(&format!("/api/v1/workspaces/{id}/snapshots/{snapshot}")).await;
        assert!(matches!(answer.status, 204 | 409), "{}", answer.body);
    }

    async fn restore(&mut self) {
        let Some((id, snapshot)) = self.any_snapshot().await else { return };
        let index = self.homes.iter().position(|home| home.id == id).expect("it was chosen among them");
        let old = self.homes.swap_remove(index);
        self.owner.act(id, "stop").await;
        old.runner.report(vec![Report::Stopped]).await.expect("accepted");
        self.owner.reaches(id, Phase::Terminated).await;
        let answer = self
            .owner
            .post(&format!("/api/v1/workspaces/{id}/restore"), &json!({ "snapshot": snapshot }))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.owner.act(id, "start").await;
        let (runner, volume) = self.begin(id, old.runner.spec.epoch.0 + 1).await;
        let content = self.promised[&runner.spec.head.expect("restored")].clone();
        assert!(volume.read(0, BYTES).await.expect("whole") == content);
        self.homes.push(Home { id, runner, volume, content });
    }

    async fn delete_workspace(&mut self) {
        let fork = self.random.random_bool(0.5) && !self.forks.is_empty();
        let id = if fork {
            self.forks.swap_remove(0)
        } else {
            let Some(index) = self.any_home() else { return };
            let home = self.homes.swap_remove(index);
            self.owner.delete(&format!("/api/v1/workspaces/{}", home.id)).await;
            home.runner.report(vec![Report::Stopped]).await.expect("accepted");
            return;
        };
        assert_eq!(self.owner.delete(&format!("/api/v1/workspaces/{id}")).await.status, 204);
    }

    async fn thin(&mut self) {
        let app = self.world.app();
        snapshots::prune::prune_due_homes(&app.db, app.now() + self.later, 100, None).await.expect("pruned");
    }

    async fn collect(&mut self) -> Result<GcReport, GcError> {
        let app = self.world.app();
        let mut system = app.db.system().await.expect("a transaction");
        let key = tenant_keys::find(system.connection(), self.tenant).await.expect("read");
        let roots = roots::list_roots(system.connection(), self.tenant).await.expect("read");
        drop(system);
        if let TenantKey::Open(key) = key.decrypt(&app.kms).await.expect("decrypted") {
            self.proof.verify(key, self.tenant, roots).await;
        }
        let gc = Gc { store: self.faulty.clone(), ..app.gc.clone() };
        gc.collect(app.now() + self.later, None).await
    }

    async fn collect_with_faults(&mut self) {
        let faults = Faults { fail_before: 0.01, fail_after: 0.01, ..Faults::default() };
        self.faulty.set_faults(faults);
        if self.random.random_bool(0.3) {
            self.faulty.cut_off_after(self.random.random_range(0..40));
        }
        if let Ok(done) = self.collect().await {
            self.deleted += done.deleted;
        }
        self.faulty.cut_off(false);
        self.faulty.set_faults(Faults::default());
    }

    /// Every snapshot that can be seen is whole, and so is every head.
    async fn check(&mut self) {
        let app = self.world.app();
        let mut system = app.db.system().await.expect("a transaction");
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(
            "select s.manifest from snapshots s join workspaces w using (tenant_id, volume_id)
             where w.deleted_at is null
             union select v.head from volumes v join workspaces w using (tenant_id, volume_id)
             where w.deleted_at is null and v.head is not null",
        )
        .fetch_all(system.connection())
        .await
        .expect("read");
        drop(system);
        for bytes in rows {
            let manifest = crate::lifecycle::record::manifest(&bytes).expect("32 bytes");
            let (store, key, tenant) = self.whole();
            let content = read(store, key, tenant, manifest).await.expect("whole");
            assert!(content == self.promised[&manifest], "{manifest} holds something else");
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..10 if self.homes.len() < MAX_HOMES => self.make().await,
            0..45 => self.stream().await,
            45..52 => self.litter().await,
            52..60 => self.fork().await,
            60..66 => self.delete_snapshot().await,
            66..70 => self.restore().await,
            70..74 => self.delete_workspace().await,
            74..80 => self.thin().await,
            80..90 => self.later += Duration::minutes(self.random.random_range(1..6000)),
            _ => self.collect_with_faults().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn needed_objects_are_never_deleted() {
    let seed = seed();
    let mut play = Play::new(seed).await;
    play.make().await;
    for number in 0..120 * soak_factor() {
        play.step().await;
        if number % 30 == 29 {
            play.check().await;
        }
    }
    // When the dust has settled, what is left is what is needed.
    for _ in 0..2 {
        play.later += Duration::days(9);
        play.deleted += play.collect().await.expect("gc succeeded").deleted;
        play.check().await;
    }
    play.later += Duration::days(2);
    let last = play.collect().await.expect("gc succeeded");
    assert_eq!((last.garbage, last.deleted), (0, 0), "seed {seed}");
    assert!(play.deleted > 0, "seed {seed}");
}

#[tokio::test]
async fn garbage_is_deleted_after_grace_period() {
    let mut play = Play::new(1).await;
    play.make().await;
    play.stream().await;
    play.litter().await;
    let first = play.collect().await.expect("gc succeeded");
    assert!(first.garbage >= 2 && first.deleted == 0, "{first:?}");
    play.later += Duration::hours(23);
    let second = play.collect().await.expect("gc succeeded");
    assert_eq!((second.garbage, second.deleted), (first.garbage, 0), "too soon");
    // The owner may run gc too, and gets the report.
    let asked: GcReport = play.owner.post("/api/v1/admin/gc", &json!({})).await.ok();
    assert_eq!((asked.objects, asked.garbage, asked.deleted), (first.objects, first.garbage, 0));
    play.later += Duration::hours(2);
    // Interrupted half-way: nothing is lost.
    play.faulty.cut_off_after(2);
    let partly = play.collect().await;
    play.faulty.cut_off(false);
    let rest = play.collect().await.expect("gc succeeded");
    let deleted = partly.map_or(0, |partly| partly.deleted) + rest.deleted;
    assert_eq!((deleted, rest.failed), (first.garbage, 0));
    assert_eq!(play.collect().await.expect("gc succeeded").garbage, 0);
    play.check().await;

    let app = play.world.app();
    let held = app.db.try_lock(0x6275_7272_6f77_0003).await.expect("requested").expect("free");
    assert!(matches!(play.collect().await, Err(GcError::Busy)));
    assert_eq!(play.owner.post("/api/v1/admin/gc", &json!({})).await.code(), "conflict");
    held.release().await.expect("released");
    play.collect().await.expect("gc succeeded");
    let mut system = app.db.system().await.expect("a transaction");
    let told: i64 = sqlx::query_scalar("select count(*) from audit where action = 'store.gc'")
        .fetch_one(system.connection())
        .await
        .expect("counted");
    assert!(told >= 1);
}

#[tokio::test]
async fn objects_of_deleted_homes_and_keys_are_deleted() {
    let mut play = Play::new(2).await;
    play.make().await;
    play.stream().await;
    play.stream().await;
    let id = play.homes[0].id;
    let home = play.homes.swap_remove(0);
    play.owner.delete(&format!("/api/v1/workspaces/{id}")).await;
    home.runner.report(vec![Report::Stopped]).await.expect("accepted");
    play.later += Duration::days(6);
    assert_eq!(play.collect().await.expect("gc succeeded").garbage, 0, "a week is not over");
    play.later += Duration::days(2);
    let first = play.collect().await.expect("gc succeeded");
    assert!(first.garbage == first.objects && first.garbage > 0, "{first:?}");
    play.later += Duration::days(1);
    assert_eq!(play.collect().await.expect("gc succeeded").deleted, first.garbage);

    play.make().await;
    play.stream().await;
    play.world.controller().destroy_tenant_key(play.tenant).await.expect("destroyed");
    let seen = play.collect().await.expect("gc succeeded");
    assert!(seen.garbage == seen.objects && seen.objects > 0);
    play.later += Duration::days(1);
    play.collect().await.expect("gc succeeded");
    assert_eq!(play.collect().await.expect("gc succeeded").objects, 0);
}
