//! Transfers between two controllers that do not know each other, by a client that is signed in to
//! both. The homes are real volumes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use http_body_util::BodyExt as _;
use hyper::Method;
use protocol::{
    ManifestId, WorkspaceId,
    api::{
        import::{ChunkHash, ChunkList, Import, MAX_CHUNKS_AT_ONCE, MAX_CHUNKS_BYTES},
        snapshot::SnapshotKind,
        workspace::Workspace,
    },
    runner::Report,
    workspace::Phase,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::{io::AsyncReadExt as _, time::timeout};
use volume::{
    CHUNK_BYTES, DataKey, ObjectStore, RootHasher, SnapshotView, Volume, VolumeOptions, store::DirectoryStore,
};

use super::world::{Answer, Client, Runner, SOON, World, eventually, stream};
use crate::snapshots::{gc::Gc, imports};

/// Of a home in these tests; a workspace's may be larger.
const BYTES: u64 = 4 << 20;
const MIB: u64 = 1 << 20;

/// The home of a running workspace.
struct Home {
    id: WorkspaceId,
    runner: Runner,
    volume: Volume,
    content: Vec<u8>,
}

async fn store(world: &World) -> Arc<dyn ObjectStore> {
    let objects = world.directory.path().join("objects");
    Arc::new(DirectoryStore::open(objects).await.expect("a store"))
}

/// What is given to a runner, opened as it does.
async fn open(world: &World, runner: &Runner) -> Volume {
    let spec = &runner.spec;
    let opening = VolumeOptions {
        tenant: spec.tenant,
        volume: spec.volume,
        size_bytes: BYTES.max(u64::from(spec.resources.home_mib) << 20),
        epoch: spec.epoch,
        head: spec.head,
        head_of: spec.head_of,
        lineage: spec.lineage,
        cache: world.directory.path().join(format!("cache-{}-{}", spec.workspace, spec.epoch)),
        key: DataKey::from_hex(spec.data_key.expose()).expect("a key"),
        store: store(world).await,
    };
    Volume::open(opening).await.expect("opens")
}

impl Home {
    async fn new(world: &World, owner: &Client, name: &str) -> Self {
        let (id, runner) = owner.running(world, name).await;
        let volume = open(world, &runner).await;
        Self { id, volume, runner, content: vec![0; BYTES as usize] }
    }

    async fn write(&mut self, offset: u64, bytes: &[u8]) {
        let at = offset as usize;
        self.content[at..at + bytes.len()].copy_from_slice(bytes);
        self.volume.write(offset, Bytes::copy_from_slice(bytes)).await.expect("written");
    }

    /// Noise over some of it.
    async fn fill(&mut self, offset: u64, length: u64) {
        let mut bytes = vec![0; length as usize];
        blake3::Hasher::new().update(&offset.to_le_bytes()).finalize_xof().fill(&mut bytes);
        self.write(offset, &bytes).await;
    }

    async fn save(&self) -> ManifestId {
        let taken = self.volume.snapshot(|_| ()).await.expect("stored");
        let Report::Snapshot { kind, consistency, answers, .. } = stream(0) else { unreachable!() };
        let report = Report::Snapshot {
            manifest: taken.manifest,
            kind,
            consistency,
            answers,
            cut_at: OffsetDateTime::now_utc(),
            changed_bytes: taken.changed_bytes,
            uploaded_bytes: taken.uploaded_bytes,
            objects: taken.objects,
            stored_bytes: taken.stored_bytes,
        };
        let reply = self.runner.report(vec![report]).await.expect("accepted");
        assert_eq!(reply.committed, [taken.manifest]);
        self.volume.confirm_commit(taken.manifest).await.expect("known");
        taken.manifest
    }
}

/// Transfers one home between two installations, signed in to both.
struct Transfer<'a> {
    from: &'a Client,
    to: &'a Client,
    home: WorkspaceId,
    name: &'a str,
}

