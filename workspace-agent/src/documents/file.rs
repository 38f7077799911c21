//! A document's file: converting between its bytes and text, and detecting changes. Blocking; runs
//! inside [`HomeDirectory::run`](crate::files::home_directory::HomeDirectory::run).

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::fd::AsFd as _,
};

use protocol::{
    document::{MAX_DOCUMENT_BYTES, RefusalReason},
    files::HomePath,
};
use rustix::fs::{Mode, OFlags, Stat};

use super::{
    disk_state::{Relation, Sighting},
    late_write::{LateWrite, find_late_write},
};
use crate::{
    error::io_error_message,
    files::{
        entry::{etag, is_file},
        home_directory::HomeFiles,
        writers::find_writers,
    },
};

/// How lines end in the file. In the shared text, lines end with `\n`, unless the file mixes line
/// endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnding {
    /// `\n` on every line.
    Lf,
    /// `\r\n` on every line.
    CrLf,
    /// Mixed line endings, which are kept byte for byte.
    Mixed,
}

impl LineEnding {
    /// How lines end in `text`. Without any line, they end with `\n`.
    pub fn detect(text: &str) -> Self {
        let returns = text.matches('\r').count();
        let crlf = text.matches("\r\n").count();
        if returns == 0 {
            Self::Lf
        } else if crlf == returns && crlf == text.matches('\n').count() {
            Self::CrLf
        } else {
            Self::Mixed
        }
    }

    /// The bytes of the file for a shared text.
    pub fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Lf | Self::Mixed => text.as_bytes().to_vec(),
            Self::CrLf => text.replace('\n', "\r\n").into_bytes(),
        }
    }

    /// The shared text for the text of a file.
    pub fn decode(self, text: String) -> String {
        match self {
            Self::Lf | Self::Mixed => text,
            Self::CrLf => text.replace("\r\n", "\n"),
        }
    }
}

/// A file's content as text.
#[derive(Debug)]
pub struct LoadedFile {
    /// The text, with lines that end in `\n`.
    pub text: String,
    /// How lines end in the file.
    pub line_ending: LineEnding,
    /// Size of the file.
    pub bytes: u64,
    /// Entity tag of the file.
    pub etag: String,
}

/// What the file is compared with.
#[derive(Debug)]
pub struct KnownContent {
    /// The content that was last seen.
    pub bytes: Vec<u8>,
    /// Where a program was in the file when the text was moved.
    pub writer_position: Option<usize>,
}

/// What is at the path of the file.
#[derive(Debug)]
pub struct FileLook {
    /// What it means, for the decision whether it counts.
    pub sighting: Sighting,
    /// Entity tag of the file. `None`: there is no file.
    pub etag: Option<String>,
    /// What was found.
    pub content: FoundContent,
}

/// The content that was found.
#[derive(Debug)]
pub enum FoundContent {
    /// A text.
    Text(LoadedFile),
    /// What was known, with a write at the position of a program.
    LateWrite(LateWrite),
    /// There is no file.
    Missing,
    /// There is no text.
    NotText(LoadError),
}

