//! What all parts of one controller share.

use std::sync::{Arc, atomic::AtomicBool};

use daemon::Tasks;
use protocol::grant::SigningKey;
use time::OffsetDateTime;

use volume::ObjectStore;

use crate::{
    config::Config,
    db::Database,
    engine::local::LocalEngine,
    events::Hub,
    identity::{passwords::Passwords, rate_limits::Limits},
    kms::Keeper,
    lifecycle::record::Task,
    snapshots::{browser::Homes, chunks::Readers, gc::Marking},
};

pub type App = Arc<Core>;

pub struct Core {
    pub config: Config,
    pub db: Database,
    pub keeper: Keeper,
    pub signing: SigningKey,
    pub passwords: Passwords,
    pub limits: Limits,
    pub hub: Hub,
    pub engine: LocalEngine,
    /// Of homes.
    pub store: Arc<dyn ObjectStore>,
    /// What tells which objects are needed.
    pub marking: Arc<dyn Marking>,
    /// Past homes that are being looked at.
    pub homes: Homes,
    /// Snapshots that are being moved.
    pub readers: Readers,
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
