//! Restores a backup into a new data directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use protocol::Redacted;
use tokio::task::spawn_blocking;

use super::{
    BackupDirectory, Description, create_private, database, failed, objects, sync_directory,
    verify::check_objects, write_private,
};
use crate::{
    output::{
        CommandError, ErrorKind,
        progress::{Step, Style},
    },
    up::{
        data_directory::DataDirectory,
        lock::DataLock,
        postgres::{Connection, Postgres},
        task_panicked,
    },
};

/// In a data directory whose restore has not finished.
const UNFINISHED: &str = "restore.unfinished";

/// Where a backup is restored to.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The new data directory.
    pub data_dir: PathBuf,
    /// URL of the object store; `None` is a directory in the data directory.
    pub store: Option<String>,
    /// File of the master key, if it is not in the backup.
    pub master_key: Option<PathBuf>,
}

/// Restores a backup. What an interrupted restore of the same directory has copied is used again.
pub async fn restore(
    style: Style,
    directory: &Path,
    options: &RestoreOptions,
) -> Result<Description, CommandError> {
    let backup = BackupDirectory(directory.to_owned());
    let description = backup.description()?;
    backup.check_file(&description.database)?;
    check_objects(&backup, &description).await?;
    let key = read_key(&backup, &description, options)?;
    let (data, _lock) = prepare(&options.data_dir)?;
    if let Some(key) = key {
        write_private(&data.master_key(), &key).map_err(failed("write", &data.master_key()))?;
    }
    if description.objects.is_some() {
        let url = options.store.clone().unwrap_or_else(|| data.objects_url());
        let (source, target) =
            (volume::store::open(&backup.objects_url()?).await?, volume::store::open(&url).await?);
        let mut step = Step::begin(style, "Copying the objects");
        objects::copy(&*source, &*target, &mut step).await?;
        step.done();
    }
    restore_database(style, &data, backup.path(&description.database.name)).await?;
    finish(&data)?;
    Ok(description)
}

/// Fails if a restore of this data directory was begun and has not finished.
pub fn refuse_unfinished(data: &DataDirectory) -> Result<(), CommandError> {
    if !data.path().join(UNFINISHED).exists() {
        return Ok(());
    }
    let what = format!("Cannot use {}: its restore from a backup did not finish", data.path().display());
    Err(CommandError::new(ErrorKind::Conflict, what)
        .hint("run `burrow backup restore` again with the same directories"))
}

/// The master key that the new installation gets; `None` if a key service has it.
fn read_key(
    backup: &BackupDirectory,
    description: &Description,
    options: &RestoreOptions,
) -> Result<Option<Vec<u8>>, CommandError> {
    let path = match (&options.master_key, &description.master_key) {
        (Some(path), _) => path.clone(),
        (None, Some(stored)) => {
            backup.check_file(stored)?;
            backup.path(&stored.name)
        }
        (None, None) => return Ok(None),
    };
    fs::read(&path).map(Some).map_err(failed("read", &path))
}

/// Opens a data directory without an installation, and marks that its restore has begun.
fn prepare(path: &Path) -> Result<(DataDirectory, DataLock), CommandError> {
    let data = DataDirectory::open(Some(path))?;
    let lock = DataLock::acquire(data.path())?;
    let is_ours = data.path().join(UNFINISHED).exists();
    let is_used =
        [data.postgres(), data.master_key(), data.path().join("objects")].iter().any(|path| path.exists());
    if is_used && !is_ours {
        let what = format!("Cannot restore into {}: it has an installation", data.path().display());
        return Err(CommandError::new(ErrorKind::Conflict, what)
            .hint("give a new directory with --data-dir; the installation there is not changed"));
    }
    let mark = data.path().join(UNFINISHED);
    create_private(&mark).and_then(|file| file.sync_all()).map_err(failed("create", &mark))?;
    sync_directory(data.path()).map_err(failed("write", data.path()))?;
    Ok((data, lock))
}

/// Creates the database, and fills it with the dump.
async fn restore_database(style: Style, data: &DataDirectory, dump: PathBuf) -> Result<(), CommandError> {
    // An interrupted attempt left one that may be half full.
    match fs::remove_dir_all(data.postgres()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &data.postgres())(error));
        }
        _ => (),
    }
    let step = Step::begin(style, "Restoring the database");
    let path = data.path().to_owned();
    let postgres = spawn_blocking(move || Postgres::start(&path)).await.map_err(task_panicked)??;
    let (url, connection) = (Redacted::new(postgres.url()), postgres.connection());
    let filled = fill(&url, connection, dump).await;
    spawn_blocking(move || postgres.stop()).await.map_err(task_panicked)??;
    filled?;
    step.done();
    Ok(())
}

async fn fill(url: &Redacted<String>, connection: Connection, dump: PathBuf) -> Result<(), CommandError> {
    // A dump has no roles. The migrations create them, and the dump replaces all else.
    migrate(url).await?;
    spawn_blocking(move || database::restore(&connection, &dump)).await.map_err(task_panicked)??;
    // Fails if a newer version has made the dump.
    migrate(url).await
}

async fn migrate(url: &Redacted<String>) -> Result<(), CommandError> {
    controller::migrate(url).await.map_err(|error| {
        CommandError::error("Cannot restore the database")
            .because(&error)
            .hint("use the version of Burrow that made the backup, or a newer one")
    })
}

fn finish(data: &DataDirectory) -> Result<(), CommandError> {
    let mark = data.path().join(UNFINISHED);
    fs::remove_file(&mark).map_err(failed("remove", &mark))?;
    sync_directory(data.path()).map_err(failed("write", data.path()))
}
