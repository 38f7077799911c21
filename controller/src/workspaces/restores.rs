//! Restores files of a snapshot into a running home. The controller reads the snapshot and decides
//! the order; the agent compares and writes. Knows no HTTP of clients.
//!
//! ```text
//! find paths ─▶ walk the snapshot ── compare ──▶ agent      changes nothing
//!               Planned
//!               differing entries ── archives ─▶ agent      Entries, Progress
//!               Finished
//! ```
//!
//! A restore that is cancelled or fails leaves complete files only. Repeating it skips what is the
//! same already.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use protocol::{
    RestoreId, WorkspaceId,
    api::restore::{MAX_EVENT_ENTRIES, MAX_RESTORE_ENTRIES, RestoreEvent, RestoreOutcome, RestoredEntry},
    files::{EntryKind, HomePath},
    restore::{
        BeginRestore, CompareReply, CompareRequest, ComparedDirectory, Comparison, RECORDS_DIRECTORY,
        SourceEntry,
    },
};
use restore::archive;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::agent_client::{AgentClient, AgentError};
use crate::snapshots::{
    browser::{BrowseError, BrowseSession, PIECE_BYTES},
    walk::{EncodedMember, SnapshotWalk},
};

/// Entries in one request to compare.
const MAX_COMPARED_ENTRIES: usize = 2000;
/// Entries in one archive.
const MAX_BATCH_ENTRIES: usize = 500;
/// Bytes of files in one archive. A larger file is in an archive by itself.
const MAX_BATCH_BYTES: u64 = 8 << 20;
/// Pieces of an archive that are read before they are sent.
const MAX_PIECES_AHEAD: usize = 2;
/// Bytes of a large file between two reports of progress.
const PROGRESS_BYTES: u64 = 8 << 20;

/// Why a restore ended early.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Browse(#[from] BrowseError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The snapshot has nothing at this path.
    #[error("the snapshot has no `{0}`")]
    NoSuchPath(HomePath),
    #[error("more than {MAX_RESTORE_ENTRIES} entries")]
    TooManyEntries,
    /// The client is gone.
    #[error("the client left")]
    Cancelled,
}

/// What to restore.
pub struct RestoreRequest {
    /// Sorted, none below another one. The home itself is the empty path.
    pub paths: Vec<HomePath>,
    pub dry_run: bool,
    pub force: bool,
    pub resume: Option<RestoreId>,
}

/// The workspaces in which a restore runs.
#[derive(Clone, Default)]
pub struct ActiveRestores(Arc<Mutex<HashSet<WorkspaceId>>>);

/// While it exists, no other restore of the workspace begins.
pub struct RestoreGuard {
    active: ActiveRestores,
    workspace: WorkspaceId,
}

impl ActiveRestores {
    /// Begins a restore or an undo. `None`: another one runs.
    pub fn begin(&self, workspace: WorkspaceId) -> Option<RestoreGuard> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace);
        is_new.then(|| RestoreGuard { active: self.clone(), workspace })
    }
}

impl Drop for RestoreGuard {
    fn drop(&mut self) {
        self.active.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.workspace);
    }
}