impl Transfer<'_> {
    fn wish(&self) -> Value {
        json!({ "source": self.home, "name": self.name, "home_mib": BYTES / MIB })
    }

    async fn begin(&self) -> Import {
        self.to.post("/api/v1/imports", &self.wish()).await.ok()
    }

    fn source(&self) -> String {
        format!("/api/v1/workspaces/{}/snapshots/latest/chunks", self.home)
    }

    async fn missing_chunks(&self, import: &Import) -> (Vec<u32>, ChunkHash) {
        let wanted = list(self.from, &self.source()).await;
        let known = list(self.to, &format!("/api/v1/imports/{}/chunks", import.id)).await;
        let mut root = RootHasher::default();
        for (index, hash) in &wanted {
            root.add(*index, hash);
        }
        let mut missing: Vec<u32> = wanted.keys().chain(known.keys()).copied().collect();
        missing.retain(|index| wanted.get(index) != known.get(index));
        missing.sort_unstable();
        missing.dedup();
        (missing, root.finish())
    }

    async fn fetch(&self, indexes: &[u32]) -> Vec<u8> {
        let wanted = json!({ "indexes": indexes }).to_string().into_bytes();
        let answer = self.from.open(Method::POST, &self.source(), Some(("application/json", wanted))).await;
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.expect("read").to_bytes().to_vec()
    }

    async fn put(&self, import: &Import, body: Vec<u8>) -> Answer {
        let path = format!("/api/v1/imports/{}/chunks?version={}", import.id, import.version);
        self.to.send(Method::PUT, &path, Some(("application/octet-stream", body))).await
    }

    async fn finish(&self, import: &Import, root: ChunkHash) -> Answer {
        let request = json!({ "root": root, "consistency": "clean", "created_at": "2026-01-31T12:00:00Z" });
        self.to.post(&format!("/api/v1/imports/{}/finish", import.id), &request).await
    }

    /// Uploads all missing chunks, `count` at a time. Returns how many there were.
    async fn send(&self, at_once: usize) -> (Import, ChunkHash, usize) {
        let mut import = self.begin().await;
        let (missing, root) = self.missing_chunks(&import).await;
        for indexes in missing.chunks(at_once) {
            import = self.put(&import, self.fetch(indexes).await).await.ok();
        }
        (import, root, missing.len())
    }

    async fn all(&self) -> (Workspace, usize) {
        let (import, root, sent) = self.send(MAX_CHUNKS_AT_ONCE).await;
        (self.finish(&import, root).await.ok(), sent)
    }
}

async fn list(client: &Client, path: &str) -> BTreeMap<u32, ChunkHash> {
    let (mut chunks, mut next) = (BTreeMap::new(), Some(0));
    while let Some(from) = next {
        let page: ChunkList = client.get(&format!("{path}?from={from}")).await.ok();
        chunks.extend(page.chunks.iter().map(|chunk| (chunk.index, chunk.hash)));
        next = page.next;
    }
    chunks
}

/// What a workspace that starts now would find.
async fn started(world: &World, owner: &Client, id: WorkspaceId, epoch: u64) -> (Runner, Volume) {
    assert_eq!(owner.act(id, "start").await.status, 200);
    let runner = world.runner(id, epoch).await;
    runner.ready().await;
    let volume = open(world, &runner).await;
    (runner, volume)
}

