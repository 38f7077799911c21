//! Objects as files under a directory. An object is written to a temporary file, synced and linked
//! into place. So it exists completely or not at all, and the file system itself refuses a second
//! one of the same name.
//!
//! The disk is usually that of the database and the caches. When it is nearly full, nothing new is
//! stored: what the database writes then still has room, and the caches keep what is not stored.

use std::{
    fs,
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{
    future::BoxFuture,
    stream::{self, Stream},
};

use super::{MAX_LIST, ObjectInfo, ObjectStore, ObjectStream, PutOutcome, StoreError, validate_name};
use crate::{
    format::key::{hex, random_bytes},
    maintain::disk_space::FreeSpace,
};

/// Where temporary files lie. What a crash leaves here is removed when the store is opened, once it
/// is old.
const INCOMING: &str = ".incoming";

/// A temporary file older than this belongs to no running writer.
const INCOMING_TTL: std::time::Duration = std::time::Duration::from_hours(24);

/// Size of the pieces of a stream.
const PIECE_BYTES: u64 = 256 << 10;

/// A store in a directory of this host, or of a file system that hosts share.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
    measure: fn(&Path) -> io::Result<FreeSpace>,
}

impl DirectoryStore {
    /// Opens the store. Creates the directory if it does not exist.
    pub async fn open(root: PathBuf) -> Result<Self, StoreError> {
        let store = Self { root, measure: FreeSpace::of };
        let temporary = store.root.join(INCOMING);
        blocking(move || {
            create_directory(&temporary).map_err(|error| unavailable(&temporary, &error))?;
            remove_abandoned(&temporary);
            Ok(())
        })
        .await?;
        Ok(store)
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        validate_name(name)?;
        Ok(self.root.join(name))
    }
}

impl ObjectStore for DirectoryStore {
    fn put_if_absent<'a>(
        &'a self,
        name: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            let path = self.path(name)?;
            let temporary = self.root.join(INCOMING).join(hex(&random_bytes::<16>()));
            let (root, measure) = (self.root.clone(), self.measure);
            blocking(move || {
                let space = measure(&root).map_err(|error| unavailable(&root, &error))?;
                if space == FreeSpace::NearlyFull {
                    return Err(StoreError::Full(root.display().to_string()));
                }
                let put = put(&path, &temporary, &body);
                let _ = fs::remove_file(&temporary);
                put.map_err(|error| unavailable(&path, &error))
            })
            .await
        })
    }

    fn get<'a>(&'a self, name: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let (path, name) = (self.path(name)?, name.to_owned());
            blocking(move || {
                let file = open_object(&path, &name)?;
                let length = file.metadata().map_err(|error| unavailable(&path, &error))?.len();
                if length > bytes_max {
                    return Err(StoreError::Malformed(name));
                }
                read_exactly(&file, &path, &name, 0..length)
            })
            .await
        })
    }

    fn get_stream<'a>(
        &'a self,
        name: &'a str,
        max_bytes: u64,
    ) -> BoxFuture<'a, Result<ObjectStream, StoreError>> {
        Box::pin(async move {
            let (path, name) = (self.path(name)?, name.to_owned());
            blocking(move || {
                let file = open_object(&path, &name)?;
                let bytes = file.metadata().map_err(|error| unavailable(&path, &error))?.len();
                if bytes > max_bytes {
                    return Err(StoreError::Malformed(name));
                }
                Ok(ObjectStream { bytes, pieces: Box::pin(read_pieces(file, path, name, bytes)) })
            })
            .await
        })
    }

    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let (path, name) = (self.path(name)?, name.to_owned());
            blocking(move || read_exactly(&open_object(&path, &name)?, &path, &name, range)).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        let (root, prefix, after) = (self.root.clone(), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(blocking(move || {
            let mut page = Page { prefix: &prefix, after: after.as_deref(), found: Vec::new() };
            page.walk(&root, "").map_err(|error| unavailable(&root, &error))?;
            Ok(page.found)
        }))
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let path = self.path(name)?;
            blocking(move || match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(&path, &error)),
                _ => Ok(()),
            })
            .await
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
}

fn put(path: &Path, temporary: &Path, body: &[u8]) -> io::Result<PutOutcome> {
    let directory = path.parent().expect("an object lies under the root");
    create_directory(directory)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(body)?;
    file.sync_all()?;
    let put = match fs::hard_link(temporary, path) {
        Ok(()) => PutOutcome::Created,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => PutOutcome::Existed,
        Err(error) => return Err(error),
    };
    // Also if it existed: the process that linked it may have died before this line.
    sync_directory(directory)?;
    Ok(put)
}

/// Creates a directory and its parents, each durable before something is put into it.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_directory(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => (),
    }
    parent.map_or(Ok(()), sync_directory)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn open_object(path: &Path, name: &str) -> Result<fs::File, StoreError> {
    fs::File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound(name.to_owned()),
        _ => unavailable(path, &error),
    })
}

