//! The volume on this host: a sparse file of its blocks, and a log that records which of them the
//! store does not have. Synchronous; knows no store. The caller holds the lock, and never across an
//! await.
//!
//! # States of a block
//!
//! *Dirty* means changed since the last cut. *Cut* means dirty when the running snapshot was cut:
//! such a block keeps its state until the snapshot is in the store, and becomes dirty again if that
//! fails. *Present* means that the data file holds it.
//!
//! | dirty or cut | present | reads as |
//! |---|---|---|
//! | yes | yes | the data file |
//! | yes | no | zeros |
//! | no | yes | the data file, which equals the store |
//! | no | no | the store, or zeros where the map has a hole |
//!
//! # Order of writes
//!
//! The log is true of the data file at every instant at which the process may be killed. A clean
//! block is logged as dirty *before* it is overwritten: otherwise the store would never receive the
//! change. An absent block is logged *after* it is written: otherwise a hole would be taken for
//! data. After a power loss only what a flush covered is trusted, and clean blocks are fetched
//! again.
//!
//! # Parts
//!
//! [`Cache`] decides which block is in which state and calls the others: `directory` (lock, files,
//! recovery), `file` (one file), `log` (the records), `cut` (the frozen blocks of a running
//! snapshot), `flush` (what is durable already), `commits` (snapshots that wait for the controller)
//! and `evict` (which blocks to drop). `idle` looks at caches that are not open.

mod commits;
mod cut;
mod directory;
mod evict;
mod file;
mod flush;
mod idle;
mod log;
mod owner;
#[cfg(test)]
pub mod power;

use std::{collections::HashSet, io, ops::Range, path::PathBuf, sync::Arc};

use protocol::ManifestId;
use tokio::time::Instant;

pub use cut::{CutBlocks, CutContent};
pub use directory::{CacheDirectory, RecoveredCache, check_epoch, check_size};
pub use file::{CacheFile, Host};
pub use flush::FlushTicket;
pub use idle::{IdleCache, finish_removals};
#[cfg(any(test, feature = "fuzzing"))]
pub use log::parse as parse_log;
pub use log::{Header, Record};
pub use owner::give_cache;

use crate::{
    blocks::{BLOCK_BYTES, BlockSet, blocks_covered, blocks_touched, byte_offset, push_block},
    format::{
        block_map::{BlockMap, Extent, Frame, PackId},
        chain::Chain,
    },
};
use commits::PendingCommits;
use cut::CutState;
use flush::FlushState;
use log::Log;

/// A log longer than this, and twice as long as after its last rewrite, is rewritten: a million
/// records are read in well under a second.
const LOG_REWRITE_BYTES: u64 = 16 << 20;

/// Snapshots that may wait for their commit. A controller that commits none of them has fenced
/// this placement.
pub const MAX_UNCOMMITTED: usize = 64;

/// The volume's blocks on this host, and what is known about each of them.
pub struct Cache {
    directory: CacheDirectory,
    data: Arc<CacheFile>,
    log: Log,
    /// Length of the log after its last rewrite.
    rewritten_log_bytes: u64,
    header: Header,
    blocks: u32,
    present: BlockSet,
    dirty: BlockSet,
    /// Time of the oldest write in `dirty`.
    dirty_since: Option<Instant>,
    cut: Option<CutState>,
    /// Number of the last cut; never reused while the volume is open.
    last_cut: u32,
    flush: FlushState,
    commits: PendingCommits,
    /// Where the blocks of the newest stored manifest lie.
    map: Arc<BlockMap>,
    /// The newest manifest whose objects are all in the store, with what it builds on.
    chain: Option<Chain>,
    /// The size of the volume that this manifest records.
    head_bytes: u64,
    /// A manifest of the chain is damaged: the next snapshot must be whole, even if nothing has
    /// changed.
    needs_whole_manifest: bool,
}

/// Where to read a run of blocks from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockSource {
    /// The data file.
    File(Range<u32>),
    /// Nowhere: they are zeros.
    Zeros(Range<u32>),
    /// The store.
    Store(Range<u32>),
}

/// What [`Cache::mark_dirty`] found.
#[derive(Debug, Default)]
pub struct MarkedBlocks {
    /// Blocks that are dirty now.
    pub marked: u32,
    /// Blocks that must be fetched first.
    pub missing: Vec<Range<u32>>,
}