#[tokio::test]
async fn transfer_resumes_and_sends_only_differences() {
    let (here, there) = (World::new().await, World::new().await);
    let (from, to) = (here.owner().await, there.owner().await);
    let mut home = Home::new(&here, &from, "demo").await;
    home.fill(0, MIB).await;
    home.fill(2 * MIB + 4096, 3 * 4096).await;
    home.save().await;
    let transfer = Transfer { from: &from, to: &to, home: home.id, name: "moved" };

    // Cut short after two of them, and begun again: it is the same import, and what has arrived is
    // known.
    let import = transfer.begin().await;
    assert_eq!(import.version, 0);
    let (missing, root) = transfer.missing_chunks(&import).await;
    assert_eq!(missing.len(), MIB as usize / CHUNK_BYTES + 1);
    assert_eq!(transfer.finish(&import, root).await.code(), "conflict", "nothing is there");
    let first: Import = transfer.put(&import, transfer.fetch(&missing[..5]).await).await.ok();
    // An answer that was lost: the same again changes nothing.
    let again: Import = transfer.put(&import, transfer.fetch(&missing[..5]).await).await.ok();
    assert_eq!((again.id, again.version), (first.id, first.version));
    assert_eq!(transfer.finish(&import, root).await.code(), "conflict", "it is not whole");
    let resumed = transfer.begin().await;
    assert_eq!((resumed.id, resumed.version), (import.id, 1));
    assert_eq!(transfer.missing_chunks(&resumed).await.0, missing[5..]);
    let (moved, sent) = transfer.all().await;
    assert_eq!(sent, missing.len() - 5);
    assert_eq!((moved.name.as_str(), moved.phase), ("moved", Phase::Terminated));
    assert!(moved.safe_at.is_some());
    let snapshots = to.snapshots(moved.id).await;
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].kind, SnapshotKind::Requested);
    assert_eq!(snapshots[0].created_at.year(), 2026);

    // The workspace has it bit for bit, and runs on it.
    let (runner, volume) = started(&there, &to, moved.id, 1).await;
    assert!(volume.read(0, BYTES).await.expect("whole") == home.content);
    // Also where the home that came had no room.
    for offset in [3 * MIB, 6 * MIB] {
        volume.write(offset, Bytes::from(vec![7; 4096])).await.expect("written");
    }
    let theirs = Home { id: moved.id, runner, volume, content: vec![] };
    let left = theirs.save().await;
    let refused = transfer.to.post("/api/v1/imports", &transfer.wish()).await;
    assert_eq!(refused.code(), "conflict", "it is in use");
    to.act(moved.id, "stop").await;
    theirs.runner.report(vec![Report::Stopped]).await.expect("accepted");
    to.reaches(moved.id, Phase::Terminated).await;

    // The same home again: what has changed on either side and nothing else, and what it was is
    // kept.
    home.write(0, b"changed").await;
    home.save().await;
    let (same, sent) = transfer.all().await;
    assert_eq!((same.id, sent), (moved.id, 3));
    let (runner, volume) = started(&there, &to, moved.id, 2).await;
    assert_eq!(runner.spec.lineage, 1, "what a host has cached does not count");
    assert!(volume.read(0, BYTES).await.expect("whole") == home.content);
    assert_eq!(volume.read(6 * MIB, 4096).await.expect("whole"), vec![0; 4096]);
    let kept = to.snapshots(moved.id).await;
    assert_eq!(kept.iter().filter(|one| one.kind == SnapshotKind::Requested).count(), 3, "{kept:?} {left}");
    to.act(moved.id, "stop").await;
    runner.report(vec![Report::Stopped]).await.expect("accepted");
    to.reaches(moved.id, Phase::Terminated).await;
    // And once more with nothing to do: the first answer was lost.
    let (same, sent) = transfer.all().await;
    assert_eq!((same.id, sent, to.snapshots(moved.id).await.len()), (moved.id, 0, kept.len()));
}

