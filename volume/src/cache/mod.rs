//! The volume on this machine: a sparse file of its blocks, and a log that tells which of them the store does not have.
//! Synchronous; knows no store. Whoever calls holds the lock, and never holds it across an await.
//!
//! Each block is in one of these states. `dirty` counts since the last cut; a cut block keeps its state until the
//! snapshot is in the store, and becomes dirty again if it fails.
//!
//! | dirty or cut | present | it reads as |
//! |---|---|---|
//! | yes | yes | the data file |
//! | yes | no | zeros |
//! | no | yes | the data file, which equals the store |
//! | no | no | the store, or zeros where the map has a hole |
//!
//! Killed at any instant, the log is true of the data file: a clean block is logged before it is overwritten (else the store
//! would never learn of it), an absent one after (else a hole would be taken for data). After a loss of power only what a
//! flush covered is believed, and clean blocks are fetched again.

mod disk;
mod files;
mod log;

use std::{collections::HashSet, io, ops::Range, path::PathBuf, sync::Arc};

use protocol::ManifestId;
use tokio::time::Instant;

#[cfg(test)]
pub use disk::plug;
pub use disk::{Disk, Machine};
pub use files::{Files, Opened, check_epoch, check_size};
pub use log::{Header, LogError, Record, parse as parse_log};

use crate::{
    blocks::{BLOCK_BYTES, BlockSet, covered, touched},
    chain::Chain,
    map::{BlockMap, Extent, Frame, PackId},
};
use log::Log;

/// A log beyond this, and twice what it was when last rewritten, is rewritten: a million records are read in well under a second.
const LOG_REWRITE_BYTES: u64 = 16 << 20;

/// Snapshots that wait for their commit. A controller that answers none of so many has fenced us.
pub const MAX_UNCOMMITTED: usize = 64;

pub struct Cache {
    files: Files,
    data: Arc<Disk>,
    log: Log,
    /// Its length when it was last rewritten.
    log_bytes_then: u64,
    header: Header,
    blocks: u32,
    present: BlockSet,
    dirty: BlockSet,
    cut: Option<Cut>,
    /// Numbers the cuts; never used twice while the volume is open.
    cuts: u32,
    map: Arc<BlockMap>,
    /// The newest manifest whose objects are all in the store, with what it rests on.
    chain: Option<Chain>,
    /// Size that the head says.
    head_bytes: u64,
    /// When the oldest of the dirty blocks was written.
    dirty_since: Option<Instant>,
    /// Done since the last commit, oldest first, each with the age of the oldest write that it is the first to hold.
    uncommitted: Vec<(ManifestId, Instant)>,
    /// The log may be rewritten onto this one.
    committed: Option<ManifestId>,
    /// The chain in the store is not to be gone on from: the next snapshot says everything, even if nothing has changed.
    whole_wanted: bool,
    /// Changes so far, and how many of them the last flush covers.
    changes: u64,
    flushed_changes: u64,
    /// How long the log was when it had nothing to say that was not durable, if it ever was.
    covered_slots: Option<u32>,
}

/// The dirty blocks of one instant, on their way to the store.
struct Cut {
    number: u32,
    blocks: Arc<BlockSet>,
    /// When the oldest of them was written.
    since: Instant,
    /// What is made of it says everything.
    whole: bool,
    /// Not yet copied, still as they were in the data file.
    waiting: BlockSet,
    /// Not yet copied, and overwritten since: as they were, in the file beside.
    aside: BlockSet,
    beside: Disk,
}

/// How a run of blocks is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(Range<u32>),
    Zeros(Range<u32>),
    Store(Range<u32>),
}

/// Proof that a flush was begun.
#[derive(Debug, Clone, Copy)]
pub struct FlushBegun {
    through: u32,
    changes: u64,
    /// Length of the log with the flush in it, if that covers all that is in it.
    covers: Option<u32>,
}

/// A cut, for whoever takes the snapshot: the number says which, to a cache that may have given it up.
#[derive(Debug, Clone)]
pub struct CutMade {
    pub number: u32,
    pub blocks: Arc<BlockSet>,
    /// What the head says.
    pub map: Arc<BlockMap>,
    pub chain: Option<Chain>,
    /// Its manifest is to rest on no other.
    pub whole: bool,
    pub size_bytes: u64,
}

