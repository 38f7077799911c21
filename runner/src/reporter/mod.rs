//! The runner's conversation with the controller: reports go out in order, the desired state comes
//! back. Decides nothing.
//!
//! One exchange is heartbeat, report and long poll at once. A report stays queued until the
//! exchange that sent it is answered: it may arrive twice, and is never lost while the controller
//! lives.
//!
//! ```text
//! session, replicator ─ queue_report ─▶ queue ─▶ POST /internal/runners/report ─▶ controller
//! session, replicator ◀─ subscribe ─ ControllerState ◀──────── reply ────────────────┘
//!                      ─ acknowledge_… ─▶ AcknowledgedState
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use protocol::{
    runner::{
        Command, MAX_REPORTS, MAX_WAIT_MS, RepairOutcome, Report, ReportReply, ReportRequest, RunnerSpec,
    },
    workspace::{Step, StepProgress},
};
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::controller::{ControllerClient, ExchangeError};
pub use self::state::{AcknowledgedState, ControllerState, DesiredState, HomeTask, LeaseLoss};
use crate::controller_link::ControllerLink;

mod controller;
mod state;

/// Pause between attempts while the controller does not answer.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Reports that wait to be sent. Only a controller that is away for minutes lets the queue grow
/// this long; reports beyond it are dropped.
const MAX_QUEUED_REPORTS: usize = 1024;

/// Queues reports and holds what the controller desires. Clones share one queue and one state.
///
/// [`Reporter::run`] is the loop that talks to the controller. Everything else only touches memory
/// and never waits.
#[derive(Clone)]
pub struct Reporter(Arc<ReporterState>);

struct ReporterState {
    queue: Mutex<VecDeque<Report>>,
    /// Ends the long poll: there is something to send.
    wake_up: Notify,
    controller: watch::Sender<ControllerState>,
    acknowledged: Mutex<AcknowledgedState>,
    step: Mutex<Step>,
    /// When the runner began to run.
    started: Instant,
}

impl Reporter {
    /// The reporter of a new runner. Nothing is desired yet beyond what `spec` says.
    pub fn new(spec: &RunnerSpec) -> Self {
        Self::with_acknowledged(AcknowledgedState::from_spec(spec))
    }

    fn with_acknowledged(acknowledged: AcknowledgedState) -> Self {
        let desired = DesiredState::fulfilled_by(&acknowledged);
        let controller = ControllerState { desired, committed: None, lease_loss: None };
        Self(Arc::new(ReporterState {
            queue: Mutex::default(),
            wake_up: Notify::new(),
            controller: watch::Sender::new(controller),
            acknowledged: Mutex::new(acknowledged),
            step: Mutex::new(Step::Runner),
            started: Instant::now(),
        }))
    }

    /// Queues a report. A newer state of the home, or of the same step, replaces the older one in
    /// the queue.
    pub fn queue_report(&self, report: Report) {
        let mut queue = lock(&self.0.queue);
        queue.retain(|queued| !is_replaced_by(queued, &report));
        if queue.len() < MAX_QUEUED_REPORTS {
            queue.push_back(report);
        }
        drop(queue);
        self.0.wake_up.notify_one();
    }

    /// Reports that a step of a start or stop has begun, or new detail about the current one.
    pub fn report_step(&self, step: Step, detail: Option<String>) {
        *lock(&self.0.step) = step;
        tracing::info!(?step, detail, "step");
        self.queue_report(Report::Step(StepProgress { step, since: OffsetDateTime::now_utc(), detail }));
    }

    /// Reports that the start is complete and that streams may connect to the front.
    pub fn report_ready(&self, accelerator: String) {
        *lock(&self.0.step) = Step::Ready;
        self.queue_report(Report::Ready { accelerator });
    }

    /// The step that was reported last.
    pub fn current_step(&self) -> Step {
        *lock(&self.0.step)
    }

    /// Follows what the controller desires and has committed.
    pub fn subscribe(&self) -> watch::Receiver<ControllerState> {
        self.0.controller.subscribe()
    }

    /// What this runner has done so far of the desired state.
    pub fn acknowledged(&self) -> AcknowledgedState {
        *lock(&self.0.acknowledged)
    }

    /// Records that the runner now executes `command`: the controller need not repeat it.
    pub fn acknowledge_command(&self, command: Command) {
        self.acknowledge(|acknowledged| acknowledged.command = command);
    }

    /// Records that this requested snapshot, and all before it, are committed.
    pub fn acknowledge_snapshot(&self, request: u64) {
        self.acknowledge(|acknowledged| {
            acknowledged.snapshot_request = acknowledged.snapshot_request.max(request);
        });
    }

    /// Reports how a repair ended, and records that it and all before it are done.
    pub fn acknowledge_repair(&self, request: u64, outcome: RepairOutcome) {
        self.queue_report(Report::Repaired { answers: request, outcome });
        self.acknowledge(|acknowledged| {
            acknowledged.repair_request = acknowledged.repair_request.max(request);
        });
    }

