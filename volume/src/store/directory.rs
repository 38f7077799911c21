//! Objects as files beneath a directory. An object is written beside, made durable and linked into place, so that it is there
//! whole or not at all, and a second one of its name is refused by the file system itself.

use std::{
    fs,
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Listed, MAX_LIST, ObjectStore, Put, StoreError, check_name};
use crate::key::{hex, random_bytes};

/// Where half-written objects lie; what a crash leaves here means nothing and is removed at the next opening, once old.
const BESIDE: &str = ".incoming";

/// A half-written object older than this belongs to no writer.
const ABANDONED_AFTER: std::time::Duration = std::time::Duration::from_hours(24);

#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
}

impl DirectoryStore {
    pub async fn open(root: PathBuf) -> Result<Self, StoreError> {
        let store = Self { root };
        let beside = store.root.join(BESIDE);
        blocking(move || {
            make_directory(&beside).map_err(|error| unavailable(&beside, &error))?;
            sweep(&beside);
            Ok(())
        })
        .await?;
        Ok(store)
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        Ok(self.root.join(name))
    }
}

impl ObjectStore for DirectoryStore {
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Put, StoreError>> {
        Box::pin(async move {
            let path = self.path(name)?;
            let beside = self.root.join(BESIDE).join(hex(&random_bytes::<16>()));
            blocking(move || {
                let put = put(&path, &beside, &body);
                let _ = fs::remove_file(&beside);
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
    ) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        let (root, prefix, after) = (self.root.clone(), prefix.to_owned(), after.map(str::to_owned));
        Box::pin(blocking(move || {
            let mut found = Vec::new();
            walk(&root, "", &prefix, &mut found).map_err(|error| unavailable(&root, &error))?;
            found.sort_by(|one, other| one.name.cmp(&other.name));
            let first = after.map_or(0, |after| found.partition_point(|listed| listed.name <= after));
            found.drain(..first);
            found.truncate(MAX_LIST);
            Ok(found)
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

fn put(path: &Path, beside: &Path, body: &[u8]) -> io::Result<Put> {
    let directory = path.parent().expect("an object lies beneath the root");
    make_directory(directory)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(body)?;
    file.sync_all()?;
    let put = match fs::hard_link(beside, path) {
        Ok(()) => Put::Created,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Put::Existed,
        Err(error) => return Err(error),
    };
    // Also when it existed: whoever linked it may not have come to this line.
    sync_directory(directory)?;
    Ok(put)
}

/// Makes a directory with its parents, each durable before something is put into it.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_directory(parent)?;
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

fn walk(directory: &Path, beneath: &str, prefix: &str, found: &mut Vec<Listed>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(part) = file_name.to_str().filter(|part| check_name(part).is_ok()) else { continue };
        let name = format!("{beneath}{part}");
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let inside = format!("{name}/");
            if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                walk(&entry.path(), &inside, prefix, found)?;
            }
        } else if name.starts_with(prefix) {
            found.push(Listed { name, bytes: metadata.len() });
        }
    }
    Ok(())
}

fn sweep(beside: &Path) {
    let old = |entry: &fs::DirEntry| {
        let age =
            entry.metadata().and_then(|metadata| metadata.modified()).map(|modified| modified.elapsed());
        matches!(age, Ok(Ok(age)) if age > ABANDONED_AFTER)
    };
    for entry in fs::read_dir(beside).into_iter().flatten().flatten().filter(old) {
        let _ = fs::remove_file(entry.path());
    }
}

fn unavailable(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory => StoreError::Denied(text),
        _ => StoreError::Unavailable(text),
    }
}
