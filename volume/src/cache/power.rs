//! Simulated power loss. The power fails at a chosen call to a file; then a random part of what was
//! not synced is lost, sector by sector.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, MutexGuard},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// The unit that a disk writes completely or not at all.
pub const SECTOR: u64 = 512;

/// What was overwritten since the last sync, oldest first: the offset of whole sectors, and their
/// old content.
type Overwritten = Vec<(u64, Vec<u8>)>;

/// The power supply of a simulated host; all its files hang on it.
#[derive(Debug, Default)]
pub struct PowerSupply {
    state: Mutex<SupplyState>,
}

#[derive(Debug, Default)]
struct SupplyState {
    calls: u64,
    fail_at: Option<u64>,
    files: Vec<(File, Overwritten)>,
}

impl PowerSupply {
    /// Every call from this one on fails. If the first of them writes, it writes half.
    pub fn fail_at(&self, call: u64) {
        self.state().fail_at = Some(call);
    }

    /// Calls to files so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Loses what was not synced: each such sector gets any of the contents that it has had since
    /// its last sync.
    pub fn lose_unsynced(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut state = self.state();
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
                    file.write_all_at(version, sector * SECTOR).expect("the old content is restored");
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, SupplyState> {
        self.state.lock().expect("no test panics while it holds the lock")
    }
}

/// A file of a simulated host. Is told of every call before it is made.
#[derive(Debug)]
pub struct PoweredFile {
    supply: Arc<PowerSupply>,
    file: File,
    number: usize,
}

impl PoweredFile {
    pub fn new(supply: Arc<PowerSupply>, file: File) -> Self {
        let mut state = supply.state();
        state.files.push((file.try_clone().expect("a descriptor"), Overwritten::new()));
        let number = state.files.len() - 1;
        drop(state);
        Self { supply, file, number }
    }

    /// Keeps what the write overwrites. Fails if the power is off; if it fails now, half of the
    /// write is done.
    pub fn before_write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.supply.state();
        let power = state.count_call();
        if power == Power::Off {
            return Err(io::Error::other("no power"));
        }
        let start = offset / SECTOR * SECTOR;
        let end = (offset + bytes.len() as u64).next_multiple_of(SECTOR);
        let (mut before, mut done) = (vec![0; (end - start) as usize], 0);
        while let length @ 1.. = self.file.read_at(&mut before[done..], start + done as u64)? {
            done += length;
        }
        state.files[self.number].1.push((start, before));
        if power == Power::Failing {
            self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::other("the power failed"));
        }
        Ok(())
    }

    /// Forgets what was overwritten: it is durable now. Fails if the power is off.
    pub fn before_sync(&self) -> io::Result<()> {
        let mut state = self.supply.state();
        if state.count_call() != Power::On {
            return Err(io::Error::other("no power"));
        }
        // Tests make their calls one after another: nothing is written between this line and the
        // sync.
        state.files[self.number].1.clear();
        Ok(())
    }
}

#[derive(PartialEq)]
enum Power {
    On,
    Failing,
    Off,
}

impl SupplyState {
    fn count_call(&mut self) -> Power {
        self.calls += 1;
        match self.fail_at {
            Some(at) if self.calls == at => Power::Failing,
            Some(at) if self.calls > at => Power::Off,
            _ => Power::On,
        }
    }
}
