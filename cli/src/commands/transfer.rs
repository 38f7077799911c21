//! What `burrow push` and `burrow pull` share: copying a home from one server to another.
//!
//! Both servers list the hashes of their chunks. The chunks that differ are fetched from the source
//! and sent to the destination as they are. Nothing is stored here: after an interruption, the same
//! command compares again, and finds the chunks that have arrived already.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use clap::Args;
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
use volume::{CHUNK_BYTES, RootHasher};

use super::workspace;
use crate::{
    context::Context,
    output::{
        self, CommandError, ErrorKind, Record,
        progress::{Step, Style},
    },
    server::Server,
    snapshots,
};

/// How often a request is sent until its answer arrives: for about half a minute. Then the user
/// decides.
const MAX_ATTEMPTS: u32 = 6;
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The destination reads the whole home once more: a TiB at the speed of a disk.
const FINISH_TIMEOUT: Duration = Duration::from_hours(4);
/// How often progress is updated on a terminal, and in a log.
const SPINNER_INTERVAL: Duration = Duration::from_millis(200);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The options of both directions.
#[derive(Clone, Debug, Args)]
pub struct TransferOptions {
    /// Name of the workspace at its destination [default: the same name]
    #[arg(long = "as", env = "BURROW_AS", value_name = "NAME")]
    pub name: Option<String>,
    /// Snapshot to copy, as in `burrow history --help` [default: now]
    #[arg(long, env = "BURROW_AT", value_name = "TIME")]
    pub at: Option<String>,
    /// Template of the new workspace [default: the same template]
    #[arg(long, env = "BURROW_TEMPLATE", value_name = "NAME")]
    pub template: Option<String>,
    /// Replace the home of an existing workspace of that name; its previous home is kept as a
    /// snapshot
    #[arg(long, env = "BURROW_REPLACE")]
    pub replace: bool,
}

/// The result of a transfer.
#[derive(Debug, Serialize)]
struct TransferReport {
    /// The server that has the home now.
    url: String,
    workspace: Workspace,
    /// The snapshot of the source that was copied.
    snapshot: SnapshotId,
    /// Chunks of the home that are not zeros, and their size.
    chunks: u64,
    bytes: u64,
    /// Chunks that the destination did not have, and the bytes that were sent for them.
    sent_chunks: u64,
    sent_bytes: u64,
    seconds: f64,
}

