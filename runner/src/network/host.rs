//! The host's part of all sandboxes' networks: firewall rules and IPv4 forwarding. Several servers
//! may run on one host and share them, so the last one to end removes them.
//!
//! Every server holds a shared `flock` on one file. The kernel releases it when the server dies,
//! however it dies, so a dead server is never counted.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio_util::task::AbortOnDropHandle;

use super::{NetworkError, cannot, check_available, links, load_rules, resolvers, rules, write_setting};

/// How often the rules are loaded again, because other programs of the host may remove them.
const RELOAD_INTERVAL: Duration = Duration::from_secs(30);
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A server's use of the host's firewall rules. While one exists, the rules exist: they are loaded
/// again at every start of a sandbox and every 30 seconds.
#[derive(Debug)]
pub struct HostNetwork {
    directory: StateDirectory,
    /// Holds the shared lock that counts this server.
    users: File,
    _reload: AbortOnDropHandle<()>,
}

impl HostNetwork {
    /// Enables forwarding, loads the rules and keeps them loaded.
    pub async fn open() -> Result<Self, NetworkError> {
        check_available().map_err(NetworkError::Unavailable)?;
        let (directory, users) = run_blocking(move || {
            let directory = StateDirectory::of_this_namespace()?;
            let users = directory.enter()?;
            Ok((directory, users))
        })
        .await?;
        let reload = AbortOnDropHandle::new(tokio::spawn(reload_periodically()));
        Ok(Self { directory, users, _reload: reload })
    }

    /// Removes the rules and restores forwarding, unless another server uses them. A failure is logged.
    pub async fn close(self) {
        let Self { directory, users, _reload: reload } = self;
        drop(reload);
        if let Err(error) = run_blocking(move || directory.leave(users)).await {
            tracing::warn!(%error, "cannot remove the host's firewall rules");
        }
    }
}

/// Loads the rules of the host. Replaces those that are loaded, atomically.
pub fn load() -> Result<(), NetworkError> {
    load_rules(&rules::for_host(&resolvers::host_nameservers()))
}

/// Repairs the rules for as long as it is polled. While they cannot be loaded, no sandbox has a
/// connection.
async fn reload_periodically() {
    let mut interval = tokio::time::interval(RELOAD_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval.tick().await;
    let mut is_connected = true;
    loop {
        interval.tick().await;
        is_connected = reload(is_connected).await;
    }
}

/// Loads the rules again. Returns whether sandboxes are connected afterwards.
pub(super) async fn reload(is_connected: bool) -> bool {
    match run_blocking(repair).await {
        Ok(()) if is_connected => true,
        Ok(()) => set_links(true).await,
        Err(error) => {
            tracing::error!(%error, "sandboxes are disconnected: the firewall rules cannot be loaded");
            set_links(false).await
        }
    }
}

fn repair() -> Result<(), NetworkError> {
    if load_rules(rules::LIST).is_err() {
        tracing::warn!("another program removed the firewall rules; loading them again");
    }
    load()?;
    enable_forwarding()
}

/// Connects or disconnects all sandboxes of the host. Returns whether they are connected.
async fn set_links(up: bool) -> bool {
    match links::set_sandbox_links(up).await {
        Ok(()) => up,
        Err(error) => {
            tracing::error!(%error, up, "cannot change the links of sandboxes");
            !up
        }
    }
}

fn enable_forwarding() -> Result<(), NetworkError> {
    if is_forwarding()? { Ok(()) } else { write_setting(FORWARDING, "1") }
}

fn is_forwarding() -> Result<bool, NetworkError> {
    let value = fs::read_to_string(FORWARDING).map_err(cannot("read the host's forwarding"))?;
    Ok(value.trim() == "1")
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|error| NetworkError::Rules(error.to_string()))?
}

/// Where the servers of one network namespace keep their locks, and the setting to restore.
#[derive(Debug)]
struct StateDirectory(PathBuf);

impl StateDirectory {
    fn of_this_namespace() -> Result<Self, NetworkError> {
        let namespace = fs::read_link("/proc/thread-self/ns/net").map_err(cannot("read the namespace"))?;
        // For example "net:[4026531840]".
        let inode: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        Self::create(&Path::new("/run/burrow/network").join(inode))
            .map_err(cannot("create a directory below /run/burrow"))
    }

    fn create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Counts this server, and loads the rules. Returns the lock that counts it.
    fn enter(&self) -> Result<File, NetworkError> {
        let _change = self.lock_changes()?;
        let users = self.open("users")?;
        flock(&users, FlockOperation::LockShared).map_err(|errno| cannot("lock the rules")(errno.into()))?;
        self.record_forwarding()?;
        load()?;
        enable_forwarding()?;
        Ok(users)
    }

    /// Stops counting this server. The last one removes the rules and restores forwarding.
    fn leave(&self, users: File) -> Result<(), NetworkError> {
        let _change = self.lock_changes()?;
        // Asks for the sole lock: it is refused while another server holds a shared one.
        if flock(&users, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        load_rules(&rules::for_removal())?;
        self.restore_forwarding()
    }

    /// Excludes other servers that start or end.
    fn lock_changes(&self) -> Result<File, NetworkError> {
        let lock = self.open("lock")?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|errno| cannot("lock the rules")(errno.into()))?;
        Ok(lock)
    }

    fn open(&self, name: &str) -> Result<File, NetworkError> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        options.open(self.0.join(name)).map_err(cannot("open a lock below /run/burrow"))
    }

    /// Exists while a server has enabled forwarding that was disabled. It outlives a server that was
    /// killed, so that the next one restores what the first one found.
    fn forwarding_record(&self) -> PathBuf {
        self.0.join("forwarding-was-disabled")
    }

    fn record_forwarding(&self) -> Result<(), NetworkError> {
        if is_forwarding()? {
            return Ok(());
        }
        fs::write(self.forwarding_record(), "").map_err(cannot("record the host's forwarding"))
    }

    fn restore_forwarding(&self) -> Result<(), NetworkError> {
        match fs::remove_file(self.forwarding_record()) {
            Ok(()) => write_setting(FORWARDING, "0"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(cannot("remove the record of the host's forwarding")(error)),
        }
    }
}