/// Blocks of a cut that were data.
pub struct Copied {
    pub blocks: Vec<u32>,
    pub content: Vec<u8>,
}

impl Cache {
    /// A cache as it was found, and what the head says; without a head an empty map of no size.
    pub fn new(opened: Opened, map: BlockMap, chain: Option<Chain>, head_bytes: u64) -> Self {
        let Opened { files, data, log, header, present, dirty } = opened;
        let blocks = (header.size_bytes / BLOCK_BYTES) as u32;
        let head = header.head;
        // How old they really are the log does not tell; the head's own instant bounds it.
        let dirty_since = (!dirty.is_empty()).then(Instant::now);
        Self {
            files,
            data: data.into(),
            log_bytes_then: log.bytes(),
            log,
            header,
            blocks,
            present,
            dirty,
            cut: None,
            cuts: 0,
            map: map.into(),
            chain,
            head_bytes,
            dirty_since,
            uncommitted: Vec::new(),
            committed: head,
            whole_wanted: false,
            changes: 0,
            flushed_changes: 0,
            covered_slots: None,
        }
    }

    pub fn data(&self) -> Arc<Disk> {
        self.data.clone()
    }

    pub fn map(&self) -> Arc<BlockMap> {
        self.map.clone()
    }

    pub fn head(&self) -> Option<ManifestId> {
        self.chain.as_ref().map(Chain::head)
    }

    pub fn directory(&self) -> PathBuf {
        self.files.directory()
    }

    /// Whether a cut would hold something.
    pub fn has_dirt(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// When the oldest write was made that no committed snapshot holds.
    pub fn unreplicated_since(&self) -> Option<Instant> {
        let waiting = self.uncommitted.iter().map(|(_, since)| *since);
        waiting.chain(self.cut.as_ref().map(|cut| cut.since)).chain(self.dirty_since).min()
    }

    pub fn committed(&self) -> Option<ManifestId> {
        self.committed
    }

    pub fn superseded(&self) -> Option<PathBuf> {
        self.files.superseded()
    }

    /// Blocks that the store does not have.
    pub fn dirty_blocks(&self) -> u32 {
        let cut = self.cut.as_ref().map_or(0, |cut| cut.blocks.len());
        // Those rewritten since the cut count twice, as they are sent twice.
        self.dirty.len() + cut
    }

    pub fn present_blocks(&self) -> u32 {
        self.present.len()
    }

    /// How to read these blocks, run by run.
    pub fn sources(&self, range: Range<u32>) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for block in range {
            let next = block..block + 1;
            match (sources.last_mut(), self.source(block)) {
                (Some(Source::File(run)), Source::File(_))
                | (Some(Source::Zeros(run)), Source::Zeros(_))
                | (Some(Source::Store(run)), Source::Store(_)) => run.end = next.end,
                (_, source) => sources.push(source),
            }
        }
        sources
    }

    fn source(&self, block: u32) -> Source {
        let run = block..block + 1;
        if self.present.contains(block) {
            Source::File(run)
        } else if self.differs(block) || self.map.at(block).is_none() {
            Source::Zeros(run)
        } else {
            Source::Store(run)
        }
    }

    fn differs(&self, block: u32) -> bool {
        self.dirty.contains(block) || self.cut.as_ref().is_some_and(|cut| cut.blocks.has(block))
    }

