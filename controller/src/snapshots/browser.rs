//! Past homes that are being looked at: directories, files and differences of snapshots, without a machine.
//!
//! How a home is read is [`Past`]'s affair. Here few are kept open, each for a while after its last use, and each answers one
//! question at a time. Everything has a deadline: what reads is made by guests.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use protocol::{
    ManifestId, TenantId,
    api::snapshot::{Changes, Diff, Directory, PastEntry},
    files::HomePath,
};
use tokio::{
    sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use volume::DataKey;

/// Open at the same time, for all tenants: each is a process with tens of MiB.
const MAX_HOMES: usize = 8;
/// Kept so long after its last use: somebody who browses clicks again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How often it is looked whether one is idle.
const TIDY_INTERVAL: Duration = Duration::from_secs(30);
/// How often someone who waits for a room looks whether a home is idle now.
const ROOM_POLL: Duration = Duration::from_millis(100);
/// For one question, with waiting for its turn and opening the home; readers give up a little sooner by themselves.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(90);
/// Bytes of a file that are asked for at once.
pub const PIECE_BYTES: u64 = 1 << 20;

/// Opens homes as they were.
pub trait Past: Send + Sync + 'static {
    fn open(
        &self,
        tenant: TenantId,
        key: DataKey,
        manifest: ManifestId,
    ) -> BoxFuture<'_, Result<Box<dyn PastHome>, PastError>>;
}

/// A home as it was. `Any` so that one may be compared with another of its own kind.
pub trait PastHome: Any + Send {
    /// Entries by name; no link is followed.
    fn list<'a>(&'a mut self, path: &'a HomePath) -> BoxFuture<'a, Result<Directory, PastError>>;

    fn stat<'a>(&'a mut self, path: &'a HomePath) -> BoxFuture<'a, Result<PastEntry, PastError>>;

    /// At most `length` bytes of a file, at most [`PIECE_BYTES`]; fewer at its end only.
    fn read<'a>(
        &'a mut self,
        path: &'a HomePath,
        offset: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Bytes, PastError>>;

    /// What a later home has otherwise, at a path and below; at most `most` of it.
    fn changes<'a>(
        &'a mut self,
        after: &'a mut dyn PastHome,
        path: &'a HomePath,
        most: usize,
    ) -> BoxFuture<'a, Result<Changes, PastError>>;

    /// How one file differs in a later home.
    fn diff<'a>(
        &'a mut self,
        after: &'a mut dyn PastHome,
        path: &'a HomePath,
    ) -> BoxFuture<'a, Result<Diff, PastError>>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    #[error("there is no such file in this snapshot")]
    NotFound,
    /// Also of a symbolic link on the way.
    #[error("a part of the path is no directory")]
    NotADirectory,
    #[error("it is no regular file")]
    NotAFile,
    /// The home itself: blank, damaged, or with something that is not known here.
    #[error("the home cannot be read without its machine: {0}")]
    Unreadable(String),
    #[error("reading took too long")]
    Timeout,
    /// Whatever reads is not to be used any more; anew it may work.
    #[error("reading failed: {0}")]
    Broken(String),
}

impl PastError {
    /// Whether the same home may answer the next question.
    fn spares_the_home(&self) -> bool {
        matches!(self, Self::NotFound | Self::NotADirectory | Self::NotAFile)
    }
}

/// For a server that reads no past.
pub struct NoPast;

impl Past for NoPast {
    fn open(
        &self,
        _: TenantId,
        _: DataKey,
        _: ManifestId,
    ) -> BoxFuture<'_, Result<Box<dyn PastHome>, PastError>> {
        Box::pin(async {
            Err(PastError::Unreadable("this server has nothing to read homes with".to_owned()))
        })
    }
}

/// The homes that are open. Clones are the same set.
#[derive(Clone)]
pub struct Homes(Arc<Inner>);

struct Inner {
    past: Arc<dyn Past>,
    rooms: Arc<Semaphore>,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    tenant: TenantId,
    manifest: ManifestId,
}

