//! The configuration of a controller. It reads neither environment variables nor arguments.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::{
    Redacted,
    api::{budget::BudgetResource, user::Role},
    network::NetworkBounds,
    ports::PreviewHost,
    runner::{DiskLimits, RuntimeKind},
    workspace::Tier,
};
use reader::ReaderCommand;

use crate::{budgets::amounts::BudgetLimits, disk::measure::DiskPaths, kms::KmsConfig};

/// Everything that a controller must know to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://…`. May contain a password.
    pub database_url: Redacted<String>,
    /// Identifies the engine across restarts: a controller that starts treats all placements of its
    /// host as ended. Two controllers that run at the same time must have different ones.
    pub host: String,
    /// Where the key is that encrypts all other keys.
    pub master_key: KmsConfig,
    /// The object store of homes: `file:///…` or `s3://…`.
    pub store: String,
    /// Directory for sockets and one directory for each runner. The controller's own sockets are in it.
    pub run_dir: PathBuf,
    /// The group of the gateway's process, if it runs as another user than this one.
    pub gateway_group: Option<u32>,
    /// Where previews of ports are. None: there are none.
    pub preview: Option<PreviewHost>,
    /// Directory for the local caches of homes.
    pub cache_dir: PathBuf,
    /// Most bytes of the caches of workspaces at rest.
    pub max_cache_bytes: u64,
    /// What may be used of the disk that the caches are on.
    pub disk: DiskConfig,
    /// How runners are started on this host.
    pub engine: EngineConfig,
    /// The command that reads the files of snapshots: usually our own executable with
    /// `ext4-reader`.
    pub reader: ReaderCommand,
    /// How often homes are uploaded, and which snapshots are kept.
    pub history: HistoryConfig,
    /// What users and tenants may use.
    pub limits: Limits,
}

/// What may be used of the disk of this host, and what else is on it. Limits are in bytes; None: no limit.
#[derive(Clone, Debug, Default)]
pub struct DiskConfig {
    /// The most that Burrow may take of the disk.
    pub budget_bytes: Option<u64>,
    /// Free space that is kept for the database. None: a part of the disk, as
    /// [`volume::FreeSpace::reserved_bytes`] has it.
    pub reserve_bytes: Option<u64>,
    /// Of one member: caches, scratch disks and objects together.
    pub member_bytes: Option<u64>,
    /// Of one teacher or owner.
    pub teacher_bytes: Option<u64>,
    /// Of all users of one tenant together.
    pub tenant_bytes: Option<u64>,
    /// The data directory of a private Postgres.
    pub database_dir: Option<PathBuf>,
    /// Directories of images, each image a directory in it, with its prototypes.
    pub image_dirs: Vec<PathBuf>,
    /// The log file.
    pub log: Option<PathBuf>,
}

impl DiskConfig {
    /// The limit of one user with this role.
    pub fn of(&self, role: Role) -> Option<u64> {
        if role >= Role::Teacher { self.teacher_bytes } else { self.member_bytes }
    }
}

/// What users and tenants may use of this installation: their budgets, unless somebody sets others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one member.
    pub member: BudgetLimits,
    /// Of one teacher or owner.
    pub teacher: BudgetLimits,
    /// Of all users of one tenant together.
    pub tenant: BudgetLimits,
    /// When a workspace that nobody uses is stopped.
    pub idle: IdleLimits,
}

/// Workspaces of one user: far more than anybody uses, and too few to do harm.
const MAX_WORKSPACES_PER_USER: u64 = 200;

impl Default for Limits {
    fn default() -> Self {
        let user = BudgetLimits::NONE.with(BudgetResource::Workspaces, MAX_WORKSPACES_PER_USER);
        Self {
            member: user
                .with(BudgetResource::Running, 2)
                .with(BudgetResource::Homes, 64 << 30)
                .with(BudgetResource::Scratch, 32 << 30)
                .with(BudgetResource::Starts, 20),
            teacher: user
                .with(BudgetResource::Running, 10)
                .with(BudgetResource::Homes, 1 << 40)
                .with(BudgetResource::Scratch, 256 << 30),
            tenant: BudgetLimits::NONE,
            idle: IdleLimits::default(),
        }
    }
}

/// When workspaces that nobody uses are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLimits {
    /// After how long. Zero: never.
    pub stop_after: Duration,
    /// For how long a user can prevent it at once.
    pub max_hold: Duration,
}

impl Default for IdleLimits {
    fn default() -> Self {
        Self { stop_after: Duration::from_hours(8), max_hold: Duration::from_hours(24) }
    }
}

