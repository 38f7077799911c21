//! Encodes headers, padding and the end of an archive. Pure.

use protocol::{
    files::EntryKind,
    restore::{FileTime, PERMISSIONS, Segment, SourceEntry},
};

use super::{ATTRIBUTE_PREFIX, BLOCK, DIRECTORY, FILE, HARD_LINK, PAX, SYMLINK};

/// Two empty blocks end an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// Longest name or link that the old field holds.
const MAX_NAME_BYTES: usize = 100;
/// Largest size that the old field holds: eleven octal digits.
const MAX_SIZE: u64 = 0o777_7777_7777;

/// An entry in an archive.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its name in the archive.
    pub name: &'a str,
    /// The name in the archive of the file that it is another name of.
    pub hard_link: Option<&'a str>,
    /// The entry. Its path and hard link are not used.
    pub entry: &'a SourceEntry,
    /// The user's extended attributes: names without `user.`, and values.
    pub attributes: &'a [(Vec<u8>, Vec<u8>)],
    /// The parts of a file that are not holes. The content is their bytes.
    pub segments: &'a [Segment],
}

/// Whether a file of this size has holes.
pub fn is_sparse(size: u64, segments: &[Segment]) -> bool {
    segments.iter().map(|segment| segment.length).sum::<u64>() != size
}

/// The header of a member, to be followed by the bytes of its segments and [`padding`]. `None` if an
/// archive cannot hold it.
pub fn header(member: &Member<'_>) -> Option<Vec<u8>> {
    let entry = member.entry;
    let (kind, link) = match (entry.kind, &entry.target, member.hard_link) {
        (EntryKind::File, _, Some(link)) => (HARD_LINK, link),
        (EntryKind::File, _, None) => (FILE, ""),
        (EntryKind::Directory, ..) => (DIRECTORY, ""),
        (EntryKind::Symlink, Some(target), _) => (SYMLINK, target.as_str()),
        (EntryKind::Symlink, None, _) | (EntryKind::Other, ..) => return None,
    };
    let name = if kind == DIRECTORY { format!("{}/", member.name) } else { member.name.to_owned() };
    let map = (kind == FILE && is_sparse(entry.size, member.segments))
        .then(|| encode_map(entry.size, member.segments));
    let size = match (&map, kind) {
        (Some(map), _) => {
            map.len() as u64 + member.segments.iter().map(|segment| segment.length).sum::<u64>()
        }
        (None, FILE) => entry.size,
        (None, _) => 0,
    };
    let mut records = Vec::new();
    if map.is_some() {
        records.extend(record(b"GNU.sparse.major", b"1"));
        records.extend(record(b"GNU.sparse.minor", b"0"));
        records.extend(record(b"GNU.sparse.name", name.as_bytes()));
        records.extend(record(b"GNU.sparse.realsize", entry.size.to_string().as_bytes()));
    } else if !fits(&name) {
        records.extend(record(b"path", name.as_bytes()));
    }
    if !fits(link) {
        records.extend(record(b"linkpath", link.as_bytes()));
    }
    if size > MAX_SIZE {
        records.extend(record(b"size", size.to_string().as_bytes()));
    }
    let seconds = u64::try_from(entry.modified.seconds).ok().filter(|seconds| *seconds <= MAX_SIZE);
    if seconds.is_none() || entry.modified.nanoseconds != 0 {
        records.extend(record(b"mtime", format_time(entry.modified).as_bytes()));
    }
    for (name, value) in member.attributes {
        records.extend(record(&attribute_key(name), value));
    }
    let mut bytes = Vec::new();
    if !records.is_empty() {
        bytes.extend(block(b"pax", PAX, 0o644, records.len() as u64, 0, b""));
        bytes.extend(records);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    let (mode, seconds) = (entry.mode & PERMISSIONS, seconds.unwrap_or(0));
    bytes.extend(block(name.as_bytes(), kind, mode, size.min(MAX_SIZE), seconds, link.as_bytes()));
    bytes.extend(map.unwrap_or_default());
    Some(bytes)
}

/// The zeros that follow a content of `size` bytes.
pub fn padding(size: u64) -> Vec<u8> {
    let over = usize::try_from(size % BLOCK as u64).expect("below a block");
    vec![0; over.next_multiple_of(BLOCK) - over]
}

/// The list of segments of a sparse file: numbers in lines, padded to whole blocks.
fn encode_map(size: u64, segments: &[Segment]) -> Vec<u8> {
    let mut numbers = Vec::new();
    for segment in segments {
        numbers.extend([segment.offset, segment.length]);
    }
    // An empty segment at the end marks the size of a file that ends in a hole.
    if segments.last().is_none_or(|last| last.end() < size) {
        numbers.extend([size, 0]);
    }
    let count = numbers.len() as u64 / 2;
    let lines: Vec<String> = [count].into_iter().chain(numbers).map(|number| format!("{number}\n")).collect();
    let mut bytes = lines.concat().into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// Seconds with a fraction. The fraction of a time before 1970 counts backwards.
fn format_time(time: FileTime) -> String {
    let FileTime { seconds, nanoseconds } = time;
    if seconds < 0 && nanoseconds > 0 {
        let whole = seconds.saturating_add(1).unsigned_abs();
        return format!("-{whole}.{:09}", 1_000_000_000 - nanoseconds.min(999_999_999));
    }
    format!("{seconds}.{nanoseconds:09}")
}

/// The key of an attribute's record. A key cannot contain `=`, which is written as GNU tar does.
fn attribute_key(name: &[u8]) -> Vec<u8> {
    let mut key = ATTRIBUTE_PREFIX.as_bytes().to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend(b"%25"),
            b'=' => key.extend(b"%3D"),
            byte => key.push(*byte),
        }
    }
    key
}

fn fits(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES && text.is_ascii()
}

/// A pax record: `"<length> key=value\n"`. The length counts its own digits.
pub(super) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn block(name: &[u8], kind: u8, mode: u32, size: u64, seconds: u64, link: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(MAX_NAME_BYTES)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0001750");
    put(116, b"0001750");
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", seconds.min(MAX_SIZE)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(MAX_NAME_BYTES)]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
