//! A document's file: converting between its bytes and text, and detecting changes. Blocking; runs
//! inside [`HomeDirectory::run`](crate::files::home_directory::HomeDirectory::run).

use std::io::{self, Read as _, Write as _};

use protocol::{
    document::{MAX_DOCUMENT_BYTES, RefusalReason},
    files::HomePath,
};
use rustix::fs::{Mode, OFlags};

use crate::files::{
    entry::{etag, is_file},
    home_directory::HomeFiles,
    replacement::FileReplacement,
};

/// How lines end in the file. In the shared text, lines end with `\n`, unless the file mixes line
/// endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnding {
    /// `\n`, or mixed line endings that are kept byte for byte.
    Lf,
    /// `\r\n` on every line.
    CrLf,
}

/// A file's content as text.
#[derive(Debug)]
pub struct LoadedFile {
    /// The text, with lines that end in `\n`.
    pub text: String,
    /// How lines end in the file.
    pub line_ending: LineEnding,
    /// Entity tag of the file.
    pub etag: String,
}

/// The file compared with its last known entity tag.
#[derive(Debug)]
pub enum FileChange {
    /// The file has the known tag.
    Unchanged,
    /// The file has other content, or at least another tag.
    Changed(LoadedFile),
    /// The file does not exist.
    Deleted,
}

/// How a save ended without an error.
#[derive(Debug)]
pub enum SaveOutcome {
    /// The text is on disk.
    Saved {
        /// Entity tag of the new file.
        etag: String,
        /// Size of the new file.
        bytes: u64,
    },
    /// Nothing was written, because another program has changed the file. Merge its changes first.
    FileChanged,
}

/// Why a file cannot be opened as a document.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    #[error(
        "Cannot open the file: it is larger than {} MiB. Open it in a terminal.",
        MAX_DOCUMENT_BYTES / 1024 / 1024
    )]
    TooLarge,
    /// Not UTF-8, or with a NUL byte.
    #[error("Cannot open the file: it is not UTF-8 text, and editing it here would damage it.")]
    NotText,
    /// A directory, pipe, socket or device.
    #[error("Cannot open the file: it is not a regular file.")]
    NotAFile,
    /// An error from the kernel.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LoadError {
    /// The reason that clients are given.
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

/// Loads `path` if its entity tag is not `known_etag`.
pub fn load_if_changed(
    files: &HomeFiles<'_>,
    path: &HomePath,
    known_etag: Option<&str>,
) -> Result<FileChange, LoadError> {
    // Check the status first, without opening the file: most polls find no change.
    match files.stat(path)? {
        None => return Ok(FileChange::Deleted),
        Some(stat) if known_etag == Some(etag(&stat).as_str()) => return Ok(FileChange::Unchanged),
        Some(_) => {}
    }
    match load(files, path) {
        Ok(loaded) => Ok(FileChange::Changed(loaded)),
        Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(FileChange::Deleted),
        Err(error) => Err(error),
    }
}

/// Loads `path` as text.
pub fn load(files: &HomeFiles<'_>, path: &HomePath) -> Result<LoadedFile, LoadError> {
    // With NONBLOCK, opening a pipe does not wait for a writer.
    let file = files.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
    if !is_file(&stat) {
        return Err(LoadError::NotAFile);
    }
    if stat.st_size as u64 > MAX_DOCUMENT_BYTES {
        return Err(LoadError::TooLarge);
    }
    // The file may grow while it is read. Reading one byte more than allowed detects that.
    let mut bytes = Vec::with_capacity(stat.st_size as usize);
    std::fs::File::from(file).take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(LoadError::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| LoadError::NotText)?;
    // NUL is valid UTF-8, but a file that contains it is not text.
    if text.contains('\0') {
        return Err(LoadError::NotText);
    }
    let line_ending = detect_line_ending(&text);
    let text = if line_ending == LineEnding::CrLf { text.replace("\r\n", "\n") } else { text };
    Ok(LoadedFile { text, line_ending, etag: etag(&stat) })
}

/// Replaces `path` by `text`, if the file's entity tag is still `known_etag` (`None`: it does not
/// exist).
pub fn save(
    files: &HomeFiles<'_>,
    path: &HomePath,
    known_etag: Option<&str>,
    text: &str,
    line_ending: LineEnding,
) -> io::Result<SaveOutcome> {
    let (replacement, mut file) = FileReplacement::begin(files, path)?;
    let bytes = match line_ending {
        LineEnding::Lf => text.len(),
        LineEnding::CrLf => text.len() + text.matches('\n').count(),
    };
    match line_ending {
        LineEnding::Lf => file.write_all(text.as_bytes())?,
        LineEnding::CrLf => file.write_all(text.replace('\n', "\r\n").as_bytes())?,
    }
    let current_etag = replacement.current()?.map(|stat| etag(&stat));
    if current_etag.as_deref() != known_etag {
        return Ok(SaveOutcome::FileChanged);
    }
    let stat = replacement.commit(&file)?;
    Ok(SaveOutcome::Saved { etag: etag(&stat), bytes: bytes as u64 })
}

/// CRLF only if every line ends with it. A file that mixes line endings is kept byte for byte.
fn detect_line_ending(text: &str) -> LineEnding {
    let crlf = text.matches("\r\n").count();
    let is_uniform = crlf > 0 && crlf == text.matches('\n').count() && crlf == text.matches('\r').count();
    if is_uniform { LineEnding::CrLf } else { LineEnding::Lf }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ending_is_crlf_only_if_uniform() {
        for (text, expected) in [
            ("", LineEnding::Lf),
            ("a\nb", LineEnding::Lf),
            ("a\r\nb\r\n", LineEnding::CrLf),
            ("a\r\nb\n", LineEnding::Lf),
            ("a\r\nb\rc\r\n", LineEnding::Lf),
            ("a\rb", LineEnding::Lf),
        ] {
            assert_eq!(detect_line_ending(text), expected, "{text:?}");
        }
    }
}
