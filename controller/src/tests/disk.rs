//! The disk of the host: what owners see of it, who is refused, and a small file system that one home
//! cannot fill for the others.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    Epoch, TenantId, UserId, VolumeId, WorkspaceId,
    api::disk::{DiskKind, DiskReport, DiskWrites},
    runner::{Command, DiskShare, Report, RuntimeKind},
};
use rand::RngExt as _;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::timeout;
use volume::{DataKey, Volume, VolumeError, VolumeOptions};

use super::world::{SOON, World, eventually, stream};
use crate::{
    config::Config,
    disk::{
        self,
        budget::{Allowances, MIN_SHARE, RunningHome, divide},
        measure::{is_cache_larger_than, measure_disk},
    },
};

const MIB: u64 = 1 << 20;

/// Puts some bytes into the cache of a volume.
fn fill_cache(world: &World, volume: VolumeId, bytes: u64) {
    let path = world.config.cache_dir.join(volume.to_string());
    fs::create_dir_all(&path).expect("made");
    fs::write(path.join("data"), vec![1; bytes as usize]).expect("written");
}

fn dirty(bytes: u64) -> Report {
    Report::Home {
        at: time::OffsetDateTime::now_utc(),
        dirty_bytes: bytes,
        unreplicated_ms: 1,
        used_bytes: None,
        idle_seconds: None,
        awake: vec![],
        notice: None,
        killed_program: None,
    }
}

#[tokio::test]
async fn excessive_runner_is_ended() {
    let mut world = World::new().await;
    world.stop().await;
    world.config.engine.runtime = RuntimeKind::Microvm;
    world.start().await;
    let owner = world.owner().await;
    let (honest, _) = owner.running(&world, "honest").await;
    let (greedy, runner) = owner.running(&world, "greedy").await;
    fill_cache(&world, runner.spec.volume, MIB);
    let app = world.app();
    disk::divide_room(&app).await.expect("divided");
    assert!(app.engine.is_busy(greedy) && app.engine.is_busy(honest));
    let cache = world.config.cache_dir.join(runner.spec.volume.to_string());
    assert!(is_cache_larger_than(&cache, MIB / 2) && !is_cache_larger_than(&cache, 2 * MIB));
    for number in 0..64 {
        fs::write(cache.join(number.to_string()), "x").expect("written");
    }
    disk::divide_room(&app).await.expect("divided");
    eventually("it is ended", async || (!app.engine.is_busy(greedy)).then_some(())).await;
    assert!(app.engine.is_busy(honest), "others are not");
}

#[tokio::test]
async fn owner_sees_use_by_kind_and_user() {
    let world = World::new().await;
    let (owner, app) = (world.owner().await, world.app());
    let member = world.member(&owner, "member").await;
    let (_, runner) = owner.running(&world, "demo").await;
    fill_cache(&world, runner.spec.volume, 3 * MIB);
    runner.report(vec![dirty(2 * MIB)]).await.expect("accepted");
    disk::record_usage(&app).await.expect("measured");
    disk::divide_room(&app).await.expect("divided");

    let report: DiskReport = owner.get("/api/v1/admin/disk").await.ok();
    let caches = report.kinds.iter().find(|usage| usage.kind == DiskKind::Caches).expect("a kind");
    assert!((3 * MIB..4 * MIB).contains(&caches.bytes), "{report:?}");
    assert_eq!(report.kinds.len(), DiskKind::ALL.len());
    assert!(report.room_bytes < report.free_bytes && report.used_bytes >= caches.bytes);
    let [user] = &report.users[..] else { panic!("who has nothing is not listed: {report:?}") };
    assert_eq!((user.cache_bytes, user.unsaved_bytes), (caches.bytes, 2 * MIB));
    assert_eq!((user.writes, user.limit_bytes), (DiskWrites::Free, None));
    let share = user.max_unsaved_bytes.expect("it runs");
    assert!(share > 2 * MIB && share <= report.room_bytes / 3 + MIB, "{report:?}");
    assert_eq!(report.used_by_tenant_bytes, user.used_bytes);

    // Nobody else learns of it.
    assert_eq!(member.get("/api/v1/admin/disk").await.status, 403);
    let stranger: DiskReport = world.stranger().await.get("/api/v1/admin/disk").await.ok();
    assert_eq!((stranger.users.len(), stranger.used_by_tenant_bytes), (0, 0));
}