impl FileLook {
    /// Nothing that can be read as text.
    pub fn not_text(etag: Option<String>, error: LoadError) -> Self {
        Self { sighting: Sighting::NotText, etag, content: FoundContent::NotText(error) }
    }
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
    /// A sentence about a file that was text when it was opened.
    pub fn file_state(&self) -> String {
        match self {
            Self::TooLarge => {
                format!("The file has grown beyond {} MiB.", MAX_DOCUMENT_BYTES / 1024 / 1024)
            }
            Self::NotText => "The file is not UTF-8 text any more.".to_owned(),
            Self::NotAFile => "The file is not a regular file any more.".to_owned(),
            Self::Io(error) => io_error_message(error),
        }
    }

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

/// The current entity tag of `path`. `None`: there is no file.
pub fn current_etag(files: &HomeFiles<'_>, path: &HomePath) -> io::Result<Option<String>> {
    Ok(files.stat(path)?.map(|stat| etag(&stat)))
}

/// Looks at `path` and compares it with what was known.
pub fn look(files: &HomeFiles<'_>, path: &HomePath, known: &KnownContent) -> FileLook {
    let stat = match files.stat(path) {
        Ok(Some(stat)) => stat,
        Ok(None) => return missing(),
        Err(error) => return FileLook::not_text(None, error.into()),
    };
    match look_at_file(files, path, known) {
        Ok(look) => look,
        Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => missing(),
        Err(error) => FileLook::not_text(Some(etag(&stat)), error),
    }
}

fn missing() -> FileLook {
    FileLook { sighting: Sighting::Missing, etag: None, content: FoundContent::Missing }
}

fn look_at_file(files: &HomeFiles<'_>, path: &HomePath, known: &KnownContent) -> Result<FileLook, LoadError> {
    let (file, stat) = open_regular_file(files, path)?;
    let etag = etag(&stat);
    let bytes = read_bytes(&file, &stat)?;
    let writers = find_writers(files, file.as_fd(), &stat);
    let late_write =
        known.writer_position.and_then(|position| find_late_write(&known.bytes, position, &bytes));
    let (relation, content) = match late_write {
        Some(late) => {
            std::str::from_utf8(&late.bytes).map_err(|_| LoadError::NotText)?;
            (Relation::Extended, FoundContent::LateWrite(late))
        }
        None => (Relation::of(&known.bytes, &bytes), FoundContent::Text(decode(bytes, etag.clone())?)),
    };
    Ok(FileLook { sighting: Sighting::Text { relation, writers }, etag: Some(etag), content })
}

/// Loads `path` as text.
pub fn load(files: &HomeFiles<'_>, path: &HomePath) -> Result<LoadedFile, LoadError> {
    let (file, stat) = open_regular_file(files, path)?;
    decode(read_bytes(&file, &stat)?, etag(&stat))
}

/// Size and time of modification. They change whenever a program writes to an open file.
pub fn content_version(stat: &Stat) -> (i64, i64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}

/// Reads a file that has lost its name.
pub fn read_open_file(mut file: &File, line_ending: LineEnding) -> Result<String, LoadError> {
    file.rewind()?;
    let stat = rustix::fs::fstat(file).map_err(io::Error::from)?;
    let text = decode_text(read_bytes(file, &stat)?)?;
    Ok(line_ending.decode(text))
}

fn open_regular_file(files: &HomeFiles<'_>, path: &HomePath) -> Result<(File, Stat), LoadError> {
    // With NONBLOCK, opening a pipe does not wait for a writer.
    let file = files.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
    if !is_file(&stat) {
        return Err(LoadError::NotAFile);
    }
    Ok((file.into(), stat))
}

fn read_bytes(mut file: &File, stat: &Stat) -> Result<Vec<u8>, LoadError> {
    if stat.st_size as u64 > MAX_DOCUMENT_BYTES {
        return Err(LoadError::TooLarge);
    }
    // The file may grow while it is read. Reading one byte more than allowed detects that.
    let mut bytes = Vec::with_capacity(stat.st_size as usize);
    (&mut file).take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(LoadError::TooLarge);
    }
    Ok(bytes)
}

fn decode(bytes: Vec<u8>, etag: String) -> Result<LoadedFile, LoadError> {
    let size = bytes.len() as u64;
    let text = decode_text(bytes)?;
    let line_ending = LineEnding::detect(&text);
    Ok(LoadedFile { text: line_ending.decode(text), line_ending, bytes: size, etag })
}

fn decode_text(bytes: Vec<u8>) -> Result<String, LoadError> {
    let text = String::from_utf8(bytes).map_err(|_| LoadError::NotText)?;
    // NUL is valid UTF-8, but a file that contains it is not text.
    if text.contains('\0') { Err(LoadError::NotText) } else { Ok(text) }
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
            ("a\r\nb\n", LineEnding::Mixed),
            ("a\r\nb\rc\r\n", LineEnding::Mixed),
            ("a\rb", LineEnding::Mixed),
        ] {
            assert_eq!(LineEnding::detect(text), expected, "{text:?}");
            let decoded = expected.decode(text.to_owned());
            assert_eq!(expected.encode(&decoded), text.as_bytes(), "{text:?}");
        }
    }
}
