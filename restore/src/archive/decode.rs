//! Decodes an archive. Accepts any bytes: an archive that [`super::encode`] did not make gives an
//! error, or entries that the writer checks.

use std::io::{self, Read};

use protocol::{
    files::EntryKind,
    restore::{FileTime, MAX_ATTRIBUTE_NAME_BYTES, MAX_ATTRIBUTES_BYTES, MAX_SEGMENTS, PERMISSIONS, Segment},
};

use super::{ATTRIBUTE_PREFIX, BLOCK, DIRECTORY, FILE, HARD_LINK, PAX, SYMLINK};

/// Most bytes of the records of one member: its attributes, name and link.
const MAX_RECORDS_BYTES: u64 = (MAX_ATTRIBUTES_BYTES * 4) as u64;
/// Most bytes of the list of segments of one file: two numbers of 20 digits for each.
const MAX_MAP_BYTES: usize = MAX_SEGMENTS * 44;

/// Most bytes of a member that is read as notes.
const MAX_NOTES_BYTES: u64 = 1 << 20;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The source failed or ended early.
    #[error("the archive ended early")]
    Source(#[from] io::Error),
    /// The bytes are not an archive as [`encode`](super::encode) makes it.
    #[error("the archive is malformed: {0}")]
    Malformed(&'static str),
}

/// What a member is, beside its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file. Its bytes follow: those of its segments, one after the other.
    File {
        /// Size with holes.
        size: u64,
        /// In order, without overlaps, and within the size.
        segments: Vec<Segment>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
    /// Another name of a file.
    HardLink {
        /// The file's name in the archive.
        target: String,
    },
}

impl Content {
    /// The type of the entry.
    pub fn kind(&self) -> EntryKind {
        match self {
            Self::File { .. } | Self::HardLink { .. } => EntryKind::File,
            Self::Directory => EntryKind::Directory,
            Self::Symlink { .. } => EntryKind::Symlink,
        }
    }

    /// The size of a file with content of its own.
    pub fn size(&self) -> u64 {
        if let Self::File { size, .. } = self { *size } else { 0 }
    }
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedEntry {
    /// Its name, without a `/` at the end. Not checked.
    pub name: String,
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// When the content changed.
    pub modified: FileTime,
    /// The user's extended attributes: names without `user.`, and values.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads the members of an archive one after the other.
pub struct ArchiveReader<R> {
    source: R,
    root: Option<Root>,
    notes: String,
    /// Bytes of the current member's content that are not read yet.
    content: u64,
    /// Bytes of padding behind the content.
    padding: u64,
}

/// The directory of an archive, and its name where it is written.
struct Root {
    name: String,
    new_name: String,
}

impl Root {
    /// The new name of a member. `None`: it is not below the directory.
    fn rename(&self, name: &str) -> Option<String> {
        let below = name.strip_prefix(&self.name)?;
        match below.strip_prefix('/') {
            _ if below.is_empty() => Some(self.new_name.clone()),
            Some(below) if self.new_name.is_empty() => Some(below.to_owned()),
            Some(below) => Some(format!("{}/{below}", self.new_name)),
            None => None,
        }
    }
}

/// Reads pieces that arrive one after the other, such as those of a response.
pub struct PieceReader<I, P> {
    pieces: I,
    piece: Option<P>,
    /// Bytes of the piece that were read.
    offset: usize,
}

impl<I, P> PieceReader<I, P> {
    /// Reads the pieces of an iterator until its end.
    pub fn new(pieces: I) -> Self {
        Self { pieces, piece: None, offset: 0 }
    }
}

impl<I: Iterator<Item = io::Result<P>>, P: AsRef<[u8]>> Read for PieceReader<I, P> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.piece.as_ref().map_or(&[][..], |piece| &piece.as_ref()[self.offset..]);
            if !rest.is_empty() {
                let length = rest.len().min(into.len());
                into[..length].copy_from_slice(&rest[..length]);
                self.offset += length;
                return Ok(length);
            }
            match self.pieces.next() {
                Some(piece) => (self.piece, self.offset) = (Some(piece?), 0),
                None => return Ok(0),
            }
        }
    }
}

/// What the records before a header say.
#[derive(Default)]
struct Records {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
    modified: Option<FileTime>,
    sparse_name: Option<String>,
    sparse_size: Option<u64>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the archive from `source`.
    pub fn new(source: R) -> Self {
        Self { source, root: None, notes: String::new(), content: 0, padding: 0 }
    }

    /// Gives the directory `name`, which contains all members, another name. With an empty name, its
    /// content has no directory. Members that are not below it are read as [`Self::notes`].
    #[must_use]
    pub fn with_root(mut self, name: &str, new_name: &str) -> Self {
        self.root = Some(Root { name: name.to_owned(), new_name: new_name.to_owned() });
        self
    }

