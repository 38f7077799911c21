//! Starts a guest from a prototype, which takes a fraction of a boot. The first start of its kind makes
//! the prototype; others wait for it.
//!
//! Whatever is wrong with a prototype, the guest can still boot. So no function here fails a start: the
//! reason is logged, and the user sees that the guest boots.

use std::{
    fs,
    io::{self, PipeReader, Write as _},
    os::unix::net::UnixStream,
    process::ExitStatus,
    time::Duration,
};

use protocol::agent::WAITING_MARK;
use tokio::time::timeout;

use super::{
    MIB,
    jail::find_vmm,
    prototype::{self, FileIdentity, Prototype, PrototypeInputs, PrototypePlace},
    qmp::{self, Control},
    scratch,
    vmm::{Beginning, Launch, Launcher, Vmm},
};
use crate::{
    agent::Agent,
    images,
    runtime::{RuntimeError, cannot, console::Console},
};

/// Booting an emulated guest on a busy host takes a minute or two.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);
/// Saving writes some kilobytes.
const SAVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Restoring reads some kilobytes, but a host that starts many guests is slow.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(30);
/// The agent of a restored guest answers within some milliseconds of its processor's time.
const AGENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Sockets of the VMM that makes a prototype.
const PROTOTYPE_NAME: &str = "prototype-";

/// The place of the prototype for a start; `None` if something that it depends on cannot be found.
pub fn find_place(launcher: &Launcher<'_>) -> Option<PrototypePlace> {
    let place = place_of(launcher);
    place.inspect_err(|error| tracing::warn!(%error, "cannot look for a prototype: the guest boots")).ok()
}

fn place_of(launcher: &Launcher<'_>) -> Result<PrototypePlace, RuntimeError> {
    let (spec, program) = (launcher.spec, find_vmm()?);
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

/// The prototype, which is made if it does not exist; `None` if it cannot be made.
pub async fn find_or_make(
    launcher: &Launcher<'_>,
    place: &PrototypePlace,
    on_make: impl FnOnce(),
) -> Option<Prototype> {
    if let Some(prototype) = open_prototype(place) {
        return Some(prototype);
    }
    if place.has_failed_recently() {
        return None;
    }
    let lock = place.lock().await;
    let _lock = lock.inspect_err(|error| tracing::warn!(%error, "cannot lock the prototype")).ok()?;
    // Another start may have made it, or found that it cannot be made.
    if let Some(prototype) = open_prototype(place) {
        return Some(prototype);
    }
    if place.has_failed_recently() {
        return None;
    }
    on_make();
    if let Err(error) = make(launcher, place).await {
        tracing::warn!(%error, "cannot make a prototype: guests boot");
        place.record_failure();
        return None;
    }
    open_prototype(place)
}

/// The prototype, if there is a usable one.
fn open_prototype(place: &PrototypePlace) -> Option<Prototype> {
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
async fn make(launcher: &Launcher<'_>, place: &PrototypePlace) -> Result<(), RuntimeError> {
    let resources = &launcher.spec.resources;
    let (memory, scratch) = (u64::from(resources.memory_mib) * MIB, u64::from(resources.scratch_mib) * MIB);
    let new = place.create(memory, scratch).map_err(cannot("create a prototype"))?;
    scratch::format(&new.scratch).await;
    let tsc_khz = launcher.measure_tsc();
    let copy = |file: &fs::File| file.try_clone().map_err(cannot("copy a descriptor"));
    let launch = Launch {
        beginning: Beginning::BootInto(copy(&new.memory)?),
        tsc_khz,
        scratch: copy(&new.scratch)?,
        home: None,
        name: PROTOTYPE_NAME,
    };
    let mut vmm = launcher.launch(launch).await?;
    wait_until_booted(&mut vmm).await.map_err(cannot("boot the prototype"))?;
    let saved = within(SAVE_TIMEOUT, Control::save(&vmm.control)).await;
    let state = saved.map_err(cannot("save the prototype"))?;
    let ended = within(SAVE_TIMEOUT, vmm.process.child.wait()).await;
    ended.map_err(cannot("end the prototype's VMM"))?;
    place.publish(&new, &state, tsc_khz).map_err(cannot("store the prototype"))
}

async fn wait_until_booted(vmm: &mut Vmm) -> io::Result<()> {
    tokio::select! {
        () = vmm.console.wait_for_line(WAITING_MARK) => Ok(()),
        status = vmm.process.child.wait() => Err(exit_error(&vmm.errors, status.ok())),
        () = tokio::time::sleep(BOOT_TIMEOUT) => Err(qmp::timed_out()),
    }
}

/// Restores a guest whose `scratch` and `home` are its own, and connects to its agent. An error leaves
/// nothing behind, and the home as it was.
pub async fn restore(
    launcher: &Launcher<'_>,
    prototype: Prototype,
    scratch: fs::File,
    home: UnixStream,
) -> Result<(Vmm, Agent), RuntimeError> {
    prototype::copy_data(&prototype.scratch, &scratch).map_err(cannot("copy the scratch disk"))?;
    let launch = Launch {
        beginning: Beginning::Prototype {
            memory: prototype.memory,
            state: pipe_with(prototype.state).map_err(cannot("pass the prototype's state"))?,
        },
        tsc_khz: prototype.tsc_khz,
        scratch,
        home: Some(home),
        name: "",
    };
    let mut vmm = launcher.launch(launch).await?;
    let agent = Agent::new(vmm.agent.clone());
    let state = vmm.state.expect("the launch has a state");
    let restoring = async {
        within(RESTORE_TIMEOUT, async { Control::connect(&vmm.control).await?.restore(state).await }).await?;
        agent.connect_within(AGENT_TIMEOUT).await.map(drop).map_err(io::Error::other)
    };
    let restored = tokio::select! {
        restored = restoring => restored,
        status = vmm.process.child.wait() => Err(exit_error(&vmm.errors, status.ok())),
    };
    if let Err(error) = restored {
        let _ = timeout(SAVE_TIMEOUT, vmm.process.child.kill()).await;
        return Err(cannot("restore the guest")(error));
    }
    Ok((vmm, agent))
}

/// Why a VMM exited: its last message, or its exit status.
fn exit_error(errors: &Console, status: Option<ExitStatus>) -> io::Error {
    let message = errors.last_lines().pop();
    io::Error::other(message.unwrap_or_else(|| format!("the VMM exited ({status:?})")))
}

/// A pipe from which exactly these bytes can be read. A thread writes them, and ends when the other end
/// closes.
fn pipe_with(bytes: Vec<u8>) -> io::Result<PipeReader> {
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
