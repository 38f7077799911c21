//! The archive that carries entries of a snapshot: a tar archive that common programs can unpack.
//!
//! POSIX.1-2001 (pax): names, links, times and sizes that do not fit the old fields are in records
//! before the header. Extended attributes are `SCHILY.xattr.user.*` records, as GNU tar and bsdtar
//! write them. A file with holes is in GNU's sparse format 1.0: a list of segments, then their bytes.
//!
//! [`encode`] is pure. [`decode`] reads from any [`std::io::Read`], accepts any bytes, and allocates
//! no more than its limits.

pub mod decode;
pub mod encode;

pub use decode::{ArchiveError, ArchiveReader, ArchivedEntry, Content, PieceReader};
pub use encode::{END, Member, header, is_sparse, padding};

/// Headers and contents begin at multiples of this.
const BLOCK: usize = 512;
/// The prefix of the records of extended attributes.
const ATTRIBUTE_PREFIX: &str = "SCHILY.xattr.user.";

const FILE: u8 = b'0';
const HARD_LINK: u8 = b'1';
const SYMLINK: u8 = b'2';
const DIRECTORY: u8 = b'5';
const PAX: u8 = b'x';

#[cfg(test)]
mod tests;