fn read_exactly(file: &fs::File, path: &Path, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
    let mut bytes =
        vec![0; usize::try_from(range.end - range.start).expect("callers ask for ranges that fit")];
    file.read_exact_at(&mut bytes, range.start).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => StoreError::Malformed(name.to_owned()),
        _ => unavailable(path, &error),
    })?;
    Ok(bytes.into())
}

/// Reads a file from its start, in pieces.
fn read_pieces(
    file: fs::File,
    path: PathBuf,
    name: String,
    bytes: u64,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let opened = Arc::new((file, path, name));
    stream::try_unfold(0, move |start| {
        let opened = opened.clone();
        async move {
            let end = bytes.min(start + PIECE_BYTES);
            if start == end {
                return Ok(None);
            }
            let read = move || {
                let (file, path, name) = &*opened;
                read_exactly(file, path, name, start..end)
            };
            Ok(Some((blocking(read).await?, end)))
        }
    })
}

/// The next objects of a listing.
struct Page<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    found: Vec<ObjectInfo>,
}

impl Page<'_> {
    /// Collects objects under a directory in the order of their names. `parent` is the name of the directory.
    /// Directories that cannot have one are not read, so that a listing in pages reads each once.
    fn walk(&mut self, directory: &Path, parent: &str) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(part) = file_name.to_str().filter(|part| validate_name(part).is_ok()) else { continue };
            let is_directory = entry.file_type()?.is_dir();
            let end = if is_directory { "/" } else { "" };
            entries.push((format!("{parent}{part}{end}"), entry, is_directory));
        }
        entries.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        for (name, entry, is_directory) in entries {
            if self.found.len() == MAX_LIST {
                break;
            }
            if is_directory && self.may_have_objects(&name) {
                self.walk(&entry.path(), &name)?;
            } else if !is_directory && self.is_next(&name) {
                // One that was deleted since is not listed.
                match entry.metadata() {
                    Ok(metadata) => self.found.push(ObjectInfo { name, bytes: metadata.len() }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn is_next(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && self.after.is_none_or(|after| name > after)
    }

    /// Whether names that begin with this directory's may belong to the page.
    fn may_have_objects(&self, directory: &str) -> bool {
        let has_prefix = directory.starts_with(self.prefix) || self.prefix.starts_with(directory);
        has_prefix && self.after.is_none_or(|after| after < directory || after.starts_with(directory))
    }
}

/// Removes temporary files that no writer uses any more.
fn remove_abandoned(incoming: &Path) {
    let is_abandoned = |entry: &fs::DirEntry| {
        let age =
            entry.metadata().and_then(|metadata| metadata.modified()).map(|modified| modified.elapsed());
        matches!(age, Ok(Ok(age)) if age > INCOMING_TTL)
    };
    for entry in fs::read_dir(incoming).into_iter().flatten().flatten().filter(is_abandoned) {
        let _ = fs::remove_file(entry.path());
    }
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory => StoreError::Denied(text),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        _ => StoreError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_list_all_names_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DirectoryStore::open(directory.path().to_owned()).await.expect("opens");
        // `-` and `.` sort before `/`, letters after it.
        let mut names: Vec<String> =
            ["a-b", "a.b", "a/1", "a/b/2", "ab", "b/a", "b0"].map(String::from).into();
        names.extend((0..MAX_LIST).map(|number| format!("a/c/{number:04}")));
        for name in &names {
            store.put_if_absent(name, Bytes::from_static(b"body")).await.expect("stored");
        }
        names.sort();
        let list = async |prefix: &str, after: Option<&str>| {
            let page = store.list(prefix, after).await.expect("listed");
            page.into_iter().map(|object| object.name).collect::<Vec<_>>()
        };
        let first = list("", None).await;
        assert_eq!(first, names[..MAX_LIST]);
        assert_eq!(list("", first.last().map(String::as_str)).await, names[MAX_LIST..]);
        for (index, after) in names.iter().enumerate().filter(|(_, name)| !name.starts_with("a/c/")) {
            let rest = &names[index + 1..];
            assert_eq!(list("", Some(after)).await, rest[..rest.len().min(MAX_LIST)], "after {after}");
        }
        assert_eq!(list("a/b", Some("a.b")).await, ["a/b/2"]);
        assert_eq!(list("b", None).await, ["b/a", "b0"]);
    }

    #[tokio::test]
    async fn nearly_full_disk_keeps_room_for_database() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DirectoryStore::open(directory.path().to_owned()).await.expect("opens");
        let body = || Bytes::from_static(b"content");
        store.put_if_absent("a/old", body()).await.expect("stored");
        let full = DirectoryStore { measure: |_| Ok(FreeSpace::NearlyFull), ..store.clone() };
        assert!(matches!(full.put_if_absent("a/new", body()).await, Err(StoreError::Full(_))));
        assert_eq!(full.get("a/old", 10).await.expect("kept"), body());
        full.delete("a/old").await.expect("gc makes room");
        let low = DirectoryStore { measure: |_| Ok(FreeSpace::Low), ..store };
        low.put_if_absent("a/new", body()).await.expect("running homes are still saved");
    }
}
