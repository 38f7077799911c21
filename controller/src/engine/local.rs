//! Starts runners as child processes of the controller.
//!
//! A child reads its specification from standard input, which then stays open. Its end tells the
//! runner that the controller has died: the runner ends its sandbox and exits. Each child has its
//! own process group, so a Ctrl-C in the terminal reaches only the controller, which then ends its
//! runners in launch.
//!
//! A child also inherits one end of a channel, over which it reaches the services that it was launched with
//! and nothing else of this process.

use std::{
    collections::HashMap,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use daemon::Tasks;
use protocol::{
    Epoch, Redacted, WorkspaceId,
    network::PolicyKey,
    runner::{CONTROLLER_CHANNEL, FRONT_SOCKET, MAX_SLOT, NetworkSpec, RunnerSpec, RuntimeKind},
    workspace::Tier,
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{LaunchError, LaunchSpec, RunnerExit, channel};
use crate::config::{Config, EngineConfig};

/// A runner reads its specification at once, and a pipe holds all of it anyway.
const SPEC_TIMEOUT: Duration = Duration::from_secs(10);
/// From the end of a runner's input until it is killed. It needs the time to end its sandbox and
/// remove its network.
const END_GRACE: Duration = Duration::from_secs(15);
/// How long a runner may go without a reply: no limit. Its input proves that this process lives, so it
/// need not end itself when this process is paused or the database is away. No other runner can
/// replace it while its process exists.
pub const RUNNER_LEASE_MS: Option<u64> = None;
/// Exits that the reconciler has not received yet.
const MAX_EXITS: usize = 256;
/// Environment variables that a runner inherits. None of them is a secret.
const ENVIRONMENT: [&str; 8] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "RUST_BACKTRACE",
    "SSL_CERT_FILE",
    daemon::telemetry::FILTER_VARIABLE,
];

/// The runners of this host. Clones share them.
#[derive(Clone)]
pub struct LocalEngine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    run_dir: PathBuf,
    gateway_group: Option<u32>,
    cache_dir: PathBuf,
    stream_seconds: u32,
    upload_mib_per_hour: u32,
    idle_stop_seconds: u64,
    tasks: Tasks,
    exits: mpsc::Sender<RunnerExit>,
    children: Mutex<HashMap<WorkspaceId, RunnerChild>>,
}

/// A runner process, from its start until it is reaped.
struct RunnerChild {
    epoch: Epoch,
    slot: u16,
    end: CancellationToken,
    /// What its supervisor knows the policies of this process by.
    policy_key: PolicyKey,
}

impl LocalEngine {
    /// An engine without runners, and the channel on which their exits arrive.
    pub fn new(config: &Config, tasks: Tasks) -> (Self, mpsc::Receiver<RunnerExit>) {
        let (exits, receiver) = mpsc::channel(MAX_EXITS);
        let inner = Inner {
            config: config.engine.clone(),
            run_dir: config.run_dir.clone(),
            gateway_group: config.gateway_group,
            cache_dir: config.cache_dir.clone(),
            stream_seconds: config.history.stream_seconds,
            upload_mib_per_hour: config.history.upload_mib_per_hour,
            idle_stop_seconds: config.limits.idle.stop_after.as_secs(),
            tasks,
            exits,
            children: Mutex::default(),
        };
        (Self(Arc::new(inner)), receiver)
    }

    /// Whether a runner process of this workspace still exists.
    pub fn is_busy(&self, workspace: WorkspaceId) -> bool {
        self.children().contains_key(&workspace)
    }

    /// Whether a runner process exists.
    pub fn has_runners(&self) -> bool {
        !self.children().is_empty()
    }

    /// Starts a runner, which may make requests to `services`. Its end arrives as a [`RunnerExit`].
    pub fn launch(
        &self,
        launch: LaunchSpec,
        data_key: Redacted<String>,
        services: Router,
    ) -> Result<(), LaunchError> {
        let (workspace, epoch) = (launch.workspace, launch.epoch);
        let mut children = self.children();
        if children.contains_key(&workspace) {
            return Err(LaunchError::Busy);
        }
        let slot = (0..=MAX_SLOT)
            .find(|slot| children.values().all(|child| child.slot != *slot))
            .ok_or(LaunchError::NoSlot(usize::from(MAX_SLOT) + 1))?;
        let policy_key = PolicyKey::new(rand::random());
        let spec = self.runner_spec(launch, data_key, slot, policy_key.clone())?;
        let run_dir = spec.run_dir.clone();
        let (channel, runners_end) = UnixStream::pair()?;
        let mut child = self.command(runners_end.into()).spawn()?;
        let input = child.stdin.take().expect("piped");
        let end = CancellationToken::new();
        children.insert(workspace, RunnerChild { epoch, slot, end: end.clone(), policy_key });
        drop(children);
        tracing::info!(%workspace, %epoch, slot, pid = child.id(), "runner started");
        let engine = self.clone();
        self.0.tasks.spawn("runner process", async move {
            let serving = AbortOnDropHandle::new(tokio::spawn(channel::serve(channel, services)));
            supervise(child, input, &spec, end).await;
            drop(serving);
            // A runner that ended in order has removed its directory. One that was killed has not.
            let _ = tokio::fs::remove_dir_all(run_dir).await;
            engine.children().remove(&workspace);
            tracing::info!(%workspace, %epoch, "runner ended");
            let _ = engine.0.exits.send(RunnerExit { workspace, epoch }).await;
        });
        Ok(())
    }

