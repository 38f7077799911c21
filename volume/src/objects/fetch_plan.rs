//! Plans which ranges of which packs to fetch for a set of blocks. Pure.

use std::{collections::BTreeMap, ops::Range};

use crate::format::block_map::{BlockMap, Extent, Frame};

/// Largest range. At 20 ms per request and 400 Mbit/s, half of the time is transfer.
pub const MAX_FETCH_BYTES: u32 = 1 << 20;
/// Bytes between two frames that are cheaper to fetch along than a second request.
const MAX_GAP_BYTES: u32 = 128 << 10;

/// One range of one pack, and the frames in it that are needed, each with the places where its
/// blocks are used.
#[derive(Clone)]
pub struct Fetch {
    /// Index in the map's table of packs.
    pub pack: u32,
    pub range: Range<u32>,
    pub frames: Vec<(Frame, Vec<Extent>)>,
}

impl Fetch {
    /// One fetch for each frame, so that a damaged one does not affect the others.
    pub fn into_frames(self) -> impl Iterator<Item = Self> {
        let pack = self.pack;
        self.frames.into_iter().map(move |(frame, extents)| Self {
            pack,
            range: frame.offset..frame.offset + frame.length,
            frames: vec![(frame, extents)],
        })
    }
}

/// The fewest ranges that contain these blocks. A frame is fetched completely, so its other blocks
/// arrive too.
pub fn plan_fetches(map: &BlockMap, runs: impl Iterator<Item = Range<u32>>) -> Vec<Fetch> {
    let mut frames: BTreeMap<Frame, Vec<Extent>> = BTreeMap::new();
    for extent in runs.flat_map(|run| map.within(run).collect::<Vec<_>>()) {
        let known = frames.entry(extent.frame).or_default();
        // Blocks that were written later may lie between those of a frame. One look at the
        // neighbours does not find them all then.
        if !known.iter().any(|one| one.range().contains(&extent.start)) {
            let around = map.extents_of_frame(extent.frame, extent.start + 1);
            let new: Vec<Extent> = around.into_iter().filter(|one| !known.contains(one)).collect();
            known.extend(new);
        }
    }
    let mut fetches: Vec<Fetch> = Vec::new();
    for (frame, extents) in frames {
        let end = frame.offset + frame.length;
        match fetches.last_mut() {
            Some(last)
                if last.pack == frame.pack
                    && frame.offset.saturating_sub(last.range.end) <= MAX_GAP_BYTES
                    && end - last.range.start <= MAX_FETCH_BYTES =>
            {
                last.range.end = last.range.end.max(end);
                last.frames.push((frame, extents));
            }
            _ => fetches.push(Fetch {
                pack: frame.pack,
                range: frame.offset..end,
                frames: vec![(frame, extents)],
            }),
        }
    }
    fetches
}