impl Cache {
    /// A recovered cache with what its head records. Without a head: an empty map, no chain, and no
    /// size.
    pub fn new(recovered: RecoveredCache, map: BlockMap, chain: Option<Chain>, head_bytes: u64) -> Self {
        let RecoveredCache { directory, data, log, header, present, dirty } = recovered;
        let blocks = (header.size_bytes / BLOCK_BYTES) as u32;
        // The log does not record how old the dirty blocks are. They count from now on.
        let dirty_since = (!dirty.is_empty()).then(Instant::now);
        Self {
            directory,
            data: data.into(),
            rewritten_log_bytes: log.bytes(),
            log,
            blocks,
            present,
            dirty,
            dirty_since,
            cut: None,
            last_cut: 0,
            flush: FlushState::default(),
            commits: PendingCommits::new(header.head),
            map: map.into(),
            chain,
            head_bytes,
            header,
            needs_whole_manifest: false,
        }
    }

    /// The data file, for reads and syncs without the lock.
    pub fn data(&self) -> Arc<CacheFile> {
        self.data.clone()
    }

    /// Where the blocks of the newest stored manifest lie.
    pub fn map(&self) -> Arc<BlockMap> {
        self.map.clone()
    }

    /// The newest manifest that is complete in the store.
    pub fn head(&self) -> Option<ManifestId> {
        self.chain.as_ref().map(Chain::head)
    }

    /// The newest manifest that the controller has committed.
    pub fn committed(&self) -> Option<ManifestId> {
        self.commits.committed()
    }

    /// Snapshots that wait for their commit.
    pub fn uncommitted(&self) -> usize {
        self.commits.len()
    }

    pub fn directory_path(&self) -> PathBuf {
        self.directory.path()
    }

    /// Where changes that do not build on the head were moved to, if there are any.
    pub fn superseded(&self) -> Option<PathBuf> {
        self.directory.superseded()
    }

    /// Whether a block has changed since the last cut.
    pub fn has_dirty_blocks(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Blocks that the store does not have. A cut block that was written again counts twice,
    /// because it is uploaded twice.
    pub fn dirty_blocks(&self) -> u32 {
        self.dirty.len() + self.cut.as_ref().map_or(0, |cut| cut.blocks().len())
    }

    /// Blocks that the data file holds.
    pub fn present_blocks(&self) -> u32 {
        self.present.len()
    }

    /// Time of the oldest write that no committed snapshot has.
    pub fn unreplicated_since(&self) -> Option<Instant> {
        let of_cut = self.cut.as_ref().map(CutState::oldest_write);
        [self.commits.oldest_write(), of_cut, self.dirty_since].into_iter().flatten().min()
    }

    // Reading and writing.

    /// Where to read these blocks from, run by run.
    pub fn sources(&self, range: Range<u32>) -> Vec<BlockSource> {
        let mut sources: Vec<BlockSource> = Vec::new();
        for block in range {
            let next = block..block + 1;
            match (sources.last_mut(), self.source(block)) {
                (Some(BlockSource::File(run)), BlockSource::File(_))
                | (Some(BlockSource::Zeros(run)), BlockSource::Zeros(_))
                | (Some(BlockSource::Store(run)), BlockSource::Store(_)) => run.end = next.end,
                (_, source) => sources.push(source),
            }
        }
        sources
    }

    fn source(&self, block: u32) -> BlockSource {
        let run = block..block + 1;
        if self.present.contains(block) {
            BlockSource::File(run)
        } else if self.differs_from_head(block) || self.map.at(block).is_none() {
            BlockSource::Zeros(run)
        } else {
            BlockSource::Store(run)
        }
    }

    fn differs_from_head(&self, block: u32) -> bool {
        self.dirty.contains(block) || self.cut.as_ref().is_some_and(|cut| cut.blocks().has(block))
    }

    /// Writes, unless a block that is only partly overwritten must be fetched first: then nothing
    /// happens, and it returns false.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let range = blocks_touched(offset, bytes.len() as u64);
        let whole = blocks_covered(offset, bytes.len() as u64);
        let edges = [range.start, range.end - 1];
        let is_missing =
            |edge: u32| !whole.contains(&edge) && matches!(self.source(edge), BlockSource::Store(_));
        if edges.into_iter().any(is_missing) {
            return Ok(false);
        }
        self.preserve_for_cut(range.clone())?;
        let (clean, absent) = self.runs_to_log(range.clone());
        self.flush.record_change();
        self.log.append(&clean.iter().cloned().map(Record::Data).collect::<Vec<_>>())?;
        self.dirty_since.get_or_insert_with(Instant::now);
        for run in clean {
            self.dirty.insert_all(run);
        }
        // What the file holds of an absent block must not show beside the new bytes.
        for edge in edges {
            if !whole.contains(&edge) && !self.present.contains(edge) {
                self.data.write(byte_offset(edge), &[0; BLOCK_BYTES as usize])?;
            }
        }
        self.data.write(offset, bytes)?;
        self.log.append(&absent.iter().cloned().map(Record::Data).collect::<Vec<_>>())?;
        for run in absent {
            self.dirty.insert_all(run.clone());
            self.present.insert_all(run);
        }
        Ok(true)
    }