impl Record for TransferReport {
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

/// Copies the home of workspace `name` from one server to another, and prints the result.
pub async fn transfer(
    context: &Context,
    from: &Server,
    to: &Server,
    name: &str,
    options: TransferOptions,
) -> Result<(), CommandError> {
    check_servers(from, to)?;
    let started = Instant::now();
    let source = workspace::find(from, name).await?;
    // The destination may refuse. Find out before the source takes a snapshot.
    let import = begin_import(to, &source, &options).await?;
    let label = cut(format!("moving to {}", to.url()), MAX_NAME_BYTES);
    let snapshot = choose_snapshot(context, from, &source, &options, &label).await?;
    let home = SourceHome { server: from, workspace: source.id, snapshot: snapshot.id };
    let difference = compare(context, &home, to, &import).await?;
    let sent_bytes = send_chunks(context, &home, to, import.clone(), &difference.missing).await?;
    let before = retry(async || to.workspaces().await).await?.workspaces;
    let workspace = finish_import(context, to, &import, &snapshot, difference.root).await?;
    delete_temporary_snapshots(from, source.id, &label).await;
    let is_new = before.iter().all(|known| known.id != workspace.id);
    let report = TransferReport {
        url: to.url().to_owned(),
        workspace,
        snapshot: snapshot.id,
        chunks: difference.chunks,
        bytes: difference.chunks * CHUNK_BYTES as u64,
        sent_chunks: difference.missing.len() as u64,
        sent_bytes,
        seconds: started.elapsed().as_secs_f64(),
    };
    print_report(context, &source, &report, is_new)
}

fn check_servers(from: &Server, to: &Server) -> Result<(), CommandError> {
    if from.url() != to.url() {
        return Ok(());
    }
    let what = format!("Cannot copy a home from {} to itself", to.url());
    Err(CommandError::new(ErrorKind::Usage, what)
        .cause("commands go to the server of the last login, unless --url names another")
        .hint("burrow --url URL …; to copy within one server: burrow fork"))
}

async fn begin_import(
    to: &Server,
    source: &Workspace,
    options: &TransferOptions,
) -> Result<Import, CommandError> {
    let request = NewImport {
        source: source.id,
        name: options.name.clone().unwrap_or_else(|| source.name.clone()),
        template: Some(options.template.clone().unwrap_or_else(|| source.template.clone())),
        home_mib: source.resources.home_mib,
        replace: options.replace,
    };
    let import = retry(async || to.begin_import(&request).await).await;
    import.map_err(|error| match error.code() {
        Some(Code::NameTaken) => CommandError::from(error).hint("--as NAME, or --replace"),
        Some(Code::Invalid) if options.template.is_none() => {
            CommandError::from(error).hint("--template base, if the other server has no such template")
        }
        _ => error.into(),
    })
}

/// The snapshot to copy: the one that `--at` names, a new one of a running workspace, or the
/// newest.
async fn choose_snapshot(
    context: &Context,
    from: &Server,
    source: &Workspace,
    options: &TransferOptions,
    label: &str,
) -> Result<Snapshot, CommandError> {
    if let Some(at) = &options.at {
        return snapshots::resolve(from, source, at).await;
    }
    if source.phase != Phase::Terminated {
        let step = Step::begin(context.style, "Creating a snapshot");
        match create_temporary_snapshot(from, source.id, label).await {
            Ok(snapshot) => {
                step.done();
                return Ok(snapshot);
            }
            // A viewer may not create snapshots, and gets the newest one.
            Err(refused) if refused.is(Code::Forbidden) => step.done(),
            Err(error) => return Err(error.into()),
        }
    }
    snapshots::resolve(from, source, "latest").await
}

/// Creates a snapshot for the transfer. Its name says what it is for, and keeps it from being
/// pruned.
async fn create_temporary_snapshot(
    from: &Server,
    source: WorkspaceId,
    label: &str,
) -> Result<Snapshot, ApiError> {
    let newest = from.snapshots(source, None, 1).await?.snapshots.pop().map(|newest| newest.id);
    let snapshot = from.create_snapshot(source, &NewSnapshot { name: None }).await?;
    // If nothing has changed, the server returns an existing snapshot, which a user may have
    // requested: leave it alone.
    if snapshot.name.is_none() && newest != Some(snapshot.id) {
        let edit = EditSnapshot { name: label.to_owned() };
        retry(async || from.edit_snapshot(source, snapshot.id, &edit).await).await?;
    }
    Ok(snapshot)
}

/// Deletes the snapshots that transfers to this destination have created, also those that were
/// interrupted. The server keeps the newest snapshot of a home; the next transfer deletes that one.
async fn delete_temporary_snapshots(from: &Server, source: WorkspaceId, label: &str) {
    let Ok(list) = from.snapshots(source, None, MAX_SNAPSHOTS).await else { return };
    for snapshot in list.snapshots.iter().filter(|one| one.name.as_deref() == Some(label)) {
        let _ = from.delete_snapshot(source, snapshot.id).await;
    }
}

/// The home that is copied.
struct SourceHome<'a> {
    server: &'a Server,
    workspace: WorkspaceId,
    snapshot: SnapshotId,
}

/// What has to be sent, and the hash that proves that everything has arrived.
struct Difference {
    chunks: u64,
    root: ChunkHash,
    /// Indexes of the chunks that the destination does not have, in order. 4 bytes per 64 KiB of
    /// the home.
    missing: Vec<u32>,
}

