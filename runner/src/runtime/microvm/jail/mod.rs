//! Starts the VMM with as little as it needs: an own user without capabilities, namespaces of its
//! own, a root directory with its program and libraries only, listed system calls, no environment,
//! and only the descriptors that are passed to it. The kernel kills it when this process dies.
//!
//! Without root (in tests, and where an operator wants it) the VMM keeps the caller's user, limits,
//! namespaces and root directory. The rest applies.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc,
};

use daemon::isolation::become_user;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{FdFlags, fcntl_setfd},
    process::{
        PidfdFlags, Resource, Rlimit, Signal, getpid, pidfd_open, set_parent_process_death_signal, setrlimit,
    },
    thread::{LinkNameSpaceType, move_into_link_name_space, set_no_new_privs},
};
use seccompiler::{BpfProgram, apply_filter};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

mod guest_memory;
mod root;
mod system_calls;
#[cfg(test)]
mod tests;

pub use self::guest_memory::GuestMemory;
use self::root::JailRoot;

/// The VMM's program.
const VMM: &str = "qemu-system-x86_64";
const NOT_INSTALLED: &str = "it is not installed. Install qemu-system-x86";
/// Where programs of the system are.
const PROGRAM_DIRECTORIES: [&str; 2] = ["/usr/bin", "/bin"];

/// Added to the VMM's score when the kernel selects what to end: half of the host's memory.
const OOM_SCORE: &[u8] = b"500";
/// Lowers the VMM's share of the CPU to a third of a normal process's, and its disk priority with it,
/// so that the host's own processes go first.
const NICENESS: i32 = 5;
/// Threads of the VMM: processors, and those that wait for disks.
const MAX_THREADS: u64 = 256;
const MAX_DESCRIPTORS: u64 = 512;

/// Why the VMM cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("Cannot {operation}: {cause}")]
pub struct JailError {
    operation: String,
    /// Not a source: the message has it already.
    cause: io::Error,
}

impl JailError {
    fn new(operation: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self { operation: operation.into(), cause: error.into() }
    }
}

/// What the VMM may use.
pub struct Jail {
    program: PathBuf,
    /// Its user and group.
    uid: Option<u32>,
    /// At most one supplementary group: the one that may use `/dev/kvm`.
    group: Option<u32>,
    /// Its network namespace; `None`: ours.
    network: Option<OwnedFd>,
    /// Descriptors that stay open in the VMM, under the same numbers.
    descriptors: Vec<OwnedFd>,
    /// Its root directory; `None`: ours.
    root: Option<JailRoot>,
    /// Size of the largest file that it may write.
    max_file_bytes: u64,
    /// Its cgroups on the host, open for it to join.
    cgroups: Vec<fs::File>,
    /// Where the child sends the listener of its calls about the file of the guest's memory.
    listener: Option<OwnedFd>,
}

/// A VMM that was started, and what must live as long as it.
pub struct JailedProcess {
    /// The VMM.
    pub child: Child,
    /// The kernel ends the VMM when the thread that started it ends. The thread waits for this.
    _end_of_thread: mpsc::Sender<()>,
}

/// Finds the VMM's program.
pub fn find_vmm() -> Result<PathBuf, JailError> {
    let mut candidates = PROGRAM_DIRECTORIES.iter().map(|directory| Path::new(directory).join(VMM));
    candidates
        .find(|program| program.exists())
        .ok_or_else(|| JailError::new(format!("find {VMM}"), io::Error::other(NOT_INSTALLED)))
}

impl Jail {
    /// A jail for QEMU, as user `uid` or as the caller's.
    pub fn new(uid: Option<u32>) -> Result<Self, JailError> {
        Ok(Self::for_program(find_vmm()?, uid))
    }

    /// A jail for `program`.
    fn for_program(program: PathBuf, uid: Option<u32>) -> Self {
        let root = rustix::process::geteuid().is_root().then(|| JailRoot::new(&program));
        let (descriptors, cgroups) = (Vec::new(), Vec::new());
        let (group, network, listener) = (None, None, None);
        Self { program, uid, group, network, descriptors, root, max_file_bytes: 0, cgroups, listener }
    }

    /// Puts the VMM into a network namespace.
    pub fn set_network(&mut self, namespace: OwnedFd) {
        self.network = Some(namespace);
    }

    /// Starts the VMM in the cgroups whose `cgroup.procs` these are.
    pub fn set_cgroups(&mut self, cgroups: Vec<fs::File>) {
        self.cgroups = cgroups;
    }

    /// Lets the VMM write files of up to this size.
    pub fn set_max_file_bytes(&mut self, bytes: u64) {
        self.max_file_bytes = bytes;
    }

    /// Lets the VMM open a device, for which it may need a group.
    pub fn allow_device(&mut self, device: &Path, group: Option<u32>) {
        self.group = group;
        if let Some(root) = &mut self.root {
            root.add_device(device);
        }
    }

