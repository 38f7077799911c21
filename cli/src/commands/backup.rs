//! `burrow backup`: makes, verifies and restores backups of an installation on this host.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    backup::{self, CreateOptions, RestoreOptions},
    context::Context,
    output::CommandError,
};

/// Back up an installation on this computer, and restore a backup
#[derive(Debug, Args)]
pub struct Backup {
    #[command(subcommand)]
    pub command: BackupCommand,
}

/// The subcommands of `burrow backup`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back up the database, the master key and the objects into a directory
    #[command(after_long_help = "\
Examples:
  burrow backup create /mnt/backup/burrow
  burrow backup create --without-key /mnt/backup/burrow
  burrow backup create --without-objects --data-dir /srv/burrow /mnt/backup/burrow -o json

Burrow may be running. The homes in the backup are those of their last snapshots; what a running
workspace has written since is not in it. A second backup into the same directory copies new
objects only, and replaces the first one when it is complete.

With the master key, anyone who has the backup can read every home. Give --without-key, and keep the
key in another place, if others can read the directory.")]
    Create {
        /// Directory of the backup
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
        /// Directory of the installation [default: $XDG_DATA_HOME/burrow, or /var/lib/burrow for root]
        #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Object store of the installation, as given to `burrow up` [default: a directory in its directory]
        #[arg(long, env = "BURROW_STORE", value_name = "URL")]
        store: Option<String>,
        /// File of its master key, as given to `burrow up` [default: master.key in its directory]
        #[arg(long, env = "BURROW_MASTER_KEY", value_name = "FILE")]
        master_key: Option<PathBuf>,
        /// Leave the master key out
        #[arg(long, env = "BURROW_WITHOUT_KEY")]
        without_key: bool,
        /// Leave the objects out, for a bucket that is backed up in another way
        #[arg(long, env = "BURROW_WITHOUT_OBJECTS")]
        without_objects: bool,
    },
    /// Check that a backup is complete and was not changed
    #[command(after_long_help = "\
Examples:
  burrow backup verify /mnt/backup/burrow
  burrow backup verify /mnt/backup/burrow -o json

It compares the checksums of the database and the key, and counts the objects. Only a restore shows
that every home can be read: `burrow volume scrub NAME --all` reads and verifies a restored one.")]
    Verify {
        /// Directory of the backup
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
    },
    /// Restore a backup into a new data directory
    #[command(after_long_help = "\
Examples:
  burrow backup restore /mnt/backup/burrow --data-dir /var/lib/burrow
  burrow backup restore /mnt/backup/burrow --data-dir /srv/burrow --master-key /root/burrow.key
  burrow up --data-dir /srv/burrow

The data directory must be new. An interrupted restore continues when it is run again; until it is
complete, `burrow up` refuses to start there. Stop the old installation first if it still runs and
uses the same bucket: two servers must never save the same homes.")]
    Restore {
        /// Directory of the backup
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
        /// The new data directory
        #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,
        /// Object store to copy the objects to [default: a directory in the data directory]
        #[arg(long, env = "BURROW_STORE", value_name = "URL")]
        store: Option<String>,
        /// File of the master key, if it is not in the backup
        #[arg(long, env = "BURROW_MASTER_KEY", value_name = "FILE")]
        master_key: Option<PathBuf>,
    },
}

impl Backup {
    /// Runs the command.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let style = context.style;
        let description = match self.command {
            BackupCommand::Create {
                directory,
                data_dir,
                store,
                master_key,
                without_key,
                without_objects,
            } => {
                let options = CreateOptions { data_dir, store, master_key, without_key, without_objects };
                backup::create(style, &directory, &options).await?
            }
            BackupCommand::Verify { directory } => backup::verify(style, &directory).await?,
            BackupCommand::Restore { directory, data_dir, store, master_key } => {
                let options = RestoreOptions { data_dir, store, master_key };
                let description = backup::restore(style, &directory, &options).await?;
                context.output.say(&format!(
                    "Restored. Start it: burrow up --data-dir {}",
                    crate::output::shell_word(&options.data_dir.display().to_string())
                ));
                description
            }
        };
        context.output.one(&description)
    }
}