/// Compares the two lists of chunks, page by page. Both are sorted by index.
async fn compare(
    context: &Context,
    home: &SourceHome<'_>,
    to: &Server,
    import: &Import,
) -> Result<Difference, CommandError> {
    let mut progress = ThrottledProgress::begin(context.style, "Comparing");
    let (mut root, mut chunks, mut missing) = (RootHasher::default(), 0_u64, Vec::new());
    let (mut source, mut destination) = (ChunkPages::default(), ChunkPages::default());
    loop {
        tokio::try_join!(
            source.fill(|from| home.server.chunks(home.workspace, home.snapshot, from)),
            destination.fill(|from| to.import_chunks(import.id, from)),
        )?;
        let Some((index, is_same)) = first_chunk(source.chunks.front(), destination.chunks.front()) else {
            break;
        };
        if let Some(chunk) = source.pop(index) {
            root.add(index, &chunk.hash);
            chunks += 1;
        }
        destination.pop(index);
        if !is_same {
            missing.push(index);
        }
        progress.update(|| format!("{} compared", output::size(chunks * CHUNK_BYTES as u64)));
    }
    progress.done();
    Ok(Difference { chunks, root: root.finish(), missing })
}

/// The lowest index that either side has, and whether both have the same chunk there.
fn first_chunk(source: Option<&Chunk>, destination: Option<&Chunk>) -> Option<(u32, bool)> {
    let index = source.into_iter().chain(destination).map(|chunk| chunk.index).min()?;
    Some((index, source == destination))
}

/// A list of chunks that arrives in pages.
struct ChunkPages {
    chunks: VecDeque<Chunk>,
    next: Option<u32>,
}

impl Default for ChunkPages {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), next: Some(0) }
    }
}

impl ChunkPages {
    /// Fetches pages until there is a first chunk, or the list has ended.
    async fn fill<F>(&mut self, fetch: impl Fn(u32) -> F) -> Result<(), ApiError>
    where
        F: Future<Output = Result<ChunkList, ApiError>>,
    {
        while self.chunks.is_empty() {
            let Some(from) = self.next else { return Ok(()) };
            let page = retry(async || fetch(from).await).await?;
            (self.chunks, self.next) = (page.chunks.into(), page.next);
        }
        Ok(())
    }

    fn pop(&mut self, index: u32) -> Option<Chunk> {
        self.chunks.pop_front_if(|chunk| chunk.index == index)
    }
}

/// Sends the missing chunks; the next ones are fetched while some are sent. Returns the bytes that
/// were sent.
async fn send_chunks(
    context: &Context,
    home: &SourceHome<'_>,
    to: &Server,
    mut import: Import,
    missing: &[u32],
) -> Result<u64, CommandError> {
    let mut groups = missing.chunks(MAX_CHUNKS_AT_ONCE);
    let mut progress = ThrottledProgress::begin(context.style, "Sending");
    let (mut sent_bytes, mut sent_chunks) = (0, 0);
    let mut ahead = fetch_chunks(home, groups.next()).await?;
    while let Some((body, count)) = ahead.take() {
        let put = retry(async || to.put_chunks(&import, body.clone()).await);
        let (put, fetched) = tokio::join!(put, fetch_chunks(home, groups.next()));
        import = put.map_err(with_retry_hint)?;
        ahead = fetched?;
        sent_bytes += body.len() as u64;
        sent_chunks += count;
        let seconds = progress.started.elapsed().as_secs_f64();
        progress.update(|| progress_text(sent_bytes, sent_chunks, missing.len(), seconds));
    }
    progress.done();
    Ok(sent_bytes)
}

async fn fetch_chunks(
    home: &SourceHome<'_>,
    group: Option<&[u32]>,
) -> Result<Option<(Bytes, usize)>, CommandError> {
    let Some(group) = group else { return Ok(None) };
    let wanted = WantedChunks { indexes: group.to_vec() };
    let fetched =
        retry(async || home.server.chunk_contents(home.workspace, home.snapshot, &wanted).await).await;
    Ok(Some((fetched.map_err(with_retry_hint)?, group.len())))
}

async fn finish_import(
    context: &Context,
    to: &Server,
    import: &Import,
    snapshot: &Snapshot,
    root: ChunkHash,
) -> Result<Workspace, CommandError> {
    let step = Step::begin(context.style, "Verifying the copy");
    let Snapshot { consistency, created_at, .. } = *snapshot;
    let request = FinishImport { root, consistency, created_at };
    let deadline = Instant::now() + FINISH_TIMEOUT;
    loop {
        match to.finish_import(import.id, &request).await {
            Err(error) if error.is(Code::Timeout) && Instant::now() < deadline => {
                sleep(FIRST_RETRY_DELAY).await;
            }
            finished => {
                let workspace = finished.map_err(with_retry_hint)?;
                step.done();
                return Ok(workspace);
            }
        }
    }
}

