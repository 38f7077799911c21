//! Freezing and thawing the home's file system, with the ioctls that no library wraps.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;

/// A frozen home is thawed after this time, because a runner that has died must not leave the
/// user's programs hanging.
const FREEZE_TIMEOUT: Duration = Duration::from_mins(1);

mod ioctl {
    #![allow(unsafe_code)]

    use std::{
        ffi::c_int,
        fs::File,
        os::fd::{AsFd as _, AsRawFd as _},
    };

    nix::ioctl_readwrite!(fifreeze, b'X', 119, c_int);
    nix::ioctl_readwrite!(fithaw, b'X', 120, c_int);

    /// Freezes the file system of `directory`.
    pub fn freeze(directory: &File) -> nix::Result<()> {
        // SAFETY: the ioctl ignores its argument, and the borrow keeps the descriptor open.
        unsafe { fifreeze(directory.as_fd().as_raw_fd(), &mut 0) }.map(drop)
    }

    /// Thaws the file system of `directory`.
    pub fn thaw(directory: &File) -> nix::Result<()> {
        // SAFETY: the ioctl ignores its argument, and the borrow keeps the descriptor open.
        unsafe { fithaw(directory.as_fd().as_raw_fd(), &mut 0) }.map(drop)
    }
}

/// Freezes and thaws one file system.
pub struct Freezer {
    home: PathBuf,
    /// Set while the home is frozen.
    watchdog: Mutex<Option<Watchdog>>,
}

impl Freezer {
    /// A freezer of the file system that is mounted on `home`.
    pub fn new(home: PathBuf) -> Self {
        Self { home, watchdog: Mutex::new(None) }
    }

    /// Writes all data to the disk and blocks writers until [`Self::thaw`], for at most
    /// [`FREEZE_TIMEOUT`]. Freezing a frozen home only restarts that time.
    pub fn freeze(&self) -> anyhow::Result<()> {
        let mut watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        let home = File::open(&self.home).context("cannot open the home")?;
        // The watchdog of an earlier freeze must not end this one.
        drop(watchdog.take());
        // Start the watchdog before the freeze: if its thread cannot be created, the home must not
        // stay frozen.
        let started = Watchdog::start(home.try_clone().context("cannot open the home")?)
            .context("cannot start the watchdog")?;
        match ioctl::freeze(&home) {
            Ok(()) | Err(nix::Error::EBUSY) => {}
            Err(error) => return Err(error).context("cannot freeze the home"),
        }
        *watchdog = Some(started);
        Ok(())
    }

    /// Lets writers continue. Thawing a home that is not frozen succeeds.
    pub fn thaw(&self) -> anyhow::Result<()> {
        let mut watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        drop(watchdog.take());
        let home = File::open(&self.home).context("cannot open the home")?;
        match ioctl::thaw(&home) {
            Ok(()) | Err(nix::Error::EINVAL) => Ok(()),
            Err(error) => Err(error).context("cannot thaw the home"),
        }
    }
}

/// A thread that thaws the home after [`FREEZE_TIMEOUT`]. Dropping the watchdog cancels the thread
/// and waits for it.
struct Watchdog {
    cancel: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    fn start(home: File) -> std::io::Result<Self> {
        let (cancel, cancelled) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().spawn(move || {
            if cancelled.recv_timeout(FREEZE_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::warn!("the home was not thawed in time; thawing it now");
                let _ = ioctl::thaw(&home);
            }
        })?;
        Ok(Self { cancel: Some(cancel), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.cancel.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
