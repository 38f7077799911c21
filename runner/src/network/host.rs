//! The host's part of all sandboxes' networks: firewall rules and IPv4 forwarding. Several servers
//! may run on one host and share them, so the last one to end removes them.
//!
//! Every server holds a shared `flock` on one file. The kernel releases it when the server dies,
//! however it dies, so a dead server is never counted. In the same way, each server locks a file with the
//! private networks that it allows. The host's rules allow those of all servers.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::network::PrivateNetwork;
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
    registration: Registration,
    _reload: AbortOnDropHandle<()>,
}

impl HostNetwork {
    /// Enables forwarding, loads the rules and keeps them loaded. The sandboxes of this server may reach
    /// these private networks.
    pub async fn open(private: &[PrivateNetwork]) -> Result<Self, NetworkError> {
        check_available().map_err(NetworkError::Unavailable)?;
        let private = private.to_vec();
        let (directory, registration) = run_blocking(move || {
            check_not_own(&private)?;
            let directory = StateDirectory::of_this_namespace()?;
            let registration = directory.enter(&private)?;
            Ok((directory, registration))
        })
        .await?;
        let reload = AbortOnDropHandle::new(tokio::spawn(reload_periodically()));
        Ok(Self { directory, registration, _reload: reload })
    }

    /// Removes the rules and restores forwarding, unless another server uses them. A failure is logged.
    pub async fn close(self) {
        let Self { directory, registration, _reload: reload } = self;
        drop(reload);
        if let Err(error) = run_blocking(move || directory.leave(registration)).await {
            tracing::warn!(%error, "cannot remove the host's firewall rules");
        }
    }
}

/// Loads the rules of the host. Replaces those that are loaded, atomically.
pub fn load() -> Result<(), NetworkError> {
    let directory = StateDirectory::of_this_namespace()?;
    // Servers that start or end at the same time load the rules after this.
    let _no_change = directory.lock(FlockOperation::LockShared)?;
    directory.load()
}

/// Refuses to allow an address of this host. The rules refuse it in any case.
fn check_not_own(private: &[PrivateNetwork]) -> Result<(), NetworkError> {
    let interfaces = nix::ifaddrs::getifaddrs()
        .map_err(|errno| cannot("list the addresses of this host")(errno.into()))?;
    let own: Vec<_> =
        interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip())).collect();
    let is_own = |private: &&PrivateNetwork| {
        let network = private.network();
        network.prefix_len() == network.max_prefix_len() && own.contains(&network.addr())
    };
    private.iter().find(is_own).map_or(Ok(()), |own| Err(NetworkError::OwnAddress(*own)))
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

/// Whether a process holds the sole lock on a file.
fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
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

/// What counts a server. The kernel releases its locks when the server dies.
#[derive(Debug)]
struct Registration {
    /// Holds the shared lock that counts this server.
    users: File,
    /// Holds the lock on the file with the private networks.
    _allowed: File,
    allowed_path: PathBuf,
}

/// Prefix of the files with the private networks that a server allows.
const ALLOWED_PREFIX: &str = "allowed-";

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

    /// Counts this server, and loads the rules.
    fn enter(&self, private: &[PrivateNetwork]) -> Result<Registration, NetworkError> {
        let _change = self.lock(FlockOperation::LockExclusive)?;
        let users = self.open("users")?;
        flock(&users, FlockOperation::LockShared).map_err(|errno| cannot("lock the rules")(errno.into()))?;
        self.remove_stale_allowed();
        let (allowed, allowed_path) = self.write_allowed(private)?;
        self.record_forwarding()?;
        self.load()?;
        enable_forwarding()?;
        Ok(Registration { users, _allowed: allowed, allowed_path })
    }

    /// Stops counting this server. The last one removes the rules and restores forwarding.
    fn leave(&self, registration: Registration) -> Result<(), NetworkError> {
        let _change = self.lock(FlockOperation::LockExclusive)?;
        fs::remove_file(&registration.allowed_path).map_err(cannot("remove a lock below /run/burrow"))?;
        // Asks for the sole lock: it is refused while another server holds a shared one.
        if flock(&registration.users, FlockOperation::NonBlockingLockExclusive).is_err() {
            return self.load();
        }
        load_rules(&rules::for_removal())?;
        self.restore_forwarding()
    }

    /// Loads the rules that the servers need together.
    fn load(&self) -> Result<(), NetworkError> {
        load_rules(&rules::for_host(&resolvers::host_nameservers(), &self.read_allowed()))
    }

    fn write_allowed(&self, private: &[PrivateNetwork]) -> Result<(File, PathBuf), NetworkError> {
        let name = format!("{ALLOWED_PREFIX}{:032x}", rand::random::<u128>());
        let mut file = self.open(&name)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| cannot("lock the rules")(errno.into()))?;
        let lines: Vec<_> = private.iter().map(ToString::to_string).collect();
        file.write_all(lines.join("\n").as_bytes()).map_err(cannot("write the allowed private networks"))?;
        Ok((file, self.0.join(name)))
    }

    /// The private networks that servers allow, of those that live.
    fn read_allowed(&self) -> Vec<PrivateNetwork> {
        let texts = self.allowed_files().filter(|path| is_held(path)).map(fs::read_to_string);
        let texts: Vec<_> = texts.filter_map(Result::ok).collect();
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.parse().ok()).collect()
    }

    fn remove_stale_allowed(&self) {
        for path in self.allowed_files().filter(|path| !is_held(path)) {
            // One that stays is ignored.
            let _ = fs::remove_file(path);
        }
    }

    fn allowed_files(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().filter_map(Result::ok);
        let ours = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ALLOWED_PREFIX))
        };
        entries.map(|entry| entry.path()).filter(ours)
    }

    /// Servers that start or end hold this alone. Those that load the rules share it.
    fn lock(&self, operation: FlockOperation) -> Result<File, NetworkError> {
        let lock = self.open("lock")?;
        flock(&lock, operation).map_err(|errno| cannot("lock the rules")(errno.into()))?;
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
