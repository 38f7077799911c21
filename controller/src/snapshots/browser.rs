//! Opens snapshots for reading files: directories, contents and differences, without starting the
//! workspace.
//!
//! The volume reads a snapshot's blocks from the object store, and the reader, a child process
//! without any rights, parses the file system in them. A few readers are kept for a while after
//! their last use, and each serves one request at a time. A guest wrote what is read, so every
//! request has a timeout, and a reader that fails is closed.
//!
//! ```text
//! SnapshotBrowser::open(tenant, key, manifest) ─▶ BrowseSession ── list, stat, read, changes, diff
//!                                                     └─ first request: SnapshotView + reader process
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::{
    ManifestId, TenantId, UserId,
    api::snapshot::{Changes, Diff, Directory, SnapshotEntry},
    files::HomePath,
};
use reader::{FileDetails, Node, ReadAt, ReaderCommand, ReaderError, SnapshotFiles};
use tokio::{
    sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use volume::{DataKey, ObjectStore, VolumeError};

use crate::fair_permits::{Busy, FairPermits};

/// Readers at the same time, for all tenants. Each is a process with tens of MiB.
const MAX_READERS: usize = 8;
/// Requests at the same time. Each needs at most two readers, so one of them always has both.
const MAX_REQUESTS: usize = MAX_READERS - 1;
/// Requests of one user at the same time: the others always have readers.
const MAX_REQUESTS_PER_USER: usize = (MAX_READERS - 1) / 2;
/// How long a reader is kept after its last use. A user who browses clicks again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How often idle readers are looked for.
const CLOSE_IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// How often a request that waits for a reader checks whether another one is idle.
const PERMIT_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// For one request, with waiting for its turn and opening the snapshot. Readers give up a little
/// sooner by themselves.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// Most bytes of a file in one request.
pub const PIECE_BYTES: u64 = 1 << 20;

/// Why a snapshot or a file in it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrowseError {
    #[error("there is no such file in this snapshot")]
    NotFound,
    /// Also if a part of the path is a symbolic link.
    #[error("a part of the path is not a directory")]
    NotADirectory,
    #[error("it is not a regular file")]
    NotAFile,
    /// The home itself is blank or damaged, or has a feature that the reader does not support.
    #[error("the home cannot be read without starting its workspace: {0}")]
    Unreadable(String),
    #[error("reading took too long")]
    Timeout,
    /// The reader failed. A new one may succeed.
    #[error("reading failed: {0}")]
    ReaderFailed(String),
}

impl BrowseError {
    /// Whether the reader can serve the next request.
    fn keeps_reader(&self) -> bool {
        matches!(self, Self::NotFound | Self::NotADirectory | Self::NotAFile)
    }
}

impl From<ReaderError> for BrowseError {
    fn from(error: ReaderError) -> Self {
        match error {
            ReaderError::NotFound => Self::NotFound,
            ReaderError::NotADirectory => Self::NotADirectory,
            ReaderError::IsADirectory | ReaderError::NotAFile => Self::NotAFile,
            ReaderError::NotAHome(_) | ReaderError::Unsupported(_) | ReaderError::Damaged(_) => {
                Self::Unreadable(error.to_string())
            }
            ReaderError::Timeout => Self::Timeout,
            ReaderError::Spawn(ref source) | ReaderError::Disk(ref source) => {
                Self::ReaderFailed(format!("{error}: {source}"))
            }
            ReaderError::Broken(_) => Self::ReaderFailed(error.to_string()),
        }
    }
}

/// Where snapshots are read from.
pub enum Source {
    /// The object store, through a reader process.
    Store { store: Arc<dyn ObjectStore>, command: ReaderCommand },
    /// Files in memory.
    #[cfg(test)]
    Memory(Arc<tests::Memory>),
    /// A store that never answers.
    #[cfg(test)]
    Silent,
}

