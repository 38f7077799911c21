//! What all parts of one controller share.

use std::sync::{Arc, atomic::AtomicBool};

use daemon::Tasks;
use protocol::{Redacted, grant::SigningKey};
use time::OffsetDateTime;

use crate::{
    config::Config, db::Database, engine::local::LocalEngine, hub::Hub, keys::MasterKey, limits::Limits,
    password::Passwords, workspaces::life::Task,
};

pub type App = Arc<Core>;

pub struct Core {
    pub config: Config,
    pub db: Database,
    pub keys: MasterKey,
    pub signing: SigningKey,
    pub passwords: Passwords,
    pub limits: Limits,
    pub hub: Hub,
    pub engine: LocalEngine,
    pub tasks: Tasks,
    /// The controller is about to end: nothing more is placed.
    pub draining: AtomicBool,
}

impl Core {
    #[expect(clippy::unused_self, reason = "the clock is the core's, though all cores have one")]
    pub fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        // As exact as the database keeps it, so that what is read back compares equal.
        now.replace_nanosecond(now.nanosecond() / 1000 * 1000).expect("fewer nanoseconds")
    }

    /// Does to processes what a committed step asked for.
    pub fn perform(&self, tasks: Vec<Task>) {
        for task in tasks {
            match task {
                Task::Kill(workspace, epoch) => self.engine.end(workspace, epoch),
                // Only the scheduler places, and it launches itself.
                Task::Launch(workspace, _) => tracing::error!(%workspace, "a launch outside of the schedule"),
            }
        }
    }
}

/// The key that signs grants, and the proof that the master key is the one the database was begun with.
pub async fn installation(db: &Database, keys: &MasterKey) -> Result<SigningKey, crate::StartError> {
    const NAME: &str = "grant signing key";
    let mut system = db.system().await?;
    let fresh = SigningKey::generate().map_err(|_| crate::StartError::SigningKey)?;
    let bytes: Redacted<Vec<u8>> = fresh.to_bytes();
    sqlx::query!(
        "insert into installation (master_key_fingerprint, sealed_signing_key) values ($1, $2) on conflict do nothing",
        keys.fingerprint(),
        keys.seal(NAME, bytes.expose()),
    )
    .execute(system.connection())
    .await?;
    let row = sqlx::query!("select master_key_fingerprint, sealed_signing_key from installation")
        .fetch_one(system.connection())
        .await?;
    system.commit().await?;
    if row.master_key_fingerprint != keys.fingerprint() {
        return Err(crate::StartError::OtherMasterKey {
            expected: row.master_key_fingerprint,
            found: keys.fingerprint(),
        });
    }
    let opened = keys.open(NAME, &row.sealed_signing_key)?;
    SigningKey::from_bytes(opened.expose()).map_err(|_| crate::StartError::SigningKey)
}