    /// Passes `descriptor` to the VMM and returns its number there.
    pub fn pass(&mut self, descriptor: impl Into<OwnedFd>) -> RawFd {
        let descriptor = descriptor.into();
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    /// Lets the VMM open the host's file `source`, and returns the path that it has there: `/` and
    /// `name`. For files that it cannot take as descriptors.
    pub fn show(&mut self, source: &Path, name: &str) -> Result<PathBuf, JailError> {
        // The VMM's own error would come later, and look like a fault of the accelerator.
        let source = fs::canonicalize(source)
            .and_then(|path| fs::File::open(&path).map(|_| path))
            .map_err(|error| JailError::new(format!("show {} to the VMM", source.display()), error))?;
        let Some(root) = &mut self.root else { return Ok(source) };
        let path = Path::new("/").join(name);
        root.add_file(&source, &path);
        Ok(path)
    }

    /// Lets the VMM open the file of the guest's memory, and returns the path that it has there. A
    /// thread answers the VMM's calls about it, and ends with the VMM.
    pub fn set_memory(&mut self, memory: GuestMemory) -> Result<PathBuf, JailError> {
        let cannot_supervise = |error| JailError::new("supervise the VMM's memory", error);
        let (ours, theirs) = UnixStream::pair().map_err(cannot_supervise)?;
        let ours = OwnedFd::from(ours);
        std::thread::Builder::new()
            .name("vmm-memory".to_owned())
            .spawn(move || memory.supervise(&ours))
            .map_err(cannot_supervise)?;
        self.listener = Some(theirs.into());
        Ok(PathBuf::from(guest_memory::PATH))
    }

    /// Starts the VMM. Its standard output is the guest's console, its standard error the VMM's own
    /// messages; both are piped.
    ///
    /// A thread enters the namespaces and starts it there, so that nothing but system calls remains
    /// to be done between fork and exec. The thread lives as long as the returned process.
    pub async fn spawn(self, arguments: Vec<String>) -> Result<JailedProcess, JailError> {
        let (started, start) = oneshot::channel();
        let (end_of_thread, end) = mpsc::channel::<()>();
        let runtime = Handle::current();
        let run = move || {
            let _runtime = runtime.enter();
            let _ = started.send(self.spawn_on_this_thread(&arguments));
            // Ends with the sender, which never sends.
            let _ = end.recv();
        };
        let cannot_start = |error| JailError::new("start a thread for the VMM", error);
        std::thread::Builder::new().name("vmm-starter".to_owned()).spawn(run).map_err(cannot_start)?;
        let child = start.await.unwrap_or_else(|_| {
            Err(JailError::new("start the VMM", io::Error::other("the thread that starts it has panicked")))
        })?;
        end_before_others(child.id());
        Ok(JailedProcess { child, _end_of_thread: end_of_thread })
    }

    fn spawn_on_this_thread(self, arguments: &[String]) -> Result<Child, JailError> {
        // Before it is out of sight.
        let null = fs::File::open("/dev/null").map_err(|error| JailError::new("open /dev/null", error))?;
        let filter = system_calls::build_filter().map_err(|error| {
            JailError::new("build the VMM's filter of system calls", io::Error::other(error))
        })?;
        let parent = pidfd_open(getpid(), PidfdFlags::empty())
            .map_err(|error| JailError::new("watch the VMM's parent process", error))?;
        if let Some(network) = &self.network {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| JailError::new("enter the VMM's network", error))?;
        }
        if let Some(root) = &self.root {
            root.enter()?;
        }
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(null)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // SAFETY: between fork and exec the closure makes system calls only, without allocations or
        // locks. The descriptors belong to `self`, which lives until after the spawn.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || self.enter(parent.as_fd(), &filter))
        };
        command.spawn().map_err(|error| JailError::new("start the VMM", error))
    }

    /// Runs in the child before it becomes the VMM. The order matters: setting groups and the
    /// bounding set needs privileges that changing the user drops, changing the user resets the death
    /// signal, and the filter forbids most of the rest.
    fn enter(&self, parent: BorrowedFd<'_>, filter: &BpfProgram) -> io::Result<()> {
        for cgroup in &self.cgroups {
            rustix::io::write(cgroup, b"0")?;
        }
        // A host that refuses this runs the VMM as it is.
        let _ = rustix::process::nice(NICENESS);
        for descriptor in &self.descriptors {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        if let Some(uid) = self.uid {
            self.set_limits()?;
            become_user(uid, self.group)?;
        }
        set_no_new_privs(true)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the signal was set.
        if has_ended(parent)? {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(listener) = &self.listener {
            guest_memory::install(listener.as_fd())?;
        }
        apply_filter(filter).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    fn set_limits(&self) -> io::Result<()> {
        for (resource, max) in [
            (Resource::Nproc, MAX_THREADS),
            (Resource::Nofile, MAX_DESCRIPTORS),
            (Resource::Fsize, self.max_file_bytes),
            (Resource::Core, 0),
            (Resource::Memlock, 0),
            (Resource::Msgqueue, 0),
        ] {
            setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) })?;
        }
        Ok(())
    }
}

/// Whether the process of a descriptor has ended.
fn has_ended(process: BorrowedFd<'_>) -> io::Result<bool> {
    let mut watched = [PollFd::new(&process, PollFlags::IN)];
    Ok(poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
}

/// Makes the kernel end this process before the controller and the database when memory runs out. A
/// host that refuses this runs it as it is.
fn end_before_others(process: Option<u32>) {
    let Some(process) = process else { return };
    if let Err(error) = fs::write(format!("/proc/{process}/oom_score_adj"), OOM_SCORE) {
        tracing::warn!(%error, "cannot raise the VMM's score for running out of memory");
    }
}