#[tokio::test]
async fn runner_gets_its_share_until_it_stops() {
    let world = World::new().await;
    let (owner, app) = (world.owner().await, world.app());
    let (id, runner) = owner.running(&world, "demo").await;
    disk::divide_room(&app).await.expect("divided");
    let share = runner.poll(0, runner.spec.resources.home_mib, 0).await.disk;
    assert!(share.max_unsaved_bytes.is_some_and(|bytes| bytes > 0) && !share.must_shrink, "{share:?}");
    assert_eq!(owner.act(id, "stop").await.status, 200);
    let stopping = runner.poll(0, runner.spec.resources.home_mib, 0).await;
    assert_eq!((stopping.command, stopping.disk), (Command::Stop, DiskShare::default()));
}

#[tokio::test]
async fn user_beyond_limit_is_refused_with_usage() {
    let mut world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let (_, runner) = owner.running(&world, "demo").await;
    let mut stored = stream(1);
    if let Report::Snapshot { uploaded_bytes, .. } = &mut stored {
        *uploaded_bytes = 3 * MIB;
    }
    runner.report(vec![stored]).await.expect("accepted");
    world.stop().await;
    world.config.disk.teacher_bytes = Some(2 * MIB);
    world.start().await;
    let (owner, app) = (world.owner().await, world.app());
    disk::record_usage(&app).await.expect("measured");
    let refused = owner.post("/api/v1/workspaces", &json!({ "name": "other" })).await;
    assert_eq!((refused.status, refused.code()), (403, "quota_exceeded"));
    let detail = refused.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("of this user take 3 MiB of 2 MiB"), "{detail}");
    member.create("mine").await;
}

#[tokio::test]
async fn budget_refuses_start_with_limit_and_use() {
    let mut world = World::new().await;
    world.stop().await;
    world.config.disk.budget_bytes = Some(MIB);
    fill_cache(&world, VolumeId::random(), MIB);
    world.start().await;
    let (owner, app) = (world.owner().await, world.app());
    disk::record_usage(&app).await.expect("measured");
    let refused = owner.post("/api/v1/workspaces", &json!({ "name": "demo" })).await;
    assert_eq!((refused.status, refused.code()), (507, "disk_full"));
    let detail = refused.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("of its budget of 1 MiB") && detail.contains("ask the operator"), "{detail}");
    disk::divide_room(&app).await.expect("divided");
    assert!(app.disk.share(WorkspaceId::random()).must_shrink);
}