    /// Writes. Blocks that are written in part must not be in the store only; false if one is.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        let range = touched(offset, bytes.len() as u64);
        let whole = covered(offset, bytes.len() as u64);
        let edges = [range.start, range.end - 1];
        let edge_is_away =
            |edge: u32| !whole.contains(&edge) && matches!(self.source(edge), Source::Store(_));
        if edges.into_iter().any(edge_is_away) {
            return Ok(false);
        }
        self.save_for_cut(range.clone())?;
        let (clean, absent) = self.runs_to_log(range.clone());
        self.changes += 1;
        self.log.append(&clean.iter().cloned().map(Record::Data).collect::<Vec<_>>())?;
        self.dirty_since.get_or_insert_with(Instant::now);
        for run in clean {
            self.dirty.insert_all(run);
        }
        // Absent blocks have nothing in the file that may show beside what is written.
        for edge in edges {
            if !whole.contains(&edge) && !self.present.contains(edge) {
                self.data.write(u64::from(edge) * BLOCK_BYTES, &[0; BLOCK_BYTES as usize])?;
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

    /// Runs that are present and clean, and runs that are absent.
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

    /// Makes whole blocks zeros and gives their space back.
    pub fn discard(&mut self, range: Range<u32>) -> io::Result<()> {
        let mut runs = Vec::new();
        for block in range {
            if !matches!(self.source(block), Source::Zeros(_)) {
                push_block(&mut runs, block);
            }
        }
        if runs.is_empty() {
            return Ok(());
        }
        for run in &runs {
            self.save_for_cut(run.clone())?;
        }
        self.changes += 1;
        self.log.append(&runs.iter().cloned().map(Record::Hole).collect::<Vec<_>>())?;
        self.dirty_since.get_or_insert_with(Instant::now);
        for run in runs {
            self.dirty.insert_all(run.clone());
            self.present.remove_all(run.clone());
            self.data.punch(byte(run.start), byte(run.end) - byte(run.start))?;
        }
        Ok(())
    }

    /// Takes in blocks that came from the store; those that were overwritten or moved meanwhile are passed over.
    pub fn fill(&mut self, extent: Extent, content: &[u8], frame_of: &BlockMap) -> io::Result<()> {
        let mut runs = Vec::new();
        for block in extent.range() {
            if matches!(self.source(block), Source::Store(_)) && self.lies_in(block, extent, frame_of) {
                push_block(&mut runs, block);
            }
        }
        for run in &runs {
            let bytes = byte(run.start - extent.start) as usize..byte(run.end - extent.start) as usize;
            self.data.write(byte(run.start), &content[bytes])?;
        }
        self.log.append(&runs.iter().cloned().map(Record::Cached).collect::<Vec<_>>())?;
        for run in runs {
            self.present.insert_all(run);
        }
        Ok(())
    }

    fn lies_in(&self, block: u32, extent: Extent, frame_of: &BlockMap) -> bool {
        let skip = u32::from(extent.skip) + block - extent.start;
        self.map.at(block).is_some_and(|now| {
            let same_frame =
                |one: Frame, other: Frame| (one.offset, one.length) == (other.offset, other.length);
            u32::from(now.skip) == skip
                && same_frame(now.frame, extent.frame)
                && self.map.pack(now.frame).id == frame_of.pack(extent.frame).id
        })
    }

    /// Before blocks change, keeps what a running snapshot still has to copy of them.
    fn save_for_cut(&mut self, range: Range<u32>) -> io::Result<()> {
        let Some(cut) = &mut self.cut else { return Ok(()) };
        let mut block = range.start;
        while let Some(next) = cut.waiting.next(block).filter(|next| *next < range.end) {
            let mut content = [0; BLOCK_BYTES as usize];
            self.data.read(byte(next), &mut content)?;
            cut.beside.write(byte(next), &content)?;
            cut.waiting.remove(next);
            cut.aside.insert(next);
            block = next + 1;
        }
        Ok(())
    }

    /// Counts present and clean blocks of these packs as dirty, so that the next snapshot stores them anew; at most
    /// `blocks_max`. Those that are away are returned instead, for the caller to fetch first.
    pub fn renew(
        &mut self,
        packs: &HashSet<PackId>,
        near: Range<u32>,
        blocks_max: u32,
    ) -> io::Result<(u32, Vec<Range<u32>>)> {
        let (mut present, mut away) = (Vec::new(), Vec::new());
        let mut count = 0;
        let map = self.map.clone();
        let of_these = map.within(near).filter(|extent| packs.contains(&map.pack(extent.frame).id));
        for block in of_these.flat_map(|extent| extent.range()) {
            if count == blocks_max {
                break;
            }
            count += 1;
            match self.source(block) {
                Source::Store(_) => push_block(&mut away, block),
                Source::File(_) if !self.differs(block) => push_block(&mut present, block),
                _ => count -= 1,
            }
        }
        let renewed = present.iter().map(|run| run.end - run.start).sum();
        if renewed > 0 {
            self.changes += 1;
            self.log.append(&present.iter().cloned().map(Record::Data).collect::<Vec<_>>())?;
            // Their content is in the store already: nothing here is at risk, and nothing is older.
            for run in present {
                self.dirty.insert_all(run);
            }
        }
        Ok((renewed, away))
    }

    /// The next snapshot's manifest rests on no other.
    pub fn want_whole(&mut self) {
        self.whole_wanted = true;
    }

    /// Lets go of clean blocks from `from` on, so that the disk has room; the store has them. Where it came to. No flush may be
    /// under way.
    pub fn evict(&mut self, from: u32, blocks_max: u32) -> io::Result<u32> {
        // An older head that the log rests on, or that a commit is open about, might miss them.
        if !self.rests_on_one() {
            return Ok(from);
        }
        if self.header.head != self.committed {
            self.rewrite_log()?;
        }
        let (mut runs, mut count, mut block) = (Vec::new(), 0, from);
        while let Some(next) = self.present.next(block).filter(|_| count < blocks_max) {
            block = next + 1;
            if !self.dirty.contains(next) && self.map.at(next).is_some() {
                push_block(&mut runs, next);
                count += 1;
            }
        }
        self.log.append(&runs.iter().cloned().map(Record::Evicted).collect::<Vec<_>>())?;
        for run in runs {
            self.present.remove_all(run.clone());
            self.data.punch(byte(run.start), byte(run.end) - byte(run.start))?;
        }
        Ok(if count < blocks_max { 0 } else { block })
    }

    /// Freezes what is dirty as a snapshot's content; nothing when nothing has changed.
    pub fn cut(&mut self) -> io::Result<Option<CutMade>> {
        // One whose taker went away in between.
        self.give_up_cut();
        let is_stored = self.chain.is_some() && self.head_bytes == self.header.size_bytes;
        if self.dirty.is_empty() && is_stored && !self.whole_wanted {
            return Ok(None);
        }
        let beside = self.files.beside()?;
        let number = self.cuts + 1;
        self.log.append(&[Record::Cut(number)])?;
        self.cuts = number;
        self.changes += 1;
        let blocks = Arc::new(std::mem::replace(&mut self.dirty, BlockSet::new(self.blocks)));
        let since = self.dirty_since.take().unwrap_or_else(Instant::now);
        let mut waiting = (*blocks).clone();
        waiting.intersect(&self.present);
        let aside = BlockSet::new(self.blocks);
        self.cut = Some(Cut {
            number,
            blocks: blocks.clone(),
            since,
            whole: self.whole_wanted,
            waiting,
            aside,
            beside,
        });
        let (map, chain, size_bytes) = (self.map.clone(), self.chain.clone(), self.header.size_bytes);
        Ok(Some(CutMade { number, blocks, map, chain, whole: self.whole_wanted, size_bytes }))
    }

    /// The next blocks of the cut that were data, from `from` on, at most `blocks_max`, as they were at the cut.
    /// Nothing if that cut has been given up.
    pub fn copy_cut(&mut self, number: u32, from: u32, blocks_max: usize) -> io::Result<Option<Copied>> {
        let Some(cut) = self.cut.as_mut().filter(|cut| cut.number == number) else { return Ok(None) };
        let mut copied = Copied { blocks: Vec::new(), content: Vec::new() };
        let mut next = from;
        while copied.blocks.len() < blocks_max {
            let (waiting, aside) = (cut.waiting.next(next), cut.aside.next(next));
            let Some(block) = waiting.into_iter().chain(aside).min() else { break };
            let (disk, lie) = match waiting {
                Some(first) if first == block => (&*self.data, &mut cut.waiting),
                _ => (&cut.beside, &mut cut.aside),
            };
            let room = (blocks_max - copied.blocks.len()) as u32;
            next = lie.next_absent(block).min(block + room);
            let start = copied.content.len();
            copied.content.resize(start + byte(next - block) as usize, 0);
            disk.read(byte(block), &mut copied.content[start..])?;
            copied.blocks.extend(block..next);
            lie.remove_all(block..next);
        }
        Ok(Some(copied))
    }

    /// The snapshot has failed: what was cut is dirty as before.
    pub fn abandon_cut(&mut self, number: u32) {
        if self.cut.as_ref().is_some_and(|cut| cut.number == number) {
            self.give_up_cut();
        }
    }

    fn give_up_cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.dirty.unite(&cut.blocks);
            // Nothing written later is older.
            self.dirty_since = Some(cut.since);
            self.files.remove_beside();
        }
    }