#[tokio::test]
async fn invalid_chunks_are_refused_without_loss() {
    let (here, there) = (World::new().await, World::new().await);
    let (from, to) = (here.owner().await, there.owner().await);
    let mut home = Home::new(&here, &from, "demo").await;
    home.fill(0, MIB).await;
    home.save().await;
    let transfer = Transfer { from: &from, to: &to, home: home.id, name: "moved" };
    for (field, value) in [
        ("name", json!("No Name")),
        ("template", json!("none")),
        ("home_mib", json!(0)),
        ("home_mib", json!(u32::MAX)),
    ] {
        let mut wish = transfer.wish();
        wish[field] = value;
        let refused = to.post("/api/v1/imports", &wish).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{field}");
    }
    // Source: too many, out of order, beyond the end.
    for indexes in [(0..49).collect::<Vec<u32>>(), vec![2, 1], vec![1, 1], vec![u32::MAX]] {
        assert_eq!(from.post(&transfer.source(), &json!({ "indexes": indexes })).await.code(), "invalid");
    }
    let import = transfer.begin().await;
    let sent = transfer.fetch(&[0, 1]).await;
    let mut other = sent.clone();
    *other.last_mut().expect("not empty") ^= 1;
    let mut beyond = sent.clone();
    beyond[..4].copy_from_slice(&(BYTES as u32 / CHUNK_BYTES as u32).to_le_bytes());
    for bad in [other, beyond, sent[..sent.len() - 1].to_vec(), vec![0; 100], [&sent[..], &sent].concat()] {
        let refused = transfer.put(&import, bad).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{}", refused.body);
    }
    let large = transfer.put(&import, vec![0; MAX_CHUNKS_BYTES + 1]).await;
    assert_eq!((large.status, large.code()), (413, "too_large"));
    let stale = Import { version: 7, ..import.clone() };
    assert_eq!(transfer.put(&stale, sent.clone()).await.code(), "conflict");

    // Of two simultaneous uploads one gets an error, and the other is complete.
    let (one, two) = (transfer.fetch(&[3]).await, transfer.fetch(&[4]).await);
    let (one, two) = tokio::join!(transfer.put(&import, one), transfer.put(&import, two));
    let mut codes = [one.code().to_owned(), two.code().to_owned()];
    codes.sort();
    assert_eq!(codes, [String::new(), "conflict".to_owned()]);
    let (moved, sent) = transfer.all().await;
    assert_eq!(sent, 15);

    // The name is taken by what came from elsewhere, until it is said to be replaced.
    let mut second = Home::new(&here, &from, "second").await;
    second.fill(0, MIB).await;
    second.save().await;
    let transfer = Transfer { home: second.id, ..transfer };
    let refused = to.post("/api/v1/imports", &transfer.wish()).await;
    assert_eq!((refused.status, refused.code()), (409, "name_taken"));
    let mut wish = transfer.wish();
    wish["replace"] = json!(true);
    let import: Import = to.post("/api/v1/imports", &wish).await.ok();
    // What is there already need not be sent.
    let (missing, root) = transfer.missing_chunks(&import).await;
    assert!(missing.is_empty(), "the two hold the same");
    let replaced: Workspace = transfer.finish(&import, root).await.ok();
    assert_eq!(replaced.id, moved.id);

    for number in 0..imports::MAX_IMPORTS_PER_USER {
        let wish = json!({ "source": home.id, "name": format!("n{number}"), "home_mib": 4 });
        assert_eq!(to.post("/api/v1/imports", &wish).await.status, 200);
    }
    let wish = json!({ "source": home.id, "name": "one-more", "home_mib": 4 });
    assert_eq!(to.post("/api/v1/imports", &wish).await.code(), "quota_exceeded");
}

#[tokio::test]
async fn body_of_upload_is_not_read_before_its_turn() {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let world = World::new().await;
    let owner = world.owner().await;
    let member = world.member(&owner, "member").await;
    let app = world.app();
    let user = owner.session().await.user.id;
    let turn = app.chunk_readers.upload_turn(user).await.expect("free");
    let path = format!("/api/v1/imports/{}/chunks?version=0", uuid::Uuid::now_v7());
    let mut waiting = owner.send_head(Method::PUT, &path, MAX_CHUNKS_BYTES).await;
    eventually("the upload waits", async || (app.chunk_readers.waiting_uploads() == 1).then_some(())).await;
    // Others have turns of their own.
    let mut other = member.send_head(Method::PUT, &path, MAX_CHUNKS_BYTES).await;
    let mut asked = [0; CONTINUE.len()];
    timeout(SOON, other.read_exact(&mut asked)).await.expect("in time").expect("open");
    assert_eq!(asked, CONTINUE);
    assert!(poll_immediate(waiting.read(&mut asked)).await.is_none(), "the server asks for no body yet");
    drop(turn);
    timeout(SOON, waiting.read_exact(&mut asked)).await.expect("in time").expect("open");
    assert_eq!(asked, CONTINUE);
}

