//! Starts a guest from a prototype, which takes a fraction of a boot. The first start of its kind makes
//! the prototype; others wait for it.
//!
//! Whatever is wrong with a prototype, the guest can still boot. So no function here fails a start: the
//! reason is logged, and the user sees that the guest boots.

use std::{
    fs,
    io::{self, PipeReader, Write as _},
    os::fd::RawFd,
    process::ExitStatus,
    time::Duration,
};

use protocol::agent::WAITING_MARK;
use tokio::{process::Child, time::timeout};

use super::{
    MIB, Vmm,
    jail::find_vmm,
    prototype::{FileIdentity, Prototype, PrototypeInputs, PrototypePlace},
    qmp::{self, Control},
    scratch,
    vmm::{Beginning, CONTROL_SOCKET, Launch, Launcher},
};
use crate::{
    agent::Agent,
    images,
    runtime::{RuntimeError, cannot, console::Console},
    supervisor::messages::PrototypeState,
};

/// Booting an emulated guest on a busy host takes a minute or two.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);
/// Saving writes some kilobytes.
const SAVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Restoring reads some kilobytes, but a host that starts many guests is slow.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(30);
/// The agent of a restored guest answers within some milliseconds of its processor's time.
const AGENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The place of the prototype for a start; `None` if something that it depends on cannot be found.
pub fn find_place(launcher: &Launcher) -> Option<PrototypePlace> {
    let place = place_of(launcher);
    place.inspect_err(|error| tracing::warn!(%error, "cannot look for a prototype: the guest boots")).ok()
}

fn place_of(launcher: &Launcher) -> Result<PrototypePlace, RuntimeError> {
    let (spec, program) = (&launcher.spec, find_vmm()?);
    let (kernel, root) = (spec.image_dir.join(images::KERNEL), spec.image_dir.join(images::ROOTFS));
    let files = [&program, &kernel, &spec.initramfs, &root].map(|path| FileIdentity::of(path));
    let files: io::Result<Vec<_>> = files.into_iter().collect();
    let inputs = PrototypeInputs {
        accelerator: launcher.accelerator,
        vcpus: spec.resources.vcpus,
        memory_mib: spec.resources.memory_mib,
        scratch_mib: spec.resources.scratch_mib,
        has_network: launcher.network.is_some(),
        files: files.map_err(cannot("find the files of the image"))?,
        boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(cannot("read the boot id"))?,
    };
    Ok(PrototypePlace::new(&spec.image_dir, &inputs))
}

/// Whether there is a prototype.
pub fn find(place: &PrototypePlace) -> PrototypeState {
    match open(place) {
        Some(_) => PrototypeState::Ready,
        None if place.has_failed_recently() => PrototypeState::Unavailable,
        None => PrototypeState::Missing,
    }
}

/// Makes the prototype if it does not exist. Waits for another start that makes it.
pub async fn find_or_make(launcher: &Launcher, place: &PrototypePlace) -> PrototypeState {
    let lock = match place.lock().await {
        Ok(lock) => lock,
        Err(error) => {
            tracing::warn!(%error, "cannot lock the prototype");
            return PrototypeState::Unavailable;
        }
    };
    // Another start may have made it, or found that it cannot be made.
    let found = find(place);
    if found != PrototypeState::Missing {
        return found;
    }
    if let Err(error) = make(launcher, place).await {
        tracing::warn!(%error, "cannot make a prototype: guests boot");
        place.record_failure();
        return PrototypeState::Unavailable;
    }
    drop(lock);
    find(place)
}

/// The prototype, if there is a usable one.
pub fn open(place: &PrototypePlace) -> Option<Prototype> {
    match place.open() {
        Ok(prototype) => prototype.inspect(|_| {
            if let Err(error) = place.record_use() {
                tracing::debug!(%error, "cannot record the use of a prototype");
            }
        }),
        Err(error) => {
            tracing::warn!(%error, "the prototype is damaged: making another one");
            None
        }
    }
}

/// Boots a guest without a home until it waits for its identity, and saves it.
async fn make(launcher: &Launcher, place: &PrototypePlace) -> Result<(), RuntimeError> {
    let resources = &launcher.spec.resources;
    let (memory, scratch) = (u64::from(resources.memory_mib) * MIB, u64::from(resources.scratch_mib) * MIB);
    let new = place.create(memory, scratch).map_err(cannot("create a prototype"))?;
    scratch::format(&new.scratch).await;
    let tsc_khz = launcher.measure_tsc();
    let copy = |file: &fs::File| file.try_clone().map_err(cannot("copy a descriptor"));
    // Nobody but this process reaches the sockets: what comes from them is in all guests.
    let (_directory, sockets) = new.open_directory().map_err(cannot("open a new prototype"))?;
    let launch = Launch {
        beginning: Beginning::BootInto(copy(&new.memory)?),
        tsc_khz,
        scratch: copy(&new.scratch)?,
        home: None,
        sockets: &sockets,
    };
    let (mut process, _) = launcher.launch(launch).await?;
    wait_until_booted(&mut process.child).await.map_err(cannot("boot the prototype"))?;
    let saved = within(SAVE_TIMEOUT, Control::save(&sockets.join(CONTROL_SOCKET))).await;
    let state = saved.map_err(cannot("save the prototype"))?;
    let ended = within(SAVE_TIMEOUT, process.child.wait()).await;
    ended.map_err(cannot("end the prototype's VMM"))?;
    place.publish(&new, &state, tsc_khz).map_err(cannot("store the prototype"))
}

async fn wait_until_booted(vmm: &mut Child) -> io::Result<()> {
    let console = Console::follow(vmm.stdout.take().expect("piped"));
    let errors = Console::follow(vmm.stderr.take().expect("piped"));
    tokio::select! {
        () = console.wait_for_line(WAITING_MARK) => Ok(()),
        status = vmm.wait() => Err(exit_error(&errors, status.ok())),
        () = tokio::time::sleep(BOOT_TIMEOUT) => Err(qmp::timed_out()),
    }
}

/// Restores the guest of a VMM that waits for the state of a prototype, and connects to its agent.
pub async fn restore(vmm: &mut Vmm, agent: &Agent, state: RawFd) -> io::Result<()> {
    let restoring = async {
        within(RESTORE_TIMEOUT, async { Control::connect(&vmm.control).await?.restore(state).await }).await?;
        agent.connect_within(AGENT_TIMEOUT).await.map(drop).map_err(io::Error::other)
    };
    tokio::select! {
        restored = restoring => restored,
        status = vmm.process.wait() => Err(exit_error(&vmm.errors, status.ok())),
    }
}

/// Why a VMM exited: its last message, or its exit status.
fn exit_error(errors: &Console, status: Option<ExitStatus>) -> io::Error {
    let message = errors.last_lines().pop();
    io::Error::other(message.unwrap_or_else(|| format!("the VMM exited ({status:?})")))
}

/// A pipe from which exactly these bytes can be read. A thread writes them, and ends when the other end
/// closes.
pub fn pipe_with(bytes: Vec<u8>) -> io::Result<PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    tokio::task::spawn_blocking(move || {
        if let Err(error) = writer.write_all(&bytes) {
            tracing::debug!(%error, "the VMM did not read the prototype's state");
        }
    });
    Ok(reader)
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(qmp::timed_out()))
}
