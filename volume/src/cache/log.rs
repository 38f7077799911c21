//! The log of dirty blocks: what the data file holds that the store does not. It is appended to,
//! and sometimes rewritten.
//!
//! ```text
//! header 512: whose cache it is, which manifest the records build on, which boot wrote it
//! slots of 16: kind 1, unused 3, a 4, b 4, check 4       (a manifest's id takes two more slots)
//! ```
//! The check is keyed with the file's own salt and covers the slot's number. A torn slot, or one
//! that was written earlier, is therefore not taken for a record. Two orders of writing keep the
//! log true at every instant (see [`super`]): a block that was clean is logged as dirty *before* it
//! is written; a block that was absent is logged *after* it is written.

use std::{io, ops::Range};

use protocol::{Epoch, ManifestId, TenantId, VolumeId};
use uuid::Uuid;

use super::file::{CacheFile, Host};
use crate::{blocks::BlockSet, error::LogError, format::key::random_bytes};

pub const HEADER_BYTES: usize = 512;
const SLOT_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"BVLOG\0\0\x01";
const CHECKED_BYTES: usize = HEADER_BYTES - 32;

/// Largest log that is read. A volume of 4 TiB of scattered blocks takes less between two rewrites.
const MAX_LOG_BYTES: u64 = 4 << 30;

/// What a log says about the cache as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub tenant: TenantId,
    pub volume: VolumeId,
    /// Differs for another data key, and reveals nothing about it.
    pub key_check: [u8; 16],
    pub epoch: Epoch,
    pub size_bytes: u64,
    /// The manifest that the first records build on.
    pub head: Option<ManifestId>,
    /// The boot that wrote the log: see [`Host`].
    pub boot: [u8; 16],
    /// Random; keys the checks of this file.
    pub salt: [u8; 32],
    /// How often the volume was restored as a whole. A cache of an earlier lineage does not count.
    pub lineage: u64,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// These blocks differ from the head; the data file holds them.
    Data(Range<u32>),
    /// These blocks differ from the head: they are zeros.
    Hole(Range<u32>),
    /// These blocks were fetched; the data file holds them.
    Cached(Range<u32>),
    /// These blocks were dropped; the head has them.
    Evicted(Range<u32>),
    /// Everything before slot `through` is durable, in the data file too. A flush through
    /// `acknowledged` had ended before.
    Flush { through: u32, acknowledged: u32 },
    /// A snapshot was cut here.
    Cut(u32),
    /// The snapshot of that cut is complete in the store, under this name.
    Done(u32, ManifestId),
    /// Closed properly: everything before is durable and nothing came after.
    Closed,
}

/// The log of an open cache.
#[derive(Debug)]
pub struct Log {
    file: std::sync::Arc<CacheFile>,
    salt: [u8; 32],
    slots: u32,
    /// Slots that a finished flush covers.
    acknowledged: u32,
}

/// What the records say about the blocks.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Blocks that the data file holds.
    pub present: BlockSet,
    /// Blocks that differ from the head. Those that are not present are zeros.
    pub dirty: BlockSet,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.tenant.0.as_bytes());
        bytes.extend_from_slice(self.volume.0.as_bytes());
        bytes.extend_from_slice(&self.key_check);
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.size_bytes.to_le_bytes());
        bytes.push(u8::from(self.head.is_some()));
        bytes.extend_from_slice(&self.head.map_or([0; 32], |head| head.0));
        bytes.extend_from_slice(&self.boot);
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.lineage.to_le_bytes());
        bytes.resize(CHECKED_BYTES, 0);
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes.try_into().expect("the lengths add up")
    }

    /// None if the checksum is wrong or the file is no log.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (checked, check) = bytes.first_chunk::<HEADER_BYTES>()?.split_at(CHECKED_BYTES);
        if blake3::hash(checked).as_bytes() != check {
            return None;
        }
        let rest = checked.strip_prefix(MAGIC)?;
        let (tenant, rest) = rest.split_first_chunk::<16>()?;
        let (volume, rest) = rest.split_first_chunk::<16>()?;
        let (key_check, rest) = rest.split_first_chunk::<16>()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (size_bytes, rest) = rest.split_first_chunk::<8>()?;
        let (has_head, rest) = rest.split_first_chunk::<1>()?;
        let (head, rest) = rest.split_first_chunk::<32>()?;
        let (boot, rest) = rest.split_first_chunk::<16>()?;
        let (salt, rest) = rest.split_first_chunk::<32>()?;
        let (lineage, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            tenant: TenantId(Uuid::from_bytes(*tenant)),
            volume: VolumeId(Uuid::from_bytes(*volume)),
            key_check: *key_check,
            epoch: Epoch(u64::from_le_bytes(*epoch)),
            size_bytes: u64::from_le_bytes(*size_bytes),
            head: (*has_head == [1]).then_some(ManifestId(*head)),
            boot: *boot,
            salt: *salt,
            lineage: u64::from_le_bytes(*lineage),
        })
    }
}

