//! One workspace's machine from the specification to its end. Decides the order of things; how each is done is elsewhere.
//!
//! ```text
//! open the home ─▶ start the machine ─▶ bootstrap ─▶ serve the front ─▶ … ─▶ freeze ─▶ end ─▶ snapshot ─▶ commit
//!                      any failure: end the machine, flush the home, say why
//! ```

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use protocol::{
    agent::BootstrapRequest,
    api::snapshot::Consistency,
    grant::VerifyingKey,
    runner::{Command, Report, RunnerSpec},
    workspace::{Failure, Step},
};
use time::OffsetDateTime;
use tokio::{net::UnixListener, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    agent::{Agent, AgentError},
    front::Front,
    home::{Home, HomeError},
    report::{Reporter, Wanted},
    runtime::{self, Machine, Making, RuntimeError},
    slot::{Slot, SlotError},
    stream::Stream,
    sweep,
};

/// An emulated machine on a busy host takes a minute or two; the controller gives five.
const BOOT_TIMEOUT: Duration = Duration::from_secs(240);
/// After the end, the last word has so long to reach the controller.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(30);
const ENTROPY_BYTES: usize = 64;
const MIB: u64 = 1024 * 1024;

/// Why a runner came to nothing. The controller has been told already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunError(String);

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the runner's directory cannot be made: {0}")]
    RunDirectory(io::Error),
    #[error("the controller's key for grants is not one")]
    GrantKey,
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("{0}")]
    Machine(String),
}

/// Why a life ends, unless it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Persist the home, then go.
    Stop,
    /// Go without: the workspace is being deleted.
    Discard,
    /// Go at once and say nothing: our place is another's, or our parent has died. The cache keeps the home.
    Abandon,
}

/// Runs until the controller wants the machine gone, it goes by itself, or `shutdown` says "at once".
pub async fn run(spec: RunnerSpec, shutdown: CancellationToken) -> Result<(), RunError> {
    let spec = Arc::new(spec);
    let reporter = Reporter::new(&spec);
    let told = CancellationToken::new();
    let talk = tokio::spawn(reporter.clone().run(spec.clone(), told.clone()));
    let orders = Orders { wanted: reporter.wanted(), reporter: reporter.clone(), shutdown };
    let mut log = Vec::new();
    let result = live(&spec, &reporter, orders, &mut log).await;
    remove(&spec.run_dir);
    let outcome = match result {
        Ok(Ending::Abandon) => return Ok(()),
        Ok(Ending::Stop | Ending::Discard) => {
            reporter.tell(Report::Stopped);
            Ok(())
        }
        Err((broken, home_safe)) => {
            let failure = failure(&broken, reporter.present_step(), log);
            tracing::error!(error = %broken, step = ?failure.step, "the machine failed");
            reporter.tell(Report::Failed { failure, home_safe });
            Err(RunError(broken.to_string()))
        }
    };
    told.cancel();
    if timeout(LAST_WORD_TIMEOUT, talk).await.is_err() {
        tracing::warn!("the controller did not hear the last word");
    }
    outcome
}

/// From the home's opening to its closing. With a failure comes whether the home is safe.
async fn live(
    spec: &Arc<RunnerSpec>,
    reporter: &Reporter,
    mut orders: Orders,
    log: &mut Vec<String>,
) -> Result<Ending, (Broken, bool)> {
    // Until the home is open nothing can have happened to it.
    let untouched = |broken: Broken| (broken, true);
    let _alive = make_run_dir(&spec.run_dir).map_err(|error| untouched(Broken::RunDirectory(error)))?;
    reporter.step(Step::Volume, None);
    let home = tokio::select! {
        opened = Home::open(spec) => opened.map_err(|error| untouched(error.into()))?,
        ending = orders.ending() => return Ok(ending),
    };
    let lived = with_machine(spec, reporter, &home, &mut orders, log).await;
    let result = match lived {
        Ok((Ending::Stop, consistency)) => persist(spec, reporter, &home, consistency, &mut orders).await,
        other => other.map(|(ending, _)| ending),
    };
    let closed = home.close().await;
    reporter_remove(reporter, &result);
    match (result, closed) {
        (Ok(ending), Ok(())) => Ok(ending),
        (Ok(_), Err(error)) => Err((error.into(), false)),
        (Err(broken), closed) => Err((broken, closed.is_ok())),
    }
}

