//! `burrow admin rotate-master-key`: replaces the master key, or moves it to or from a key service.
//! Runs without a server.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use controller::{Controller, MasterKeyLocation, Rotation, RotationReport};
use tokio::task::spawn_blocking;

use crate::{
    context::Context,
    output::{CommandError, progress::Step},
    up::{
        Database, data_directory::DataDirectory, kms, lock::DataLock, options::MasterKeyOptions,
        postgres::Postgres, start_database, task_panicked,
    },
};

/// Replace the master key that encrypts the tenants' keys
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow admin rotate-master-key
  burrow admin rotate-master-key --data-dir /srv/burrow
  burrow admin rotate-master-key --to service --master-key-service https://vault:8200
  burrow admin rotate-master-key --to file --master-key-service https://vault:8200

Stop the server first. No home is rewritten. The old key cannot decrypt anything afterwards: replace
your copies of it. If the command is interrupted, the next start completes it. In a key service, the
key gets a new version; --to moves the key from its file to the service, or from the service to a
new file.")]
pub struct RotateMasterKey {
    /// Data directory of the server [default: as for `burrow up`]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// URL of an existing Postgres. Put the password into the environment variable
    #[arg(long, env = "BURROW_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    #[command(flatten)]
    pub master_key: MasterKeyOptions,
    /// Where to keep the new key [default: where the present key is]
    #[arg(long, env = "BURROW_TO", value_enum)]
    pub to: Option<KeyLocation>,
    /// Do not ask for confirmation
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
}

/// Where a master key can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyLocation {
    /// In a file on this computer
    File,
    /// In the key service
    Service,
}

impl RotateMasterKey {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let data = DataDirectory::open(self.data_dir.as_deref())?;
        let _lock = DataLock::acquire(data.path())?;
        let to = self.to.map(|to| match to {
            KeyLocation::File => MasterKeyLocation::File,
            KeyLocation::Service => MasterKeyLocation::Service,
        });
        let service = kms::service(&self.master_key)?;
        let rotation = Rotation { file: kms::key_file(&self.master_key, &data), service, to };
        let action = "makes every copy of the present master key useless: copy the new key afterwards";
        context.confirm(self.yes, action, "rotate")?;
        let database = start_database(context.style, self.database_url.as_deref(), &data).await?;
        let step = Step::begin(context.style, "Encrypting the tenants' keys with the new key");
        let rotated = Controller::rotate_master_key(&database.url(), &rotation).await;
        if let Database::Private(postgres) = database {
            let stopped = spawn_blocking(move || Arc::into_inner(postgres).map(Postgres::stop).transpose());
            stopped.await.map_err(task_panicked)??;
        }
        let rotated = rotated?;
        step.done();
        context.output.say(&result_text(&rotation, &rotated));
        Ok(())
    }
}

fn result_text(rotation: &Rotation, rotated: &RotationReport) -> String {
    let RotationReport { tenants, from, to, fingerprint } = rotated;
    let file = rotation.file.display();
    let location = match to {
        MasterKeyLocation::File => format!("The new master key is in {file} ({fingerprint})."),
        MasterKeyLocation::Service => format!("The new master key is in the key service ({fingerprint})."),
    };
    let next = match (from, to) {
        (MasterKeyLocation::File, MasterKeyLocation::Service) => format!(
            " From now on, start with --master-key-service. {file} cannot decrypt anything any more: delete \
             it and its copies."
        ),
        (MasterKeyLocation::Service, MasterKeyLocation::Service) => {
            " Set min_decryption_version to retire the versions before it.".to_owned()
        }
        _ => String::new(),
    };
    format!("{location} It encrypts the keys of {tenants} tenants.{next}")
}
