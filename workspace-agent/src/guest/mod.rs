//! The guest as its PID 1 manages it: from the kernel's first process to a mounted home.
//!
//! [`prepare`] runs in the initramfs and ends in the image's root file system. [`Guest`] then does
//! what the runner requests. Knows nothing of terminals and documents. Every error has a message,
//! which the runner shows to the user who waits for the start.

mod block_device;
pub mod cgroups;
pub mod clock;
mod entropy;
mod freezer;
mod home_mount;
pub mod kernel_log;
mod limits;
mod memory;
mod modules;
pub mod network;
mod notices;
mod port;
mod root;
mod tool;

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use protocol::agent::{BootstrapRequest, GrowRequest, PORT_NAME, WAITING_MARK};
use tokio::signal::unix::{SignalKind, signal};

pub use self::port::VirtioPort;

use crate::{children, user};

/// The first argument that makes the agent's executable run a program in another root: `in-root
/// ROOT PROGRAM ARGUMENT…`.
pub const IN_ROOT: &str = "in-root";

/// How long the link's port may take to appear after its driver was loaded.
const PORT_TIMEOUT: Duration = Duration::from_secs(30);
const PORT_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A warm-up shell that runs for longer has no effect any more.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(20);
/// A disk that does not respond must not delay the power-off for longer.
const SYNC_TIMEOUT: Duration = Duration::from_secs(5);
const POWER_OFF_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A guest whose root file system is mounted. [`Guest::bootstrap`] mounts the home.
pub struct Guest {
    home: PathBuf,
    freezer: freezer::Freezer,
}

/// Does on a thread what a start need not wait for.
///
/// It reads what a login shell reads: reading it from the packed image takes longer than the rest of
/// the shell's start. The shell runs as root, but no file of the home exists yet.
pub fn warm_up() -> JoinHandle<()> {
    let arguments = ["-l", "-i", "-c", "TERM=xterm-256color; . /etc/skel/.bashrc"];
    std::thread::spawn(move || {
        let _ = tool::run("/bin/bash", &arguments, WARM_UP_TIMEOUT);
        memory::report_free_pages();
    })
}

/// Says on the console that the guest can be saved as a prototype, when `warm_up` has ended.
pub fn announce_waiting(warm_up: JoinHandle<()>) {
    let _ = warm_up.join();
    tracing::info!("{WAITING_MARK}");
}

/// Brings the guest from the initramfs to the image's root file system.
pub fn prepare() -> anyhow::Result<Guest> {
    root::mount_kernel_file_systems()?;
    modules::load_all(Path::new("/modules"))?;
    root::enter()?;
    root::mount_cgroups()?;
    cgroups::create()?;
    limits::raise();
    notices::install();
    let home = Path::new("/home").join(user::NAME);
    Ok(Guest { freezer: freezer::Freezer::new(home.clone()), home })
}

impl Guest {
    /// Gives the guest its identity and mounts the home. Repeating it is harmless. Call it on a
    /// blocking thread of the runtime.
    pub fn bootstrap(&self, request: &BootstrapRequest) -> anyhow::Result<()> {
        clock::set(request.clock_unix_nanos)?;
        entropy::add_hexadecimal(&request.entropy)?;
        network::set_hostname(&request.hostname)?;
        network::set_machine_id(&request.machine_id)?;
        network::set_nameservers(&request.nameservers)?;
        cgroups::limit_processes(request.pids_max)?;
        home_mount::mount(&self.home, request.home_bytes)?;
        Ok(())
    }

    /// Enlarges the home's file system.
    pub fn grow_home(request: GrowRequest) -> anyhow::Result<()> {
        home_mount::grow(request.home_bytes)
    }

    /// Writes all data to the home's disk and blocks writers until [`Self::thaw`].
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.freezer.freeze()
    }

    /// Lets writers continue.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.freezer.thaw()
    }

    /// Opens the virtio-serial port of the link, in non-blocking mode.
    pub fn open_port(&self) -> std::io::Result<File> {
        let port = wait_for_port()?;
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(port)
    }

    /// The cgroup of the user's programs.
    pub fn user_cgroup(&self) -> Option<PathBuf> {
        let group = PathBuf::from(cgroups::USER);
        group.is_dir().then_some(group)
    }
}

/// Powers the guest off. Nothing in it needs to be kept: the home's disk is outside.
pub fn power_off() -> ! {
    let (synced, done) = mpsc::channel();
    let sync_thread = std::thread::Builder::new().spawn(move || {
        rustix::fs::sync();
        let _ = synced.send(());
    });
    if sync_thread.is_ok() {
        let _ = done.recv_timeout(SYNC_TIMEOUT);
    }
    loop {
        // Returns only on an error, and PID 1 must not return.
        let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
        std::thread::sleep(POWER_OFF_RETRY_DELAY);
    }
}

/// Resolves when the user runs `poweroff`, which sends SIGUSR2 to PID 1 in our images.
pub async fn power_off_requested() {
    match signal(SignalKind::user_defined2()) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(error) => {
            tracing::error!(%error, "cannot receive power-off requests");
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for every child that no part of the agent waits for. Never returns.
pub async fn reap_orphans_forever() {
    match signal(SignalKind::child()) {
        Ok(mut signals) => {
            while signals.recv().await.is_some() {
                if let Err(error) = children::reap_orphans() {
                    tracing::debug!(%error, "cannot reap orphans");
                }
            }
        }
        Err(error) => tracing::error!(%error, "cannot notice ended children; orphans stay as zombies"),
    }
    std::future::pending::<()>().await;
}

/// Runs `in-root ROOT PROGRAM ARGUMENT…`: becomes the program with another root. Returns only on
/// failure.
pub fn exec_in_root(arguments: &[OsString]) -> anyhow::Error {
    let [root, program, rest @ ..] = arguments else {
        return anyhow::anyhow!("{IN_ROOT} needs a root and a program");
    };
    let entered = std::os::unix::fs::chroot(root).and_then(|()| std::env::set_current_dir("/"));
    if let Err(error) = entered {
        return anyhow::Error::new(error).context("cannot enter the root");
    }
    let error = std::os::unix::process::CommandExt::exec(std::process::Command::new(program).args(rest));
    anyhow::Error::new(error).context(format!("cannot run {}", program.to_string_lossy()))
}

/// Ports appear a few moments after their driver was loaded.
fn wait_for_port() -> std::io::Result<PathBuf> {
    let deadline = Instant::now() + PORT_TIMEOUT;
    loop {
        match find_port() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(PORT_POLL_INTERVAL),
            result => return result,
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
    Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("the guest has no port named {PORT_NAME}")))
}