impl Source {
    async fn open(&self, tenant: TenantId, key: DataKey, manifest: ManifestId) -> Result<Files, BrowseError> {
        match self {
            Self::Store { store, command } => {
                let snapshot = volume::SnapshotView::open(store.clone(), key, tenant, manifest).await;
                let snapshot = snapshot.map_err(|error| match error {
                    VolumeError::Store(error) if error.is_transient() => {
                        BrowseError::ReaderFailed(error.to_string())
                    }
                    error => BrowseError::Unreadable(error.to_string()),
                })?;
                let files = SnapshotFiles::open(command.clone(), Arc::new(Blocks(snapshot))).await?;
                if !files.sandbox_report().is_complete() {
                    let sandbox = files.sandbox_report();
                    tracing::warn!(?sandbox, "a part of the reader's sandbox is missing");
                }
                Ok(Files::Reader(Box::new(files)))
            }
            #[cfg(test)]
            Self::Memory(memory) => memory.open(manifest).map(Files::Memory),
            #[cfg(test)]
            Self::Silent => std::future::pending().await,
        }
    }
}

/// The blocks of a snapshot, for the reader.
struct Blocks(volume::SnapshotView);

impl ReadAt for Blocks {
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, std::io::Result<Bytes>> {
        Box::pin(async move { self.0.read(offset, length).await.map_err(std::io::Error::other) })
    }

    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }
}

/// The files of an open snapshot.
enum Files {
    Reader(Box<SnapshotFiles>),
    #[cfg(test)]
    Memory(tests::MemoryFiles),
}

impl Files {
    async fn list(&mut self, path: &HomePath) -> Result<Directory, BrowseError> {
        match self {
            Self::Reader(files) => Ok(files.list(path).await?),
            #[cfg(test)]
            Self::Memory(files) => Ok(files.list(path)),
        }
    }

    async fn nodes(&mut self, path: &HomePath, max_entries: usize) -> Result<(Vec<Node>, bool), BrowseError> {
        match self {
            Self::Reader(files) => Ok(files.nodes(path, max_entries).await?),
            #[cfg(test)]
            Self::Memory(files) => Ok(files.nodes(path)),
        }
    }

    async fn node(&mut self, path: &HomePath) -> Result<Node, BrowseError> {
        match self {
            Self::Reader(files) => Ok(files.node(path).await?),
            #[cfg(test)]
            Self::Memory(files) => files.stat(path).map(|entry| tests::node(&entry)),
        }
    }

    async fn details(&mut self, path: &HomePath) -> Result<FileDetails, BrowseError> {
        match self {
            Self::Reader(files) => Ok(files.details(path).await?),
            #[cfg(test)]
            Self::Memory(files) => files.details(path),
        }
    }

    async fn stat(&mut self, path: &HomePath) -> Result<SnapshotEntry, BrowseError> {
        match self {
            Self::Reader(files) => Ok(files.stat(path).await?),
            #[cfg(test)]
            Self::Memory(files) => files.stat(path),
        }
    }

    async fn read(&mut self, path: &HomePath, offset: u64, length: u64) -> Result<Bytes, BrowseError> {
        match self {
            Self::Reader(files) => Ok(files.read(path, offset, length).await?),
            #[cfg(test)]
            Self::Memory(files) => files.read(path, offset, length),
        }
    }

    async fn changes(
        &mut self,
        after: &mut Self,
        path: &HomePath,
        max_changes: usize,
    ) -> Result<Changes, BrowseError> {
        match (self, after) {
            (Self::Reader(before), Self::Reader(after)) => {
                Ok(reader::list_changes(before, after, path, max_changes).await?)
            }
            #[cfg(test)]
            (Self::Memory(before), Self::Memory(after)) => Ok(before.changes(after, max_changes)),
            #[cfg(test)]
            _ => unreachable!("one browser has one source"),
        }
    }

    async fn diff(&mut self, after: &mut Self, path: &HomePath) -> Result<Diff, BrowseError> {
        match (self, after) {
            (Self::Reader(before), Self::Reader(after)) => Ok(reader::diff_file(before, after, path).await?),
            #[cfg(test)]
            (Self::Memory(before), Self::Memory(after)) => before.diff(after, path),
            #[cfg(test)]
            _ => unreachable!("one browser has one source"),
        }
    }
}