fn reporter_remove(reporter: &Reporter, result: &Result<Ending, Broken>) {
    if matches!(result, Ok(Ending::Stop | Ending::Discard)) {
        reporter.step(Step::Remove, None);
    }
}

async fn persist(
    spec: &RunnerSpec,
    reporter: &Reporter,
    home: &Home,
    consistency: Consistency,
    orders: &mut Orders,
) -> Result<Ending, Broken> {
    let manifest = tokio::select! {
        persisted = home.persist(reporter, consistency) => persisted?,
        // Only what is more urgent than a stop.
        ending = orders.ending() => return Ok(ending),
    };
    runtime::committed(spec, manifest);
    Ok(Ending::Stop)
}

/// The machine's life, from its start to its end; when it returns, the machine is gone and the volume at rest. With the end
/// comes how the guest left its home.
async fn with_machine(
    spec: &Arc<RunnerSpec>,
    reporter: &Reporter,
    home: &Home,
    orders: &mut Orders,
    log: &mut Vec<String>,
) -> Result<(Ending, Consistency), Broken> {
    let slot = Slot::take(spec.slot)?;
    tracing::info!(slot = slot.number(), "slot taken");
    let making = Making { spec, slot: &slot, volume: home.volume(), reporter };
    let mut machine = tokio::select! {
        started = Machine::start(&making) => started?,
        ending = orders.ending() => return Ok((ending, Consistency::Crash)),
    };
    let served = serve(spec, reporter, home, &mut machine, orders).await;
    if served.is_err() {
        *log = machine.log();
    }
    let ended = match served {
        // Nothing more of it counts.
        Ok((Ending::Abandon | Ending::Discard, _)) => {
            machine.kill().await;
            Ok(())
        }
        _ => machine.end().await,
    };
    let served = served?;
    ended?;
    Ok(served)
}

async fn serve(
    spec: &Arc<RunnerSpec>,
    reporter: &Reporter,
    home: &Home,
    machine: &mut Machine,
    orders: &mut Orders,
) -> Result<(Ending, Consistency), Broken> {
    let agent = machine.agent();
    let bootstrap = bootstrap_of(spec, machine.nameservers());
    tokio::select! {
        ready = come_up(reporter, &agent, &bootstrap) => ready?,
        ended = machine.ended() => return Err(Broken::Machine(ended.how)),
        ending = orders.ending() => return Ok((ending, Consistency::Crash)),
    }
    let front = serve_front(spec, &agent)?;
    reporter.ready(front_socket(spec).display().to_string(), machine.accelerator().to_owned());
    tracing::info!("the machine is ready");
    let stream = Stream::new(spec, reporter, home, &agent, machine.settler());
    let ending = tokio::select! {
        ending = orders.ending() => ending,
        ended = machine.ended() => {
            if !ended.orderly {
                return Err(Broken::Machine(ended.how));
            }
            // `poweroff` in the guest is a stop.
            tracing::info!("the machine ended by itself");
            Ending::Stop
        }
        () = stream.run() => unreachable!("it goes on for ever"),
    };
    front.end().await;
    let consistency =
        if ending == Ending::Stop { freeze(reporter, &agent, machine).await } else { Consistency::Crash };
    Ok((ending, consistency))
}

async fn come_up(reporter: &Reporter, agent: &Agent, bootstrap: &BootstrapRequest) -> Result<(), AgentError> {
    reporter.step(Step::Boot, None);
    agent.link_within(BOOT_TIMEOUT).await?;
    reporter.step(Step::Home, None);
    let health = agent.bootstrap(bootstrap).await?;
    tracing::info!(version = health.version, "the agent answers");
    Ok(())
}

/// A guest that does not freeze is ended all the same: its home is then what it had flushed, and its journal mends the rest.
async fn freeze(reporter: &Reporter, agent: &Agent, machine: &mut Machine) -> Consistency {
    reporter.step(Step::Freeze, None);
    tokio::select! {
        frozen = agent.freeze() => match frozen {
            Ok(()) => Consistency::Clean,
            Err(error) => {
                tracing::warn!(%error, "the guest did not freeze; the home is kept as it was last flushed");
                Consistency::Crash
            }
        },
        _ = machine.ended() => Consistency::Crash,
    }
}