/// How homes are saved, and for how long they are kept.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// How often a running home is uploaded, in seconds. 0 uploads only on stop and on request.
    pub stream_seconds: u32,
    /// How much automatic snapshots of one home may store in an hour, in MiB. 0: no bound.
    pub upload_mib_per_hour: u32,
    /// How much the snapshots of one home may have stored, in bytes. Beyond that the oldest automatic
    /// ones are pruned, and no more are created on request. None: no limit.
    pub max_history_bytes: Option<u64>,
    /// How often gc runs.
    pub gc_interval: Duration,
    /// How long an object must be garbage before gc deletes it. Must be longer than any upload of a
    /// snapshot takes.
    pub gc_grace: Duration,
    /// How long the home of a deleted workspace is kept.
    pub deleted_grace: Duration,
}

impl HistoryConfig {
    /// How much automatic snapshots of one home may store in an hour, in bytes. 0: no bound.
    pub fn upload_bytes_per_hour(&self) -> u64 {
        u64::from(self.upload_mib_per_hour) << 20
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            stream_seconds: 5,
            upload_mib_per_hour: 2048,
            max_history_bytes: Some(64 << 30),
            gc_interval: Duration::from_secs(6 * 3600),
            gc_grace: Duration::from_secs(24 * 3600),
            deleted_grace: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// How runners are started, and how many at a time.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The executable that has the runner: usually our own.
    pub runner: PathBuf,
    /// Its arguments: usually `["runner"]`.
    pub runner_arguments: Vec<OsString>,
    /// The kind of sandbox: [`RuntimeKind::Microvm`] stands for what a workspace's tier says.
    pub runtime: RuntimeKind,
    /// The tiers that tenants may use.
    pub tiers: Vec<Tier>,
    /// The operator's own `runsc`, for the tier `gvisor`.
    pub runsc: Option<PathBuf>,
    /// Directories of built images, by the name that templates use.
    pub images: BTreeMap<String, PathBuf>,
    /// The initramfs that contains the agent.
    pub initramfs: PathBuf,
    /// Whether guests are copied from one that has booted, instead of booting.
    pub use_prototypes: bool,
    /// The agent's executable on this host, for containers and the fake runtime.
    pub agent: PathBuf,
    /// Most sandboxes at the same time.
    pub max_sandboxes: usize,
    /// Most memory of all sandboxes together, with their overhead.
    pub max_memory_mib: u64,
    /// Memory of the host that each sandbox needs beside the guest's: the VMM with its caches, and the
    /// runner.
    pub overhead_mib: u64,
    /// Most sandboxes that start at the same time.
    pub max_starting: usize,
    /// What holds for the networks of all sandboxes, whatever their policies say.
    pub network_bounds: NetworkBounds,
    /// What each sandbox may ask of the disks of this host.
    pub disk_limits: DiskLimits,
}

/// What an engine can run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub sandboxes: usize,
    pub memory_mib: u64,
    /// Memory that each sandbox needs beside the guest's.
    pub overhead_mib: u64,
    /// Sandboxes that start at the same time. More would make all of them late.
    pub starting: usize,
}

impl EngineConfig {
    /// What this host can run at the same time.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            sandboxes: self.max_sandboxes,
            memory_mib: self.max_memory_mib,
            overhead_mib: self.overhead_mib,
            starting: self.max_starting,
        }
    }
}

impl Config {
    /// The socket for processes of our own user: the API with all internal routes.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join(SOCKET)
    }

    /// The socket for the gateway: the API with the internal routes that a gateway needs.
    pub fn gateway_socket(&self) -> PathBuf {
        self.run_dir.join(GATEWAY_SOCKET)
    }

    /// Where what Burrow has on the disk of this host is.
    pub fn disk_paths(&self) -> DiskPaths {
        DiskPaths {
            caches: self.cache_dir.clone(),
            store: self.store_dir().map(Path::to_owned),
            database: self.disk.database_dir.clone(),
            images: self.disk.image_dirs.clone(),
            log: self.disk.log.clone(),
        }
    }

    /// The directory that the object store is, if it is one of this host.
    pub fn store_dir(&self) -> Option<&Path> {
        self.store.strip_prefix("file://").map(Path::new)
    }
}

/// Name of the controller's socket in the run directory.
pub const SOCKET: &str = "controller.sock";
/// Name of the gateway's socket in the run directory.
const GATEWAY_SOCKET: &str = "gateway.sock";