struct Kept {
    name: Name,
    slot: Arc<Slot>,
    used: Instant,
}

/// A home's place: taken by one question at a time, filled by the first.
#[derive(Default)]
struct Slot(AsyncMutex<Option<Opened>>);

struct Opened {
    home: Box<dyn PastHome>,
    _room: OwnedSemaphorePermit,
}

/// One past home, for as long as someone looks at it.
#[derive(Clone)]
pub struct Visit {
    homes: Homes,
    name: Name,
    key: DataKey,
    slot: Arc<Slot>,
}

impl Homes {
    pub fn new(past: Arc<dyn Past>) -> Self {
        let rooms = Arc::new(Semaphore::new(MAX_HOMES));
        Self(Arc::new(Inner { past, rooms, kept: Mutex::default() }))
    }

    /// Opened by the first question.
    pub fn visit(&self, tenant: TenantId, key: DataKey, manifest: ManifestId) -> Visit {
        let name = Name { tenant, manifest };
        let mut kept = self.kept();
        let known = kept.iter_mut().find(|kept| kept.name == name);
        let slot = known.map(|known| {
            known.used = Instant::now();
            known.slot.clone()
        });
        let slot = slot.unwrap_or_else(|| {
            let slot = Arc::<Slot>::default();
            kept.push(Kept { name, slot: slot.clone(), used: Instant::now() });
            slot
        });
        drop(kept);
        Visit { homes: self.clone(), name, key, slot }
    }

    /// Closes those of a tenant; whoever is being answered still is.
    pub fn close(&self, tenant: TenantId) {
        self.kept().retain(|kept| kept.name.tenant != tenant);
    }

    /// Closes what nobody looks at, until the shutdown.
    pub async fn run(self, shutdown: tokio_util::sync::CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(TIDY_INTERVAL) => self.tidy(),
            }
        }
        self.kept().clear();
    }

    fn tidy(&self) {
        self.kept().retain(|kept| is_in_use(kept) || kept.used.elapsed() < IDLE_TIMEOUT);
    }

    /// A place for one more open home; the one that was idle longest makes room.
    async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(room) = self.0.rooms.clone().try_acquire_owned() {
                return room;
            }
            if !self.close_one() {
                tokio::time::sleep(ROOM_POLL).await;
            }
        }
    }

    fn close_one(&self) -> bool {
        let mut kept = self.kept();
        let idle = (0..kept.len()).filter(|index| !is_in_use(&kept[*index]));
        let longest = idle.min_by_key(|index| kept[*index].used);
        longest.map(|index| kept.swap_remove(index)).is_some()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Someone besides the list holds it.
fn is_in_use(kept: &Kept) -> bool {
    Arc::strong_count(&kept.slot) > 1
}

/// A question's turn at an open home. Whoever gives the question up half-way gives up the home too.
struct Turn<'a> {
    place: AsyncMutexGuard<'a, Option<Opened>>,
    opened: Opened,
}

impl Visit {
    pub async fn list(&self, path: &HomePath) -> Result<Directory, PastError> {
        in_time(async {
            let mut turn = self.turn().await?;
            let answer = turn.home().list(path).await;
            turn.end(answer)
        })
        .await
    }

    pub async fn stat(&self, path: &HomePath) -> Result<PastEntry, PastError> {
        in_time(async {
            let mut turn = self.turn().await?;
            let answer = turn.home().stat(path).await;
            turn.end(answer)
        })
        .await
    }

    /// The piece of a file that begins here: whole unless the file ends before.
    pub async fn read(&self, path: &HomePath, offset: u64, length: u64) -> Result<Bytes, PastError> {
        in_time(async {
            let mut turn = self.turn().await?;
            let answer = turn.home().read(path, offset, length.min(PIECE_BYTES)).await;
            turn.end(answer)
        })
        .await
    }

