//! Verifies a backup: the files have their recorded checksums, and no object is missing.

use std::path::Path;

use super::{BackupDirectory, Description, objects};
use crate::output::{
    CommandError, ErrorKind,
    progress::{Step, Style},
};

/// Verifies a backup. Returns what it contains.
pub async fn verify(style: Style, directory: &Path) -> Result<Description, CommandError> {
    let backup = BackupDirectory(directory.to_owned());
    let description = backup.description()?;
    let step = Step::begin(style, "Verifying the backup");
    backup.check_file(&description.database)?;
    if let Some(key) = &description.master_key {
        backup.check_file(key)?;
    }
    check_objects(&backup, &description).await?;
    step.done();
    Ok(description)
}

/// Fails if there are fewer objects, or fewer bytes, than the backup was completed with. There may be more:
/// of a backup that is being written, or was interrupted.
pub(super) async fn check_objects(
    backup: &BackupDirectory,
    description: &Description,
) -> Result<(), CommandError> {
    let Some(recorded) = description.objects else { return Ok(()) };
    let store = volume::store::open(&backup.objects_url()?).await?;
    let found = objects::totals(&*store).await?;
    if found.count >= recorded.count && found.bytes >= recorded.bytes {
        return Ok(());
    }
    Err(CommandError::new(
        ErrorKind::Error,
        format!(
            "Cannot use the backup {}: it has {} objects of {} bytes, and {} of {} bytes were stored",
            backup.0.display(),
            found.count,
            found.bytes,
            recorded.count,
            recorded.bytes
        ),
    )
    .hint("use another backup, or make one again"))
}