impl Record {
    fn encode(&self, salt: &[u8; 32], slot: u32, into: &mut Vec<u8>) {
        let run = |range: &Range<u32>| (range.start, range.end);
        let (kind, (a, b)) = match self {
            Self::Data(range) => (1, run(range)),
            Self::Hole(range) => (2, run(range)),
            Self::Cached(range) => (3, run(range)),
            Self::Flush { through, acknowledged } => (4, (*through, *acknowledged)),
            Self::Cut(number) => (5, (*number, 0)),
            Self::Done(number, _) => (6, (*number, 0)),
            Self::Closed => (7, (0, 0)),
            Self::Evicted(range) => (8, run(range)),
        };
        let mut fields = [0; 12];
        fields[0] = kind;
        fields[4..8].copy_from_slice(&a.to_le_bytes());
        fields[8..].copy_from_slice(&b.to_le_bytes());
        let tail: &[u8] = if let Self::Done(_, manifest) = self { &manifest.0 } else { &[] };
        into.extend_from_slice(&fields);
        into.extend_from_slice(&check(salt, slot, &fields, tail));
        into.extend_from_slice(tail);
    }

    /// The record that begins at `slot`, if its check is right.
    fn decode(salt: &[u8; 32], slot: u32, slots: &[u8]) -> Option<Self> {
        let bytes = slots.get(slot as usize * SLOT_BYTES..)?;
        let (fields, rest) = bytes.split_first_chunk::<12>()?;
        let (given, rest) = rest.split_first_chunk::<4>()?;
        let tail = if fields[0] == 6 { rest.first_chunk::<32>()?.as_slice() } else { &[] };
        if check(salt, slot, fields, tail) != *given {
            return None;
        }
        let a = u32::from_le_bytes(fields[4..8].try_into().expect("four bytes"));
        let b = u32::from_le_bytes(fields[8..].try_into().expect("four bytes"));
        Some(match fields[0] {
            1 => Self::Data(a..b),
            2 => Self::Hole(a..b),
            3 => Self::Cached(a..b),
            4 => Self::Flush { through: a, acknowledged: b },
            5 => Self::Cut(a),
            6 => Self::Done(a, ManifestId(tail.try_into().ok()?)),
            7 => Self::Closed,
            8 => Self::Evicted(a..b),
            _ => return None,
        })
    }

    /// How many slots the record takes.
    fn slots(&self) -> u32 {
        if matches!(self, Self::Done(..)) { 3 } else { 1 }
    }
}

fn check(salt: &[u8; 32], slot: u32, fields: &[u8; 12], tail: &[u8]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new_keyed(salt);
    hasher.update(&slot.to_le_bytes()).update(fields).update(tail);
    *hasher.finalize().as_bytes().first_chunk().expect("32 bytes")
}

