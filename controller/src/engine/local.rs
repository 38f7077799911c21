//! Runners as children of this process.
//!
//! A child's standard input carries its specification and stays open: its end means that we died, and the runner ends its
//! machine and goes. Children are in process groups of their own, so a Ctrl-C at our terminal reaches them by us alone.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use daemon::Tasks;
use protocol::{
    Epoch, Redacted, WorkspaceId,
    runner::{MAX_SLOT, RunnerSpec},
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Exit, LaunchError, Order};
use crate::{
    config::{Config, EngineConfig},
    lifecycle,
};

/// A runner reads its specification at once; a pipe holds all of it anyway.
const SPEC_TIMEOUT: Duration = Duration::from_secs(10);
/// From the end of its input to the signal that nothing survives: the machine must be ended, its network removed.
const END_GRACE: Duration = Duration::from_secs(15);
/// Exits that wait to be heard.
const MAX_EXITS: usize = 256;
/// What a runner may see of our environment: no secret of ours but the object store's.
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
const ENVIRONMENT_OF_STORE: &str = "AWS_";

#[derive(Clone)]
pub struct LocalEngine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    store: String,
    run_dir: PathBuf,
    cache_dir: PathBuf,
    controller: String,
    stream_seconds: u32,
    tasks: Tasks,
    exits: mpsc::Sender<Exit>,
    children: Mutex<HashMap<WorkspaceId, Running>>,
}

/// A child from its start until it is reaped.
struct Running {
    epoch: Epoch,
    slot: u16,
    end: CancellationToken,
}

impl LocalEngine {
    pub fn new(config: &Config, tasks: Tasks) -> (Self, mpsc::Receiver<Exit>) {
        let (exits, receiver) = mpsc::channel(MAX_EXITS);
        let inner = Inner {
            config: config.engine.clone(),
            store: config.store.clone(),
            run_dir: config.run_dir.clone(),
            cache_dir: config.cache_dir.clone(),
            controller: config.socket().display().to_string(),
            stream_seconds: config.history.stream_seconds,
            tasks,
            exits,
            children: Mutex::default(),
        };
        (Self(Arc::new(inner)), receiver)
    }

    /// Whether a process of this workspace is still there.
    pub fn busy(&self, workspace: WorkspaceId) -> bool {
        self.children().contains_key(&workspace)
    }

    /// Starts a runner. Its end comes as an [`Exit`].
    pub fn launch(&self, order: Order, data_key: Redacted<String>) -> Result<(), LaunchError> {
        let (workspace, epoch) = (order.workspace, order.epoch);
        let mut children = self.children();
        if children.contains_key(&workspace) {
            return Err(LaunchError::Busy);
        }
        let slot = (0..=MAX_SLOT)
            .find(|slot| children.values().all(|running| running.slot != *slot))
            .ok_or(LaunchError::NoSlot(usize::from(MAX_SLOT) + 1))?;
        let spec = self.spec(order, data_key, slot)?;
        let run_dir = spec.run_dir.clone();
        let mut child = self.command().spawn()?;
        let input = child.stdin.take().expect("piped");
        let end = CancellationToken::new();
        children.insert(workspace, Running { epoch, slot, end: end.clone() });
        drop(children);
        tracing::info!(%workspace, %epoch, slot, pid = child.id(), "runner started");
        let engine = self.clone();
        self.0.tasks.spawn("runner's child", async move {
            watch(child, input, &spec, end).await;
            // What a killed runner left; one that ended in order has removed it.
            let _ = tokio::fs::remove_dir_all(run_dir).await;
            engine.children().remove(&workspace);
            tracing::info!(%workspace, %epoch, "runner ended");
            let _ = engine.0.exits.send(Exit { workspace, epoch }).await;
        });
        Ok(())
    }

    /// Ends a runner of this epoch or an earlier one: its input is closed, and what stays is killed.
    pub fn end(&self, workspace: WorkspaceId, epoch: Epoch) {
        if let Some(running) = self.children().get(&workspace).filter(|running| running.epoch <= epoch) {
            running.end.cancel();
        }
    }

    pub fn end_all(&self) {
        for running in self.children().values() {
            running.end.cancel();
        }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Running>> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spec(&self, order: Order, data_key: Redacted<String>, slot: u16) -> Result<RunnerSpec, LaunchError> {
        let inner = &self.0;
        let Some(image_dir) = inner.config.images.get(&order.image).cloned() else {
            return Err(LaunchError::NoImage(order.image));
        };
        Ok(RunnerSpec {
            tenant: order.tenant,
            workspace: order.workspace,
            name: order.name,
            epoch: order.epoch,
            runtime: inner.config.runtime,
            resources: order.resources,
            volume: order.volume,
            head: order.head,
            head_of: order.head_of,
            lineage: order.lineage,
            data_key,
            store: inner.store.clone(),
            run_dir: inner.run_dir.join(order.workspace.to_string()),
            cache_dir: inner.cache_dir.join(order.volume.to_string()),
            image_dir,
            initramfs: inner.config.initramfs.clone(),
            agent: inner.config.agent.clone(),
            slot,
            controller: inner.controller.clone(),
            token: order.token,
            grant_key: order.grant_key,
            lease_ms: lifecycle::LEASE.whole_milliseconds().unsigned_abs() as u64,
            snapshot_requested: order.snapshot_requested,
            repair_requested: order.repair_requested,
            stream_seconds: inner.stream_seconds,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0.config.runner);
        command
            .args(&self.0.config.runner_arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| {
                name.to_str()
                    .is_some_and(|name| ENVIRONMENT.contains(&name) || name.starts_with(ENVIRONMENT_OF_STORE))
            }))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// From the start to the reaping of one child.
async fn watch(mut child: Child, mut input: ChildStdin, spec: &RunnerSpec, end: CancellationToken) {
    let text = protocol::Redacted::new(serde_json::to_vec(spec).expect("a specification is plain data"));
    let told = timeout(SPEC_TIMEOUT, async {
        input.write_all(text.expose()).await?;
        input.flush().await
    });
    if !matches!(told.await, Ok(Ok(()))) {
        tracing::warn!(workspace = %spec.workspace, "the runner does not read its specification");
        end.cancel();
    }
    drop(text);
    tokio::select! {
        _ = child.wait() => return,
        () = end.cancelled() => {}
    }
    drop(input);
    if timeout(END_GRACE, child.wait()).await.is_err() {
        tracing::warn!(workspace = %spec.workspace, "the runner does not end: killed");
        if let Err(error) = child.kill().await {
            tracing::error!(workspace = %spec.workspace, %error, "the runner cannot be killed");
        }
    }
}
