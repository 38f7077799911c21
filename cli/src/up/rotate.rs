//! `admin rotate-master-key`: another key in place of the one that seals everything, while no server runs.

use std::sync::Arc;

use controller::Controller;
use tokio::task::spawn_blocking;

use super::{Database, database, lock::DataLock, panicked, place::DataDirectory};
use crate::{arguments::RotateMasterKey, commands::Context, failure::Failure, progress::Step};

pub async fn master_key(context: &Context, wanted: RotateMasterKey) -> Result<(), Failure> {
    let data = DataDirectory::open(wanted.data_dir.as_deref())?;
    let _lock = DataLock::acquire(data.path())?;
    let path = wanted.master_key.clone().unwrap_or_else(|| data.master_key());
    let deed = "makes every copy of the present master key worthless: copy the new one afterwards";
    context.confirm(wanted.yes, deed, "rotate")?;
    let database = database(context.style, wanted.database_url.as_deref(), &data).await?;
    let step = Step::begin(context.style, "Sealing all keys anew");
    let rotated = Controller::rotate_master_key(&database.url(), &path).await;
    if let Database::Private(postgres) = database {
        let stopped =
            spawn_blocking(move || Arc::into_inner(postgres).map(super::Postgres::stop).transpose());
        stopped.await.map_err(panicked)??;
    }
    let rotated = rotated?;
    step.done();
    context.output.say(&format!(
        "{} has a new key ({}); keys of {} tenants are sealed under it",
        path.display(),
        rotated.fingerprint,
        rotated.tenants
    ));
    Ok(())
}
