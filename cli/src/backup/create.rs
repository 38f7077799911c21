//! Makes a backup.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use volume::store::ObjectStore;

use super::{
    BackupDirectory, DESCRIPTION, Description, FORMAT, MASTER_KEY, OBJECTS, StoredFile, database, failed,
    objects, write_private,
};
use crate::{
    output::{
        CommandError, ErrorKind,
        progress::{Step, Style},
    },
    up::{
        data_directory::DataDirectory,
        lock::{DataLock, LockError},
        postgres::{Connection, Postgres},
        task_panicked,
    },
};

/// How often the database is dumped again because objects were deleted while they were copied.
const MAX_ROUNDS: usize = 3;
/// What a directory of backups has beside dumps.
const OWN_NAMES: [&str; 4] = [DESCRIPTION, MASTER_KEY, OBJECTS, "lock"];

/// What a backup is made of.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Directory of the installation; `None` is the default one.
    pub data_dir: Option<PathBuf>,
    /// URL of its object store; `None` is the one in its directory.
    pub store: Option<String>,
    /// File of its master key; `None` is the one in its directory.
    pub master_key: Option<PathBuf>,
    /// Leave the master key out.
    pub without_key: bool,
    /// Leave the objects out.
    pub without_objects: bool,
}

/// Makes a backup of an installation, which may be running.
pub async fn create(
    style: Style,
    directory: &Path,
    options: &CreateOptions,
) -> Result<Description, CommandError> {
    let data = find_installation(options.data_dir.as_deref())?;
    let (backup, _lock) = open(directory)?;
    let objects = Objects::open(&backup, &data, options).await?;
    let server = Server::find_or_start(style, &data).await?;
    let made = make(style, &backup, server.connection(), objects.as_ref()).await;
    server.stop().await?;
    let description = Description { master_key: store_key(&backup, &data, options)?, ..made? };
    backup.write_description(&description)?;
    remove_others(&backup, &description)?;
    if let Some(objects) = &objects {
        objects.delete_unneeded().await?;
    }
    Ok(description)
}

/// Creates the directory, and locks it: two backups into one directory would remove each other's files.
fn open(directory: &Path) -> Result<(BackupDirectory, DataLock), CommandError> {
    let backup = BackupDirectory(directory.to_owned());
    // What a newer version has put here is not replaced.
    backup.find_description()?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("create", directory))?;
    refuse_foreign(directory)?;
    let lock = DataLock::acquire(directory).map_err(|error| match error {
        LockError::Held { .. } => {
            let what =
                format!("Cannot write to {}: another backup is being written there", directory.display());
            CommandError::new(ErrorKind::Conflict, what).hint("wait for it, or choose another directory")
        }
        LockError::Io { .. } => error.into(),
    })?;
    Ok((backup, lock))
}

/// Whether this is the name of a dump, as [`dump`] chooses it.
fn is_dump(name: &str) -> bool {
    name.starts_with("database-") && Path::new(name).extension() == Some("dump".as_ref())
}

/// Fails if the directory has files that no backup has.
fn refuse_foreign(directory: &Path) -> Result<(), CommandError> {
    for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
        let name = entry.map_err(failed("read", directory))?.file_name();
        let is_ours = name.to_str().is_some_and(|name| {
            is_dump(name) || OWN_NAMES.contains(&name) || Path::new(name).extension() == Some("new".as_ref())
        });
        if !is_ours {
            let what = format!(
                "Cannot write a backup to {}: it has other files, such as {}",
                directory.display(),
                name.display()
            );
            return Err(CommandError::new(ErrorKind::Conflict, what).hint("give a new directory"));
        }
    }
    Ok(())
}

/// Dumps the database, then copies the objects.
async fn make(
    style: Style,
    backup: &BackupDirectory,
    connection: &Connection,
    objects: Option<&Objects>,
) -> Result<Description, CommandError> {
    for _ in 0..MAX_ROUNDS {
        let description = dump(style, backup, connection).await?;
        let Some(objects) = objects else { return Ok(description) };
        let mut step = Step::begin(style, "Copying the objects");
        let copied = objects::copy(&*objects.source, &*objects.target, &mut step).await?;
        step.done();
        // Otherwise the dump may name snapshots whose objects were deleted.
        if copied.vanished == 0 {
            return Ok(Description { objects: Some(copied.totals), ..description });
        }
    }
    Err(CommandError::new(
        ErrorKind::Conflict,
        "Cannot copy the objects: the server deletes some all the time",
    )
    .hint("try again later"))
}

/// The objects of the installation and of the backup.
struct Objects {
    source: Arc<dyn ObjectStore>,
    target: Arc<dyn ObjectStore>,
    /// What the backup has and the installation had not, before the database was dumped. The dump cannot name
    /// it.
    unneeded: Vec<String>,
}

