//! A file of the cache, and the host that it lies on. Tests replace the host by one that loses
//! power at any call (`power`).

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::{FallocateFlags, OFlags, fallocate};

/// The host, as far as a cache must know it: its boot. The page cache outlives a process but not a
/// reboot, so that a log of another boot may lack what was not synced.
#[derive(Clone, Debug)]
pub struct Host {
    /// Identifies the boot.
    pub boot: [u8; 16],
    #[cfg(test)]
    pub power: Option<std::sync::Arc<super::power::PowerSupply>>,
}

impl Host {
    /// The host that this process runs on. If the kernel does not name its boot, every call counts
    /// as another boot.
    pub fn current() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = uuid::Uuid::parse_str(text.trim()).map(uuid::Uuid::into_bytes);
        Self {
            boot: boot.unwrap_or_else(|_| crate::format::key::random_bytes()),
            #[cfg(test)]
            power: None,
        }
    }
}

/// A file that is read and written at offsets.
#[derive(Debug)]
pub struct CacheFile {
    file: File,
    #[cfg(test)]
    power: Option<super::power::PoweredFile>,
}

impl CacheFile {
    /// Opens the file, or creates it. `truncate` empties it first.
    pub fn open(path: &Path, host: &Host, truncate: bool) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(truncate).mode(0o600);
        // The owner of a cache may have put a link there for a process with more rights.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(path)?;
        #[cfg(not(test))]
        let _ = host;
        #[cfg(test)]
        let power = host
            .power
            .clone()
            .map(|supply| super::power::PoweredFile::new(supply, file.try_clone().expect("a descriptor")));
        Ok(Self {
            file,
            #[cfg(test)]
            power,
        })
    }

    /// The file's length in bytes.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads. What lies beyond the end is zeros.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => {
                    into[done..].fill(0);
                    return Ok(());
                }
                Ok(length) => done += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(power) = &self.power {
            power.before_write(offset, bytes)?;
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Releases the space of a range. A file system that does not support holes keeps it; no block
    /// there is read before it is written.
    pub fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(power) = &self.power {
            power.before_write(offset, &vec![0; length as usize])?;
        }
        match fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// Makes all writes so far durable.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(power) = &self.power {
            power.before_sync()?;
        }
        self.file.sync_data()
    }
}