/// The snapshots that are open for browsing. Clones share them.
#[derive(Clone)]
pub struct SnapshotBrowser(Arc<Inner>);

struct Inner {
    source: Source,
    permits: Arc<Semaphore>,
    requests: FairPermits<UserId>,
    slots: Mutex<Vec<KeptSlot>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SnapshotKey {
    tenant: TenantId,
    manifest: ManifestId,
}

struct KeptSlot {
    snapshot: SnapshotKey,
    slot: Arc<Slot>,
    used_at: Instant,
}

/// An open snapshot, or the place for one. Locked by one request at a time; the first request opens
/// it.
#[derive(Default)]
struct Slot(AsyncMutex<Option<OpenSnapshot>>);

struct OpenSnapshot {
    files: Files,
    _permit: OwnedSemaphorePermit,
}

/// One snapshot, for as long as a client browses it.
#[derive(Clone)]
pub struct BrowseSession {
    browser: SnapshotBrowser,
    /// Whose share of the readers it uses.
    user: UserId,
    snapshot: SnapshotKey,
    key: DataKey,
    slot: Arc<Slot>,
}

impl SnapshotBrowser {
    pub fn new(source: Source) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_READERS));
        let requests = FairPermits::new(MAX_REQUESTS, MAX_REQUESTS_PER_USER);
        Self(Arc::new(Inner { source, permits, requests, slots: Mutex::default() }))
    }

    /// A user's session for a snapshot. Its first request opens the snapshot.
    pub fn open(
        &self,
        (tenant, user): (TenantId, UserId),
        key: DataKey,
        manifest: ManifestId,
    ) -> BrowseSession {
        let snapshot = SnapshotKey { tenant, manifest };
        let mut slots = self.slots();
        let known = slots.iter_mut().find(|kept| kept.snapshot == snapshot);
        let slot = known.map(|known| {
            known.used_at = Instant::now();
            known.slot.clone()
        });
        let slot = slot.unwrap_or_else(|| {
            let slot = Arc::<Slot>::default();
            slots.push(KeptSlot { snapshot, slot: slot.clone(), used_at: Instant::now() });
            slot
        });
        drop(slots);
        BrowseSession { browser: self.clone(), user, snapshot, key, slot }
    }

    /// Closes the snapshots of a tenant. Requests that are being served still get their reply.
    pub fn close(&self, tenant: TenantId) {
        self.slots().retain(|kept| kept.snapshot.tenant != tenant);
    }

    /// Closes idle readers until the shutdown, then all.
    pub async fn run(self, shutdown: tokio_util::sync::CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(CLOSE_IDLE_INTERVAL) => self.close_idle(),
            }
        }
        self.slots().clear();
    }

    fn close_idle(&self) {
        self.slots().retain(|kept| is_in_use(kept) || kept.used_at.elapsed() < IDLE_TIMEOUT);
    }

    /// Waits for a permit for one more reader. The reader that was idle longest makes room.
    async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = self.0.permits.clone().try_acquire_owned() {
                return permit;
            }
            if !self.close_longest_idle() {
                tokio::time::sleep(PERMIT_POLL_INTERVAL).await;
            }
        }
    }

    fn close_longest_idle(&self) -> bool {
        let mut slots = self.slots();
        let idle = (0..slots.len()).filter(|index| !is_in_use(&slots[*index]));
        let longest = idle.min_by_key(|index| slots[*index].used_at);
        longest.map(|index| slots.swap_remove(index)).is_some()
    }

    fn slots(&self) -> MutexGuard<'_, Vec<KeptSlot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a session holds it besides the list.
fn is_in_use(kept: &KeptSlot) -> bool {
    Arc::strong_count(&kept.slot) > 1
}

/// A request's turn at an open snapshot. Dropping it closes the snapshot, because its reader may
/// still be busy with the request. [`Turn::finish`] keeps it open.
struct Turn<'a> {
    slot: AsyncMutexGuard<'a, Option<OpenSnapshot>>,
    open: OpenSnapshot,
}

