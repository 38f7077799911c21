//! `push`, `pull`: a home copied to another installation by whoever is signed in to both.
//!
//! The two directions are one. What is lacking is found by the hashes of chunks, asked of where the home is, and passed on as it
//! came. Nothing is written down here: cut short, the same command finds what has arrived already.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use client::ApiError;
use protocol::{
    Code, SnapshotId, WorkspaceId,
    api::{
        import::{
            Chunk, ChunkHash, ChunkList, FinishImport, Import, MAX_CHUNKS_AT_ONCE, NewImport, WantedChunks,
        },
        snapshot::{EditSnapshot, MAX_NAME_BYTES, MAX_SNAPSHOTS, NewSnapshot, Snapshot},
        workspace::Workspace,
    },
    workspace::{Phase, cut},
};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use volume::{CHUNK_BYTES, Root};

use super::{Context, snapshot, workspace};
use crate::{
    arguments::{Moving, Pull, Push},
    failure::{Failure, Kind},
    output::{self, Shown},
    progress::{Step, Style},
    server::Server,
};

/// A request whose answer is lost is sent again so often: half a minute. Then the person decides.
const TRIES: u32 = 6;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// For reading all of a home once more where it has arrived: a TiB at a disk's speed.
const FINISH_TIMEOUT: Duration = Duration::from_hours(4);
/// How often progress is told to a person who looks on, and to a log.
const TOLD_INTERVAL: Duration = Duration::from_millis(200);
const LOGGED_INTERVAL: Duration = Duration::from_secs(10);

/// What became of it.
#[derive(Debug, Serialize)]
struct Moved {
    /// Where the home is now.
    url: String,
    workspace: Workspace,
    /// What of the source it is.
    snapshot: SnapshotId,
    /// Chunks of the home that are not zeros, and their bytes.
    chunks: u64,
    bytes: u64,
    /// What was lacking, and the bytes that were sent for it.
    sent_chunks: u64,
    sent_bytes: u64,
    seconds: f64,
}

impl Shown for Moved {
    const COLUMNS: &'static [&'static str] = &["name", "server", "home", "sent"];

    fn cells(&self) -> Vec<String> {
        let sizes = [self.bytes, self.sent_bytes].map(output::size);
        [self.workspace.name.clone(), self.url.clone()].into_iter().chain(sizes).collect()
    }

    fn name(&self) -> String {
        self.workspace.name.clone()
    }

    fn id(&self) -> String {
        self.workspace.id.to_string()
    }
}

pub async fn push(context: &Context, push: Push) -> Result<(), Failure> {
    let (here, there) = (context.server()?, context.other_server(&push.to)?);
    moved(context, &here, &there, &push.target.workspace, push.moving).await
}

pub async fn pull(context: &Context, pull: Pull) -> Result<(), Failure> {
    let (here, there) = (context.server()?, context.other_server(&pull.from)?);
    moved(context, &there, &here, &pull.workspace, pull.moving).await
}

async fn moved(
    context: &Context,
    from: &Server,
    to: &Server,
    name: &str,
    moving: Moving,
) -> Result<(), Failure> {
    two_servers(from, to)?;
    let begun = Instant::now();
    let source = workspace::find(from, name).await?;
    // Whatever stands against it is said before a machine is asked for anything.
    let import = begin(to, &source, &moving).await?;
    let label = cut(format!("moving to {}", to.url()), MAX_NAME_BYTES);
    let snapshot = choose(context, from, &source, &moving, &label).await?;
    let home = Home { server: from, workspace: source.id, snapshot: snapshot.id };
    let difference = compare(context, &home, to, &import).await?;
    let sent_bytes = send(context, &home, to, import.clone(), &difference.lacking).await?;
    let before = patiently(async || to.workspaces().await).await?.workspaces;
    let workspace = finish(context, to, &import, &snapshot, difference.root).await?;
    let_go(from, source.id, &label).await;
    let is_new = before.iter().all(|known| known.id != workspace.id);
    let moved = Moved {
        url: to.url().to_owned(),
        workspace,
        snapshot: snapshot.id,
        chunks: difference.chunks,
        bytes: difference.chunks * CHUNK_BYTES as u64,
        sent_chunks: difference.lacking.len() as u64,
        sent_bytes,
        seconds: begun.elapsed().as_secs_f64(),
    };
    tell(context, &source, &moved, is_new)
}