    /// The runs that are present and clean, and the runs that are absent.
    fn runs_to_log(&self, range: Range<u32>) -> (Vec<Range<u32>>, Vec<Range<u32>>) {
        let (mut clean, mut absent) = (Vec::new(), Vec::new());
        for block in range {
            if !self.present.contains(block) {
                push_block(&mut absent, block);
            } else if !self.dirty.contains(block) {
                push_block(&mut clean, block);
            }
        }
        (clean, absent)
    }

    /// Makes whole blocks zeros and releases their space.
    pub fn discard(&mut self, range: Range<u32>) -> io::Result<()> {
        let mut runs = Vec::new();
        for block in range {
            if !matches!(self.source(block), BlockSource::Zeros(_)) {
                push_block(&mut runs, block);
            }
        }
        if runs.is_empty() {
            return Ok(());
        }
        for run in &runs {
            self.preserve_for_cut(run.clone())?;
        }
        self.flush.record_change();
        self.log.append(&runs.iter().cloned().map(Record::Hole).collect::<Vec<_>>())?;
        self.dirty_since.get_or_insert_with(Instant::now);
        for run in runs {
            self.dirty.insert_all(run.clone());
            self.present.remove_all(run.clone());
            self.punch(run)?;
        }
        Ok(())
    }

    /// Takes in blocks that were fetched with the map `fetched_with`. Blocks that were overwritten,
    /// or that moved in the store since, are skipped.
    pub fn fill(&mut self, extent: Extent, content: &[u8], fetched_with: &BlockMap) -> io::Result<()> {
        let mut runs = Vec::new();
        for block in extent.range() {
            let is_missing = matches!(self.source(block), BlockSource::Store(_));
            if is_missing && self.still_lies_in(block, extent, fetched_with) {
                push_block(&mut runs, block);
            }
        }
        for run in &runs {
            let start = byte_offset(run.start - extent.start) as usize;
            let end = byte_offset(run.end - extent.start) as usize;
            self.data.write(byte_offset(run.start), &content[start..end])?;
        }
        self.log.append(&runs.iter().cloned().map(Record::Cached).collect::<Vec<_>>())?;
        for run in runs {
            self.present.insert_all(run);
        }
        Ok(())
    }

    /// Whether the present map has the block at the place that the extent of another map names.
    fn still_lies_in(&self, block: u32, extent: Extent, other: &BlockMap) -> bool {
        let skip = u32::from(extent.skip) + block - extent.start;
        self.map.at(block).is_some_and(|now| {
            let is_same_frame =
                |one: Frame, other: Frame| (one.offset, one.length) == (other.offset, other.length);
            u32::from(now.skip) == skip
                && is_same_frame(now.frame, extent.frame)
                && self.map.pack(now.frame).id == other.pack(extent.frame).id
        })
    }

    /// Makes the volume larger. The new blocks read as zeros.
    pub fn grow(&mut self, size_bytes: u64) -> io::Result<()> {
        self.data.resize(size_bytes)?;
        self.blocks = (size_bytes / BLOCK_BYTES) as u32;
        self.present.grow(self.blocks);
        self.dirty.grow(self.blocks);
        if let Some(cut) = &mut self.cut {
            cut.grow(self.blocks);
        }
        self.header.size_bytes = size_bytes;
        Ok(())
    }

