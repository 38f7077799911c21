//! The life of a runner: one workspace's sandbox, from its specification to its end. Decides the
//! order of things; how each is done is in the other modules.
//!
//! ```text
//! open the home ─▶ start the sandbox ─▶ bootstrap the agent ─▶ serve the front ─┐
//!                                                                               │ stop, delete, poweroff
//!        exit ◀─ commit ◀─ snapshot ◀─ end the sandbox ◀─ freeze ◀──────────────┘
//! ```
//!
//! - Each arrow is a step that users see; [`Reporter::report_step`] reports it.
//! - A *stop* takes the whole second line. A *discard* (the workspace is being deleted) ends the
//!   sandbox at once and takes no snapshot. An *abandoned* session (the lease is lost, or the
//!   parent died) ends at once and reports nothing; what the guest had flushed is in the cache, and
//!   the next start on this host continues from it.
//! - A failure anywhere ends the sandbox, flushes and closes the home, and is reported with its
//!   cause and with whether the home is safe.
//! - More urgent stop requests interrupt less urgent ones: a discard interrupts the upload of a stop.
//!
//! For example, a user stops a workspace: the controller's reply says `stop`; [`StopRequests`] yields
//! [`Ending::Stop`]; the front closes; the agent saves open documents and freezes the file system;
//! QEMU quits; the volume is uploaded; the controller commits the snapshot; the runner reports
//! `stopped` and exits.

use std::{fmt::Write as _, fs::File, path::PathBuf, sync::Arc, time::Duration};

use protocol::{
    WorkspaceId,
    agent::BootstrapRequest,
    api::snapshot::Consistency,
    grant::VerifyingKey,
    runner::{FRONT_SOCKET, Report, RunnerSpec},
    workspace::Step,
};
use time::OffsetDateTime;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    error::{FailureCause, SessionError},
    stop::{Ending, StopRequests},
};
use crate::{
    agent::{Agent, AgentError},
    controller_link::ControllerLink,
    front::Front,
    home_volume::HomeVolume,
    network_follower::{NetworkFollower, report_last_traffic},
    replicator::Replicator,
    reporter::Reporter,
    run_directory,
    runtime::{self, Sandbox, StartContext},
    supervisor::Supervisor,
};

mod error;
mod stop;

/// Booting an emulated guest on a busy host takes a minute or two; the controller allows five.
const BOOT_TIMEOUT: Duration = Duration::from_secs(240);
/// How long the last report may take to reach the controller.
const LAST_REPORT_TIMEOUT: Duration = Duration::from_secs(30);
const ENTROPY_BYTES: usize = 64;
const MIB: u64 = 1024 * 1024;

/// Why a runner failed. It has been reported to the controller.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunError(String);

/// Runs one workspace until the controller stops it, it ends by itself, or `shutdown` is cancelled,
/// which ends it at once. All sandboxes but fake ones need a `supervisor`.
pub async fn run(
    spec: RunnerSpec,
    controller: ControllerLink,
    supervisor: Option<Supervisor>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let spec = Arc::new(spec);
    let reporter = Reporter::new(&spec);
    let finished = CancellationToken::new();
    let mut reporting =
        tokio::spawn(reporter.clone().run(spec.clone(), controller.clone(), finished.clone()));
    let stops = StopRequests::new(&reporter, shutdown);
    let session = Session { spec: spec.clone(), reporter: reporter.clone(), controller, supervisor, stops };
    let result = session.run().await;
    let outcome = match result {
        Ok(Ending::Abandon) => {
            reporting.abort();
            return Ok(());
        }
        Ok(Ending::Stop | Ending::Discard) => {
            reporter.queue_report(Report::Stopped);
            Ok(())
        }
        Err(error) => {
            let (home_is_safe, message) = (error.home_is_safe, error.cause.to_string());
            let failure = error.into_failure(reporter.current_step());
            tracing::error!(error = message, step = ?failure.step, home_is_safe, "session failed");
            reporter.queue_report(Report::Failed { failure, home_safe: home_is_safe });
            Err(RunError(message))
        }
    };
    finished.cancel();
    if timeout(LAST_REPORT_TIMEOUT, &mut reporting).await.is_err() {
        tracing::warn!("the controller did not receive the last report");
        reporting.abort();
    }
    outcome
}