    /// What `after` has otherwise than this home.
    pub async fn changes(&self, after: &Self, path: &HomePath, most: usize) -> Result<Changes, PastError> {
        if self.name == after.name {
            self.stat(path).await?;
            return Ok(Changes { changes: vec![], truncated: false });
        }
        in_time(async {
            let (mut before, mut after) = self.both_turns(after).await?;
            let answer = before.home().changes(after.home(), path, most).await;
            before.end(after.end(answer))
        })
        .await
    }

    pub async fn diff(&self, after: &Self, path: &HomePath) -> Result<Diff, PastError> {
        if self.name == after.name {
            self.stat(path).await?;
            return Ok(Diff::Same);
        }
        in_time(async {
            let (mut before, mut after) = self.both_turns(after).await?;
            let answer = before.home().diff(after.home(), path).await;
            before.end(after.end(answer))
        })
        .await
    }

    async fn turn(&self) -> Result<Turn<'_>, PastError> {
        let mut place = self.slot.0.lock().await;
        if let Some(opened) = place.take() {
            return Ok(Turn { place, opened });
        }
        let room = self.homes.room().await;
        let Name { tenant, manifest } = self.name;
        let home = self.homes.0.past.open(tenant, self.key.clone(), manifest).await?;
        Ok(Turn { place, opened: Opened { home, _room: room } })
    }

    /// Two who compare the same two in opposite directions take them in the same order.
    async fn both_turns<'a>(&'a self, after: &'a Self) -> Result<(Turn<'a>, Turn<'a>), PastError> {
        if self.name < after.name {
            let first = self.turn().await?;
            Ok((first, after.turn().await?))
        } else {
            let first = after.turn().await?;
            Ok((self.turn().await?, first))
        }
    }
}

impl Turn<'_> {
    fn home(&mut self) -> &mut dyn PastHome {
        &mut *self.opened.home
    }

    /// Gives the home back. One that failed is closed: whoever comes next opens it anew.
    fn end<T>(mut self, answer: Result<T, PastError>) -> Result<T, PastError> {
        match &answer {
            Err(error) if !error.spares_the_home() => tracing::warn!(%error, "a past home is closed"),
            _ => *self.place = Some(self.opened),
        }
        answer
    }
}

