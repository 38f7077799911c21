//! The runner's talk with the controller: facts go out in order, the wanted state comes back. Decides nothing.
//!
//! One exchange is heartbeat, report and long poll at once. A fact stays in the queue until an answer has come to the exchange
//! that carried it: it may arrive twice, and is never lost while the controller lives.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    ManifestId,
    runner::{
        Command, MAX_REPORTS, MAX_WAIT_MS, REPORT_PATH, RepairOutcome, RepairWish, Report, ReportReply,
        ReportRequest, RunnerSpec,
    },
    workspace::{Step, StepProgress},
};
use reqwest::StatusCode;
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// Beyond the long poll's own wait, an answer is late.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Between attempts while the controller does not answer.
const RETRY: Duration = Duration::from_millis(500);
/// Facts that wait to be told. Only a controller that is away for minutes lets them grow; then the oldest steps matter least.
const QUEUE_TIMEOUT: usize = 1024;

/// Why the talk has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another runner has taken our place.
    Fenced,
    /// No answer for as long as our lease: another may have.
    Lease,
}

/// What the controller wants, and what it has committed.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub command: Command,
    pub committed: Option<ManifestId>,
    /// The last request for a snapshot.
    pub snapshot: u64,
    /// The last repair that was asked for.
    pub repair: RepairWish,
    /// The home's size; 0 before the controller has said.
    pub home_mib: u32,
    pub lost: Option<Lost>,
}

/// Where facts are told. Clones are the same queue.
#[derive(Clone)]
pub struct Reporter(Arc<Shared>);

struct Shared {
    queue: Mutex<VecDeque<Report>>,
    news: Notify,
    wanted: watch::Sender<Wanted>,
    acting_on: watch::Sender<Command>,
    /// The last request for a snapshot that was answered, the last repair, and the home's size: what the controller need not
    /// say again.
    answering: AtomicU64,
    repairing: AtomicU64,
    home_mib: AtomicU32,
    step: Mutex<Step>,
}

#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the controller was not reached: {0}")]
    Http(#[from] reqwest::Error),
    #[error("the controller refused with status {0}")]
    Refused(StatusCode),
}

impl Reporter {
    /// Of a runner that need not answer requests up to those of its specification, and whose home has a size.
    pub fn new(spec: &RunnerSpec) -> Self {
        Self::having(spec.snapshot_wanted, spec.repair_wanted, spec.resources.home_mib)
    }