/// One runner's session. Its methods are the stages of its life, each inside the one before: with
/// the home open, with the sandbox started, with the front serving. Each stage cleans up what it
/// started before it returns.
struct Session {
    spec: Arc<RunnerSpec>,
    reporter: Reporter,
    controller: ControllerLink,
    supervisor: Option<Supervisor>,
    stops: StopRequests,
}

impl Session {
    /// The whole session, from the run directory to the closed home.
    async fn run(mut self) -> Result<Ending, SessionError> {
        let _directory = match self.supervisor {
            None => Some(RunDirectory::create(&self.spec).map_err(SessionError::before_home)?),
            Some(_) => None,
        };
        self.reporter.report_step(Step::Volume, None);
        let home = tokio::select! {
            opened = HomeVolume::open(&self.spec, &self.controller) => {
                opened.map_err(SessionError::before_home)?
            }
            ending = self.stops.next() => return Ok(ending),
        };
        let result = self.run_with_home(&home).await;
        let closed = home.close().await;
        if matches!(result, Ok(Ending::Stop | Ending::Discard)) {
            self.reporter.report_step(Step::Remove, None);
        }
        match (result, closed) {
            (Ok(ending), Ok(())) => Ok(ending),
            (Ok(_), Err(error)) => Err(FailureCause::from(error).into()),
            (Err(error), closed) => Err(SessionError { home_is_safe: closed.is_ok(), ..error }),
        }
    }

    /// Runs the sandbox, then persists the home if the session ends with a stop.
    async fn run_with_home(&mut self, home: &HomeVolume) -> Result<Ending, SessionError> {
        match self.run_sandbox(home).await? {
            (Ending::Stop, consistency) => Ok(self.persist(home, consistency).await?),
            (ending, _) => Ok(ending),
        }
    }

    async fn persist(&mut self, home: &HomeVolume, consistency: Consistency) -> Result<Ending, FailureCause> {
        let manifest = tokio::select! {
            persisted = home.persist(&self.reporter, consistency) => persisted?,
            // Only something more urgent than a stop gets here.
            ending = self.stops.next() => return Ok(ending),
        };
        runtime::record_commit(&self.spec, manifest);
        Ok(Ending::Stop)
    }

    /// The sandbox's life. When this returns, the sandbox is gone and the volume is at rest. The
    /// consistency says how the guest left its file system.
    async fn run_sandbox(&mut self, home: &HomeVolume) -> Result<(Ending, Consistency), SessionError> {
        let (spec, supervisor) = (&self.spec, self.supervisor.as_ref());
        let context = StartContext { spec, supervisor, volume: home.volume(), reporter: &self.reporter };
        let mut sandbox = tokio::select! {
            started = Sandbox::start(&context) => started.map_err(FailureCause::from)?,
            ending = self.stops.next() => return Ok((ending, Consistency::Crash)),
        };
        let served = self.serve(home, &mut sandbox).await;
        report_last_traffic(&self.reporter, sandbox.egress().as_deref()).await;
        let served = served.map_err(|cause| SessionError { log: sandbox.log(), ..cause.into() });
        let ended = match served {
            // What the guest still holds does not count any more.
            Ok((Ending::Abandon | Ending::Discard, _)) => {
                sandbox.kill().await;
                Ok(())
            }
            _ => sandbox.shut_down().await,
        };
        let served = served?;
        ended.map_err(FailureCause::from)?;
        Ok(served)
    }

    /// Bootstraps the agent, then serves the front and replicates the home until the session is to end.
    async fn serve(
        &mut self,
        home: &HomeVolume,
        sandbox: &mut Sandbox,
    ) -> Result<(Ending, Consistency), FailureCause> {
        let agent = sandbox.agent();
        let _network = NetworkFollower::start(&self.reporter, sandbox.egress());
        let bootstrap = bootstrap_for(&self.spec, sandbox.nameservers());
        tokio::select! {
            ready = bootstrap_agent(&self.reporter, &agent, &bootstrap) => ready?,
            exit = sandbox.wait() => return Err(FailureCause::SandboxExited(exit.description)),
            ending = self.stops.next() => return Ok((ending, Consistency::Crash)),
        }
        let front = ServedFront::start(&self.spec, &agent)?;
        self.reporter.report_ready(sandbox.accelerator().to_owned());
        tracing::info!("the sandbox is ready");
        let replicator =
            Replicator::new(&self.spec, &self.reporter, home, &agent, sandbox.pre_snapshot_hook());
        let ending = tokio::select! {
            ending = self.stops.next() => ending,
            exit = sandbox.wait() => {
                if !exit.is_orderly {
                    return Err(FailureCause::SandboxExited(exit.description));
                }
                // `poweroff` in the guest is a stop.
                tracing::info!("the guest powered off");
                Ending::Stop
            }
            () = replicator.run() => unreachable!("the replicator runs until it is dropped"),
        };
        front.shut_down().await;
        let consistency = if ending == Ending::Stop {
            freeze_guest(&self.reporter, &agent, sandbox).await
        } else {
            Consistency::Crash
        };
        Ok((ending, consistency))
    }
}

