//! Prototypes: guests that have booted and wait for their identity. A start copies one instead of
//! booting, and all copies share its memory until they change it.
//!
//! ```text
//! <image>/prototypes/<key>/
//!   memory       the guest's memory, as large as the guest; mostly holes
//!   state        its processors and devices
//!   scratch      its writable layer
//!   prototype.json
//! ```
//!
//! A prototype holds nothing of any tenant: it was made with a blank home, and without an identity. Its
//! key is a hash of everything that it depends on, so a new kernel, agent, image, VMM or size has
//! another one. Prototypes do not outlive the host's boot: until the host writes them back, only its
//! memory has them, and a crash could leave half of one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{FlockOperation, SeekFrom, flock, seek};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::command_line::Accelerator;

/// Changes whenever a prototype of an earlier version of this program could not be restored.
const FORMAT: u32 = 1;
/// Prototypes that an image keeps. Each may take some hundred MiB of the disk.
const MAX_PROTOTYPES: usize = 4;
/// How long a prototype that could not be made is not tried again.
const RETRY_DELAY: Duration = Duration::from_mins(10);
/// How long a start waits for another one that makes the prototype. A boot would take as long.
const LOCK_TIMEOUT: Duration = Duration::from_mins(3);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);

const MEMORY: &str = "memory";
const STATE: &str = "state";
const SCRATCH: &str = "scratch";
const DESCRIPTION: &str = "prototype.json";

/// Everything that a prototype depends on.
#[derive(Debug, Serialize)]
pub struct PrototypeInputs {
    pub accelerator: Accelerator,
    pub vcpus: u8,
    pub memory_mib: u32,
    pub scratch_mib: u32,
    pub has_network: bool,
    /// The VMM, the kernel, the initramfs and the root file system.
    pub files: Vec<FileIdentity>,
    /// The host's boot id.
    pub boot: String,
}

/// Tells a file from its replacement without reading it.
#[derive(Debug, Serialize)]
pub struct FileIdentity {
    path: PathBuf,
    inode: u64,
    bytes: u64,
    modified_nanos: i128,
}

impl FileIdentity {
    /// The identity of an existing file.
    pub fn of(path: &Path) -> io::Result<Self> {
        let about = fs::metadata(path)?;
        let modified_nanos = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
        Ok(Self { path: path.to_owned(), inode: about.ino(), bytes: about.len(), modified_nanos })
    }
}

impl PrototypeInputs {
    /// The name of the prototype.
    pub fn key(&self) -> String {
        let json = serde_json::to_vec(&(FORMAT, env!("CARGO_PKG_VERSION"), self)).expect("plain data");
        blake3::hash(&json).to_hex()[..32].to_owned()
    }
}

/// What a prototype's files must be like.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    /// The frequency that the guest's kernel was given.
    tsc_khz: Option<u64>,
    memory_bytes: u64,
    scratch_bytes: u64,
    /// BLAKE3 of the state.
    state_hash: String,
}

/// The place of one prototype.
pub struct PrototypePlace {
    /// The image's directory of prototypes.
    parent: PathBuf,
    key: String,
}

/// A complete prototype.
#[derive(Debug)]
pub struct Prototype {
    /// Open for reading only.
    pub memory: File,
    pub state: Vec<u8>,
    pub scratch: File,
    pub tsc_khz: Option<u64>,
}

/// A prototype that is being made. Its files are removed when this is dropped.
pub struct NewPrototype {
    directory: PathBuf,
    pub memory: File,
    pub scratch: File,
}

impl PrototypePlace {
    /// The place of the prototype of an image with these inputs.
    pub fn new(image_dir: &Path, inputs: &PrototypeInputs) -> Self {
        Self { parent: image_dir.join("prototypes"), key: inputs.key() }
    }

    /// The prototype; `None` if there is none. An error says what is wrong with it.
    pub fn open(&self) -> io::Result<Option<Prototype>> {
        let directory = self.directory();
        let description = match fs::read(directory.join(DESCRIPTION)) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let description: Description = serde_json::from_slice(&description)?;
        let open = |name| File::open(directory.join(name));
        let (memory, scratch) = (open(MEMORY)?, open(SCRATCH)?);
        let state = fs::read(directory.join(STATE))?;
        require_bytes(&memory, description.memory_bytes, "memory")?;
        require_bytes(&scratch, description.scratch_bytes, "scratch disk")?;
        if blake3::hash(&state).to_hex().as_str() != description.state_hash {
            return Err(damaged("its state has changed"));
        }
        Ok(Some(Prototype { memory, state, scratch, tsc_khz: description.tsc_khz }))
    }

