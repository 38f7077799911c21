//! Holding the home still, and adding to the random pool: the two kernel calls that no library wraps.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc},
    time::Duration,
};

use anyhow::Context as _;

/// A runner that dies while the home is frozen must not leave its programs hanging for ever.
const THAW_AFTER: Duration = Duration::from_mins(1);
/// Most entropy taken at once, in bytes.
const MAX_ENTROPY: usize = 64;

/// Less would not seed a generator.
const MIN_ENTROPY: usize = 32;

mod calls {
    #![allow(unsafe_code)]

    use std::{
        ffi::c_int,
        fs::File,
        os::fd::{AsFd as _, AsRawFd as _},
    };

    use super::MAX_ENTROPY;

    nix::ioctl_readwrite!(fifreeze, b'X', 119, c_int);
    nix::ioctl_readwrite!(fithaw, b'X', 120, c_int);
    nix::ioctl_none!(rndreseedcrng, b'R', 7);
    nix::ioctl_write_ptr!(rndaddentropy, b'R', 3, [c_int; 2]);

    /// `struct rand_pool_info` with room for what we give.
    #[repr(C)]
    struct Pool {
        bits: c_int,
        bytes: c_int,
        content: [u8; MAX_ENTROPY],
    }

    pub fn freeze(directory: &File) -> nix::Result<()> {
        // SAFETY: the call ignores its argument; the descriptor is open for as long as the borrow.
        unsafe { fifreeze(directory.as_fd().as_raw_fd(), &mut 0) }.map(drop)
    }

    pub fn thaw(directory: &File) -> nix::Result<()> {
        // SAFETY: as above.
        unsafe { fithaw(directory.as_fd().as_raw_fd(), &mut 0) }.map(drop)
    }

    pub fn add_entropy(random: &File, bytes: &[u8]) -> nix::Result<()> {
        let length = bytes.len().min(MAX_ENTROPY);
        let mut pool = Pool { bits: length as c_int * 8, bytes: length as c_int, content: [0; MAX_ENTROPY] };
        pool.content[..length].copy_from_slice(&bytes[..length]);
        // SAFETY: the kernel reads two integers and then `bytes` bytes, all within `pool`, which lives over the call.
        unsafe { rndaddentropy(random.as_fd().as_raw_fd(), (&raw const pool).cast()) }?;
        // Machines restored from one template must not go on with one generator.
        // SAFETY: the call takes no argument; the descriptor is open for as long as the borrow.
        unsafe { rndreseedcrng(random.as_fd().as_raw_fd()) }.map(drop)
    }
}

/// Freezes and thaws one file system.
pub struct Freezer {
    home: PathBuf,
    /// While frozen: what ends the watchdog.
    frozen: Mutex<Option<mpsc::Sender<()>>>,
}

impl Freezer {
    pub fn new(home: PathBuf) -> Self {
        Self { home, frozen: Mutex::new(None) }
    }

    /// All that was written is on the disk, and writers wait, until thawed, a minute at the most. A second freeze is one.
    pub fn freeze(&self) -> anyhow::Result<()> {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        let home = File::open(&self.home).context("cannot open the home")?;
        // An earlier freeze's minute must not end this one.
        drop(frozen.take());
        // The watchdog before the freeze: with the home frozen, a thread that cannot be made would leave it so.
        let (cancel, cancelled) = mpsc::channel();
        let watched = home.try_clone().context("cannot open the home")?;
        std::thread::Builder::new()
            .spawn(move || watch(&watched, &cancelled))
            .context("cannot start the watchdog")?;
        match calls::freeze(&home) {
            Ok(()) | Err(nix::Error::EBUSY) => {}
            Err(error) => return Err(error).context("cannot freeze the home"),
        }
        *frozen = Some(cancel);
        Ok(())
    }

    /// Thawing what is not frozen is no error.
    pub fn thaw(&self) -> anyhow::Result<()> {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        *frozen = None; // the watchdog's channel closes: it ends
        let home = File::open(&self.home).context("cannot open the home")?;
        match calls::thaw(&home) {
            Ok(()) | Err(nix::Error::EINVAL) => Ok(()),
            Err(error) => Err(error).context("cannot thaw the home"),
        }
    }
}

/// Thaws a home that nobody thawed. Ends when the freezer drops its end.
fn watch(home: &File, cancelled: &mpsc::Receiver<()>) {
    if cancelled.recv_timeout(THAW_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
        tracing::warn!("nobody thawed the home: thawing it");
        let _ = calls::thaw(home);
    }
}

/// Adds hexadecimal random bytes to the kernel's pool.
pub fn add_entropy(hexadecimal: &str) -> anyhow::Result<()> {
    let bytes = from_hex(hexadecimal).context("the entropy is not hexadecimal")?;
    anyhow::ensure!(bytes.len() >= MIN_ENTROPY, "the entropy is shorter than {MIN_ENTROPY} bytes");
    let random = File::options().write(true).open("/dev/random").context("cannot open /dev/random")?;
    calls::add_entropy(&random, &bytes).context("cannot add entropy")
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal() {
        assert_eq!(from_hex("00ff7f"), Some(vec![0, 255, 127]));
        for wrong in ["0", "0g", "é0", "+f"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