async fn in_time<T>(answering: impl Future<Output = Result<T, PastError>>) -> Result<T, PastError> {
    timeout(QUESTION_TIMEOUT, answering).await.unwrap_or(Err(PastError::Timeout))
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

    /// Homes in memory: each manifest's files by path.
    #[derive(Default)]
    pub struct Memory {
        pub homes: Mutex<BTreeMap<ManifestId, BTreeMap<String, Vec<u8>>>>,
        pub opened: AtomicUsize,
        pub open: Arc<AtomicUsize>,
    }

    struct MemoryHome {
        files: BTreeMap<String, Vec<u8>>,
        open: Arc<AtomicUsize>,
    }

    impl Drop for MemoryHome {
        fn drop(&mut self) {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Memory {
        pub fn put(&self, content: u8, files: &[(&str, &str)]) {
            let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
            self.homes.lock().expect("sound").insert(ManifestId([content; 32]), files.collect());
        }
    }

    impl Past for Memory {
        fn open(
            &self,
            _: TenantId,
            _: DataKey,
            manifest: ManifestId,
        ) -> BoxFuture<'_, Result<Box<dyn PastHome>, PastError>> {
            let files = self.homes.lock().expect("sound").get(&manifest).cloned();
            Box::pin(async move {
                let files = files.ok_or_else(|| PastError::Unreadable("it is blank".to_owned()))?;
                self.opened.fetch_add(1, Ordering::SeqCst);
                self.open.fetch_add(1, Ordering::SeqCst);
                Ok(Box::new(MemoryHome { files, open: self.open.clone() }) as Box<dyn PastHome>)
            })
        }
    }

    fn entry(name: &str, kind: EntryKind, size: usize) -> PastEntry {
        PastEntry {
            name: name.to_owned(),
            utf8: true,
            kind,
            size: size as u64,
            modified_ms: 0,
            mode: 0o644,
            target: None,
        }
    }

    fn answer<'a, T: Send + 'a>(answer: Result<T, PastError>) -> BoxFuture<'a, Result<T, PastError>> {
        Box::pin(async move { answer })
    }

    impl PastHome for MemoryHome {
        fn list<'a>(&'a mut self, path: &'a HomePath) -> BoxFuture<'a, Result<Directory, PastError>> {
            let entries = self.files.iter().filter_map(|(file, content)| {
                let below = if path.is_home() { file } else { file.strip_prefix(&format!("{path}/"))? };
                Some(match below.split_once('/') {
                    Some((directory, _)) => entry(directory, EntryKind::Directory, 0),
                    None => entry(below, EntryKind::File, content.len()),
                })
            });
            let mut entries: Vec<PastEntry> = entries.collect();
            entries.dedup();
            answer(Ok(Directory { path: path.to_string(), entries, truncated: false }))
        }

        fn stat<'a>(&'a mut self, path: &'a HomePath) -> BoxFuture<'a, Result<PastEntry, PastError>> {
            match path.as_str() {
                "broken" => return answer(Err(PastError::Broken("as asked".to_owned()))),
                // As a reader says whose store hangs.
                "silent" => return answer(Err(PastError::Timeout)),
                _ => {}
            }
            let name = path.name().unwrap_or_default();
            let is_directory =
                path.is_home() || self.files.keys().any(|file| file.starts_with(&format!("{path}/")));
            answer(match self.files.get(path.as_str()) {
                Some(content) => Ok(entry(name, EntryKind::File, content.len())),
                None if is_directory => Ok(entry(name, EntryKind::Directory, 0)),
                None => Err(PastError::NotFound),
            })
        }

        fn read<'a>(
            &'a mut self,
            path: &'a HomePath,
            offset: u64,
            length: u64,
        ) -> BoxFuture<'a, Result<Bytes, PastError>> {
            let content = self.files.get(path.as_str()).cloned();
            answer(content.ok_or(PastError::NotFound).map(|content| {
                let from = (offset as usize).min(content.len());
                let to = (from + length as usize).min(content.len());
                Bytes::from(content).slice(from..to)
            }))
        }

        fn changes<'a>(
            &'a mut self,
            after: &'a mut dyn PastHome,
            _: &'a HomePath,
            most: usize,
        ) -> BoxFuture<'a, Result<Changes, PastError>> {
            let after = (after as &mut dyn Any).downcast_mut::<Self>().expect("of one kind");
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
            answer(Ok(Changes { changes: changes.take(most).collect(), truncated: false }))
        }

        fn diff<'a>(
            &'a mut self,
            after: &'a mut dyn PastHome,
            path: &'a HomePath,
        ) -> BoxFuture<'a, Result<Diff, PastError>> {
            if path.as_str() == "silent" {
                return answer(Err(PastError::Timeout));
            }
            let after = (after as &mut dyn Any).downcast_mut::<Self>().expect("of one kind");
            let text = |home: &Self| {
                String::from_utf8_lossy(home.files.get(path.as_str()).map_or(&[], Vec::as_slice)).into_owned()
            };
            answer(Ok(Diff::Text { unified: format!("-{}+{}", text(self), text(after)) }))
        }
    }

    fn memory(homes: u8) -> (Arc<Memory>, Homes) {
        let memory = Arc::new(Memory::default());
        for content in 0..homes {
            memory.put(content, &[("a", "text")]);
        }
        (memory.clone(), Homes::new(memory))
    }

    fn visit(homes: &Homes, tenant: TenantId, content: u8) -> Visit {
        homes.visit(tenant, DataKey::random(), ManifestId([content; 32]))
    }

    fn path(text: &str) -> HomePath {
        HomePath::parse(text).expect("a path")
    }

    #[tokio::test(start_paused = true)]
    async fn a_home_is_opened_once_and_closed_when_idle() {
        let (memory, homes) = memory(2);
        let tenant = TenantId::random();
        for _ in 0..3 {
            visit(&homes, tenant, 0).list(&HomePath::default()).await.expect("listed");
        }
        assert_eq!(memory.opened.load(Ordering::SeqCst), 1);
        visit(&homes, TenantId::random(), 0).stat(&path("a")).await.expect("there");
        assert_eq!(memory.opened.load(Ordering::SeqCst), 2, "another tenant's is another");
        let shutdown = tokio_util::sync::CancellationToken::new();
        let tidying = tokio::spawn(homes.clone().run(shutdown.clone()));
        tokio::time::sleep(IDLE_TIMEOUT + TIDY_INTERVAL * 2).await;
        assert_eq!(memory.open.load(Ordering::SeqCst), 0);
        shutdown.cancel();
        tidying.await.expect("ends");
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_open_and_the_longest_idle_goes() {
        let (memory, homes) = memory(20);
        let tenant = TenantId::random();
        for content in 0..20 {
            tokio::time::advance(Duration::from_secs(1)).await;
            visit(&homes, tenant, content).stat(&path("a")).await.expect("there");
            assert!(memory.open.load(Ordering::SeqCst) <= MAX_HOMES);
        }
        visit(&homes, tenant, 19).stat(&path("a")).await.expect("there");
        assert_eq!(memory.opened.load(Ordering::SeqCst), 20);
        // All of them looked at: another one waits, and is told so in the end.
        let held: Vec<Visit> = (12..20).map(|content| visit(&homes, tenant, content)).collect();
        assert_eq!(visit(&homes, tenant, 1).stat(&path("a")).await, Err(PastError::Timeout));
        drop(held);
        visit(&homes, tenant, 1).stat(&path("a")).await.expect("there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_home_is_opened_anew() {
        let (memory, homes) = memory(1);
        let tenant = TenantId::random();
        let broken = visit(&homes, tenant, 0).stat(&path("broken")).await;
        assert!(matches!(broken, Err(PastError::Broken(_))));
        assert_eq!(memory.open.load(Ordering::SeqCst), 0);
        assert_eq!(visit(&homes, tenant, 0).stat(&path("no")).await, Err(PastError::NotFound));
        visit(&homes, tenant, 0).stat(&path("a")).await.expect("there");
        assert_eq!(memory.opened.load(Ordering::SeqCst), 2);
    }

    /// Whose store answers nothing.
    struct Silent;

    impl Past for Silent {
        fn open(
            &self,
            _: TenantId,
            _: DataKey,
            _: ManifestId,
        ) -> BoxFuture<'_, Result<Box<dyn PastHome>, PastError>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_home_that_does_not_open_is_given_up_and_leaves_its_room() {
        let homes = Homes::new(Arc::new(Silent));
        let begun = Instant::now();
        let visits = (0..2 * MAX_HOMES as u8).map(|content| visit(&homes, TenantId::random(), content));
        let asking = visits.map(async |visit| visit.stat(&path("a")).await);
        for answer in futures_util::future::join_all(asking).await {
            assert_eq!(answer, Err(PastError::Timeout));
        }
        assert!(begun.elapsed() <= 2 * QUESTION_TIMEOUT, "{:?}", begun.elapsed());
        assert_eq!(homes.0.rooms.available_permits(), MAX_HOMES);
    }

    #[tokio::test(start_paused = true)]
    async fn comparing_both_ways_at_once_ends() {
        let (_, homes) = memory(2);
        let tenant = TenantId::random();
        let (one, two) = (visit(&homes, tenant, 0), visit(&homes, tenant, 1));
        let home = HomePath::default();
        let there = |_| one.changes(&two, &home, 10);
        let back = |_| two.changes(&one, &home, 10);
        let (all, others) = tokio::join!(
            futures_util::future::join_all((0..20).map(there)),
            futures_util::future::join_all((0..20).map(back)),
        );
        assert!(all.into_iter().chain(others).all(|answer| answer.is_ok()));
        assert_eq!(one.diff(&one, &path("a")).await, Ok(Diff::Same));
    }
}
