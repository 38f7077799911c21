//! A document's file: how its bytes become text and come back, and when it has changed. Blocking; runs within
//! [`Home::run`](crate::files::home::Home::run).

use std::io::{self, Read as _, Write as _};

use protocol::{
    document::{MAX_DOCUMENT_BYTES, RefusalReason},
    files::HomePath,
};
use rustix::fs::{Mode, OFlags};

use crate::files::{
    entry::etag,
    home::{Files, is_file},
    save::Aside,
};

/// What lines end with in the file; in the shared text it is always `\n`, unless the file mixes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    Unix,
    Dos,
}

#[derive(Debug)]
pub struct Loaded {
    pub text: String,
    pub line_end: LineEnd,
    pub etag: String,
}

/// What the disk says against what was last known.
#[derive(Debug)]
pub enum Look {
    Unchanged,
    Changed(Loaded),
    Gone,
}

/// How a save ended.
#[derive(Debug)]
pub enum Save {
    Saved {
        etag: String,
        bytes: u64,
    },
    /// Someone else has written meanwhile: merge first.
    Overtaken,
}

/// Why a file is no document.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("The file is larger than {} MiB: open it in a terminal.", MAX_DOCUMENT_BYTES / 1024 / 1024)]
    TooLarge,
    #[error("The file is not UTF-8 text: editing it here would change other bytes too.")]
    NotText,
    #[error("It is not a regular file.")]
    NotAFile,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Unreadable {
    pub fn reason(&self) -> RefusalReason {
        use rustix::io::Errno;
        match self {
            Self::TooLarge => RefusalReason::TooLarge,
            Self::NotText => RefusalReason::NotText,
            Self::NotAFile => RefusalReason::NotAFile,
            Self::Io(error) => match Errno::from_io_error(error) {
                Some(Errno::NOENT | Errno::NOTDIR) => RefusalReason::NotFound,
                Some(Errno::XDEV | Errno::LOOP) => RefusalReason::OutsideHome,
                Some(Errno::ACCESS | Errno::PERM) => RefusalReason::PermissionDenied,
                Some(Errno::ISDIR | Errno::NXIO) => RefusalReason::NotAFile,
                _ => RefusalReason::Internal,
            },
        }
    }
}

/// Reads `path` if it is not what `known` names.
pub fn look(files: &Files<'_>, path: &HomePath, known: Option<&str>) -> Result<Look, Unreadable> {
    // Once without opening: most looks find nothing new.
    match files.stat(path)? {
        None => return Ok(Look::Gone),
        Some(stat) if known == Some(etag(&stat).as_str()) => return Ok(Look::Unchanged),
        Some(_) => {}
    }
    match load(files, path) {
        Ok(loaded) => Ok(Look::Changed(loaded)),
        Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(Look::Gone),
        Err(error) => Err(error),
    }
}

/// Reads `path` as text.
pub fn load(files: &Files<'_>, path: &HomePath) -> Result<Loaded, Unreadable> {
    // NONBLOCK: a pipe must not hold the thread until someone writes.
    let file = files.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
    if !is_file(&stat) {
        return Err(Unreadable::NotAFile);
    }
    if stat.st_size as u64 > MAX_DOCUMENT_BYTES {
        return Err(Unreadable::TooLarge);
    }
    // It may grow while it is read: one byte more than allowed tells.
    let mut bytes = Vec::with_capacity(stat.st_size as usize);
    std::fs::File::from(file).take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(Unreadable::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| Unreadable::NotText)?;
    // A NUL is UTF-8 and yet never text.
    if text.contains('\0') {
        return Err(Unreadable::NotText);
    }
    let line_end = line_end(&text);
    let text = if line_end == LineEnd::Dos { text.replace("\r\n", "\n") } else { text };
    Ok(Loaded { text, line_end, etag: etag(&stat) })
}

/// Replaces `path` by `text`, if it is still what `known` names (none: not there).
pub fn save(
    files: &Files<'_>,
    path: &HomePath,
    known: Option<&str>,
    text: &str,
    line_end: LineEnd,
) -> io::Result<Save> {
    let mut aside = Aside::begin(files, path)?;
    let mut file = aside.take_file()?;
    let bytes = match line_end {
        LineEnd::Unix => text.len(),
        LineEnd::Dos => text.len() + text.matches('\n').count(),
    };
    match line_end {
        LineEnd::Unix => file.write_all(text.as_bytes())?,
        LineEnd::Dos => file.write_all(text.replace('\n', "\r\n").as_bytes())?,
    }
    let current = aside.current()?.map(|stat| etag(&stat));
    if current.as_deref() != known {
        return Ok(Save::Overtaken);
    }
    let stat = aside.place(&file)?;
    Ok(Save::Saved { etag: etag(&stat), bytes: bytes as u64 })
}

/// Dos only where every line ends so: a file that mixes them is kept as it is, byte for byte.
fn line_end(text: &str) -> LineEnd {
    let both = text.matches("\r\n").count();
    let uniform = both > 0 && both == text.matches('\n').count() && both == text.matches('\r').count();
    if uniform { LineEnd::Dos } else { LineEnd::Unix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uniform_ends_are_translated() {
        for (text, expected) in [
            ("", LineEnd::Unix),
            ("a\nb", LineEnd::Unix),
            ("a\r\nb\r\n", LineEnd::Dos),
            ("a\r\nb\n", LineEnd::Unix),
            ("a\r\nb\rc\r\n", LineEnd::Unix),
            ("a\rb", LineEnd::Unix),
        ] {
            assert_eq!(line_end(text), expected, "{text:?}");
        }
    }
}