    fn having(answered: u64, repaired: u64, home_mib: u32) -> Self {
        let wanted = Wanted {
            command: Command::Run,
            committed: None,
            snapshot: answered,
            repair: RepairWish { number: repaired, objects: Vec::new() },
            home_mib,
            lost: None,
        };
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            news: Notify::new(),
            wanted: watch::Sender::new(wanted),
            acting_on: watch::Sender::new(Command::Run),
            answering: answered.into(),
            repairing: repaired.into(),
            home_mib: home_mib.into(),
            step: Mutex::new(Step::Runner),
        }))
    }

    /// Queues a fact. States that replace each other (of the home, of one step) wait once only.
    pub fn tell(&self, report: Report) {
        let mut queue = lock(&self.0.queue);
        queue.retain(|queued| !replaces(&report, queued));
        if queue.len() < QUEUE_TIMEOUT {
            queue.push_back(report);
        }
        drop(queue);
        self.0.news.notify_one();
    }

    /// A step of a start or a stop begins, or there is news of it.
    pub fn step(&self, step: Step, detail: Option<String>) {
        *lock(&self.0.step) = step;
        tracing::info!(?step, detail, "step");
        self.tell(Report::Step(StepProgress { step, since: OffsetDateTime::now_utc(), detail }));
    }

    /// All steps of the start are behind: streams come in at `front`.
    pub fn ready(&self, front: String, accelerator: String) {
        *lock(&self.0.step) = Step::Ready;
        self.tell(Report::Ready { front, accelerator });
    }

    /// The step that is being done.
    pub fn present_step(&self) -> Step {
        *lock(&self.0.step)
    }

    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.0.wanted.subscribe()
    }

    /// From now on the controller speaks up when it wants something else than this.
    pub fn act_on(&self, command: Command) {
        self.0.acting_on.send_replace(command);
        self.0.news.notify_one();
    }

    pub fn acting_on(&self) -> Command {
        *self.0.acting_on.borrow()
    }

    pub fn answering(&self) -> u64 {
        self.0.answering.load(Ordering::SeqCst)
    }

    pub fn home_mib(&self) -> u32 {
        self.0.home_mib.load(Ordering::SeqCst)
    }

    /// This request for a snapshot, and all before it, have been answered.
    pub fn answer(&self, request: u64) {
        self.0.answering.fetch_max(request, Ordering::SeqCst);
        self.0.news.notify_one();
    }

    pub fn repairing(&self) -> u64 {
        self.0.repairing.load(Ordering::SeqCst)
    }

    /// This repair, and all before it, have been done, or have failed.
    pub fn repaired(&self, answers: u64, outcome: RepairOutcome) {
        self.tell(Report::Repaired { answers, outcome });
        self.0.repairing.fetch_max(answers, Ordering::SeqCst);
        self.0.news.notify_one();
    }

    /// The home has this size now.
    pub fn grown(&self, home_mib: u32) {
        self.0.home_mib.fetch_max(home_mib, Ordering::SeqCst);
        self.0.news.notify_one();
    }

    /// Talks until `done` is cancelled and all is told, or the talk is lost.
    pub async fn run(self, spec: Arc<RunnerSpec>, done: CancellationToken) {
        let controller = match Controller::of(&spec) {
            Ok(controller) => controller,
            Err(error) => {
                tracing::error!(%error, "the controller's address cannot be used");
                return self.lose(Lost::Lease);
            }
        };
        let mut answered = Instant::now();
        let mut lease = Duration::from_millis(spec.lease_ms);
        while !(done.is_cancelled() && lock(&self.0.queue).is_empty()) {
            match self.exchange(&controller, &spec, &done).await {
                Ok(Some(reply)) => {
                    answered = Instant::now();
                    lease = Duration::from_millis(reply.lease_ms);
                    self.heard(&reply);
                }
                Ok(None) => {}
                Err(ExchangeError::Refused(StatusCode::CONFLICT)) => return self.lose(Lost::Fenced),
                Err(error) => {
                    tracing::warn!(%error, "an exchange with the controller failed");
                    if answered.elapsed() > lease {
                        return self.lose(Lost::Lease);
                    }
                    sleep(RETRY).await;
                }
            }
        }
    }

    fn heard(&self, reply: &ReportReply) {
        self.0.wanted.send_modify(|wanted| {
            wanted.command = reply.command;
            wanted.committed = reply.committed.last().copied().or(wanted.committed);
            wanted.snapshot = wanted.snapshot.max(reply.snapshot_wanted);
            if let Some(wish) = reply.repair.as_ref().filter(|wish| wish.number > wanted.repair.number) {
                wanted.repair = wish.clone();
            }
            wanted.home_mib = wanted.home_mib.max(reply.home_mib.unwrap_or(0));
        });
    }

    fn lose(&self, lost: Lost) {
        tracing::warn!(?lost, "this runner does not count any more");
        self.0.wanted.send_modify(|wanted| wanted.lost = Some(lost));
    }

    /// One exchange. With nothing to tell it waits at the controller, until a fact comes up: then it is given up (`None`) for
    /// the one that carries the fact.
    async fn exchange(
        &self,
        controller: &Controller,
        spec: &RunnerSpec,
        done: &CancellationToken,
    ) -> Result<Option<ReportReply>, ExchangeError> {
        let reports: Vec<Report> = lock(&self.0.queue).iter().take(MAX_REPORTS).cloned().collect();
        let told = reports.clone();
        let wait_ms = if told.is_empty() { MAX_WAIT_MS } else { 0 };
        // What is being acted on already is no news.
        let wanted = self.0.wanted.borrow().clone();
        let request = ReportRequest {
            workspace: spec.workspace,
            epoch: spec.epoch,
            reports,
            acting_on: self.acting_on(),
            answering: wanted.snapshot,
            repairing: wanted.repair.number,
            home_mib: wanted.home_mib,
            wait_ms,
        };
        let answer = controller.post(spec, &request);
        if !told.is_empty() {
            let reply = answer.await?;
            // Some may have been replaced meanwhile by newer ones, which are still to be told.
            lock(&self.0.queue).retain(|queued| !told.contains(queued));
            return Ok(Some(reply));
        }
        tokio::select! {
            reply = answer => reply.map(Some),
            () = self.0.news.notified() => Ok(None),
            () = done.cancelled() => Ok(None),
        }
    }
}

/// The controller at its Unix socket or its address.
struct Controller {
    client: reqwest::Client,
    address: String,
}

impl Controller {
    fn of(spec: &RunnerSpec) -> Result<Self, reqwest::Error> {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let (builder, base) = if spec.controller.starts_with('/') {
            (builder.unix_socket(spec.controller.as_str()), "http://controller")
        } else {
            (builder, spec.controller.trim_end_matches('/'))
        };
        Ok(Self { client: builder.build()?, address: format!("{base}{REPORT_PATH}") })
    }

    async fn post(&self, spec: &RunnerSpec, request: &ReportRequest) -> Result<ReportReply, ExchangeError> {
        let response = self
            .client
            .post(&self.address)
            .bearer_auth(spec.token.expose())
            .json(request)
            .timeout(Duration::from_millis(request.wait_ms) + ANSWER_GRACE)
            .send()
            .await?;
        match response.status() {
            StatusCode::OK => Ok(response.json().await?),
            status => Err(ExchangeError::Refused(status)),
        }
    }
}

fn replaces(new: &Report, old: &Report) -> bool {
    match (new, old) {
        (Report::Home { .. }, Report::Home { .. }) => true,
        (Report::Step(new), Report::Step(old)) => new.step == old.step,
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
            notice: None,
        }
    }

    #[test]
    fn only_the_newest_state_waits() {
        let reporter = Reporter::having(0, 0, 0);
        for dirty_bytes in 0..3 {
            reporter.tell(home(dirty_bytes));
            reporter.step(Step::Upload, Some(dirty_bytes.to_string()));
        }
        reporter.step(Step::Commit, None);
        let queue = lock(&reporter.0.queue);
        assert_eq!(queue.len(), 3, "{queue:?}");
        assert_eq!(queue[0], home(2));
    }
}