impl BrowseSession {
    /// The entries of a directory by name. Symbolic links are not followed.
    pub async fn list(&self, path: &HomePath) -> Result<Directory, BrowseError> {
        self.request(async |files| files.list(path).await).await
    }

    /// One entry. A symbolic link is not followed.
    pub async fn stat(&self, path: &HomePath) -> Result<SnapshotEntry, BrowseError> {
        self.request(async |files| files.stat(path).await).await
    }

    /// The nodes of a directory by name, at most `max_entries`, and whether there are more.
    pub async fn nodes(&self, path: &HomePath, max_entries: usize) -> Result<(Vec<Node>, bool), BrowseError> {
        self.request(async |files| files.nodes(path, max_entries).await).await
    }

    /// One node. A symbolic link is not followed.
    pub async fn node(&self, path: &HomePath) -> Result<Node, BrowseError> {
        self.request(async |files| files.node(path).await).await
    }

    /// The extended attributes of an entry, and the segments of a file.
    pub async fn details(&self, path: &HomePath) -> Result<FileDetails, BrowseError> {
        self.request(async |files| files.details(path).await).await
    }

    /// At most `length` bytes of a file, at most [`PIECE_BYTES`]. Fewer only at the end of the
    /// file.
    pub async fn read(&self, path: &HomePath, offset: u64, length: u64) -> Result<Bytes, BrowseError> {
        self.request(async |files| files.read(path, offset, length.min(PIECE_BYTES)).await).await
    }

    /// What differs in `after` at a path and below, at most `max_changes`.
    pub async fn changes(
        &self,
        after: &Self,
        path: &HomePath,
        max_changes: usize,
    ) -> Result<Changes, BrowseError> {
        if self.snapshot == after.snapshot {
            self.stat(path).await?;
            return Ok(Changes { changes: vec![], truncated: false });
        }
        self.with_permit(Box::pin(async {
            let (mut before, mut after) = self.both_turns(after).await?;
            let reply = before.open.files.changes(&mut after.open.files, path, max_changes).await;
            before.finish(after.finish(reply))
        }))
        .await
    }

    /// How one file differs in `after`.
    pub async fn diff(&self, after: &Self, path: &HomePath) -> Result<Diff, BrowseError> {
        if self.snapshot == after.snapshot {
            self.stat(path).await?;
            return Ok(Diff::Same);
        }
        self.with_permit(Box::pin(async {
            let (mut before, mut after) = self.both_turns(after).await?;
            let reply = before.open.files.diff(&mut after.open.files, path).await;
            before.finish(after.finish(reply))
        }))
        .await
    }

    /// Sends one request to the reader, in a turn of its own.
    async fn request<T>(
        &self,
        ask: impl AsyncFnOnce(&mut Files) -> Result<T, BrowseError>,
    ) -> Result<T, BrowseError> {
        self.with_permit(async {
            let mut turn = self.turn().await?;
            let reply = ask(&mut turn.open.files).await;
            turn.finish(reply)
        })
        .await
    }

    /// Carries out a request of this user, once it is the user's turn.
    async fn with_permit<T>(
        &self,
        request: impl Future<Output = Result<T, BrowseError>>,
    ) -> Result<T, BrowseError> {
        let permitted = async {
            let permit = self.browser.0.requests.acquire(self.user, REQUEST_TIMEOUT).await;
            let _permit = permit.map_err(|Busy| BrowseError::Timeout)?;
            request.await
        };
        timeout(REQUEST_TIMEOUT, permitted).await.unwrap_or(Err(BrowseError::Timeout))
    }

    async fn turn(&self) -> Result<Turn<'_>, BrowseError> {
        let mut slot = self.slot.0.lock().await;
        if let Some(open) = slot.take() {
            return Ok(Turn { slot, open });
        }
        let permit = self.browser.permit().await;
        let SnapshotKey { tenant, manifest } = self.snapshot;
        let files = self.browser.0.source.open(tenant, self.key.clone(), manifest).await?;
        Ok(Turn { slot, open: OpenSnapshot { files, _permit: permit } })
    }

    /// Locks both in one order: two requests that compare the same two in opposite directions do
    /// not deadlock.
    async fn both_turns<'a>(&'a self, after: &'a Self) -> Result<(Turn<'a>, Turn<'a>), BrowseError> {
        if self.snapshot < after.snapshot {
            let first = self.turn().await?;
            Ok((first, after.turn().await?))
        } else {
            let first = after.turn().await?;
            Ok((self.turn().await?, first))
        }
    }
}

