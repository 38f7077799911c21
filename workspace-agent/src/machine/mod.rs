//! PID 1 of a machine: from the kernel's first process to a home that is mounted.
//!
//! `prepare` runs in the initramfs and ends in the image's root; `Machine` then does what the runner asks for. Knows nothing of
//! terminals and documents. Every step is an error with words: the runner shows them to whoever waits.

mod disk;
mod freeze;
mod home;
mod modules;
mod network;
mod port;
mod root;
mod tool;

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use protocol::agent::{BootstrapRequest, GrowRequest, PORT_NAME};

pub use self::port::Port;

use crate::{children, person};

/// The first argument that makes the agent's executable a program in another root: `in-root ROOT PROGRAM ARGUMENT…`.
pub const IN_ROOT: &str = "in-root";

const PORT_APPEARS: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// A shell that takes longer has nothing to give any more.
const WARM_SHELL: Duration = Duration::from_secs(20);
/// A disk that does not answer must not keep a machine that wants to end.
const LAST_SYNC: Duration = Duration::from_secs(5);

/// The machine, its root mounted. Its home is mounted by [`Machine::bootstrap`].
pub struct Machine {
    home: PathBuf,
    freezer: freeze::Freezer,
}

/// Reads what a login shell reads, while the home is on its way: from a packed image that takes longer than all the rest of the
/// shell's start. As root, but nothing of the home's is there yet.
pub fn warm_shell() {
    let start = ["-l", "-i", "-c", "TERM=xterm-256color; . /etc/skel/.bashrc"];
    std::thread::spawn(move || tool::run("/bin/bash", &start, WARM_SHELL));
}

/// Brings the machine from the initramfs to its image's root.
pub fn prepare() -> anyhow::Result<Machine> {
    root::mount_kernel_file_systems()?;
    modules::load_all(Path::new("/modules"))?;
    root::enter()?;
    root::make_cgroups()?;
    let home = Path::new("/home").join(person::NAME);
    Ok(Machine { freezer: freeze::Freezer::new(home.clone()), home })
}

impl Machine {
    /// Gives the machine its identity and mounts the home. May be repeated. For a blocking thread of the runtime.
    pub fn bootstrap(&self, request: &BootstrapRequest) -> anyhow::Result<()> {
        set_clock(request.clock_unix_nanos)?;
        freeze::add_entropy(&request.entropy)?;
        network::name(&request.hostname)?;
        tokio::runtime::Handle::current().block_on(network::configure(request))?;
        root::limit_processes(request.pids_max)?;
        home::mount(&self.home, request.home_bytes)
    }

    /// Lets the home's file system grow.
    pub fn grow(request: GrowRequest) -> anyhow::Result<()> {
        home::grow(request.home_bytes)
    }

    /// Puts all written data on the home's disk and holds writers still until [`Self::thaw`].
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.freezer.freeze()
    }

    pub fn thaw(&self) -> anyhow::Result<()> {
        self.freezer.thaw()
    }

    /// The virtio-serial port of the link.
    pub fn open_port(&self) -> std::io::Result<File> {
        let port = wait_for_port()?;
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(port)
    }

    /// The cgroup of the person's programs.
    pub fn user_cgroup(&self) -> Option<PathBuf> {
        let group = PathBuf::from(root::USER_CGROUP);
        group.is_dir().then_some(group)
    }
}

/// Ends the machine. Nothing that matters is left in it: the home's disk is outside.
pub fn power_off() -> ! {
    let (synced, done) = mpsc::channel();
    let syncing = std::thread::Builder::new().spawn(move || {
        rustix::fs::sync();
        let _ = synced.send(());
    });
    if syncing.is_ok() {
        let _ = done.recv_timeout(LAST_SYNC);
    }
    loop {
        // Returns only on an error, and PID 1 must not return.
        let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Resolves when a person inside wants the machine to end: `poweroff` in the image is this signal.
pub async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::user_defined2()) {
        Ok(mut told) => drop(told.recv().await),
        Err(error) => {
            tracing::error!(%error, "nobody can end the machine from inside");
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for every child that nobody else waits for, for ever.
pub async fn reap_forever() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return tracing::error!("children cannot be noticed: orphans stay as zombies");
    };
    while ended.recv().await.is_some() {
        if let Err(error) = children::reap() {
            tracing::debug!(%error, "reaping failed");
        }
    }
}

/// `in-root ROOT PROGRAM ARGUMENT…`: becomes the program with another root. Returns only if it failed.
pub fn exec_in_root(arguments: &[OsString]) -> anyhow::Error {
    let [root, program, rest @ ..] = arguments else {
        return anyhow::anyhow!("{IN_ROOT} needs a root and a program");
    };
    let entered = std::os::unix::fs::chroot(root).and_then(|()| std::env::set_current_dir("/"));
    if let Err(error) = entered {
        return anyhow::Error::new(error).context("cannot enter the root");
    }
    let error = std::os::unix::process::CommandExt::exec(std::process::Command::new(program).args(rest));
    anyhow::Error::new(error).context(program.to_string_lossy().into_owned())
}

fn set_clock(unix_nanos: i64) -> anyhow::Result<()> {
    let time = rustix::time::Timespec {
        tv_sec: unix_nanos.div_euclid(1_000_000_000),
        tv_nsec: unix_nanos.rem_euclid(1_000_000_000),
    };
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, time).context("cannot set the clock")
}

/// The host names ports some moments after the driver is there.
fn wait_for_port() -> std::io::Result<PathBuf> {
    let end = Instant::now() + PORT_APPEARS;
    loop {
        match find_port() {
            Err(_) if Instant::now() < end => std::thread::sleep(POLL),
            found => return found,
        }
    }
}

fn find_port() -> std::io::Result<PathBuf> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT_NAME {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::NotFound,
        format!("the machine has no port named {PORT_NAME}"),
    ))
}
