//! A file of the cache, and the machine it lies on. In tests the machine can lose its power at any of these calls.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::{FallocateFlags, fallocate};

/// What outlives a process and not a reboot: the page cache. A log that another boot wrote may lack what was not synced.
#[derive(Clone, Debug)]
pub struct Machine {
    pub boot: [u8; 16],
    #[cfg(test)]
    pub plug: Option<std::sync::Arc<plug::Plug>>,
}

impl Machine {
    /// The one we run on. Where the kernel does not tell its boot, each opening counts as another.
    pub fn this() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = uuid::Uuid::parse_str(text.trim()).map(uuid::Uuid::into_bytes);
        Self {
            boot: boot.unwrap_or_else(|_| crate::key::random_bytes()),
            #[cfg(test)]
            plug: None,
        }
    }
}

#[derive(Debug)]
pub struct Disk {
    file: File,
    #[cfg(test)]
    wire: Option<plug::Wire>,
}

impl Disk {
    pub fn open(path: &Path, machine: &Machine, create_new: bool) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(create_new).mode(0o600);
        let file = options.open(path)?;
        #[cfg(not(test))]
        let _ = machine;
        #[cfg(test)]
        let wire =
            machine.plug.clone().map(|plug| plug::Wire::new(plug, file.try_clone().expect("a descriptor")));
        Ok(Self {
            file,
            #[cfg(test)]
            wire,
        })
    }

    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads; what lies beyond the end is zeros.
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
        if let Some(wire) = &self.wire {
            wire.before_write(offset, bytes)?;
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Gives the space back. File systems that cannot keep it; nobody reads there before writing.
    pub fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(wire) = &self.wire {
            wire.before_write(offset, &vec![0; length as usize])?;
        }
        match fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    pub fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(wire) = &self.wire {
            wire.before_sync()?;
        }
        self.file.sync_data()
    }
}

#[cfg(test)]
pub mod plug {
    //! Pulls the plug at a chosen call, and then forgets a random part of what had not been synced, sector by sector.

    use std::{
        collections::BTreeMap,
        fs::File,
        io,
        os::unix::fs::FileExt as _,
        sync::{Arc, Mutex},
    };

    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    pub const SECTOR: u64 = 512;

    /// What was overwritten since the last sync, oldest first: the offset of whole sectors, and what they held.
    type Overwritten = Vec<(u64, Vec<u8>)>;

    #[derive(Debug, Default)]
    pub struct Plug {
        state: Mutex<State>,
    }

    #[derive(Debug, Default)]
    struct State {
        calls: u64,
        pull_at: Option<u64>,
        files: Vec<(File, Overwritten)>,
    }

    impl Plug {
        /// Every call from this one on fails; the first, if it writes, writes half.
        pub fn pull_at(&self, call: u64) {
            self.state.lock().expect("no test panics with it").pull_at = Some(call);
        }

        pub fn calls(&self) -> u64 {
            self.state.lock().expect("no test panics with it").calls
        }

        /// The power is gone: each unsynced sector is now any of what it was since it was last synced.
        pub fn lose_unsynced(&self, seed: u64) {
            let mut random = StdRng::seed_from_u64(seed);
            let mut state = self.state.lock().expect("no test panics with it");
            for (file, overwritten) in std::mem::take(&mut state.files) {
                let mut versions: BTreeMap<u64, Vec<&[u8]>> = BTreeMap::new();
                for (offset, before) in &overwritten {
                    for (sector, content) in (offset / SECTOR..).zip(before.chunks(SECTOR as usize)) {
                        versions.entry(sector).or_default().push(content);
                    }
                }
                for (sector, versions) in versions {
                    let choice = random.random_range(0..=versions.len());
                    if let Some(version) = versions.get(choice) {
                        file.write_all_at(version, sector * SECTOR).expect("written back");
                    }
                }
            }
        }
    }

    #[derive(Debug)]
    pub struct Wire {
        plug: Arc<Plug>,
        file: File,
        number: usize,
    }

    impl Wire {
        pub fn new(plug: Arc<Plug>, file: File) -> Self {
            let mut state = plug.state.lock().expect("no test panics with it");
            state.files.push((file.try_clone().expect("a descriptor"), Overwritten::new()));
            let number = state.files.len() - 1;
            drop(state);
            Self { plug, file, number }
        }

        pub fn before_write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let mut state = self.plug.state.lock().expect("no test panics with it");
            let outcome = state.step();
            if outcome == Outcome::Off {
                return Err(io::Error::other("no power"));
            }
            let start = offset / SECTOR * SECTOR;
            let end = (offset + bytes.len() as u64).next_multiple_of(SECTOR);
            let (mut before, mut done) = (vec![0; (end - start) as usize], 0);
            while let length @ 1.. = self.file.read_at(&mut before[done..], start + done as u64)? {
                done += length;
            }
            state.files[self.number].1.push((start, before));
            if outcome == Outcome::GoingOff {
                self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                return Err(io::Error::other("the power went"));
            }
            Ok(())
        }

        pub fn before_sync(&self) -> io::Result<()> {
            let mut state = self.plug.state.lock().expect("no test panics with it");
            if state.step() != Outcome::On {
                return Err(io::Error::other("no power"));
            }
            // Calls are serialised by whoever tests: nothing is written between this line and the sync.
            state.files[self.number].1.clear();
            Ok(())
        }
    }

    #[derive(PartialEq)]
    enum Outcome {
        On,
        GoingOff,
        Off,
    }

    impl State {
        fn step(&mut self) -> Outcome {
            self.calls += 1;
            match self.pull_at {
                Some(at) if self.calls == at => Outcome::GoingOff,
                Some(at) if self.calls > at => Outcome::Off,
                _ => Outcome::On,
            }
        }
    }
}