impl Turn<'_> {
    /// Keeps the snapshot open, unless its reader failed: the next request opens it again.
    fn finish<T>(mut self, reply: Result<T, BrowseError>) -> Result<T, BrowseError> {
        match &reply {
            Err(error) if !error.keeps_reader() => tracing::warn!(%error, "closed the reader of a snapshot"),
            _ => *self.slot = Some(self.open),
        }
        reply
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use protocol::{
        api::snapshot::{Change, ChangeKind},
        files::EntryKind,
    };

    use super::*;

    /// Snapshots in memory: the files of each manifest by path.
    #[derive(Default)]
    pub struct Memory {
        snapshots: Mutex<BTreeMap<ManifestId, BTreeMap<String, Vec<u8>>>>,
        /// How often a snapshot was opened.
        opened: AtomicUsize,
        /// Snapshots that are open now.
        open: Arc<AtomicUsize>,
    }

    pub struct MemoryFiles {
        files: BTreeMap<String, Vec<u8>>,
        open: Arc<AtomicUsize>,
    }

    impl Drop for MemoryFiles {
        fn drop(&mut self) {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Memory {
        /// Adds the snapshot whose manifest has this byte throughout.
        pub fn insert(&self, content: u8, files: &[(&str, &str)]) {
            let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
            self.snapshots.lock().expect("sound").insert(ManifestId([content; 32]), files.collect());
        }

        pub fn open(&self, manifest: ManifestId) -> Result<MemoryFiles, BrowseError> {
            let files = self.snapshots.lock().expect("sound").get(&manifest).cloned();
            let files = files.ok_or_else(|| BrowseError::Unreadable("it is blank".to_owned()))?;
            self.opened.fetch_add(1, Ordering::SeqCst);
            self.open.fetch_add(1, Ordering::SeqCst);
            Ok(MemoryFiles { files, open: self.open.clone() })
        }

        fn opened(&self) -> usize {
            self.opened.load(Ordering::SeqCst)
        }

        fn open_now(&self) -> usize {
            self.open.load(Ordering::SeqCst)
        }
    }

    fn entry(name: &str, kind: EntryKind, size: usize) -> SnapshotEntry {
        SnapshotEntry {
            name: name.to_owned(),
            utf8: true,
            kind,
            size: size as u64,
            modified_ms: 0,
            mode: 0o644,
            target: None,
        }
    }

    /// The node for an entry.
    pub fn node(entry: &SnapshotEntry) -> Node {
        Node {
            name: entry.name.clone().into_bytes(),
            inode: 0,
            kind: entry.kind,
            size: entry.size,
            modified: reader::FileTime::default(),
            changed: reader::FileTime::default(),
            mode: entry.mode as u16,
            links: 1,
            target: None,
        }
    }

    impl MemoryFiles {
        pub fn nodes(&self, path: &HomePath) -> (Vec<Node>, bool) {
            (self.list(path).entries.iter().map(node).collect(), false)
        }

        pub fn details(&self, path: &HomePath) -> Result<FileDetails, BrowseError> {
            let entry = self.stat(path)?;
            let segment = protocol::restore::Segment { offset: 0, length: entry.size };
            Ok(FileDetails { segments: vec![segment], ..FileDetails::default() })
        }

        pub fn list(&self, path: &HomePath) -> Directory {
            let entries = self.files.iter().filter_map(|(file, content)| {
                let below = if path.is_home() { file } else { file.strip_prefix(&format!("{path}/"))? };
                Some(match below.split_once('/') {
                    Some((directory, _)) => entry(directory, EntryKind::Directory, 0),
                    None => entry(below, EntryKind::File, content.len()),
                })
            });
            let mut entries: Vec<SnapshotEntry> = entries.collect();
            entries.dedup();
            Directory { path: path.to_string(), entries, truncated: false }
        }

        pub fn stat(&self, path: &HomePath) -> Result<SnapshotEntry, BrowseError> {
            match path.as_str() {
                "broken" => return Err(BrowseError::ReaderFailed("as requested".to_owned())),
                // What a reader reports whose store does not answer.
                "silent" => return Err(BrowseError::Timeout),
                _ => {}
            }
            let name = path.name().unwrap_or_default();
            let is_directory =
                path.is_home() || self.files.keys().any(|file| file.starts_with(&format!("{path}/")));
            match self.files.get(path.as_str()) {
                Some(content) => Ok(entry(name, EntryKind::File, content.len())),
                None if is_directory => Ok(entry(name, EntryKind::Directory, 0)),
                None => Err(BrowseError::NotFound),
            }
        }

        pub fn read(&self, path: &HomePath, offset: u64, length: u64) -> Result<Bytes, BrowseError> {
            let content = self.files.get(path.as_str()).cloned().ok_or(BrowseError::NotFound)?;
            let from = (offset as usize).min(content.len());
            let to = (from + length as usize).min(content.len());
            Ok(Bytes::from(content).slice(from..to))
        }

        pub fn changes(&self, after: &Self, max_changes: usize) -> Changes {
            let size =
                |files: &BTreeMap<String, Vec<u8>>, path: &str| files.get(path).map(|c| c.len() as u64);
            let mut paths: Vec<String> = self.files.keys().chain(after.files.keys()).cloned().collect();
            paths.sort();
            paths.dedup();
            let changed = paths.into_iter().filter(|path| self.files.get(path) != after.files.get(path));
            let changes = changed.map(|path| {
                let (before, now) = (size(&self.files, &path), size(&after.files, &path));
                let kind = match (before, now) {
                    (None, _) => ChangeKind::Added,
                    (_, None) => ChangeKind::Removed,
                    _ => ChangeKind::Changed,
                };
                Change { path, kind, entry: EntryKind::File, size_before: before, size_after: now }
            });
            Changes { changes: changes.take(max_changes).collect(), truncated: false }
        }

        pub fn diff(&self, after: &Self, path: &HomePath) -> Result<Diff, BrowseError> {
            if path.as_str() == "silent" {
                return Err(BrowseError::Timeout);
            }
            let text = |home: &Self| {
                String::from_utf8_lossy(home.files.get(path.as_str()).map_or(&[], Vec::as_slice)).into_owned()
            };
            Ok(Diff::Text { unified: format!("-{}+{}", text(self), text(after)) })
        }
    }

    fn memory(snapshots: u8) -> (Arc<Memory>, SnapshotBrowser) {
        let memory = Arc::new(Memory::default());
        for content in 0..snapshots {
            memory.insert(content, &[("a", "text")]);
        }
        (memory.clone(), SnapshotBrowser::new(Source::Memory(memory)))
    }

    fn session(browser: &SnapshotBrowser, tenant: TenantId, content: u8) -> BrowseSession {
        browser.open((tenant, UserId::random()), DataKey::random(), ManifestId([content; 32]))
    }

    fn path(text: &str) -> HomePath {
        HomePath::parse(text).expect("a path")
    }

    #[tokio::test(start_paused = true)]
    async fn snapshot_opens_once_and_closes_when_idle() {
        let (memory, browser) = memory(2);
        let tenant = TenantId::random();
        for _ in 0..3 {
            session(&browser, tenant, 0).list(&HomePath::default()).await.expect("listed");
        }
        assert_eq!(memory.opened(), 1);
        session(&browser, TenantId::random(), 0).stat(&path("a")).await.expect("found");
        assert_eq!(memory.opened(), 2, "tenants do not share");
        let shutdown = tokio_util::sync::CancellationToken::new();
        let closing = tokio::spawn(browser.clone().run(shutdown.clone()));
        tokio::time::sleep(IDLE_TIMEOUT + CLOSE_IDLE_INTERVAL * 2).await;
        assert_eq!(memory.open_now(), 0);
        shutdown.cancel();
        closing.await.expect("ends");
    }

    #[tokio::test(start_paused = true)]
    async fn longest_idle_snapshot_makes_room() {
        let (memory, browser) = memory(20);
        let tenant = TenantId::random();
        for content in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            session(&browser, tenant, content).stat(&path("a")).await.expect("found");
            assert!(memory.open_now() <= MAX_READERS);
        }
        session(&browser, tenant, 19).stat(&path("a")).await.expect("found");
        assert_eq!(memory.opened(), 20);
        // All of them are in use: another one waits and times out.
        let held: Vec<BrowseSession> = (12..20).map(|content| session(&browser, tenant, content)).collect();
        assert_eq!(session(&browser, tenant, 1).stat(&path("a")).await, Err(BrowseError::Timeout));
        drop(held);
        session(&browser, tenant, 1).stat(&path("a")).await.expect("found");
    }

    #[tokio::test(start_paused = true)]
    async fn failed_reader_is_replaced() {
        let (memory, browser) = memory(1);
        let tenant = TenantId::random();
        let failed = session(&browser, tenant, 0).stat(&path("broken")).await;
        assert!(matches!(failed, Err(BrowseError::ReaderFailed(_))));
        assert_eq!(memory.open_now(), 0);
        assert_eq!(session(&browser, tenant, 0).stat(&path("no")).await, Err(BrowseError::NotFound));
        session(&browser, tenant, 0).stat(&path("a")).await.expect("found");
        assert_eq!(memory.opened(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_leaves_readers_to_others() {
        let (_, browser) = memory(20);
        let (tenant, greedy) = (TenantId::random(), UserId::random());
        let busy = async |content| {
            let session = browser.open((tenant, greedy), DataKey::random(), ManifestId([content; 32]));
            session.with_permit(async { session.turn().await.map(|_turn| ()) }).await?;
            session.with_permit(std::future::pending::<Result<(), BrowseError>>()).await
        };
        let others = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let other = browser.open((tenant, UserId::random()), DataKey::random(), ManifestId([19; 32]));
            timeout(Duration::from_secs(1), other.stat(&path("a"))).await
        };
        let (ended, answered) = tokio::join!(futures_util::future::join_all((0..15_u8).map(busy)), others);
        assert!(matches!(answered, Ok(Ok(_))), "answered while the other user's requests hang");
        assert!(ended.iter().all(|ended| *ended == Err(BrowseError::Timeout)));
    }

    #[tokio::test(start_paused = true)]
    async fn open_times_out_and_releases_permit() {
        let browser = SnapshotBrowser::new(Source::Silent);
        let started = Instant::now();
        let sessions =
            (0..2 * MAX_READERS as u8).map(|content| session(&browser, TenantId::random(), content));
        let requests = sessions.map(async |session| session.stat(&path("a")).await);
        for reply in futures_util::future::join_all(requests).await {
            assert_eq!(reply, Err(BrowseError::Timeout));
        }
        assert!(started.elapsed() <= 2 * REQUEST_TIMEOUT, "{:?}", started.elapsed());
        assert_eq!(browser.0.permits.available_permits(), MAX_READERS);
    }

    #[tokio::test(start_paused = true)]
    async fn comparing_in_both_directions_does_not_deadlock() {
        let (_, browser) = memory(2);
        let tenant = TenantId::random();
        let (one, two) = (session(&browser, tenant, 0), session(&browser, tenant, 1));
        let home = HomePath::default();
        let forward = |_| one.changes(&two, &home, 10);
        let backward = |_| two.changes(&one, &home, 10);
        let (all, others) = tokio::join!(
            futures_util::future::join_all((0..20).map(forward)),
            futures_util::future::join_all((0..20).map(backward)),
        );
        assert!(all.into_iter().chain(others).all(|reply| reply.is_ok()));
        assert_eq!(one.diff(&one, &path("a")).await, Ok(Diff::Same));
    }
}