fn two_servers(from: &Server, to: &Server) -> Result<(), Failure> {
    if from.url() != to.url() {
        return Ok(());
    }
    Err(Failure::new(Kind::Usage, format!("{} is where it comes from and where it goes", to.url()))
        .why("commands speak to the server of the last login, unless --url names another")
        .next("burrow --url URL …, or within one server: burrow fork"))
}

async fn begin(to: &Server, source: &Workspace, moving: &Moving) -> Result<Import, Failure> {
    let wish = NewImport {
        source: source.id,
        name: moving.name.clone().unwrap_or_else(|| source.name.clone()),
        template: Some(moving.template.clone().unwrap_or_else(|| source.template.clone())),
        home_mib: source.resources.home_mib,
        replace: moving.replace,
    };
    let begun = patiently(async || to.begin_import(&wish).await).await;
    begun.map_err(|error| match error.code() {
        Some(Code::NameTaken) => Failure::from(error).next("--as NAME, or --replace"),
        Some(Code::Invalid) if moving.template.is_none() => {
            Failure::from(error).next("--template base, if the other server has no such template")
        }
        _ => error.into(),
    })
}

/// What is moved. A home at rest is its newest snapshot.
async fn choose(
    context: &Context,
    from: &Server,
    source: &Workspace,
    moving: &Moving,
    label: &str,
) -> Result<Snapshot, Failure> {
    if let Some(at) = &moving.at {
        return snapshot::resolve(from, source, at).await;
    }
    if source.phase != Phase::Terminated {
        let step = Step::begin(context.style, "Taking a snapshot");
        match take(from, source.id, label).await {
            Ok(taken) => {
                step.done();
                return Ok(taken);
            }
            // Whoever may only look takes what there is.
            Err(refused) if refused.is(Code::Forbidden) => step.done(),
            Err(error) => return Err(error.into()),
        }
    }
    snapshot::resolve(from, source, "latest").await
}

/// A snapshot that no thinning out takes away meanwhile, under a name that says why it is there.
async fn take(from: &Server, source: WorkspaceId, label: &str) -> Result<Snapshot, ApiError> {
    let newest = from.snapshots(source, None, 1).await?.snapshots.pop().map(|newest| newest.id);
    let taken = from.create_snapshot(source, &NewSnapshot { name: None }).await?;
    // Where nothing has changed it is one that a person may have asked for.
    if taken.name.is_none() && newest != Some(taken.id) {
        let edit = EditSnapshot { name: label.to_owned() };
        patiently(async || from.edit_snapshot(source, taken.id, &edit).await).await?;
    }
    Ok(taken)
}

/// What was taken to be moved there has done its work, also what a move left that was cut short. The newest state of a home
/// cannot go: the next move finds it.
async fn let_go(from: &Server, source: WorkspaceId, label: &str) {
    let Ok(past) = from.snapshots(source, None, MAX_SNAPSHOTS).await else { return };
    for taken in past.snapshots.iter().filter(|one| one.name.as_deref() == Some(label)) {
        let _ = from.delete_snapshot(source, taken.id).await;
    }
}

/// Where the home is.
struct Home<'a> {
    server: &'a Server,
    workspace: WorkspaceId,
    snapshot: SnapshotId,
}

/// What is to be done, and how it is known to be done.
struct Difference {
    chunks: u64,
    root: ChunkHash,
    /// In order. 4 bytes for 64 KiB of the home.
    lacking: Vec<u32>,
}