    /// The text of members that are not below the directory of the archive.
    pub fn notes(&self) -> &str {
        &self.notes
    }

    /// The next member. Skips what was not read of the last one's content. `None`: the archive is
    /// complete.
    pub fn next_entry(&mut self) -> Result<Option<ArchivedEntry>, ArchiveError> {
        while let Some(mut entry) = self.next_member()? {
            let Some(root) = &self.root else { return Ok(Some(entry)) };
            match root.rename(&entry.name) {
                Some(name) if name.is_empty() => {}
                Some(name) => {
                    if let Content::HardLink { target } = &mut entry.content {
                        *target = root.rename(target).ok_or(ArchiveError::Malformed("target of a link"))?;
                    }
                    entry.name = name;
                    return Ok(Some(entry));
                }
                None => {
                    let mut text = vec![0; self.content.min(MAX_NOTES_BYTES) as usize];
                    self.source.read_exact(&mut text)?;
                    self.content -= text.len() as u64;
                    self.notes += &String::from_utf8_lossy(&text);
                }
            }
        }
        Ok(None)
    }

    fn next_member(&mut self) -> Result<Option<ArchivedEntry>, ArchiveError> {
        self.skip_content()?;
        let mut records = Records::default();
        loop {
            let block = self.read_block()?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            check_sum(&block)?;
            let size = parse_octal(&block[124..136])?;
            match block[156] {
                PAX => records = self.read_records(size)?,
                kind => return self.begin_member(&block, kind, size, records).map(Some),
            }
        }
    }

    /// Reads a part of the current member's content. 0: all of it was read.
    pub fn read_content(&mut self, into: &mut [u8]) -> Result<usize, ArchiveError> {
        let wanted = usize::try_from(self.content).unwrap_or(usize::MAX).min(into.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut into[..wanted])?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.content -= read as u64;
        Ok(read)
    }

    fn begin_member(
        &mut self,
        block: &[u8; BLOCK],
        kind: u8,
        size: u64,
        records: Records,
    ) -> Result<ArchivedEntry, ArchiveError> {
        let size = records.size.unwrap_or(size);
        let name = match (&records.sparse_name, records.path) {
            (Some(name), _) => name.clone(),
            (None, Some(path)) => path,
            (None, None) => parse_text(&block[..100])?,
        };
        let link = match records.link {
            Some(link) => link,
            None => parse_text(&block[157..257])?,
        };
        let modified = match records.modified {
            Some(modified) => modified,
            None => FileTime { seconds: parse_octal(&block[136..148])? as i64, nanoseconds: 0 },
        };
        let content = match kind {
            FILE => {
                self.content = size;
                self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
                match (records.sparse_size, records.sparse_name) {
                    (Some(size), Some(_)) => Content::File { size, segments: self.read_map(size)? },
                    _ if size == 0 => Content::File { size, segments: Vec::new() },
                    _ => Content::File { size, segments: vec![Segment { offset: 0, length: size }] },
                }
            }
            DIRECTORY => Content::Directory,
            SYMLINK => Content::Symlink { target: link },
            HARD_LINK => Content::HardLink { target: link },
            _ => return Err(ArchiveError::Malformed("unknown type of member")),
        };
        let mode = parse_octal(&block[100..108])? as u32 & PERMISSIONS;
        let name = name.trim_end_matches('/').to_owned();
        Ok(ArchivedEntry { name, content, mode, modified, attributes: records.attributes })
    }

    /// Reads the list of segments at the beginning of a sparse file's content.
    fn read_map(&mut self, size: u64) -> Result<Vec<Segment>, ArchiveError> {
        let malformed = || ArchiveError::Malformed("list of segments");
        let mut text = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut expected = None;
        while expected.is_none_or(|expected| numbers.len() < expected) {
            if text.len() > MAX_MAP_BYTES || self.content < BLOCK as u64 {
                return Err(malformed());
            }
            text.extend(self.read_block()?);
            self.content -= BLOCK as u64;
            let mut lines = text.split(|byte| *byte == b'\n').collect::<Vec<_>>();
            // The last line is not complete yet, or it is the padding.
            lines.pop();
            let parse = |line: &&[u8]| str::from_utf8(line).ok()?.parse::<u64>().ok();
            let all = lines.iter().map(parse).collect::<Option<Vec<u64>>>().ok_or_else(malformed)?;
            let Some((count, rest)) = all.split_first() else { continue };
            let count = usize::try_from(*count).ok().filter(|count| *count <= MAX_SEGMENTS + 1);
            expected = Some(count.ok_or_else(malformed)? * 2);
            numbers = rest.to_vec();
        }
        let (mut segments, mut end) = (Vec::new(), 0);
        for pair in numbers.chunks_exact(2).take(expected.unwrap_or_default() / 2) {
            let segment = Segment { offset: pair[0], length: pair[1] };
            if segment.offset < end || segment.offset.checked_add(segment.length).is_none_or(|end| end > size)
            {
                return Err(malformed());
            }
            end = segment.end();
            if segment.length > 0 {
                segments.push(segment);
            }
        }
        if segments.iter().map(|segment| segment.length).sum::<u64>() != self.content {
            return Err(malformed());
        }
        Ok(segments)
    }

