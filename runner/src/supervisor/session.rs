//! The process of a session: gives up what it does not need, and then runs the workspace.

use std::{
    io::{self, BufRead},
    path::Path,
    process::ExitCode,
    thread,
};

use anyhow::Context as _;
use daemon::isolation::{
    READ_ONLY, RootDirectory, WRITABLE, become_user, close_foreign_descriptors, is_forbidden,
};
use nix::sched::CloneFlags;
use protocol::runner::{CONTROLLER_CHANNEL, RunnerSpec};
use rustix::{
    mount::MountFlags,
    process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal, setsid},
    thread::set_no_new_privs,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{SUPERVISOR_SOCKET, Supervisor, system_calls::refuse_system_calls};
use crate::controller_link::ControllerLink;

/// The argument of `burrow runner` that makes it a session.
pub const ARGUMENT: &str = "--session";
/// Much more than a specification needs.
const MAX_SPEC_BYTES: u64 = 1024 * 1024;
/// What a session reads of the host: its name servers, for the resolver of sandboxes ([`crate::network`]),
/// and which boot this is, for the cache of the home. Those that do not exist are left out.
const READ_FILES: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/proc/sys/kernel/random/boot_id"];

/// What a session is told: one line on its standard input.
#[derive(Serialize, Deserialize)]
pub struct SessionSpec {
    /// Its user and group; `None`: the supervisor's, which is not root.
    pub user: Option<u32>,
    /// What the supervisor was launched with.
    pub spec: RunnerSpec,
}

/// Runs the process. Call it before there is a second thread, because it changes what the whole process may
/// do.
pub fn main() -> ExitCode {
    daemon::telemetry::init("warn");
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the runner's session has failed");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut input = io::BufReader::new(io::stdin());
    let mut line = Vec::new();
    io::Read::take(&mut input, MAX_SPEC_BYTES).read_until(b'\n', &mut line)?;
    let SessionSpec { user, spec } =
        serde_json::from_slice(&line).context("Cannot parse the session's specification")?;
    drop(line);
    close_foreign_descriptors(&[CONTROLLER_CHANNEL, SUPERVISOR_SOCKET])
        .context("Cannot close inherited files")?;
    // Otherwise it could have the terminal that the server was started from.
    setsid().context("Cannot start a session of processes")?;
    if let Some(user) = user {
        confine(user, &[&spec.run_dir, &spec.cache_dir])?;
    }
    // The supervisor may have died before this; then the input has ended.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_no_new_privs(true)?;
    refuse_system_calls().context("Cannot refuse system calls to the session")?;
    let inherited = "Cannot use the session's sockets";
    let controller = ControllerLink::inherited().context(inherited)?;
    let supervisor = Supervisor::inherited().context(inherited)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let shutdown = daemon::shutdown_on_signals()?;
        follow_parent(input, shutdown.clone())?;
        // The controller has a report of the error already. This is for the log.
        crate::run(spec, controller, Some(supervisor), shutdown).await.map_err(anyhow::Error::from)
    });
    runtime.shutdown_background();
    result
}

/// Cancels `parent_died` when the input ends.
fn follow_parent(
    mut input: impl io::Read + Send + 'static,
    parent_died: CancellationToken,
) -> io::Result<()> {
    // Not joined: it is blocked in a read for as long as the parent lives.
    thread::Builder::new()
        .name("lifeline".to_owned())
        .spawn(move || {
            let _ = io::copy(&mut input, &mut io::sink());
            parent_died.cancel();
        })
        .map(drop)
}

/// Becomes this user and group without privileges, who sees no file of the host but those in its
/// directories. Where root may not create namespaces, as in some containers, it sees what this user may see.
fn confine(user: u32, directories: &[&Path]) -> anyhow::Result<()> {
    match enter_root(directories) {
        Err(error) if is_forbidden(&error) => {
            tracing::warn!("the runner sees the files of the host: it may not create namespaces");
        }
        result => result.context("Cannot isolate the runner's session")?,
    }
    let drop_privileges = || {
        become_user(user, None)?;
        // No process of the same user may inspect this one.
        Ok::<_, io::Error>(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    };
    drop_privileges().with_context(|| format!("Cannot run the session as user {user}"))
}

/// Replaces the root directory by an empty one with these directories. The network stays the host's: the
/// sandbox's resolver asks the host's name servers.
fn enter_root(directories: &[&Path]) -> io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)?;
    let mut root = RootDirectory::default();
    for file in READ_FILES.map(Path::new).into_iter().filter(|file| file.is_file()) {
        root.show(file, READ_ONLY | MountFlags::NOEXEC);
    }
    for directory in directories {
        root.show(directory, WRITABLE);
    }
    root.enter()
}