/// What is wanted of this runner, as it changes.
struct Orders {
    wanted: tokio::sync::watch::Receiver<Wanted>,
    reporter: Reporter,
    shutdown: CancellationToken,
}

impl Orders {
    /// Resolves when something more urgent is wanted than what is being acted on.
    async fn ending(&mut self) -> Ending {
        let acting_on = self.reporter.acting_on();
        let urgent = |wanted: &Wanted| wanted.lost.is_some() || urgency(wanted.command) > urgency(acting_on);
        let wanted = tokio::select! {
            () = self.shutdown.cancelled() => return Ending::Abandon,
            wanted = self.wanted.wait_for(urgent) => wanted.map(|wanted| wanted.clone()),
        };
        match wanted {
            Ok(Wanted { lost: None, command, .. }) => {
                self.reporter.act_on(command);
                if command == Command::Discard { Ending::Discard } else { Ending::Stop }
            }
            _ => Ending::Abandon,
        }
    }
}

/// A runner that stops does not go back to running: the controller starts another.
fn urgency(command: Command) -> u8 {
    match command {
        Command::Run => 0,
        Command::Stop => 1,
        Command::Discard => 2,
    }
}

struct ServedFront {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl ServedFront {
    async fn end(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

fn serve_front(spec: &RunnerSpec, agent: &Arc<Agent>) -> Result<ServedFront, Broken> {
    let key = VerifyingKey::from_hex(&spec.grant_key).map_err(|_| Broken::GrantKey)?;
    let listener = UnixListener::bind(front_socket(spec)).map_err(Broken::RunDirectory)?;
    let front = Front { workspace: spec.workspace, epoch: spec.epoch, key, agent: agent.clone() };
    let stop = CancellationToken::new();
    let task = tokio::spawn(Arc::new(front).serve(listener, stop.clone()));
    Ok(ServedFront { task, stop: stop.drop_guard() })
}

fn front_socket(spec: &RunnerSpec) -> std::path::PathBuf {
    spec.run_dir.join("front.sock")
}

fn bootstrap_of(spec: &RunnerSpec, nameservers: Option<&[std::net::IpAddr]>) -> BootstrapRequest {
    let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
    let mut entropy = String::new();
    for byte in rand::random::<[u8; ENTROPY_BYTES]>() {
        let _ = write!(entropy, "{byte:02x}");
    }
    BootstrapRequest {
        hostname: spec.name.clone(),
        clock_unix_nanos: i64::try_from(nanos).unwrap_or(i64::MAX),
        entropy,
        pids_max: spec.resources.pids,
        network: nameservers.is_some(),
        nameservers: nameservers.unwrap_or_default().to_vec(),
        home_bytes: u64::from(spec.resources.home_mib) * MIB,
    }
}

/// Anew: what a killed runner left there is gone.
fn make_run_dir(path: &Path) -> io::Result<fs::File> {
    remove(path);
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sweep::mark_alive(path)
}

fn remove(run_dir: &Path) {
    match fs::remove_dir_all(run_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the runner's directory stays");
        }
        _ => {}
    }
}

fn failure(broken: &Broken, step: Step, log: Vec<String>) -> Failure {
    let mut cause = broken.to_string();
    if let Some(first) = cause.get(..1).map(str::to_uppercase) {
        cause.replace_range(..1, &first);
    }
    if !cause.ends_with('.') {
        cause.push('.');
    }
    let action = match broken {
        Broken::Home(HomeError::Volume(volume::VolumeError::Full)) => {
            "Whoever runs this server must free disk space; then start it again."
        }
        Broken::Home(_) => {
            "The home is kept. If it fails again, whoever runs this server finds why in its log."
        }
        Broken::Slot(_) | Broken::RunDirectory(_) | Broken::GrantKey | Broken::Runtime(_) => {
            "Whoever runs this server can see why with `burrow doctor`."
        }
        Broken::Agent(_) | Broken::Machine(_) => "The home is kept. Start it again.",
    };
    Failure { step, cause, action: action.to_owned(), log }.bounded()
}