#[tokio::test]
async fn imports_are_private() {
    let (here, there) = (World::new().await, World::new().await);
    let (from, to) = (here.owner().await, there.owner().await);
    let mut home = Home::new(&here, &from, "demo").await;
    home.fill(0, MIB).await;
    home.save().await;
    let transfer = Transfer { from: &from, to: &to, home: home.id, name: "moved" };
    let (import, root, _) = transfer.send(MAX_CHUNKS_AT_ONCE).await;
    for other in [there.stranger().await, there.member(&to, "member").await] {
        let them = Transfer { to: &other, ..transfer };
        assert_eq!(other.get(&format!("/api/v1/imports/{}/chunks", import.id)).await.status, 404);
        assert_eq!(them.put(&import, transfer.fetch(&[0]).await).await.status, 404);
        assert_eq!(them.finish(&import, root).await.status, 404);
        // The same home under the same name is another import.
        assert_ne!(them.begin().await.id, import.id);
    }
    for other in [here.stranger().await, here.member(&from, "member").await] {
        assert_eq!(other.get(&transfer.source()).await.status, 404);
        assert_eq!(other.post(&transfer.source(), &json!({ "indexes": [0] })).await.status, 404);
    }
    let moved: Workspace = transfer.finish(&import, root).await.ok();
    assert_eq!(transfer.finish(&import, root).await.status, 404, "it is a workspace now");
    assert_eq!(moved.owner, to.session().await.user.id);
}

#[tokio::test]
async fn chunks_survive_resume_and_expire_when_abandoned() {
    let (here, there) = (World::new().await, World::new().await);
    let (from, to) = (here.owner().await, there.owner().await);
    let mut home = Home::new(&here, &from, "demo").await;
    home.fill(0, MIB).await;
    home.save().await;
    let transfer = Transfer { from: &from, to: &to, home: home.id, name: "moved" };
    let (import, root, _) = transfer.send(3).await;
    let app = there.app();
    let collect = async |later: Duration| {
        let (app, store) = (app.clone(), store(&there).await);
        let gc = Gc { store, ..app.gc.clone() };
        gc.collect(app.now() + later, None).await.expect("gc succeeded")
    };
    for day in 0..3 {
        assert_eq!(collect(Duration::days(day)).await.garbage, 0, "day {day}");
    }
    // Half of another import, which is abandoned.
    let given_up = Transfer { name: "given-up", ..transfer };
    let half = given_up.begin().await;
    given_up.put(&half, given_up.fetch(&[0, 1, 2]).await).await.ok::<Import>();
    let moved: Workspace = transfer.finish(&import, root).await.ok();
    let mut system = app.db.system().await.expect("a transaction");
    let expired = async |system: &mut sqlx::PgConnection, later| {
        imports::delete_expired(system, app.now() + later).await.expect("expired")
    };
    assert_eq!(expired(system.connection(), imports::IDLE_TIMEOUT - Duration::hours(1)).await, 0);
    assert_eq!(expired(system.connection(), imports::IDLE_TIMEOUT + Duration::hours(1)).await, 1);
    system.commit().await.expect("committed");
    assert_eq!(given_up.put(&half, vec![]).await.status, 404);
    let found = collect(Duration::ZERO).await;
    assert!(found.garbage >= 2, "{found:?}");
    assert_eq!(collect(Duration::days(2)).await.deleted, found.garbage);
    // What became a workspace is whole.
    let (runner, volume) = started(&there, &to, moved.id, 1).await;
    assert!(volume.read(0, BYTES).await.expect("whole") == home.content);
    let (key, head) = (DataKey::from_hex(runner.spec.data_key.expose()), runner.spec.head);
    let reader = SnapshotView::open(
        store(&there).await,
        key.expect("a key"),
        runner.spec.tenant,
        head.expect("a head"),
    );
    assert!(reader.await.expect("opens").verify().await.expect("read").damaged.is_empty());
}