    /// Syncs everything, records it in the log, and releases the directory.
    pub fn close(&mut self) -> io::Result<()> {
        self.abandon_any_cut();
        self.data.sync()?;
        let through = self.log.slots();
        self.log.append_flush(through)?;
        self.log.append(&[Record::Closed])?;
        self.log.file().sync()?;
        self.directory.unlock();
        Ok(())
    }

    // Snapshots.

    /// Freezes the dirty blocks as the content of a snapshot. None if the head has everything
    /// already.
    pub fn begin_cut(&mut self) -> io::Result<Option<CutContent>> {
        // A cut whose snapshot was dropped without an end.
        self.abandon_any_cut();
        let is_stored = self.chain.is_some() && self.head_bytes == self.header.size_bytes;
        if self.dirty.is_empty() && is_stored && !self.needs_whole_manifest {
            return Ok(None);
        }
        let aside_file = self.directory.create_aside_file()?;
        let number = self.last_cut + 1;
        self.log.append(&[Record::Cut(number)])?;
        self.last_cut = number;
        self.flush.record_change();
        let blocks = Arc::new(std::mem::replace(&mut self.dirty, BlockSet::new(self.blocks)));
        let oldest_write = self.dirty_since.take().unwrap_or_else(Instant::now);
        let is_whole = self.needs_whole_manifest;
        let cut = CutState::new(number, blocks.clone(), &self.present, oldest_write, is_whole, aside_file);
        self.cut = Some(cut);
        Ok(Some(CutContent {
            number,
            blocks,
            map: self.map.clone(),
            chain: self.chain.clone(),
            is_whole,
            size_bytes: self.header.size_bytes,
        }))
    }

    /// The next blocks of the cut that hold data, from `from` on, at most `max_blocks`, as they
    /// were at the cut. None if that cut was abandoned.
    pub fn copy_cut(&mut self, number: u32, from: u32, max_blocks: usize) -> io::Result<Option<CutBlocks>> {
        match self.cut.as_mut().filter(|cut| cut.number() == number) {
            Some(cut) => cut.copy_blocks(&self.data, from, max_blocks).map(Some),
            None => Ok(None),
        }
    }

    /// The snapshot of this cut has failed: its blocks are dirty again.
    pub fn abandon_cut(&mut self, number: u32) {
        if self.cut.as_ref().is_some_and(|cut| cut.number() == number) {
            self.abandon_any_cut();
        }
    }