    /// The snapshot is in the store, whole. A sync of the log must follow before anyone is told.
    pub fn finish_cut(&mut self, chain: Chain, map: BlockMap, size_bytes: u64) -> io::Result<()> {
        let Some(cut) = &self.cut else { return Err(io::Error::other("no snapshot is being taken")) };
        let (manifest, since, whole) = (chain.head(), cut.since, cut.whole);
        self.log.append(&[Record::Done(cut.number, manifest)])?;
        self.whole_wanted &= !whole;
        self.changes += 1;
        self.cut = None;
        self.files.remove_beside();
        self.map = map.into();
        self.chain = Some(chain);
        self.head_bytes = size_bytes;
        self.uncommitted.push((manifest, since));
        Ok(())
    }

    pub fn uncommitted(&self) -> usize {
        self.uncommitted.len()
    }

    /// The next start may be asked to go on from this manifest, and from none before it. False if it is none of ours.
    pub fn commit(&mut self, manifest: ManifestId) -> bool {
        if self.committed == Some(manifest) {
            return true;
        }
        let Some(index) = self.uncommitted.iter().position(|(done, _)| *done == manifest) else {
            return false;
        };
        self.uncommitted.drain(..=index);
        self.committed = Some(manifest);
        true
    }

    /// Makes the volume larger. What is new reads as zeros.
    pub fn grow(&mut self, size_bytes: u64) -> io::Result<()> {
        self.data.resize(size_bytes)?;
        self.blocks = (size_bytes / BLOCK_BYTES) as u32;
        self.present.grow(self.blocks);
        self.dirty.grow(self.blocks);
        if let Some(cut) = &mut self.cut {
            cut.waiting.grow(self.blocks);
            cut.aside.grow(self.blocks);
        }
        self.header.size_bytes = size_bytes;
        Ok(())
    }