/// Goes through both lists at once: each comes in pages, by index.
async fn compare(
    context: &Context,
    home: &Home<'_>,
    to: &Server,
    import: &Import,
) -> Result<Difference, Failure> {
    let mut telling = Telling::begin(context.style, "Comparing");
    let (mut root, mut chunks, mut lacking) = (Root::default(), 0_u64, Vec::new());
    let (mut wanted, mut known) = (Pages::default(), Pages::default());
    loop {
        tokio::try_join!(
            wanted.fill(|from| home.server.chunks(home.workspace, home.snapshot, from)),
            known.fill(|from| to.import_chunks(import.id, from)),
        )?;
        let Some((index, is_same)) = first(wanted.chunks.front(), known.chunks.front()) else { break };
        if let Some(chunk) = wanted.take(index) {
            root.add(index, &chunk.hash);
            chunks += 1;
        }
        known.take(index);
        if !is_same {
            lacking.push(index);
        }
        telling.tell(|| format!("{} compared", output::size(chunks * CHUNK_BYTES as u64)));
    }
    telling.done();
    Ok(Difference { chunks, root: root.finish(), lacking })
}

/// The first chunk that either has, and whether both have the same.
fn first(wanted: Option<&Chunk>, known: Option<&Chunk>) -> Option<(u32, bool)> {
    let index = wanted.into_iter().chain(known).map(|chunk| chunk.index).min()?;
    Some((index, wanted == known))
}

/// A list of chunks that comes in pages.
struct Pages {
    chunks: VecDeque<Chunk>,
    next: Option<u32>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), next: Some(0) }
    }
}

impl Pages {
    /// Sees to it that there is a first one, unless all have been taken.
    async fn fill<F>(&mut self, ask: impl Fn(u32) -> F) -> Result<(), ApiError>
    where
        F: Future<Output = Result<ChunkList, ApiError>>,
    {
        while self.chunks.is_empty() {
            let Some(from) = self.next else { return Ok(()) };
            let page = patiently(async || ask(from).await).await?;
            (self.chunks, self.next) = (page.chunks.into(), page.next);
        }
        Ok(())
    }

    fn take(&mut self, index: u32) -> Option<Chunk> {
        self.chunks.pop_front_if(|chunk| chunk.index == index)
    }
}

/// Passes on what is lacking; the next chunks are fetched while some are sent. How many bytes that were.
async fn send(
    context: &Context,
    home: &Home<'_>,
    to: &Server,
    mut import: Import,
    lacking: &[u32],
) -> Result<u64, Failure> {
    let mut groups = lacking.chunks(MAX_CHUNKS_AT_ONCE);
    let mut telling = Telling::begin(context.style, "Sending");
    let (mut sent_bytes, mut sent_chunks) = (0, 0);
    let mut ahead = fetch(home, groups.next()).await?;
    while let Some((body, count)) = ahead.take() {
        let putting = patiently(async || to.put_chunks(&import, body.clone()).await);
        let (put, fetched) = tokio::join!(putting, fetch(home, groups.next()));
        import = put.map_err(again)?;
        ahead = fetched?;
        sent_bytes += body.len() as u64;
        sent_chunks += count;
        let seconds = telling.since.elapsed().as_secs_f64();
        telling.tell(|| progress(sent_bytes, sent_chunks, lacking.len(), seconds));
    }
    telling.done();
    Ok(sent_bytes)
}

async fn fetch(home: &Home<'_>, group: Option<&[u32]>) -> Result<Option<(Bytes, usize)>, Failure> {
    let Some(group) = group else { return Ok(None) };
    let wanted = WantedChunks { indexes: group.to_vec() };
    let fetched =
        patiently(async || home.server.chunk_contents(home.workspace, home.snapshot, &wanted).await).await;
    Ok(Some((fetched.map_err(again)?, group.len())))
}