impl Objects {
    /// Opens both stores; `None` if objects are left out.
    async fn open(
        backup: &BackupDirectory,
        data: &DataDirectory,
        options: &CreateOptions,
    ) -> Result<Option<Self>, CommandError> {
        if options.without_objects {
            return Ok(None);
        }
        let url = options.store.clone().unwrap_or_else(|| data.objects_url());
        let source = volume::store::open(&url).await?;
        let target = volume::store::open(&backup.objects_url()?).await?;
        let unneeded = objects::find_others(&*target, &*source).await?;
        Ok(Some(Self { source, target, unneeded }))
    }

    async fn delete_unneeded(&self) -> Result<(), CommandError> {
        Ok(objects::delete(&*self.target, &*self.source, &self.unneeded).await?)
    }
}

/// The data directory, if it has an installation.
fn find_installation(path: Option<&Path>) -> Result<DataDirectory, CommandError> {
    let path = path.map_or_else(DataDirectory::default_path, |path| Ok(path.to_owned()))?;
    if path.join("postgres/PG_VERSION").is_file() {
        return Ok(DataDirectory::open(Some(&path))?);
    }
    Err(CommandError::new(
        ErrorKind::NotFound,
        format!("Cannot find a database of Burrow in {}", path.display()),
    )
    .hint("give its directory with --data-dir; back up your own Postgres with its tools"))
}

/// Copies the master key, if there is a file of it.
fn store_key(
    backup: &BackupDirectory,
    data: &DataDirectory,
    options: &CreateOptions,
) -> Result<Option<StoredFile>, CommandError> {
    let path = options.master_key.clone().unwrap_or_else(|| data.master_key());
    let is_missing = options.master_key.is_none() && !path.exists();
    if options.without_key || is_missing {
        return Ok(None);
    }
    let key = fs::read(&path).map_err(failed("read", &path))?;
    let stored = backup.path(MASTER_KEY);
    write_private(&stored, &key).map_err(failed("write", &stored))?;
    StoredFile::of(&stored).map(Some).map_err(failed("read", &stored))
}

/// Dumps the database into a new file of the backup.
async fn dump(
    style: Style,
    backup: &BackupDirectory,
    connection: &Connection,
) -> Result<Description, CommandError> {
    let step = Step::begin(style, "Dumping the database");
    let created = OffsetDateTime::now_utc();
    let path = backup.path(&format!("database-{}.dump", created.unix_timestamp_nanos()));
    let (from, to) = (connection.clone(), path.clone());
    spawn_blocking(move || database::dump(&from, &to)).await.map_err(task_panicked)??;
    step.done();
    Ok(Description {
        format: FORMAT,
        created: created.replace_nanosecond(0).expect("a valid nanosecond"),
        burrow: env!("CARGO_PKG_VERSION").to_owned(),
        postgres: connection.version(),
        database: StoredFile::of(&path).map_err(failed("read", &path))?,
        master_key: None,
        objects: None,
    })
}

/// Removes what belongs to an earlier backup, or to an attempt that failed.
fn remove_others(backup: &BackupDirectory, description: &Description) -> Result<(), CommandError> {
    for entry in fs::read_dir(&backup.0).map_err(failed("read", &backup.0))? {
        let entry = entry.map_err(failed("read", &backup.0))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_other_dump = is_dump(name) && name != description.database.name;
        let is_other_key = name == MASTER_KEY && description.master_key.is_none();
        // Without objects, those of an earlier backup would be taken for this one's.
        let is_other_store = name == OBJECTS && description.objects.is_none();
        if is_other_dump || is_other_key {
            fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
        } else if is_other_store {
            fs::remove_dir_all(entry.path()).map_err(failed("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// The Postgres that is dumped.
enum Server {
    /// `burrow up` runs it.
    Running(Connection),
    /// This process has started it, because the installation is stopped.
    Started(Postgres, Connection, DataLock),
}

impl Server {
    async fn find_or_start(style: Style, data: &DataDirectory) -> Result<Self, CommandError> {
        let path = data.path().to_owned();
        match DataLock::acquire(&path) {
            Err(LockError::Held { pid, .. }) => {
                Connection::to_running(&path)?.map(Self::Running).ok_or_else(|| {
                    let process = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                    CommandError::new(
                        ErrorKind::Unavailable,
                        format!(
                            "Cannot dump the database: `burrow up`{process} has no Postgres that is ready"
                        ),
                    )
                    .hint("try again when it is running; back up your own Postgres with its tools")
                })
            }
            Err(error) => Err(error.into()),
            Ok(lock) => {
                let step = Step::begin(style, "Starting Postgres");
                let postgres =
                    spawn_blocking(move || Postgres::start(&path)).await.map_err(task_panicked)??;
                step.done();
                let connection = postgres.connection();
                Ok(Self::Started(postgres, connection, lock))
            }
        }
    }

    fn connection(&self) -> &Connection {
        match self {
            Self::Running(connection) | Self::Started(_, connection, _) => connection,
        }
    }

    async fn stop(self) -> Result<(), CommandError> {
        if let Self::Started(postgres, _, lock) = self {
            spawn_blocking(move || postgres.stop()).await.map_err(task_panicked)??;
            drop(lock);
        }
        Ok(())
    }
}