/// A file system of some MiB in memory. Unmounted when dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// None without the right to mount.
    fn mount(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).expect("own directory");
        let options = std::ffi::CString::new(format!("size={bytes},mode=711")).expect("no zeros");
        let mounted = rustix::mount::mount(
            "tmpfs",
            directory.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(options.as_c_str()),
        );
        mounted.is_ok().then_some(Self { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.directory.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// A home that is replicated to the store as a runner does it.
struct Replicated {
    home: RunningHome,
    volume: Volume,
    /// What it has stored.
    uploaded: AtomicU64,
}

impl Replicated {
    async fn open(config: &Config) -> Arc<Self> {
        let tenant = TenantId::random();
        let home = RunningHome {
            tenant,
            user: UserId::random(),
            workspace: WorkspaceId::random(),
            unsaved: 0,
            charge: 0,
        };
        let volume = VolumeId::random();
        let options = VolumeOptions {
            tenant,
            volume,
            size_bytes: 64 * MIB,
            epoch: Epoch(1),
            head: None,
            head_of: None,
            lineage: 0,
            cache: config.cache_dir.join(volume.to_string()),
            key: DataKey::random(),
            store: volume::store::open(&config.store).await.expect("a store"),
        };
        let volume = Volume::open(options).await.expect("opens");
        Arc::new(Self { home, volume, uploaded: AtomicU64::new(0) })
    }

    async fn replicate(self: Arc<Self>, interval: Duration) {
        loop {
            self.volume.wait_until_due(interval, Duration::from_millis(10)).await.expect("open");
            let stored = self.volume.snapshot(|_| ()).await.expect("the store has room");
            self.uploaded.fetch_add(stored.uploaded_bytes, Ordering::SeqCst);
            self.volume.confirm_commit(stored.manifest).await.expect("confirmed");
        }
    }

    /// Writes what cannot be compressed, over and over.
    async fn rewrite(self: Arc<Self>) -> VolumeError {
        let mut block = vec![0; 128 << 10];
        loop {
            for offset in (0..self.volume.size_bytes()).step_by(block.len()) {
                rand::rng().fill(&mut block[..]);
                if let Err(error) = self.volume.write(offset, block.clone().into()).await {
                    return error;
                }
            }
        }
    }
}

/// Measures the disk and divides it, as the controller does, but all the time.
async fn share_disk(config: Config, homes: Vec<Arc<Replicated>>, share_of_first: Arc<AtomicU64>) {
    loop {
        let disk = measure_disk(&config, 0).expect("measured");
        assert!(disk.free >= disk.reserve, "{disk:?}");
        let mut measured = Vec::new();
        for home in &homes {
            let unsaved = home.volume.status().await.expect("open").dirty_bytes;
            measured.push(RunningHome { unsaved, charge: home.uploaded.load(Ordering::SeqCst), ..home.home });
        }
        let shares = divide(&disk, &measured, &Allowances::default());
        for (home, measured) in homes.iter().zip(&measured) {
            let share = shares[&measured.workspace];
            home.volume.set_disk_share(DiskShare { max_unsaved_bytes: Some(share), must_shrink: false });
        }
        share_of_first.store(shares[&measured[0].workspace], Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A table on the small disk, in a real Postgres.
async fn create_table(url: &str, directory: &Path) -> PgConnection {
    fs::create_dir(directory).expect("made");
    let server = postgres_user();
    std::os::unix::fs::chown(directory, Some(server), None).expect("root");
    let mut connection = PgConnection::connect(url).await.expect("connects");
    let name = format!("small_{}", VolumeId::random().0.simple());
    let location = directory.display();
    for statement in [
        format!("create tablespace {name} location '{location}'"),
        format!("create table rows (content bytea) tablespace {name}"),
        "alter table rows alter content set storage external".to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("created");
    }
    connection
}

fn postgres_user() -> u32 {
    let users = fs::read_to_string("/etc/passwd").expect("read");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("apt-get install postgresql");
    line.split(':').nth(2).and_then(|id| id.parse().ok()).expect("a uid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_writes_slow_only_their_home() {
    let Some(small) = SmallDisk::mount(192 * MIB) else {
        eprintln!("skipped: only root can mount a file system");
        return;
    };
    let url = super::postgres::database().await;
    let mut database = create_table(url.expose(), &small.path("table")).await;
    let world = World::new().await;
    let mut config = world.config.clone();
    config.cache_dir = small.path("cache");
    config.store = format!("file://{}", small.path("objects").display());
    config.disk.reserve_bytes = Some(32 * MIB);
    fs::create_dir_all(&config.cache_dir).expect("made");
    let (greedy, modest) = (Replicated::open(&config).await, Replicated::open(&config).await);

    let has_ended = Arc::new(AtomicBool::new(false));
    let share = Arc::new(AtomicU64::new(u64::MAX));
    let sharing =
        tokio::spawn(share_disk(config.clone(), vec![greedy.clone(), modest.clone()], share.clone()));
    let tasks = [
        // What is left to it without a share is used up once in this time.
        tokio::spawn(greedy.clone().replicate(Duration::from_secs(1))),
        tokio::spawn(modest.clone().replicate(Duration::from_millis(10))),
        tokio::spawn({
            let (greedy, has_ended) = (greedy.clone(), has_ended.clone());
            async move {
                let error = greedy.rewrite().await;
                has_ended.store(true, Ordering::SeqCst);
                panic!("the guest gets an error: {error}");
            }
        }),
    ];
    let is_empty = async || (share.load(Ordering::SeqCst) <= MIN_SHARE).then_some(());
    eventually("the endless writer has used up its share", is_empty).await;

    // The other home has its share: written, synced and saved.
    let content: Vec<u8> = (0..4 * MIB).map(|_| rand::random()).collect();
    timeout(SOON, async {
        modest.volume.write(0, content.clone().into()).await.expect("written");
        modest.volume.flush().await.expect("synced");
        modest.volume.snapshot(|_| ()).await.expect("saved");
    })
    .await
    .expect("the other home is not slowed");
    assert_eq!(modest.volume.read(0, 4 * MIB).await.expect("read"), content);
    let is_slowed = async || greedy.volume.status().await.expect("open").is_slowed.then_some(());
    eventually("the endless writer waits", is_slowed).await;
    assert!(!has_ended.load(Ordering::SeqCst), "and gets no error");
    assert!(!sharing.is_finished(), "the reserve was used");
    assert!(!modest.volume.status().await.expect("open").is_full);
    sharing.abort();
    for task in tasks {
        task.abort();
    }

    // And the database has its reserve.
    let insert = "insert into rows select repeat('x', 8000)::bytea from generate_series(1, 2500)";
    for statement in [insert, "checkpoint", "drop table rows"] {
        sqlx::query(statement).execute(&mut database).await.expect("Postgres writes and syncs");
    }
}