    fn read_records(&mut self, size: u64) -> Result<Records, ArchiveError> {
        if size > MAX_RECORDS_BYTES {
            return Err(ArchiveError::Malformed("too many records"));
        }
        let mut bytes = vec![0; (size as usize).next_multiple_of(BLOCK)];
        self.source.read_exact(&mut bytes)?;
        bytes.truncate(size as usize);
        parse_records(&bytes).ok_or(ArchiveError::Malformed("record"))
    }

    fn read_block(&mut self) -> Result<[u8; BLOCK], ArchiveError> {
        let mut block = [0; BLOCK];
        self.source.read_exact(&mut block)?;
        Ok(block)
    }

    fn skip_content(&mut self) -> Result<(), ArchiveError> {
        let rest = self.content.saturating_add(self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(rest), &mut io::sink())?;
        (self.content, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
    }
}

/// Parses records `"<length> key=value\n"`. `None` if one of them is malformed.
fn parse_records(bytes: &[u8]) -> Option<Records> {
    let mut records = Records::default();
    let (mut rest, mut attribute_bytes) = (bytes, 0);
    while !rest.is_empty() {
        let digits = rest.iter().position(|byte| *byte == b' ')?;
        let length: usize = str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let (record, next) = rest.split_at_checked(length)?;
        rest = next;
        let record = record.get(digits + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let text = || String::from_utf8(value.to_vec()).ok();
        let number = || str::from_utf8(value).ok()?.parse().ok();
        match key {
            b"path" => records.path = Some(text()?),
            b"linkpath" => records.link = Some(text()?),
            b"size" => records.size = Some(number()?),
            b"mtime" => records.modified = Some(parse_time(str::from_utf8(value).ok()?)?),
            b"GNU.sparse.name" => records.sparse_name = Some(text()?),
            b"GNU.sparse.realsize" => records.sparse_size = Some(number()?),
            key => {
                let Some(name) = key.strip_prefix(ATTRIBUTE_PREFIX.as_bytes()) else { continue };
                let name = decode_attribute_name(name);
                attribute_bytes += name.len() + value.len();
                let is_valid = (1..=MAX_ATTRIBUTE_NAME_BYTES).contains(&name.len()) && !name.contains(&0);
                if !is_valid || attribute_bytes > MAX_ATTRIBUTES_BYTES {
                    return None;
                }
                records.attributes.push((name, value.to_vec()));
            }
        }
    }
    Some(records)
}

fn decode_attribute_name(name: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(name.len()), name);
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (rest.strip_prefix(b"%25"), rest.strip_prefix(b"%3D")) {
            (Some(after), _) => (b'%', after),
            (_, Some(after)) => (b'=', after),
            _ => (*first, after),
        };
        decoded.push(byte);
        rest = after;
    }
    decoded
}

/// Parses seconds with a fraction of at most nine digits.
fn parse_time(text: &str) -> Option<FileTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: u32 = format!("{fraction:0<9}").parse().ok()?;
    let seconds: i64 = whole.parse().ok()?;
    if !whole.starts_with('-') || nanoseconds == 0 {
        return Some(FileTime { seconds, nanoseconds });
    }
    Some(FileTime { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds })
}

/// Parses octal digits, which a NUL or a space ends.
fn parse_octal(field: &[u8]) -> Result<u64, ArchiveError> {
    let end = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    let digits = str::from_utf8(&field[..end]).ok().filter(|digits| !digits.is_empty());
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 8).ok());
    number.ok_or(ArchiveError::Malformed("number"))
}

fn parse_text(field: &[u8]) -> Result<String, ArchiveError> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8(field[..end].to_vec()).map_err(|_| ArchiveError::Malformed("name"))
}

fn check_sum(block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let stored: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    let expected = parse_octal(&block[148..156])?;
    if sum - stored + 8 * u64::from(b' ') == expected {
        Ok(())
    } else {
        Err(ArchiveError::Malformed("checksum of a header"))
    }
}