    /// Records that the home has this size now.
    pub fn acknowledge_size(&self, home_mib: u32) {
        self.acknowledge(|acknowledged| acknowledged.home_mib = acknowledged.home_mib.max(home_mib));
    }

    /// Records that this network policy is enforced now.
    pub fn acknowledge_network(&self, revision: u64) {
        self.acknowledge(|acknowledged| {
            acknowledged.network_revision = acknowledged.network_revision.max(revision);
        });
    }

    fn acknowledge(&self, change: impl FnOnce(&mut AcknowledgedState)) {
        change(&mut lock(&self.0.acknowledged));
        self.0.wake_up.notify_one();
    }

    /// Talks to the controller until `finished` is cancelled and the queue is empty, or until the
    /// lease is lost.
    pub async fn run(self, spec: Arc<RunnerSpec>, link: ControllerLink, finished: CancellationToken) {
        let controller = ControllerClient::new(link);
        let mut answered = Instant::now();
        let mut lease = spec.lease_ms.map(Duration::from_millis);
        while !(finished.is_cancelled() && lock(&self.0.queue).is_empty()) {
            match self.exchange(&controller, &spec, &finished).await {
                Ok(Some(reply)) => {
                    answered = Instant::now();
                    lease = reply.lease_ms.map(Duration::from_millis);
                    self.0.controller.send_modify(|state| state.apply_reply(&reply));
                }
                Ok(None) => {}
                Err(ExchangeError::Refused(StatusCode::CONFLICT)) => {
                    return self.lose_lease(LeaseLoss::Fenced);
                }
                Err(error) => {
                    tracing::warn!(%error, "report failed");
                    if lease.is_some_and(|lease| answered.elapsed() > lease) {
                        return self.lose_lease(LeaseLoss::Expired);
                    }
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    fn lose_lease(&self, loss: LeaseLoss) {
        tracing::warn!(?loss, "lease lost: this runner has been replaced, or may have been");
        self.0.controller.send_modify(|state| state.lease_loss = Some(loss));
    }

    /// One exchange. Without reports it waits at the controller; a new report cancels that wait
    /// (`None`), and the next exchange sends it.
    async fn exchange(
        &self,
        controller: &ControllerClient,
        spec: &RunnerSpec,
        finished: &CancellationToken,
    ) -> Result<Option<ReportReply>, ExchangeError> {
        let reports: Vec<Report> = lock(&self.0.queue).iter().take(MAX_REPORTS).cloned().collect();
        let sent = reports.clone();
        let wait_ms = if sent.is_empty() { MAX_WAIT_MS } else { 0 };
        // The desired state as received, acknowledged or not: only something newer should end the wait.
        let desired = self.0.controller.borrow().desired.clone();
        let request = ReportRequest {
            workspace: spec.workspace,
            epoch: spec.epoch,
            reports,
            acknowledged: protocol::runner::AcknowledgedState {
                command: self.acknowledged().command,
                snapshot: desired.snapshot_request,
                repair: desired.repair.number,
                home_mib: desired.home_mib,
                network_revision: desired
                    .network
                    .map_or(self.acknowledged().network_revision, |network| network.revision),
            },
            wait_ms,
            ran_ms: u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let answer = controller.send_report(spec, &request);
        if !sent.is_empty() {
            let reply = answer.await?;
            // Newer reports may have replaced some of these while they were sent. Those stay queued.
            lock(&self.0.queue).retain(|queued| !sent.contains(queued));
            return Ok(Some(reply));
        }
        tokio::select! {
            reply = answer => reply.map(Some),
            () = self.0.wake_up.notified() => Ok(None),
            () = finished.cancelled() => Ok(None),
        }
    }
}

fn is_replaced_by(old: &Report, new: &Report) -> bool {
    match (old, new) {
        (Report::Home { .. }, Report::Home { .. }) => true,
        (Report::Network { .. }, Report::Network { .. }) => true,
        (Report::Step(old), Report::Step(new)) => old.step == new.step,
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dirty_bytes: u64) -> Report {
        Report::Home {
            at: OffsetDateTime::UNIX_EPOCH,
            dirty_bytes,
            unreplicated_ms: 0,
            used_bytes: None,
            idle_seconds: None,
            awake: vec![],
            notice: None,
            killed_program: None,
        }
    }

    #[test]
    fn queue_keeps_only_newest_state() {
        let acknowledged = AcknowledgedState {
            command: Command::Run,
            snapshot_request: 0,
            repair_request: 0,
            home_mib: 0,
            network_revision: 0,
        };
        let reporter = Reporter::with_acknowledged(acknowledged);
        for dirty_bytes in 0..3 {
            reporter.queue_report(home(dirty_bytes));
            reporter.report_step(Step::Upload, Some(dirty_bytes.to_string()));
        }
        reporter.report_step(Step::Commit, None);
        let queue = lock(&reporter.0.queue);
        assert_eq!(queue.len(), 3, "{queue:?}");
        assert_eq!(queue[0], home(2));
    }
}