    /// The policy with a seal for the supervisor of a workspace's runner; without one if it has no runner.
    pub fn seal(&self, workspace: WorkspaceId, network: NetworkSpec) -> NetworkSpec {
        match self.children().get(&workspace) {
            Some(child) => child.policy_key.seal(network),
            None => network,
        }
    }

    /// The socket of the front of a workspace's runner. The runner does not choose it, because it could name
    /// a socket of somebody else.
    pub fn front(&self, workspace: WorkspaceId) -> PathBuf {
        self.run_dir(workspace).join(FRONT_SOCKET)
    }

    fn run_dir(&self, workspace: WorkspaceId) -> PathBuf {
        self.0.run_dir.join(workspace.to_string())
    }

    /// Ends the runner of this epoch or an earlier one: closes its input, and kills it if it does
    /// not end.
    pub fn end(&self, workspace: WorkspaceId, epoch: Epoch) {
        if let Some(child) = self.children().get(&workspace).filter(|child| child.epoch <= epoch) {
            child.end.cancel();
        }
    }

    /// Ends all runners.
    pub fn end_all(&self) {
        for child in self.children().values() {
            child.end.cancel();
        }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<WorkspaceId, RunnerChild>> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runner_spec(
        &self,
        launch: LaunchSpec,
        data_key: Redacted<String>,
        slot: u16,
        policy_key: PolicyKey,
    ) -> Result<RunnerSpec, LaunchError> {
        let inner = &self.0;
        let runtime = choose_runtime(inner.config.runtime, &launch)?;
        let Some(image_dir) = inner.config.images.get(&launch.image).cloned() else {
            return Err(LaunchError::NoImage(launch.image));
        };
        Ok(RunnerSpec {
            tenant: launch.tenant,
            workspace: launch.workspace,
            name: launch.name,
            epoch: launch.epoch,
            runtime,
            runsc: inner.config.runsc.clone(),
            written_by: launch.written_by,
            resources: launch.resources,
            volume: launch.volume,
            head: launch.head,
            head_of: launch.head_of,
            lineage: launch.lineage,
            data_key,
            run_dir: self.run_dir(launch.workspace),
            gateway_group: inner.gateway_group,
            cache_dir: inner.cache_dir.join(launch.volume.to_string()),
            image_dir,
            initramfs: inner.config.initramfs.clone(),
            agent: inner.config.agent.clone(),
            slot,
            token: launch.token,
            grant_key: launch.grant_key,
            lease_ms: RUNNER_LEASE_MS,
            snapshot_requested: launch.snapshot_requested,
            repair_requested: launch.repair_requested,
            stream_seconds: inner.stream_seconds,
            upload_mib_per_hour: inner.upload_mib_per_hour,
            upload_allowance_used: launch.upload_allowance_used,
            use_prototypes: inner.config.use_prototypes,
            idle_stop_seconds: inner.idle_stop_seconds,
            network: launch.network,
            policy_key: Some(policy_key),
            network_bounds: inner.config.network_bounds.clone(),
            disk_limits: inner.config.disk_limits,
        })
    }

    fn command(&self, channel: OwnedFd) -> Command {
        let mut command = Command::new(&self.0.config.runner);
        command
            .args(&self.0.config.runner_arguments)
            .env_clear()
            .envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .process_group(0)
            .kill_on_drop(true);
        daemon::descriptors::pass_as(&mut command, channel, CONTROLLER_CHANNEL);
        command
    }
}

/// The kind of sandbox of a workspace, if it may have one. The fake runtime stands for all tiers.
fn choose_runtime(configured: RuntimeKind, launch: &LaunchSpec) -> Result<RuntimeKind, LaunchError> {
    match launch.tier {
        tier if !launch.is_tier_allowed => Err(LaunchError::TierNotAllowed(tier)),
        Tier::Container | Tier::Gvisor if launch.written_by == Some(Tier::Microvm) => {
            Err(LaunchError::ForeignHome)
        }
        _ if configured == RuntimeKind::Fake => Ok(RuntimeKind::Fake),
        Tier::Container => Ok(RuntimeKind::Container),
        Tier::Gvisor => Ok(RuntimeKind::Gvisor),
        Tier::Microvm => Ok(RuntimeKind::Microvm),
    }
}

/// Sends a child its specification, waits until it ends or should end, and reaps it.
async fn supervise(mut child: Child, mut input: ChildStdin, spec: &RunnerSpec, end: CancellationToken) {
    let text = protocol::Redacted::new(serde_json::to_vec(spec).expect("a specification is plain data"));
    let sent = timeout(SPEC_TIMEOUT, async {
        input.write_all(text.expose()).await?;
        input.flush().await
    });
    if !matches!(sent.await, Ok(Ok(()))) {
        tracing::warn!(workspace = %spec.workspace, "the runner did not read its specification");
        end.cancel();
    }
    drop(text);
    tokio::select! {
        _ = child.wait() => return,
        () = end.cancelled() => {}
    }
    drop(input);
    if timeout(END_GRACE, child.wait()).await.is_err() {
        tracing::warn!(workspace = %spec.workspace, "the runner did not end, killing it");
        if let Err(error) = child.kill().await {
            tracing::error!(workspace = %spec.workspace, %error, "cannot kill the runner");
        }
    }
}