    /// Waits until no other start makes the prototype. The lock ends with the returned file.
    pub async fn lock(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.parent)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(self.path("lock"))?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(lock),
                Err(error) if error != rustix::io::Errno::WOULDBLOCK => return Err(error.into()),
                Err(_) if Instant::now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => sleep(LOCK_POLL_INTERVAL).await,
            }
        }
    }

    /// Creates the files of a new prototype. The caller holds the lock.
    pub fn create(&self, memory_bytes: u64, scratch_bytes: u64) -> io::Result<NewPrototype> {
        let directory = self.path("new");
        // One that was not finished.
        remove_if_present(&directory)?;
        DirBuilder::new().mode(0o700).create(&directory)?;
        let create = |name, bytes| {
            let path = directory.join(name);
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
            file.set_len(bytes)?;
            io::Result::Ok(file)
        };
        let (memory, scratch) = (create(MEMORY, memory_bytes)?, create(SCRATCH, scratch_bytes)?);
        Ok(NewPrototype { directory, memory, scratch })
    }

    /// Completes a new prototype, and removes old ones of the image. The caller holds the lock.
    pub fn publish(&self, new: &NewPrototype, state: &[u8], tsc_khz: Option<u64>) -> io::Result<()> {
        let description = Description {
            tsc_khz,
            memory_bytes: new.memory.metadata()?.len(),
            scratch_bytes: new.scratch.metadata()?.len(),
            state_hash: blake3::hash(state).to_hex().to_string(),
        };
        for (name, content) in [(STATE, state), (DESCRIPTION, serde_json::to_vec(&description)?.as_slice())] {
            let path = new.directory.join(name);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)?;
        }
        self.remove()?;
        fs::rename(&new.directory, self.directory())?;
        self.remove_old_prototypes()
    }

    /// Removes the prototype. Guests that were restored from it keep its memory.
    pub fn remove(&self) -> io::Result<()> {
        remove_if_present(&self.directory())
    }

    /// Records that the prototype was used just now, so that it is kept.
    pub fn record_use(&self) -> io::Result<()> {
        File::options().write(true).open(self.directory().join(DESCRIPTION))?.set_modified(SystemTime::now())
    }

    /// Whether the prototype could not be made a short while ago.
    pub fn has_failed_recently(&self) -> bool {
        let failed = fs::metadata(self.path("failed")).and_then(|about| about.modified());
        failed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < RETRY_DELAY))
    }

    /// Records that the prototype cannot be made at present.
    pub fn record_failure(&self) {
        if let Err(error) = fs::write(self.path("failed"), "") {
            tracing::warn!(%error, "cannot record that a prototype cannot be made");
        }
    }

    fn directory(&self) -> PathBuf {
        self.parent.join(&self.key)
    }

    /// A file or directory beside the prototype.
    fn path(&self, suffix: &str) -> PathBuf {
        self.parent.join(format!("{}.{suffix}", self.key))
    }

    /// Keeps the prototypes that were used last.
    fn remove_old_prototypes(&self) -> io::Result<()> {
        let mut prototypes = Vec::new();
        for entry in fs::read_dir(&self.parent)? {
            let path = entry?.path();
            if let Ok(used) = fs::metadata(path.join(DESCRIPTION)).and_then(|about| about.modified()) {
                prototypes.push((used, path));
            }
        }
        prototypes.sort();
        let surplus = prototypes.len().saturating_sub(MAX_PROTOTYPES);
        prototypes.drain(..surplus).try_for_each(|(_, path)| remove_if_present(&path))
    }
}

impl NewPrototype {
    /// A path of its directory that is short enough for sockets in it, and only leads there as long as the
    /// descriptor is open.
    pub fn open_directory(&self) -> io::Result<(File, PathBuf)> {
        let directory = File::open(&self.directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        Ok((directory, path))
    }
}

impl Drop for NewPrototype {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removes what killed makers have left of the prototypes of an image.
pub fn remove_unfinished(image_dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(image_dir.join("prototypes")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let directory = entry?.path();
        if directory.extension() != Some("new".as_ref()) {
            continue;
        }
        // Its maker holds the lock as long as it lives.
        let lock = OpenOptions::new().write(true).open(directory.with_extension("lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_if_present(&directory)?;
        }
    }
    Ok(())
}

fn require_bytes(file: &File, expected: u64, name: &str) -> io::Result<()> {
    let bytes = file.metadata()?.len();
    if bytes == expected {
        return Ok(());
    }
    Err(damaged(&format!("its {name} has {bytes} bytes instead of {expected}")))
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn remove_if_present(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Copies the parts of `from` that are not holes to `to`, which has the same size and only zeros.
pub fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let mut at = 0;
    loop {
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        at = seek(from, SeekFrom::Hole(start))?;
        copy_range(from, to, start, at)?;
    }
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let rest = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        let copied = rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), rest)?;
        if copied == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn inputs() -> PrototypeInputs {
        PrototypeInputs {
            accelerator: Accelerator::Tcg,
            vcpus: 1,
            memory_mib: 1024,
            scratch_mib: 64,
            has_network: true,
            files: Vec::new(),
            boot: "a".to_owned(),
        }
    }

    fn publish(place: &PrototypePlace) {
        let new = place.create(8192, 4096).expect("a new prototype");
        new.memory.write_all_at(b"memory", 4096).expect("written");
        place.publish(&new, b"state", Some(7)).expect("published");
    }

    #[test]
    fn any_other_input_has_another_key() {
        let key = inputs().key();
        assert_eq!(inputs().key(), key);
        let file = tempfile::NamedTempFile::new().expect("a file");
        let files = vec![FileIdentity::of(file.path()).expect("it exists")];
        for other in [
            PrototypeInputs { accelerator: Accelerator::Kvm, ..inputs() },
            PrototypeInputs { vcpus: 2, ..inputs() },
            PrototypeInputs { memory_mib: 1025, ..inputs() },
            PrototypeInputs { scratch_mib: 65, ..inputs() },
            PrototypeInputs { has_network: false, ..inputs() },
            PrototypeInputs { files, ..inputs() },
            PrototypeInputs { boot: "b".to_owned(), ..inputs() },
        ] {
            assert_ne!(other.key(), key, "{other:?}");
        }
    }

    #[test]
    fn replaced_file_has_another_identity() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("kernel");
        let identity = |content| {
            fs::write(directory.path().join("new"), content).expect("written");
            fs::rename(directory.path().join("new"), &path).expect("renamed");
            serde_json::to_string(&FileIdentity::of(&path).expect("it exists")).expect("plain data")
        };
        assert_ne!(identity("one"), identity("two"));
    }