impl Log {
    /// Creates a log with these records. All of them are durable when this returns.
    pub fn create(
        path: &std::path::Path,
        host: &Host,
        mut header: Header,
        records: &[Record],
    ) -> io::Result<Self> {
        header.salt = random_bytes();
        header.boot = host.boot;
        let file = CacheFile::open(path, host, true)?;
        let mut bytes = header.encode().to_vec();
        let mut slots = 0;
        for record in records {
            record.encode(&header.salt, slots, &mut bytes);
            slots += record.slots();
        }
        let flush = Record::Flush { through: slots + 1, acknowledged: slots + 1 };
        flush.encode(&header.salt, slots, &mut bytes);
        slots += 1;
        file.write(0, &bytes)?;
        file.sync()?;
        Ok(Self { file: file.into(), salt: header.salt, slots, acknowledged: slots })
    }

    /// The log's length in bytes.
    pub fn bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.slots) * SLOT_BYTES as u64
    }

    /// The log's length in slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The log's file, for a sync without the lock.
    pub fn file(&self) -> std::sync::Arc<CacheFile> {
        self.file.clone()
    }

    /// Appends records in one write. After a failure, the next call writes to the same place: no
    /// torn slot stays in the middle.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let (mut bytes, mut slots) = (Vec::with_capacity(records.len() * SLOT_BYTES), self.slots);
        for record in records {
            record.encode(&self.salt, slots, &mut bytes);
            slots += record.slots();
        }
        self.file.write(self.bytes(), &bytes)?;
        self.slots = slots;
        Ok(())
    }

    /// Appends a record that everything before slot `through` is durable in the data file. It
    /// counts once the log is synced.
    pub fn append_flush(&mut self, through: u32) -> io::Result<()> {
        let flush = Record::Flush { through, acknowledged: self.acknowledged };
        self.append(&[flush])
    }

    /// A flush through this slot has ended.
    pub fn acknowledge(&mut self, through: u32) {
        self.acknowledged = self.acknowledged.max(through);
    }
}

/// Reads a log: its header, and its records with their slots.
pub fn read(file: &CacheFile) -> Result<(Header, Vec<(u32, Record)>), LogError> {
    let length = file.bytes()?;
    if length > MAX_LOG_BYTES {
        return Err(LogError::Header);
    }
    let mut bytes = vec![0; length as usize];
    file.read(0, &mut bytes)?;
    parse(&bytes)
}

/// Like [`read`], from bytes.
pub fn parse(bytes: &[u8]) -> Result<(Header, Vec<(u32, Record)>), LogError> {
    let header = Header::decode(bytes).ok_or(LogError::Header)?;
    let slots = &bytes[HEADER_BYTES..];
    let (mut records, mut slot) = (Vec::new(), 0);
    while let Some(record) = Record::decode(&header.salt, slot, slots) {
        slot += record.slots();
        records.push((slot - record.slots(), record));
    }
    // A crash leaves a torn end. But where a later record says that a flush had covered this slot,
    // the slot is damaged.
    let later = slot + 1..u32::try_from(slots.len() / SLOT_BYTES).map_err(|_| LogError::Header)?;
    for other in later {
        match Record::decode(&header.salt, other, slots) {
            Some(Record::Flush { acknowledged, .. }) if acknowledged > slot => {
                return Err(LogError::Damaged(slot));
            }
            _ => (),
        }
    }
    Ok((header, records))
}

/// What the records say about the blocks of a volume with this head. None if they do not build on
/// it.
pub fn replay(
    header: &Header,
    records: &[(u32, Record)],
    head: Option<ManifestId>,
    boot: [u8; 16],
    blocks: u32,
) -> Option<Recovered> {
    let is_closed = matches!(records.last(), Some((_, Record::Closed)));
    let is_complete = is_closed || header.boot == boot;
    let through = if is_complete { u32::MAX } else { durable_through(records) };
    let records: Vec<_> =
        records.iter().filter(|(slot, _)| *slot < through).map(|(_, record)| record).collect();

    let cut = if header.head == head { None } else { Some(cut_of(&records, head?)?) };
    let mut recovered = Recovered { present: BlockSet::new(blocks), dirty: BlockSet::new(blocks) };
    let clip = |range: &Range<u32>| range.start.min(blocks)..range.end.min(blocks);
    for record in records {
        match record {
            Record::Data(range) => {
                recovered.present.insert_all(clip(range));
                recovered.dirty.insert_all(clip(range));
            }
            Record::Hole(range) => {
                recovered.present.remove_all(clip(range));
                recovered.dirty.insert_all(clip(range));
            }
            Record::Cached(range) => recovered.present.insert_all(clip(range)),
            Record::Evicted(range) => recovered.present.remove_all(clip(range)),
            Record::Cut(number) if Some(*number) == cut => recovered.dirty = BlockSet::new(blocks),
            Record::Cut(_) | Record::Done(..) | Record::Flush { .. } | Record::Closed => (),
        }
    }
    if !is_complete {
        // The record of a write to a clean block may be lost while the write is not. The store has
        // the clean block.
        recovered.present.intersect(&recovered.dirty);
    }
    Some(recovered)
}