    fn abandon_any_cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.dirty.unite(cut.blocks());
            // No write since the cut is older than those in it.
            self.dirty_since = Some(cut.oldest_write());
            self.directory.remove_aside_file();
        }
    }

    /// The snapshot of the cut is complete in the store. The log must be synced before anybody is
    /// told.
    pub fn finish_cut(&mut self, chain: Chain, map: BlockMap, size_bytes: u64) -> io::Result<()> {
        let Some(cut) = &self.cut else { return Err(io::Error::other("no snapshot is being taken")) };
        let (manifest, oldest_write, is_whole) = (chain.head(), cut.oldest_write(), cut.is_whole());
        self.log.append(&[Record::Done(cut.number(), manifest)])?;
        self.needs_whole_manifest &= !is_whole;
        self.flush.record_change();
        self.cut = None;
        self.directory.remove_aside_file();
        self.map = map.into();
        self.chain = Some(chain);
        self.head_bytes = size_bytes;
        self.commits.add(manifest, oldest_write);
        Ok(())
    }

    /// The controller has committed this manifest: the next start continues from it or from a later
    /// one. Returns false if this volume has not stored it.
    pub fn confirm_commit(&mut self, manifest: ManifestId) -> bool {
        self.commits.confirm(manifest)
    }

    /// Keeps the content that a running cut still has to copy, before the blocks change.
    fn preserve_for_cut(&mut self, range: Range<u32>) -> io::Result<()> {
        match &mut self.cut {
            Some(cut) => cut.preserve(&self.data, range),
            None => Ok(()),
        }
    }

    // Maintenance.

    /// Marks clean blocks of these packs as dirty, so that the next snapshot stores them again; at
    /// most `max_blocks`, within `window`. Blocks that are not present are returned for the caller
    /// to fetch.
    pub fn mark_dirty(
        &mut self,
        packs: &HashSet<PackId>,
        window: Range<u32>,
        max_blocks: u32,
    ) -> io::Result<MarkedBlocks> {
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        let mut count = 0;
        let map = self.map.clone();
        let in_packs = map.within(window).filter(|extent| packs.contains(&map.pack(extent.frame).id));
        for block in in_packs.flat_map(|extent| extent.range()) {
            if count == max_blocks {
                break;
            }
            count += 1;
            match self.source(block) {
                BlockSource::Store(_) => push_block(&mut missing, block),
                BlockSource::File(_) if !self.differs_from_head(block) => push_block(&mut present, block),
                _ => count -= 1,
            }
        }
        let marked = present.iter().map(|run| run.end - run.start).sum();
        if marked > 0 {
            self.flush.record_change();
            self.log.append(&present.iter().cloned().map(Record::Data).collect::<Vec<_>>())?;
            // The store has their content already, so they do not affect the age of the oldest
            // unreplicated write.
            for run in present {
                self.dirty.insert_all(run);
            }
        }
        Ok(MarkedBlocks { marked, missing })
    }

    /// The next snapshot writes a whole manifest, which builds on no other.
    pub fn require_whole_manifest(&mut self) {
        self.needs_whole_manifest = true;
    }

    /// Drops clean blocks from `from` on, at most `max_blocks`, to free disk space; the store has
    /// them. Returns where to continue: 0 after the last block. No flush may be running.
    pub fn evict(&mut self, from: u32, max_blocks: u32) -> io::Result<u32> {
        // An older head, which the log may still build on, might not have these blocks.
        if !self.is_settled() {
            return Ok(from);
        }
        if self.header.head != self.commits.committed() {
            self.rewrite_log()?;
        }
        let eviction = evict::select_blocks(&self.present, &self.dirty, &self.map, from, max_blocks);
        self.log.append(&eviction.runs.iter().cloned().map(Record::Evicted).collect::<Vec<_>>())?;
        for run in eviction.runs {
            self.present.remove_all(run.clone());
            self.punch(run)?;
        }
        Ok(eviction.next)
    }

    fn punch(&self, run: Range<u32>) -> io::Result<()> {
        self.data.punch(byte_offset(run.start), byte_offset(run.end) - byte_offset(run.start))
    }

    // The log.

    /// Whether no snapshot is running and none waits for its commit, so that the log needs to know
    /// the committed head only.
    fn is_settled(&self) -> bool {
        self.cut.is_none() && self.commits.is_empty()
    }

    /// Whether the log has become long, and can be rewritten now.
    pub fn needs_log_rewrite(&self) -> bool {
        self.is_settled() && self.log.bytes() > LOG_REWRITE_BYTES.max(2 * self.rewritten_log_bytes)
    }

    /// Replaces the log with the shortest one that records the present state. No flush may be
    /// running.
    pub fn rewrite_log(&mut self) -> io::Result<()> {
        self.data.sync()?;
        self.header.head = self.commits.committed();
        self.log = self.directory.replace_log(&self.header, &self.present, &self.dirty)?;
        self.rewritten_log_bytes = self.log.bytes();
        self.flush.record_rewrite();
        Ok(())
    }

    /// Begins a flush. None if everything is durable. The caller syncs the data file next, without
    /// the lock.
    pub fn begin_flush(&self) -> Option<FlushTicket> {
        self.flush.begin(self.log.slots())
    }

    /// Records in the log that the data file was synced. The caller syncs the log next, without the
    /// lock, if one is returned. None is returned if only blocks were written that were dirty
    /// already: the log has nothing new to say then.
    pub fn record_flush(&mut self, ticket: &mut FlushTicket) -> io::Result<Option<Arc<CacheFile>>> {
        if !self.flush.needs_record(ticket) {
            self.flush.record_flushed(ticket);
            return Ok(None);
        }
        let covers_all = self.log.slots() == ticket.through();
        self.log.append_flush(ticket.through())?;
        if covers_all {
            ticket.set_covered_slots(self.log.slots());
        }
        self.flush.record_flushed(ticket);
        Ok(Some(self.log.file()))
    }

    /// The log was synced: the flush has ended.
    pub fn end_flush(&mut self, ticket: FlushTicket) {
        self.log.acknowledge(ticket.through());
        self.flush.end(ticket);
    }
}