    #[test]
    fn damaged_prototype_is_refused() {
        let image = tempfile::tempdir().expect("a directory");
        let place = PrototypePlace::new(image.path(), &inputs());
        DirBuilder::new().recursive(true).create(&place.parent).expect("a directory");
        assert!(place.open().expect("readable").is_none());
        publish(&place);
        let prototype = place.open().expect("readable").expect("a prototype");
        assert_eq!((prototype.state.as_slice(), prototype.tsc_khz), (b"state".as_slice(), Some(7)));
        assert!(prototype.memory.write_all_at(b"x", 0).is_err(), "the memory can only be read");
        for (name, content) in [(MEMORY, "short"), (STATE, "other"), (SCRATCH, ""), (DESCRIPTION, "{}")] {
            publish(&place);
            fs::write(place.directory().join(name), content).expect("written");
            assert!(place.open().is_err(), "{name}");
        }
    }

    #[test]
    fn unused_prototypes_are_removed() {
        let image = tempfile::tempdir().expect("a directory");
        let place =
            |memory_mib| PrototypePlace::new(image.path(), &PrototypeInputs { memory_mib, ..inputs() });
        DirBuilder::new().recursive(true).create(&place(0).parent).expect("a directory");
        for size in 0..=4 {
            publish(&place(size));
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(if size == 1 { 0 } else { 60 });
            let description = File::options().write(true).open(place(size).directory().join(DESCRIPTION));
            description.and_then(|file| file.set_modified(used)).expect("the time is set");
        }
        place(0).record_use().expect("recorded");
        publish(&place(5));
        let kept: Vec<bool> = (0..=5).map(|size| place(size).open().expect("readable").is_some()).collect();
        assert!(kept[0] && kept[5] && !kept[1], "{kept:?}");
        assert_eq!(kept.iter().filter(|is_kept| **is_kept).count(), MAX_PROTOTYPES);
    }

    #[test]
    fn unfinished_prototype_is_removed() {
        let image = tempfile::tempdir().expect("a directory");
        let place = PrototypePlace::new(image.path(), &inputs());
        DirBuilder::new().recursive(true).create(&place.parent).expect("a directory");
        std::mem::forget(place.create(4096, 4096).expect("a new prototype"));
        publish(&place);
        let only =
            fs::read_dir(&place.parent).expect("readable").map(|entry| entry.expect("an entry").path());
        assert_eq!(only.collect::<Vec<_>>(), [place.directory()]);
    }

    #[tokio::test]
    async fn only_leftovers_of_killed_makers_are_removed() {
        let image = tempfile::tempdir().expect("a directory");
        remove_unfinished(image.path()).expect("there is none");
        let place = PrototypePlace::new(image.path(), &inputs());
        let lock = place.lock().await.expect("free");
        let new = place.create(4096, 4096).expect("a new prototype");
        remove_unfinished(image.path()).expect("removed");
        assert!(new.directory.exists(), "its maker lives");
        drop(lock);
        let directory = new.directory.clone();
        std::mem::forget(new);
        remove_unfinished(image.path()).expect("removed");
        assert!(!directory.exists(), "its maker was killed");
    }

    #[test]
    fn copy_keeps_data_and_holes() {
        let (from, to) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
        for file in [&from, &to] {
            file.set_len(64 << 20).expect("a sparse file");
        }
        for at in [0, 1 << 20, (64 << 20) - 4] {
            from.write_all_at(b"data", at).expect("written");
        }
        copy_data(&from, &to).expect("copied");
        for at in [0, 1 << 20, (64 << 20) - 4] {
            let mut read = [0; 4];
            to.read_exact_at(&mut read, at).expect("read");
            assert_eq!(&read, b"data");
        }
        assert!(to.metadata().expect("readable").blocks() * 512 < 1 << 20);
    }
}
