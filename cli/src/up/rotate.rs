//! `admin rotate-master-key`: another key, or another keeper, in place of the one that seals everything, while no server runs.

use std::sync::Arc;

use controller::{Controller, KeeperKind, Rotated, Rotation};
use tokio::task::spawn_blocking;

use super::{Database, database, keeper, lock::DataLock, panicked, place::DataDirectory};
use crate::{
    arguments::{Keeper, RotateMasterKey},
    commands::Context,
    failure::Failure,
    progress::Step,
};

pub async fn master_key(context: &Context, wanted: RotateMasterKey) -> Result<(), Failure> {
    let data = DataDirectory::open(wanted.data_dir.as_deref())?;
    let _lock = DataLock::acquire(data.path())?;
    let to = wanted.to.map(|to| match to {
        Keeper::File => KeeperKind::File,
        Keeper::Service => KeeperKind::Service,
    });
    let service = keeper::service(&wanted.master_key)?;
    let rotation = Rotation { file: keeper::file(&wanted.master_key, &data), service, to };
    let deed = "makes every copy of the present master key worthless: copy the new one afterwards";
    context.confirm(wanted.yes, deed, "rotate")?;
    let database = database(context.style, wanted.database_url.as_deref(), &data).await?;
    let step = Step::begin(context.style, "Sealing all keys anew");
    let rotated = Controller::rotate_master_key(&database.url(), &rotation).await;
    if let Database::Private(postgres) = database {
        let stopped =
            spawn_blocking(move || Arc::into_inner(postgres).map(super::Postgres::stop).transpose());
        stopped.await.map_err(panicked)??;
    }
    let rotated = rotated?;
    step.done();
    context.output.say(&sentence(&rotation, &rotated));
    Ok(())
}

fn sentence(rotation: &Rotation, rotated: &Rotated) -> String {
    let Rotated { tenants, from, to, fingerprint } = rotated;
    let file = rotation.file.display();
    let place = match to {
        KeeperKind::File => format!("{file} has a new key ({fingerprint})"),
        KeeperKind::Service => format!("The key service has the key ({fingerprint})"),
    };
    let left = match (from, to) {
        (KeeperKind::File, KeeperKind::Service) => {
            format!(
                ". Start with --master-key-service from now on; {file} opens nothing any more: delete it and its copies"
            )
        }
        (KeeperKind::Service, KeeperKind::Service) => {
            ". Its min_decryption_version retires the versions before".to_owned()
        }
        _ => String::new(),
    };
    format!("{place}; keys of {tenants} tenants are sealed under it{left}")
}