/// Paths in an order in which none is below another one. An empty list is the whole home.
pub fn select_paths(mut paths: Vec<HomePath>) -> Vec<HomePath> {
    if paths.is_empty() || paths.iter().any(HomePath::is_home) {
        return vec![HomePath::default()];
    }
    paths.sort_unstable_by(|one, other| one.as_str().split('/').cmp(other.as_str().split('/')));
    paths.dedup_by(|later, first| {
        later
            .as_str()
            .strip_prefix(first.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    paths
}

/// Counts of outcomes.
#[derive(Default)]
struct Counts {
    created: u64,
    replaced: u64,
    same: u64,
    failed: u64,
}

/// A restore whose paths were found.
pub struct Restore {
    session: BrowseSession,
    agent: AgentClient,
    request: RestoreRequest,
    walk: SnapshotWalk,
    /// The selected entries and the directories above them.
    roots: Vec<ComparedDirectory>,
    events: mpsc::Sender<RestoreEvent>,
    /// Results that are not sent yet.
    results: Vec<RestoredEntry>,
    counts: Counts,
    visited: usize,
    newer: u64,
    /// Entries to write, and whether they replace something.
    planned: Vec<(SourceEntry, bool)>,
    planned_paths: HashSet<HomePath>,
    failed_paths: HashSet<HomePath>,
    bytes: u64,
}

impl Restore {
    /// Finds all paths in the snapshot. Nothing is restored if one of them is missing.
    pub async fn prepare(
        session: BrowseSession,
        agent: AgentClient,
        request: RestoreRequest,
        events: mpsc::Sender<RestoreEvent>,
    ) -> Result<Self, RestoreError> {
        let mut walk = SnapshotWalk::new(session.clone(), MAX_RESTORE_ENTRIES).without(RECORDS_DIRECTORY);
        let (mut roots, mut results, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for path in &request.paths {
            if path.is_home() {
                session.nodes(path, 1).await?;
                walk.add_directory(path.clone());
                continue;
            }
            let mut above = Vec::new();
            let mut current = Some(path.clone());
            while let Some(path) = current.filter(|path| !path.is_home()) {
                current = path.parent();
                above.push(path);
            }
            for entry_path in above.into_iter().rev() {
                let is_selected = entry_path == *path;
                if !seen.insert(entry_path.clone()) {
                    continue;
                }
                let node = match session.node(&entry_path).await {
                    Err(BrowseError::NotFound | BrowseError::NotADirectory) => {
                        return Err(RestoreError::NoSuchPath(path.clone()));
                    }
                    node => node?,
                };
                let parent = entry_path.parent().unwrap_or_default();
                match walk.entry(entry_path.clone(), &node) {
                    Ok(entry) => {
                        roots.push(ComparedDirectory {
                            path: parent,
                            is_complete: false,
                            entries: vec![entry],
                        });
                    }
                    Err(reason) => results.push(failure(entry_path.to_string(), reason)),
                }
                if is_selected && node.kind == EntryKind::Directory {
                    walk.add_directory(entry_path);
                }
            }
        }
        let mut restore = Self {
            session,
            agent,
            request,
            walk,
            roots,
            events,
            results: Vec::new(),
            counts: Counts::default(),
            visited: 0,
            newer: 0,
            planned: Vec::new(),
            planned_paths: HashSet::new(),
            failed_paths: HashSet::new(),
            bytes: 0,
        };
        for result in results {
            restore.add_result(result);
        }
        Ok(restore)
    }

    /// Compares, and unless it is a dry run, writes. The last event is sent here unless it fails.
    pub async fn run(mut self) -> Result<(), RestoreError> {
        self.compare().await?;
        let writes = !self.request.dry_run && !self.planned.is_empty();
        let id = writes.then(|| self.request.resume.unwrap_or_else(RestoreId::random));
        self.send(RestoreEvent::Planned {
            restore: id,
            entries: self.planned.len() as u64,
            bytes: self.bytes,
            newer: self.newer,
        })
        .await?;
        match id {
            Some(id) => self.write(id).await?,
            None => {
                for (entry, is_replacement) in std::mem::take(&mut self.planned) {
                    let outcome =
                        if is_replacement { RestoreOutcome::Replaced } else { RestoreOutcome::Created };
                    self.add_result(result(&entry, outcome, None));
                    self.send_results(MAX_EVENT_ENTRIES).await?;
                }
            }
        }
        self.send_results(1).await?;
        let Counts { created, replaced, same, failed } = self.counts;
        self.send(RestoreEvent::Finished { restore: id, created, replaced, same, failed }).await
    }

    async fn compare(&mut self) -> Result<(), RestoreError> {
        let mut request = CompareRequest { directories: std::mem::take(&mut self.roots) };
        let mut waiting = request.directories.len();
        while let Some(directory) = self.walk.next_directory().await? {
            for (path, reason) in directory.skipped {
                self.add_result(failure(path, reason));
            }
            self.visited += directory.entries.len();
            waiting += directory.entries.len();
            if self.visited > MAX_RESTORE_ENTRIES {
                return Err(RestoreError::TooManyEntries);
            }
            request.directories.push(ComparedDirectory {
                path: directory.path,
                is_complete: true,
                entries: directory.entries,
            });
            if waiting >= MAX_COMPARED_ENTRIES {
                self.compare_batch(&mut request).await?;
                waiting = 0;
            }
        }
        self.compare_batch(&mut request).await
    }

    async fn compare_batch(&mut self, request: &mut CompareRequest) -> Result<(), RestoreError> {
        let reply: CompareReply = self.agent.post_json("restores/compare", request).await?;
        let entries: Vec<SourceEntry> = std::mem::take(&mut request.directories)
            .into_iter()
            .flat_map(|directory| directory.entries)
            .collect();
        if reply.comparisons.len() != entries.len() {
            return Err(AgentError::Invalid.into());
        }
        self.newer += reply.newer;
        for (entry, comparison) in entries.into_iter().zip(reply.comparisons) {
            // Another name of a file that is written again must be linked to the new one.
            let is_linked = entry.hard_link.as_ref().is_some_and(|first| self.planned_paths.contains(first));
            let is_replacement = match comparison {
                Comparison::Merged => continue,
                Comparison::Same if !is_linked => {
                    self.add_result(result(&entry, RestoreOutcome::Same, None));
                    continue;
                }
                Comparison::Same | Comparison::Different => true,
                Comparison::Missing => false,
            };
            if entry.kind == EntryKind::File && entry.hard_link.is_none() {
                self.bytes = self.bytes.saturating_add(entry.size);
            }
            self.planned_paths.insert(entry.path.clone());
            self.planned.push((entry, is_replacement));
        }
        self.send_results(MAX_EVENT_ENTRIES).await?;
        self.send(RestoreEvent::Comparing { entries: self.visited as u64 }).await
    }

    async fn write(&mut self, id: RestoreId) -> Result<(), RestoreError> {
        let begin = BeginRestore { resume: self.request.resume.is_some() };
        let () = self.agent.post_json(&format!("restores/{id}"), &begin).await?;
        let path = format!("restores/{id}/entries?force={}", self.request.force);
        let planned = std::mem::take(&mut self.planned);
        let (mut done, mut bytes) = (0, 0);
        let mut rest = planned.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest));
            rest = after;
            let progress = RestoreEvent::Progress { entries: done, bytes, path: batch[0].0.path.to_string() };
            self.send(progress).await?;
            self.write_batch(&path, batch, (done, bytes)).await?;
            done += batch.len() as u64;
            bytes += batch.iter().map(|(entry, _)| content_bytes(entry)).sum::<u64>();
            self.send_results(1).await?;
        }
        let () = self.agent.post_json(&format!("restores/{id}/finish"), &serde_json::Value::Null).await?;
        Ok(())
    }

    /// Sends one archive, and records what the agent did.
    async fn write_batch(
        &mut self,
        path: &str,
        batch: &[(SourceEntry, bool)],
        before: (u64, u64),
    ) -> Result<(), RestoreError> {
        let (sender, receiver) = mpsc::channel(MAX_PIECES_AHEAD);
        let body = Body::from_stream(ReceiverStream::new(receiver));
        let archive = BatchArchive {
            session: &self.session,
            failed_paths: &self.failed_paths,
            events: &self.events,
            before,
            sender,
        };
        let writing = self.agent.post::<Vec<RestoredEntry>>(path, body);
        let (written, sent) = tokio::join!(writing, archive.send(batch));
        let (sent, failures) = sent?;
        // The archive was cut because a large file could not be read to its end.
        let written = match (written, sent.is_complete) {
            (Err(AgentError::Refused(_)), false) => Vec::new(),
            (written, _) => written?,
        };
        if sent.is_complete && written.len() != sent.entries.len() {
            return Err(AgentError::Invalid.into());
        }
        for (entry, reason) in failures {
            self.failed_paths.insert(entry.path.clone());
            self.add_result(result(entry, RestoreOutcome::Failed, Some(reason)));
        }
        for (entry, written) in sent.entries.into_iter().zip(written) {
            if written.outcome == RestoreOutcome::Failed {
                self.failed_paths.insert(entry.path.clone());
            }
            let message = written.message.map(|message| protocol::workspace::cut(message, 200));
            self.add_result(result(entry, written.outcome, message));
        }
        Ok(())
    }

    fn add_result(&mut self, result: RestoredEntry) {
        match result.outcome {
            RestoreOutcome::Created => self.counts.created += 1,
            RestoreOutcome::Replaced => self.counts.replaced += 1,
            RestoreOutcome::Same => self.counts.same += 1,
            RestoreOutcome::Failed => self.counts.failed += 1,
        }
        self.results.push(result);
    }

    /// Sends the results if there are at least `min` of them.
    async fn send_results(&mut self, min: usize) -> Result<(), RestoreError> {
        if self.results.len() < min {
            return Ok(());
        }
        let results = std::mem::take(&mut self.results);
        for entries in results.chunks(MAX_EVENT_ENTRIES) {
            self.send(RestoreEvent::Entries { entries: entries.to_vec() }).await?;
        }
        Ok(())
    }

    async fn send(&self, event: RestoreEvent) -> Result<(), RestoreError> {
        self.events.send(event).await.map_err(|_| RestoreError::Cancelled)
    }
}

/// Sends the entries of one batch as an archive.
struct BatchArchive<'a> {
    session: &'a BrowseSession,
    failed_paths: &'a HashSet<HomePath>,
    events: &'a mpsc::Sender<RestoreEvent>,
    /// Entries and bytes that were written before this batch.
    before: (u64, u64),
    sender: mpsc::Sender<Result<Bytes, BrowseError>>,
}

