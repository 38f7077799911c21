//! Backups of an installation: its database, its master key and its objects in one directory.
//!
//! ```text
//! DIRECTORY/
//!   backup.json        what belongs to the backup, with sizes and checksums; replaced last
//!   database-*.dump    a dump of the database, in the format of pg_restore
//!   master.key         absent if it is kept elsewhere
//!   objects/           an object store in a directory
//! ```
//!
//! The database is dumped before the objects are copied. An object is written before the row that names it
//! and never changes, so the copy has everything that the dump names. A second backup into the same directory
//! copies new objects only; until its `backup.json` is in place, the directory is the earlier backup.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::output::{CommandError, ErrorKind, Record, clock::Clock, size};

mod create;
mod database;
mod objects;
mod restore;
mod verify;

pub use self::{
    create::{CreateOptions, create},
    restore::{RestoreOptions, refuse_unfinished, restore},
    verify::verify,
};

/// The version of the format. A program refuses a newer one.
const FORMAT: u32 = 1;
const DESCRIPTION: &str = "backup.json";
const MASTER_KEY: &str = "master.key";
const OBJECTS: &str = "objects";
/// Size of the pieces in which a file is read for its checksum.
const PIECE_BYTES: usize = 1 << 20;

/// What a backup contains. It is the content of `backup.json`, and the result of `burrow backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of the format.
    format: u32,
    /// When the database was dumped.
    #[serde(with = "time::serde::rfc3339")]
    created: OffsetDateTime,
    /// Version of the program that made the backup.
    burrow: String,
    /// Major version of the Postgres that made the dump.
    postgres: u32,
    /// The dump of the database.
    database: StoredFile,
    /// The master key; `None` if it is not in the backup.
    master_key: Option<StoredFile>,
    /// The objects; `None` if they are not in the backup.
    objects: Option<ObjectTotals>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredFile {
    /// Name in the directory.
    name: String,
    /// Size of the file.
    bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    sha256: String,
}

/// The objects of a backup together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectTotals {
    /// How many there are.
    count: u64,
    /// Their sizes together.
    bytes: u64,
}

impl Record for Description {
    const COLUMNS: &'static [&'static str] = &["created", "database", "master key", "objects", "size"];
    const WIDE: &'static [&'static str] = &["burrow", "postgres"];

    fn cells(&self) -> Vec<String> {
        let objects = self.objects.unwrap_or_default();
        let text = |is_there, text: String| if is_there { text } else { "not included".to_owned() };
        vec![
            Clock::read().exact(self.created),
            size(self.database.bytes),
            text(self.master_key.is_some(), "included".to_owned()),
            text(self.objects.is_some(), objects.count.to_string()),
            size(self.database.bytes + objects.bytes),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![self.burrow.clone(), self.postgres.to_string()]
    }

    fn name(&self) -> String {
        self.database.name.clone()
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}

/// The directory of a backup.
#[derive(Clone, Debug)]
struct BackupDirectory(PathBuf);

impl BackupDirectory {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// URL of the store of its objects.
    fn objects_url(&self) -> Result<String, CommandError> {
        let path = std::path::absolute(self.path(OBJECTS)).map_err(failed("find", &self.0))?;
        Ok(format!("file://{}", path.display()))
    }

    /// Reads `backup.json`. `None` if there is none.
    fn find_description(&self) -> Result<Option<Description>, CommandError> {
        let path = self.path(DESCRIPTION);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let description: Description = serde_json::from_slice(&text).map_err(|error| {
            CommandError::error(format!("Cannot read {}", path.display()))
                .because(&error)
                .hint("restore another backup")
        })?;
        if description.format > FORMAT {
            return Err(CommandError::error(format!(
                "Cannot use the backup {}: Burrow {} made it, this is {}",
                self.0.display(),
                description.burrow,
                env!("CARGO_PKG_VERSION")
            ))
            .hint("install that version or a newer one"));
        }
        Ok(Some(description))
    }

    /// Reads `backup.json`.
    fn description(&self) -> Result<Description, CommandError> {
        self.find_description()?.ok_or_else(|| {
            CommandError::new(
                ErrorKind::NotFound,
                format!("Cannot find a complete backup in {}: it has no {DESCRIPTION}", self.0.display()),
            )
            .hint("burrow backup create DIRECTORY makes one")
        })
    }

    /// Replaces `backup.json`, which completes the backup.
    fn write_description(&self, description: &Description) -> Result<(), CommandError> {
        let path = self.path(DESCRIPTION);
        let text = serde_json::to_vec_pretty(description).expect("it has only texts and numbers");
        write_private(&path, &text).map_err(failed("write", &path))
    }

    /// Fails unless the file has the recorded size and checksum.
    fn check_file(&self, file: &StoredFile) -> Result<(), CommandError> {
        let path = self.path(&file.name);
        let found = StoredFile::of(&path).map_err(failed("read", &path))?;
        if found == *file {
            return Ok(());
        }
        Err(CommandError::error(format!("Cannot use {}: it was changed or damaged", path.display()))
            .hint("use another backup, or make one again"))
    }
}

impl StoredFile {
    /// Measures a file.
    fn of(path: &Path) -> io::Result<Self> {
        let (mut file, mut digest, mut bytes) = (File::open(path)?, Digest::new(&SHA256), 0);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = io::Read::read(&mut file, &mut piece)?;
            if read == 0 {
                break;
            }
            digest.update(&piece[..read]);
            bytes += read as u64;
        }
        let mut sha256 = String::new();
        for byte in digest.finish().as_ref() {
            write!(sha256, "{byte:02x}").expect("memory");
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, bytes, sha256 })
    }
}

/// Creates a file that only this user can read.
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Replaces a file by one that only this user can read. It has the old content or the new one.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = create_private(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path.parent().expect("a file has a directory"))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Turns an I/O error into a [`CommandError`].
fn failed(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> CommandError {
    let what = format!("Cannot {verb} {}", path.display());
    move |error| CommandError::error(what).because(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(format: u32) -> Description {
        let database = StoredFile { name: "database-1.dump".to_owned(), bytes: 3, sha256: "ab".to_owned() };
        Description {
            format,
            created: OffsetDateTime::UNIX_EPOCH,
            burrow: "9.0.0".to_owned(),
            postgres: 15,
            database,
            master_key: None,
            objects: Some(ObjectTotals { count: 2, bytes: 10 }),
        }
    }

    #[test]
    fn description_is_read_as_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let backup = BackupDirectory(directory.path().to_owned());
        assert_eq!(backup.find_description().expect("readable"), None);
        assert_eq!(backup.description().expect_err("no backup").kind, ErrorKind::NotFound);
        backup.write_description(&description(FORMAT)).expect("written");
        assert_eq!(backup.description().expect("there"), description(FORMAT));
    }

    #[test]
    fn newer_format_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let backup = BackupDirectory(directory.path().to_owned());
        backup.write_description(&description(FORMAT + 1)).expect("written");
        let refused = backup.description().expect_err("newer").summary();
        assert!(refused.contains("Burrow 9.0.0 made it"), "{refused}");
    }

    #[test]
    fn changed_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let backup = BackupDirectory(directory.path().to_owned());
        let path = backup.path("database-1.dump");
        write_private(&path, b"content").expect("written");
        let file = StoredFile::of(&path).expect("measured");
        assert_eq!(file.sha256, "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73");
        backup.check_file(&file).expect("unchanged");
        write_private(&path, b"c0ntent").expect("written");
        assert!(backup.check_file(&file).is_err(), "same size, other content");
    }
}
