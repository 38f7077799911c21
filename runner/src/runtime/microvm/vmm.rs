//! Starts the VMM of one sandbox: opens what it needs, and passes that to a jail.

use std::{
    fs::{self, File},
    io::{self, PipeReader},
    os::{
        fd::{OwnedFd, RawFd},
        unix::{fs::lchown, net::UnixListener},
    },
    path::Path,
    sync::Arc,
};

use protocol::{agent::HOME_DISK_BYTES, runner::RunnerSpec};

use super::{
    MIB,
    accelerator::allow_kvm,
    command_line::{Accelerator, CommandLine, DiskDescriptors, Home, Memory},
    jail::{GuestMemory, Jail, JailedProcess},
};
use crate::{
    cgroup::SandboxCgroup,
    images,
    network::SandboxLinks,
    runtime::{RuntimeError, cannot},
};

/// What all VMMs of one sandbox have in common.
pub struct Launcher {
    pub spec: Arc<RunnerSpec>,
    /// The VMM's user; `None`: the caller's.
    pub uid: Option<u32>,
    /// The user who connects to the VMM's sockets; `None`: the caller.
    pub session: Option<u32>,
    pub accelerator: Accelerator,
    /// `None`: the guest has no network.
    pub network: Option<SandboxLinks>,
    /// Limits on the host.
    pub cgroup: SandboxCgroup,
}

/// Where a guest begins.
pub enum Beginning {
    /// It boots.
    Boot,
    /// It boots with its memory in this file, to become a prototype.
    BootInto(File),
    /// It continues from a prototype.
    Prototype {
        /// The prototype's memory, open for reading only.
        memory: File,
        /// From which the VMM reads the prototype's state.
        state: PipeReader,
    },
}

/// What one VMM is given.
pub struct Launch<'a> {
    pub beginning: Beginning,
    /// Frequency of the time stamp counter for an emulated guest.
    pub tsc_khz: Option<u64>,
    pub scratch: File,
    /// A connection to the home's export; `None`: a blank home.
    pub home: Option<OwnedFd>,
    /// Where the VMM's sockets are made: [`AGENT_SOCKET`] and [`CONTROL_SOCKET`].
    pub sockets: &'a Path,
}

/// Name of the socket of the agent's port.
pub const AGENT_SOCKET: &str = "agent.sock";
/// Name of the socket of QEMU's control protocol.
pub const CONTROL_SOCKET: &str = "qmp.sock";

impl Launcher {
    /// Starts QEMU. Returns its process, and the number that a prototype's state has in it.
    pub async fn launch(&self, launch: Launch<'_>) -> Result<(JailedProcess, Option<RawFd>), RuntimeError> {
        let spec = &self.spec;
        let mut jail = self.new_jail()?;
        let (memory, state) = pass_beginning(&mut jail, launch.beginning)?;
        let command_line = CommandLine {
            accelerator: self.accelerator,
            tsc_khz: launch.tsc_khz,
            vcpus: spec.resources.vcpus,
            memory_mib: spec.resources.memory_mib,
            memory,
            kernel: jail.show(&spec.image_dir.join(images::KERNEL), "kernel")?,
            initramfs: jail.show(&spec.initramfs, "initramfs")?,
            disks: Some(DiskDescriptors {
                root: jail.pass(open(&spec.image_dir.join(images::ROOTFS))?),
                scratch: jail.pass(launch.scratch),
                home: match launch.home {
                    Some(connection) => Home::Exported(jail.pass(connection)),
                    None => Home::Blank(HOME_DISK_BYTES),
                },
            }),
            agent: jail.pass(self.listen(&launch.sockets.join(AGENT_SOCKET))?),
            qmp: jail.pass(self.listen(&launch.sockets.join(CONTROL_SOCKET))?),
            tap: self.pass_network(&mut jail)?,
            is_verbose: false,
        };
        let process = jail.spawn(command_line.to_arguments()).await?;
        tracing::info!(pid = process.child.id(), accelerator = self.accelerator.as_str(), "started the VMM");
        Ok((process, state))
    }

    /// The frequency that a guest's kernel needs on its command line.
    pub fn measure_tsc(&self) -> Option<u64> {
        match self.accelerator {
            Accelerator::Kvm => None,
            Accelerator::Tcg => super::tsc::measure_khz(),
        }
    }

    fn new_jail(&self) -> Result<Jail, RuntimeError> {
        let mut jail = Jail::new(self.uid)?;
        jail.set_cgroups(self.cgroup.open_entries().map_err(cannot("open the sandbox's cgroup"))?);
        jail.set_max_file_bytes(u64::from(self.spec.resources.scratch_mib) * MIB);
        if self.accelerator == Accelerator::Kvm {
            allow_kvm(&mut jail);
        }
        Ok(jail)
    }

    /// Listens on a socket, of which an earlier VMM of this start may have left the file.
    fn listen(&self, path: &Path) -> Result<UnixListener, RuntimeError> {
        let listen = || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            if self.session.is_some() {
                lchown(path, self.session, None)?;
            }
            Ok(listener)
        };
        listen().map_err(cannot("create a socket of the sandbox"))
    }

    /// Puts the VMM into the sandbox's network. Returns the number of its tap.
    fn pass_network(&self, jail: &mut Jail) -> Result<Option<RawFd>, RuntimeError> {
        let Some(network) = &self.network else { return Ok(None) };
        let copy = |descriptor: &OwnedFd| descriptor.try_clone().map_err(cannot("copy a descriptor"));
        jail.set_network(copy(&network.namespace)?);
        Ok(Some(jail.pass(copy(&network.tap)?)))
    }
}

/// Passes the file of the guest's memory, and a prototype's state.
fn pass_beginning(
    jail: &mut Jail,
    beginning: Beginning,
) -> Result<(Option<Memory>, Option<RawFd>), RuntimeError> {
    let (memory, state) = match beginning {
        Beginning::Boot => return Ok((None, None)),
        Beginning::BootInto(file) => (GuestMemory::shared(file), None),
        Beginning::Prototype { memory, state } => (GuestMemory::private(memory), Some(jail.pass(state))),
    };
    let memory = Memory { path: jail.set_memory(memory)?, is_restored: state.is_some() };
    Ok((Some(memory), state))
}

fn open(path: &Path) -> Result<File, RuntimeError> {
    File::open(path).map_err(cannot("open the image"))
}
