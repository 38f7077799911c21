//! Homes as the controller cannot know them by itself: read without a machine. Joins the volume,
//! which knows blocks, to the reader, which knows files; knows neither from within.

use std::{any::Any, ffi::OsString, io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use controller::{Past, PastError, PastHome};
use futures_util::future::BoxFuture;
use protocol::{
    ManifestId, TenantId,
    api::snapshot::{Changes, Diff, Directory, PastEntry},
    files::HomePath,
};
use reader::{ReadAt, ReaderCommand, ReaderError, SnapshotFiles};
use volume::{DataKey, ObjectStore, VolumeError};

/// Reads snapshots in a process of their own.
pub struct Snapshots {
    store: Arc<dyn ObjectStore>,
    child: ReaderCommand,
}

impl Snapshots {
    /// `program` is this program's own file.
    pub fn new(store: Arc<dyn ObjectStore>, program: PathBuf) -> Self {
        Self { store, child: ReaderCommand { program, args: vec![OsString::from("ext4-reader")] } }
    }
}

impl Past for Snapshots {
    fn open(
        &self,
        tenant: TenantId,
        key: DataKey,
        manifest: ManifestId,
    ) -> BoxFuture<'_, Result<Box<dyn PastHome>, PastError>> {
        Box::pin(async move {
            let snapshot = volume::SnapshotView::open(self.store.clone(), key, tenant, manifest).await;
            let snapshot = snapshot.map_err(|error| match error {
                VolumeError::Store(error) if error.is_transient() => PastError::Broken(error.to_string()),
                error => PastError::Unreadable(error.to_string()),
            })?;
            let home = SnapshotFiles::open(self.child.clone(), Arc::new(Disk(snapshot)))
                .await
                .map_err(past_error)?;
            if !home.sandbox_report().is_complete() {
                tracing::warn!(sandbox = ?home.sandbox_report(), "a wall around what reads homes is missing");
            }
            Ok(Box::new(Opened(home)) as Box<dyn PastHome>)
        })
    }
}

struct Disk(volume::SnapshotView);

impl ReadAt for Disk {
    fn read_at(&self, offset: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move { self.0.read(offset, length).await.map_err(io::Error::other) })
    }

    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }
}

struct Opened(SnapshotFiles);

impl PastHome for Opened {
    fn list<'a>(&'a mut self, path: &'a HomePath) -> BoxFuture<'a, Result<Directory, PastError>> {
        Box::pin(async move { self.0.list(path).await.map_err(past_error) })
    }

    fn stat<'a>(&'a mut self, path: &'a HomePath) -> BoxFuture<'a, Result<PastEntry, PastError>> {
        Box::pin(async move { self.0.stat(path).await.map_err(past_error) })
    }

    fn read<'a>(
        &'a mut self,
        path: &'a HomePath,
        offset: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Bytes, PastError>> {
        Box::pin(async move { self.0.read(path, offset, length).await.map_err(past_error) })
    }

    fn changes<'a>(
        &'a mut self,
        after: &'a mut dyn PastHome,
        path: &'a HomePath,
        most: usize,
    ) -> BoxFuture<'a, Result<Changes, PastError>> {
        Box::pin(async move {
            reader::list_changes(&mut self.0, same_kind(after)?, path, most).await.map_err(past_error)
        })
    }

    fn diff<'a>(
        &'a mut self,
        after: &'a mut dyn PastHome,
        path: &'a HomePath,
    ) -> BoxFuture<'a, Result<Diff, PastError>> {
        Box::pin(
            async move { reader::diff_file(&mut self.0, same_kind(after)?, path).await.map_err(past_error) },
        )
    }
}

fn same_kind(home: &mut dyn PastHome) -> Result<&mut SnapshotFiles, PastError> {
    let home: &mut dyn Any = home;
    let opened = home.downcast_mut::<Opened>();
    opened.map(|opened| &mut opened.0).ok_or_else(|| PastError::Broken("it is of another kind".to_owned()))
}

fn past_error(error: ReaderError) -> PastError {
    match error {
        ReaderError::NotFound => PastError::NotFound,
        ReaderError::NotADirectory => PastError::NotADirectory,
        ReaderError::IsADirectory | ReaderError::NotAFile => PastError::NotAFile,
        ReaderError::NotAHome(_) | ReaderError::Unsupported(_) | ReaderError::Damaged(_) => {
            PastError::Unreadable(error.to_string())
        }
        ReaderError::Timeout => PastError::Timeout,
        ReaderError::Spawn(ref source) | ReaderError::Disk(ref source) => {
            PastError::Broken(format!("{error}: {source}"))
        }
        ReaderError::Broken(_) => PastError::Broken(error.to_string()),
    }
}