/// Sends a request again when its answer is lost. The requests here may arrive twice.
async fn retry<T>(mut send: impl AsyncFnMut() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let mut delay = FIRST_RETRY_DELAY;
    for _ in 1..MAX_ATTEMPTS {
        match send().await {
            Err(error) if error.is_transient() => sleep(delay).await,
            answer => return answer,
        }
        delay *= 2;
    }
    send().await
}

/// Adds that the same command continues: what has arrived stays at the destination.
fn with_retry_hint(error: ApiError) -> CommandError {
    let can_continue = error.is_transient() || error.is(Code::Conflict);
    let error = CommandError::from(error);
    if can_continue { error.hint("run the same command again: it continues where it stopped") } else { error }
}

/// Progress that is updated at most once per interval.
struct ThrottledProgress {
    step: Step,
    interval: Duration,
    started: Instant,
    updated: Instant,
}

impl ThrottledProgress {
    fn begin(style: Style, title: &str) -> Self {
        let (step, now) = (Step::begin(style, title), Instant::now());
        let interval = if style == Style::Spinner { SPINNER_INTERVAL } else { LOG_INTERVAL };
        Self { step, interval, started: now, updated: now }
    }

    fn update(&mut self, text: impl FnOnce() -> String) {
        if self.updated.elapsed() >= self.interval {
            self.updated = Instant::now();
            self.step.detail(&text());
        }
    }

    fn done(self) {
        self.step.done();
    }
}

/// "12 MiB, 40 %, 3.1 MiB/s".
fn progress_text(bytes: u64, chunks: usize, of: usize, seconds: f64) -> String {
    let percent = chunks * 100 / of.max(1);
    let rate = output::size((bytes as f64 / seconds.max(0.001)) as u64);
    format!("{}, {percent} %, {rate}/s", output::size(bytes))
}

fn print_report(
    context: &Context,
    source: &Workspace,
    report: &TransferReport,
    is_new: bool,
) -> Result<(), CommandError> {
    let TransferReport { url, workspace, bytes, sent_bytes, .. } = report;
    if !context.output.format.is_human() || context.output.quiet {
        return context.output.one(report);
    }
    let (all, sent) = (output::size(*bytes), output::size(*sent_bytes));
    let name = &workspace.name;
    context.output.say(&format!("Copied {} to {name} on {url}: sent {sent} of {all}", source.name));
    if !is_new && *sent_bytes > 0 {
        context
            .output
            .say(&format!("The previous home is kept as a snapshot: burrow --url {url} history {name}"));
    }
    context.output.say(&format!("Next: burrow --url {url} start {name}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_chunk_compares_both_lists() {
        let chunk = |index, hash| Chunk { index, hash: ChunkHash([hash; 32]) };
        for (source, destination, expected) in [
            (Some(chunk(3, 1)), Some(chunk(3, 1)), Some((3, true))),
            (Some(chunk(3, 1)), Some(chunk(3, 2)), Some((3, false))),
            (Some(chunk(3, 1)), Some(chunk(4, 1)), Some((3, false))),
            // Zeros at the source: the chunk at the destination must become zeros.
            (Some(chunk(5, 1)), Some(chunk(4, 1)), Some((4, false))),
            (None, Some(chunk(4, 1)), Some((4, false))),
            (Some(chunk(4, 1)), None, Some((4, false))),
            (None, None, None),
        ] {
            let found = first_chunk(source.as_ref(), destination.as_ref());
            assert_eq!(found, expected, "{source:?} {destination:?}");
        }
    }

    #[test]
    fn progress_has_percentage_and_rate() {
        assert_eq!(progress_text(2 << 20, 40, 100, 2.0), "2.0 MiB, 40 %, 1.0 MiB/s");
        assert_eq!(progress_text(0, 0, 0, 0.0), "0 B, 0 %, 0 B/s");
    }
}