    /// Whether what is committed is all that the log has to tell of.
    fn rests_on_one(&self) -> bool {
        self.cut.is_none() && self.uncommitted.is_empty()
    }

    /// Whether the log should be rewritten, and can be.
    pub fn wants_rewrite(&self) -> bool {
        self.rests_on_one() && self.log.bytes() > LOG_REWRITE_BYTES.max(2 * self.log_bytes_then)
    }

    /// Puts a log in place that says what is, in the fewest words. No flush may be under way.
    pub fn rewrite_log(&mut self) -> io::Result<()> {
        self.data.sync()?;
        self.header.head = self.committed;
        self.log = self.files.replace_log(&self.header, &self.present, &self.dirty)?;
        self.log_bytes_then = self.log.bytes();
        self.covered_slots = None;
        self.flushed_changes = self.changes;
        Ok(())
    }

    /// What a flush has to cover; nothing if all is durable. The data file is to be synced next, without the lock.
    pub fn begin_flush(&self) -> Option<FlushBegun> {
        let all_is_durable = self.changes == self.flushed_changes;
        let begun = FlushBegun { through: self.log.slots(), changes: self.changes, covers: None };
        (!all_is_durable).then_some(begun)
    }

    /// The data file has been synced: the log, if it is returned, is to be synced next, without the lock. Where blocks were
    /// dirty already when they were written, the log has nothing new to say.
    pub fn record_flush(&mut self, begun: &mut FlushBegun) -> io::Result<Option<Arc<Disk>>> {
        if self.covered_slots != Some(begun.through) {
            let is_all = self.log.slots() == begun.through;
            self.log.append_flush(begun.through)?;
            begun.covers = is_all.then(|| self.log.slots());
            self.flushed_changes = begun.changes;
            return Ok(Some(self.log.disk()));
        }
        self.flushed_changes = begun.changes;
        Ok(None)
    }

    /// The log has been synced.
    pub fn end_flush(&mut self, begun: FlushBegun) {
        self.log.acknowledge(begun.through);
        self.covered_slots = begun.covers;
    }

    /// Syncs everything and says so in the log.
    pub fn close(&mut self) -> io::Result<()> {
        self.give_up_cut();
        self.data.sync()?;
        let through = self.log.slots();
        self.log.append_flush(through)?;
        self.log.append(&[Record::Closed])?;
        self.log.disk().sync()?;
        self.files.unlock();
        Ok(())
    }
}

fn byte(block: u32) -> u64 {
    u64::from(block) * BLOCK_BYTES
}

fn push_block(runs: &mut Vec<Range<u32>>, block: u32) {
    match runs.last_mut() {
        Some(run) if run.end == block => run.end += 1,
        _ => runs.push(block..block + 1),
    }
}
