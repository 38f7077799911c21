//! What the controller is told at its start; it reads neither environment nor arguments.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use protocol::{Redacted, runner::RuntimeKind};

use crate::{kms::KeeperConfig, workspaces::admission::Capacity};

#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://…`; may hold a password.
    pub database_url: Redacted<String>,
    /// Names this installation's engine across restarts: a controller that starts takes all placements of its host for lost.
    /// No two controllers that run at the same time may have the same.
    pub host: String,
    /// What seals keys.
    pub master_key: KeeperConfig,
    /// The object store of homes: `file:///…` or `s3://…`.
    pub store: String,
    /// Sockets and per-runner directories. The controller's own socket is `controller.sock` in it.
    pub run_dir: PathBuf,
    /// Local caches of homes, a directory each.
    pub cache_dir: PathBuf,
    pub engine: EngineConfig,
    pub history: HistoryConfig,
}

/// How homes are kept, and what is kept of them.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// While a machine runs, its home goes to the store so often. 0: at stops and when asked only.
    pub stream_seconds: u32,
    /// How often the store is searched for what nothing needs.
    pub collect_every: Duration,
    /// What nothing needs is deleted when that has been so for this long. Longer than any snapshot takes.
    pub collect_grace: Duration,
    /// The home of a deleted workspace is kept for so long.
    pub deleted_grace: Duration,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            stream_seconds: 5,
            collect_every: Duration::from_secs(6 * 3600),
            collect_grace: Duration::from_secs(24 * 3600),
            deleted_grace: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// How runners are started, and how many.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The executable with the role `runner`: usually our own.
    pub runner: PathBuf,
    /// Usually `["runner"]`.
    pub runner_arguments: Vec<OsString>,
    pub runtime: RuntimeKind,
    /// Built images by the name that templates call them.
    pub images: BTreeMap<String, PathBuf>,
    pub initramfs: PathBuf,
    pub agent: PathBuf,
    pub machines_max: usize,
    pub memory_mib_max: u64,
    /// Machines that boot at the same time.
    pub starting_max: usize,
}

impl EngineConfig {
    pub fn capacity(&self) -> Capacity {
        Capacity { machines: self.machines_max, memory_mib: self.memory_mib_max, starting: self.starting_max }
    }
}

impl Config {
    /// Where the API is served.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join(SOCKET)
    }
}

pub const SOCKET: &str = "controller.sock";