/// The entries that are in an archive.
struct SentBatch<'b> {
    entries: Vec<&'b SourceEntry>,
    is_complete: bool,
}

impl BatchArchive<'_> {
    /// Sends the archive. Returns what is in it, and what could not be read.
    async fn send(
        self,
        batch: &[(SourceEntry, bool)],
    ) -> Result<(SentBatch<'_>, Vec<(&SourceEntry, String)>), RestoreError> {
        let mut sent = SentBatch { entries: Vec::new(), is_complete: true };
        let mut failures: Vec<(&SourceEntry, String)> = Vec::new();
        for (entry, _) in batch {
            if let Some(first) = &entry.hard_link
                && (self.failed_paths.contains(first)
                    || failures.iter().any(|(failed, _)| failed.path == *first))
            {
                failures.push((entry, format!("It is linked to {first}, which was not restored.")));
                continue;
            }
            let hard_link = entry.hard_link.as_ref().map(HomePath::as_str);
            let read = EncodedMember::read(self.session, entry, entry.path.as_str(), hard_link).await;
            let mut member = match read {
                Ok(Some(member)) => member,
                Ok(None) => {
                    failures.push((entry, "It cannot be restored.".to_owned()));
                    continue;
                }
                Err(error) if is_of_entry(&error) => {
                    failures.push((entry, sentence(&error)));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if self.sender.send(Ok(member.head.clone())).await.is_err() {
                // The agent has answered: its answer says why.
                return Ok((sent, failures));
            }
            let (mut bytes, mut reported) = (0, 0);
            loop {
                match member.next_piece(self.session).await {
                    Ok(None) => break,
                    Ok(Some(piece)) => {
                        bytes += piece.len() as u64;
                        if self.sender.send(Ok(piece)).await.is_err() {
                            return Ok((sent, failures));
                        }
                        if bytes - reported >= PROGRESS_BYTES {
                            reported = bytes;
                            let (entries, before) = self.before;
                            let (bytes, path) = (before + bytes, entry.path.to_string());
                            let event = RestoreEvent::Progress { entries, bytes, path };
                            self.events.send(event).await.map_err(|_| RestoreError::Cancelled)?;
                        }
                    }
                    Err(error) => {
                        let is_of_entry = is_of_entry(&error);
                        failures.push((entry, sentence(&error)));
                        let _ = self.sender.send(Err(error.clone())).await;
                        sent.is_complete = false;
                        return if is_of_entry { Ok((sent, failures)) } else { Err(error.into()) };
                    }
                }
            }
            sent.entries.push(entry);
        }
        let _ = self.sender.send(Ok(Bytes::from_static(&archive::END))).await;
        Ok((sent, failures))
    }
}

/// How many of the entries are in the next archive: as many as fit, or one large file.
fn batch_length(entries: &[(SourceEntry, bool)]) -> usize {
    let mut bytes = 0;
    for (index, (entry, _)) in entries.iter().enumerate().take(MAX_BATCH_ENTRIES) {
        let size = content_bytes(entry);
        bytes += size;
        if size > PIECE_BYTES || bytes > MAX_BATCH_BYTES {
            return index.max(1);
        }
    }
    entries.len().min(MAX_BATCH_ENTRIES)
}

fn content_bytes(entry: &SourceEntry) -> u64 {
    if entry.kind == EntryKind::File && entry.hard_link.is_none() { entry.size } else { 0 }
}

/// Whether the error is of one entry. After any other error the next entry would fail too.
fn is_of_entry(error: &BrowseError) -> bool {
    !matches!(error, BrowseError::Timeout | BrowseError::ReaderFailed(_))
}

fn sentence(error: &BrowseError) -> String {
    format!("It cannot be read: {error}.")
}

fn failure(path: String, reason: &str) -> RestoredEntry {
    let message = Some(format!("It cannot be restored: {reason}."));
    RestoredEntry { path, kind: EntryKind::Other, size: 0, outcome: RestoreOutcome::Failed, message }
}

fn result(entry: &SourceEntry, outcome: RestoreOutcome, message: Option<String>) -> RestoredEntry {
    let SourceEntry { path, kind, size, .. } = entry;
    RestoredEntry { path: path.to_string(), kind: *kind, size: *size, outcome, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> HomePath {
        HomePath::parse(text).expect("a path")
    }

    fn file(size: u64) -> (SourceEntry, bool) {
        let entry = SourceEntry {
            path: path("a"),
            kind: EntryKind::File,
            size,
            modified: protocol::restore::FileTime::default(),
            mode: 0o644,
            target: None,
            hard_link: None,
        };
        (entry, false)
    }

    #[test]
    fn paths_below_others_are_dropped() {
        let select = |paths: &[&str]| {
            let selected = select_paths(paths.iter().map(|text| path(text)).collect());
            selected.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(select(&[]), [""]);
        assert_eq!(select(&["a", ""]), [""]);
        assert_eq!(select(&["a/b", "a.b", "a", "a/b/c", "b"]), ["a", "a.b", "b"]);
    }

    #[test]
    fn batch_ends_before_large_file() {
        assert_eq!(batch_length(&[file(1), file(PIECE_BYTES + 1), file(1)]), 1);
        assert_eq!(batch_length(&[file(PIECE_BYTES + 1), file(1)]), 1);
        assert_eq!(batch_length(&vec![file(PIECE_BYTES); 20]), 8);
        assert_eq!(batch_length(&vec![file(1); 501]), 500);
    }

    #[test]
    fn one_restore_runs_in_workspace() {
        let (active, id) = (ActiveRestores::default(), WorkspaceId::random());
        let guard = active.begin(id).expect("the first");
        assert!(active.begin(id).is_none() && active.begin(WorkspaceId::random()).is_some());
        drop(guard);
        assert!(active.begin(id).is_some());
    }
}
