//! Metrics in the format of Prometheus, for operators.
//!
//! There are two kinds. What *happens* is counted here as it happens, by the controller that it happens in:
//! starts and their steps, failures. What *is* is read from the database at each scrape, so that every
//! controller tells the same: workspaces by phase, the queue, homes that are not safe yet. Only the disk is
//! that of the controller's own host.
//!
//! No metric contains a name, an address or content of a user. Tenants appear by their id. Histograms have no
//! tenant, because each would multiply them by the number of tenants.

use std::{sync::LazyLock, time::Duration};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use protocol::{
    TenantId,
    workspace::{Phase, Step, StepProgress},
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::{Life, State};

mod endpoint;
mod gauges;

pub use endpoint::serve;

/// Upper ends of the buckets of durations, in seconds: from a warm start to a cold one on a busy host.
const SECONDS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 120.0];

const START_SECONDS: &str = "burrow_start_seconds";
const STEP_SECONDS: &str = "burrow_start_step_seconds";
const STARTS: &str = "burrow_starts_total";
const FAILURES: &str = "burrow_failures_total";

/// The recorder of this process. All controllers of a process share it, as the tests have many.
static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS);
    let handle = builder.and_then(PrometheusBuilder::install_recorder).expect("the only recorder");
    describe_histogram!(
        START_SECONDS,
        Unit::Seconds,
        "From the request to start until the workspace is ready"
    );
    describe_histogram!(STEP_SECONDS, Unit::Seconds, "Duration of each step of a start");
    describe_counter!(STARTS, "Starts that have succeeded");
    describe_counter!(FAILURES, "Starts and stops that have failed, by the step that failed");
    gauges::describe();
    handle
});

/// How often samples are put into their buckets. Until then each takes memory.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(30);

/// Makes sure that what happens from now on is counted.
pub fn install() {
    LazyLock::force(&RECORDER);
}

/// Bounds what is kept in memory, until the shutdown.
pub async fn run_compaction(shutdown: CancellationToken) {
    let compaction = async {
        loop {
            tokio::time::sleep(COMPACTION_INTERVAL).await;
            RECORDER.run_upkeep(); // language: allow
        }
    };
    shutdown.run_until_cancelled(compaction).await;
}

/// Counts what the change from one life to the next means.
pub fn record_change(tenant: TenantId, before: &Life, after: &Life) {
    if let (Phase::Provisioning, State::Running { serving, .. }) = (before.phase(), &after.state) {
        record_start(tenant, &after.steps, &serving.accelerator);
    }
    if let Some(failure) = after.failure.as_ref().filter(|_| before.failure.is_none()) {
        counter!(FAILURES, "tenant" => tenant.to_string(), "step" => name(failure.step)).increment(1);
    }
}

fn record_start(tenant: TenantId, steps: &[StepProgress], accelerator: &str) {
    counter!(STARTS, "tenant" => tenant.to_string()).increment(1);
    for (step, seconds) in durations(steps) {
        histogram!(STEP_SECONDS, "step" => name(step), "accelerator" => accelerator.to_owned())
            .record(seconds);
    }
    if let [first, .., last] = steps {
        histogram!(START_SECONDS, "accelerator" => accelerator.to_owned())
            .record(seconds_between(first.since, last.since));
    }
}

/// How long each step took until the next one began. The last one has no end.
fn durations(steps: &[StepProgress]) -> impl Iterator<Item = (Step, f64)> {
    steps.windows(2).map(|pair| (pair[0].step, seconds_between(pair[0].since, pair[1].since)))
}

/// Zero if the clock was set back in between.
fn seconds_between(from: OffsetDateTime, to: OffsetDateTime) -> f64 {
    (to - from).as_seconds_f64().max(0.0)
}

fn name(step: Step) -> String {
    serde_json::to_value(step).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn steps_last_until_the_next_one() {
        let begun = OffsetDateTime::UNIX_EPOCH;
        let at = |step, ms| StepProgress { step, since: begun + Duration::milliseconds(ms), detail: None };
        // The clock was set back during the boot.
        let steps = [at(Step::Queue, 0), at(Step::Boot, 250), at(Step::Home, 200), at(Step::Ready, 700)];
        let expected = [(Step::Queue, 0.25), (Step::Boot, 0.0), (Step::Home, 0.5)];
        assert_eq!(durations(&steps).collect::<Vec<_>>(), expected);
        assert_eq!(durations(&steps[..1]).count(), 0);
    }
}