/// The slot up to which flushes have made everything durable.
fn durable_through(records: &[(u32, Record)]) -> u32 {
    let through = |(_, record): &(u32, Record)| match record {
        Record::Flush { through, .. } => *through,
        _ => 0,
    };
    records.iter().map(through).max().unwrap_or(0)
}

/// The number of the cut whose snapshot became this head.
fn cut_of(records: &[&Record], head: ManifestId) -> Option<u32> {
    records.iter().rev().find_map(|record| match record {
        Record::Done(number, manifest) if *manifest == head => Some(*number),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(head: Option<ManifestId>) -> Header {
        Header {
            tenant: TenantId(Uuid::from_u128(1)),
            volume: VolumeId(Uuid::from_u128(2)),
            key_check: [3; 16],
            epoch: Epoch(4),
            size_bytes: 5 << 20,
            head,
            boot: [6; 16],
            salt: [7; 32],
            lineage: 8,
        }
    }

    fn encoded(header: &Header, records: &[Record]) -> Vec<u8> {
        let (mut bytes, mut slot) = (header.encode().to_vec(), 0);
        for record in records {
            record.encode(&header.salt, slot, &mut bytes);
            slot += record.slots();
        }
        bytes
    }

    fn record() -> impl Strategy<Value = Record> {
        let range = (any::<u32>(), any::<u32>()).prop_map(|(one, other)| one.min(other)..one.max(other));
        prop_oneof![
            range.clone().prop_map(Record::Data),
            range.clone().prop_map(Record::Hole),
            range.clone().prop_map(Record::Cached),
            range.prop_map(Record::Evicted),
            (any::<u32>(), Just(0))
                .prop_map(|(through, acknowledged)| Record::Flush { through, acknowledged }),
            any::<u32>().prop_map(Record::Cut),
            (any::<u32>(), any::<[u8; 32]>()).prop_map(|(number, id)| Record::Done(number, ManifestId(id))),
            Just(Record::Closed),
        ]
    }

    proptest! {
        #[test]
        fn log_reads_back_up_to_a_torn_end(
            records in prop::collection::vec(record(), 0..30),
            head in any::<Option<[u8; 32]>>(),
            torn in any::<prop::sample::Index>(),
        ) {
            let header = header(head.map(ManifestId));
            let bytes = encoded(&header, &records);
            let (found, read) = parse(&bytes).expect("whole");
            prop_assert_eq!(&found, &header);
            let read: Vec<Record> = read.into_iter().map(|(_, record)| record).collect();
            prop_assert_eq!(&read, &records);

            let length = HEADER_BYTES + torn.index(bytes.len() - HEADER_BYTES + 1);
            let (_, read) = parse(&bytes[..length]).expect("a torn end is no damage");
            let whole = read.iter().map(|(_, record)| record.slots() as usize).sum::<usize>() * SLOT_BYTES;
            prop_assert!(whole + HEADER_BYTES <= length && length < whole + HEADER_BYTES + 3 * SLOT_BYTES);
        }

        #[test]
        fn altered_header_is_refused(at in 0..HEADER_BYTES, bit in 0u8..8) {
            let mut bytes = encoded(&header(None), &[]);
            bytes[at] ^= 1u8 << bit;
            prop_assert!(matches!(parse(&bytes), Err(LogError::Header)));
        }
    }
}