async fn finish(
    context: &Context,
    to: &Server,
    import: &Import,
    snapshot: &Snapshot,
    root: ChunkHash,
) -> Result<Workspace, Failure> {
    let step = Step::begin(context.style, "Checking what has arrived");
    let Snapshot { consistency, created_at, .. } = *snapshot;
    let request = FinishImport { root, consistency, created_at };
    let deadline = Instant::now() + FINISH_TIMEOUT;
    loop {
        match to.finish_import(import.id, &request).await {
            Err(late) if late.is(Code::Timeout) && Instant::now() < deadline => sleep(PAUSE_FIRST).await,
            finished => {
                let workspace = finished.map_err(again)?;
                step.done();
                return Ok(workspace);
            }
        }
    }
}

/// Sends a request again whose answer was lost: each of them may come twice.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let mut pause = PAUSE_FIRST;
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if error.is_transient() => sleep(pause).await,
            answer => return answer,
        }
        pause *= 2;
    }
    ask().await
}

/// What has arrived stays.
fn again(error: ApiError) -> Failure {
    let transient = error.is_transient() || error.is(Code::Conflict);
    let failure = Failure::from(error);
    if transient { failure.next("the same command again: it goes on where it was") } else { failure }
}

/// Says how far it is, not too often.
struct Telling {
    step: Step,
    every: Duration,
    since: Instant,
    told: Instant,
}

impl Telling {
    fn begin(style: Style, title: &str) -> Self {
        let (step, now) = (Step::begin(style, title), Instant::now());
        let every = if style == Style::Spinner { TOLD_INTERVAL } else { LOGGED_INTERVAL };
        Self { step, every, since: now, told: now }
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.told.elapsed() >= self.every {
            self.told = Instant::now();
            self.step.detail(&words());
        }
    }

    fn done(self) {
        self.step.done();
    }
}

/// "12 MiB, 40 %, 3.1 MiB/s".
fn progress(bytes: u64, chunks: usize, of: usize, seconds: f64) -> String {
    let percent = chunks * 100 / of.max(1);
    let rate = output::size((bytes as f64 / seconds.max(0.001)) as u64);
    format!("{}, {percent} %, {rate}/s", output::size(bytes))
}

fn tell(context: &Context, source: &Workspace, moved: &Moved, is_new: bool) -> Result<(), Failure> {
    let Moved { url, workspace, bytes, sent_bytes, .. } = moved;
    if !context.output.format.is_for_people() || context.output.quiet {
        return context.output.one(moved);
    }
    let (all, sent) = (output::size(*bytes), output::size(*sent_bytes));
    context.output.say(&format!("{} is {} on {url}: {sent} sent for {all}", source.name, workspace.name));
    if !is_new && *sent_bytes > 0 {
        context.output.say(&format!(
            "What its home was stays a snapshot: burrow --url {url} history {}",
            workspace.name
        ));
    }
    context.output.say(&format!("Next: burrow --url {url} start {}", workspace.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_lacks_or_has_otherwise_differs() {
        let chunk = |index, hash| Chunk { index, hash: ChunkHash([hash; 32]) };
        for (wanted, known, expected) in [
            (Some(chunk(3, 1)), Some(chunk(3, 1)), Some((3, true))),
            (Some(chunk(3, 1)), Some(chunk(3, 2)), Some((3, false))),
            (Some(chunk(3, 1)), Some(chunk(4, 1)), Some((3, false))),
            // Zeros there, something here: it is to become zeros.
            (Some(chunk(5, 1)), Some(chunk(4, 1)), Some((4, false))),
            (None, Some(chunk(4, 1)), Some((4, false))),
            (Some(chunk(4, 1)), None, Some((4, false))),
            (None, None, None),
        ] {
            assert_eq!(first(wanted.as_ref(), known.as_ref()), expected, "{wanted:?} {known:?}");
        }
    }

    #[test]
    fn progress_has_a_share_and_a_rate() {
        assert_eq!(progress(2 << 20, 40, 100, 2.0), "2.0 MiB, 40 %, 1.0 MiB/s");
        assert_eq!(progress(0, 0, 0, 0.0), "0 B, 0 %, 0 B/s");
    }
}