async fn bootstrap_agent(
    reporter: &Reporter,
    agent: &Agent,
    bootstrap: &BootstrapRequest,
) -> Result<(), AgentError> {
    if !agent.is_connected().await {
        reporter.report_step(Step::Boot, None);
        agent.connect_within(BOOT_TIMEOUT).await?;
    }
    reporter.report_step(Step::Home, None);
    let health = agent.bootstrap(bootstrap).await?;
    tracing::info!(version = health.version, "the agent is ready");
    Ok(())
}

/// Freezes the guest's file system before it is ended. A guest that does not freeze is ended all
/// the same: its home is what it had flushed, and the file system's journal repairs the rest.
async fn freeze_guest(reporter: &Reporter, agent: &Agent, sandbox: &mut Sandbox) -> Consistency {
    reporter.report_step(Step::Freeze, None);
    tokio::select! {
        frozen = agent.freeze() => match frozen {
            Ok(_) if sandbox.unmounts_home() => Consistency::Clean,
            Ok(consistency) => consistency,
            Err(error) => {
                tracing::warn!(%error, "cannot freeze the guest; its home is kept as last flushed");
                Consistency::Crash
            }
        },
        _ = sandbox.wait() => Consistency::Crash,
    }
}

/// The directory of a runner without a supervisor. It is removed when this is dropped.
struct RunDirectory {
    path: PathBuf,
    _lock: File,
}

impl RunDirectory {
    fn create(spec: &RunnerSpec) -> Result<Self, FailureCause> {
        let lock = run_directory::create(&spec.run_dir, None, spec.gateway_group);
        Ok(Self { path: spec.run_dir.clone(), _lock: lock.map_err(FailureCause::RunDirectory)? })
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        run_directory::remove(&self.path);
    }
}

/// The running front. Its task ends when this is shut down or dropped.
struct ServedFront {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl ServedFront {
    fn start(spec: &RunnerSpec, agent: &Arc<Agent>) -> Result<Self, FailureCause> {
        let key = VerifyingKey::from_hex(&spec.grant_key).map_err(|_| FailureCause::GrantKey)?;
        let listener = daemon::socket::bind(&spec.run_dir.join(FRONT_SOCKET), spec.gateway_group)
            .map_err(FailureCause::RunDirectory)?;
        let front = Front::new(spec.workspace, spec.epoch, key, agent.clone());
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::new(front).serve(listener, stop.clone()));
        Ok(Self { task, stop: stop.drop_guard() })
    }

    /// Closes all streams and waits until their tasks have ended.
    async fn shut_down(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

fn bootstrap_for(spec: &RunnerSpec, nameservers: Option<&[std::net::IpAddr]>) -> BootstrapRequest {
    let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
    let mut entropy = String::new();
    for byte in rand::random::<[u8; ENTROPY_BYTES]>() {
        let _ = write!(entropy, "{byte:02x}");
    }
    BootstrapRequest {
        hostname: spec.name.clone(),
        clock_unix_nanos: i64::try_from(nanos).unwrap_or(i64::MAX),
        entropy,
        machine_id: machine_id(spec.workspace),
        pids_max: spec.resources.pids,
        nameservers: nameservers.unwrap_or_default().to_vec(),
        home_bytes: u64::from(spec.resources.home_mib) * MIB,
    }
}

/// The workspace's machine id. It does not tell the workspace's own id, because programs may send it to
/// others.
fn machine_id(workspace: WorkspaceId) -> String {
    let mut hash = blake3::Hasher::new_derive_key("burrow 2026 machine-id of a workspace");
    hash.update(workspace.to_string().as_bytes());
    hash.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_id_belongs_to_workspace() {
        let (one, other) = (WorkspaceId::random(), WorkspaceId::random());
        assert_eq!(machine_id(one), machine_id(one));
        assert_ne!(machine_id(one), machine_id(other));
        assert_eq!(machine_id(one).len(), 32);
    }
}
