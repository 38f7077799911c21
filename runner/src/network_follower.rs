//! Follows the network policy that the controller desires while a sandbox runs, and reports what its
//! network did.

use std::{sync::Arc, time::Duration};

use protocol::{
    network::EffectivePolicy,
    runner::{NetworkSpec, Report},
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{network::Egress, reporter::Reporter};

/// How often refused names and traffic are read. They are reported if they have changed.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// Traffic alone is reported once in this many intervals: each report is a write to the database.
const INTERVALS_PER_TRAFFIC_REPORT: u32 = 15;
/// Longest wait for the counters when a sandbox is about to end: a stop does not fail for them.
const LAST_REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// The task that follows the policy. It ends when this is dropped.
pub struct NetworkFollower {
    _task: AbortOnDropHandle<()>,
}

impl NetworkFollower {
    /// Starts to follow. A sandbox without a network of its own has no `egress`: its policy is
    /// acknowledged and nothing is reported.
    pub fn start(reporter: &Reporter, egress: Option<Arc<Egress>>) -> Self {
        let reporter = reporter.clone();
        let task = tokio::spawn(async move {
            tokio::join!(follow_policy(&reporter, egress.as_deref()), report(&reporter, egress.as_deref()));
        });
        Self { _task: AbortOnDropHandle::new(task) }
    }
}

async fn follow_policy(reporter: &Reporter, egress: Option<&Egress>) {
    let mut controller = reporter.subscribe();
    loop {
        let acknowledged = reporter.acknowledged();
        let desired = controller.wait_for(|state| state.desired.next_network(&acknowledged).is_some()).await;
        let Ok(Some(network)) = desired.map(|state| state.desired.network.clone()) else { return };
        if let Some(egress) = egress {
            enforce(egress, &network).await;
        }
        reporter.acknowledge_network(network.revision);
    }
}

async fn enforce(egress: &Egress, network: &NetworkSpec) {
    let mode = match &network.policy {
        EffectivePolicy::Open => "open",
        EffectivePolicy::Allowlist { .. } => "allowlist",
        EffectivePolicy::None => "none",
    };
    match egress.set_policy(network.clone()).await {
        Ok(()) => tracing::info!(revision = network.revision, mode, "changed the network policy"),
        Err(error) => {
            let revision = network.revision;
            tracing::error!(%error, revision, "cannot change the network policy; the sandbox is offline");
        }
    }
}

/// Reports the traffic once more before the sandbox ends, so that none of it is missing in the usage.
pub async fn report_last_traffic(reporter: &Reporter, egress: Option<&Egress>) {
    let Some(egress) = egress else { return };
    match timeout(LAST_REPORT_TIMEOUT, egress.read_traffic()).await {
        Ok(Ok(traffic)) => {
            let (sent_bytes, received_bytes) = (traffic.sent_bytes, traffic.received_bytes);
            reporter.queue_report(Report::Network { refused: egress.refused(), sent_bytes, received_bytes });
        }
        Ok(Err(error)) => tracing::warn!(%error, "cannot read the last of the sandbox's traffic"),
        Err(_) => tracing::warn!("cannot read the last of the sandbox's traffic in time"),
    }
}

async fn report(reporter: &Reporter, egress: Option<&Egress>) {
    let Some(egress) = egress else { return };
    let mut interval = interval(REPORT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reported, mut intervals) = (None, 0);
    loop {
        interval.tick().await;
        intervals += 1;
        let refused = egress.refused();
        let traffic = match egress.read_traffic().await {
            Ok(traffic) => traffic,
            Err(error) => {
                tracing::warn!(%error, "cannot read the sandbox's traffic");
                continue;
            }
        };
        let is_due = match &reported {
            None => true,
            Some((known, _)) if *known != refused => true,
            Some((_, known)) => intervals >= INTERVALS_PER_TRAFFIC_REPORT && *known != traffic,
        };
        if is_due {
            intervals = 0;
            reported = Some((refused.clone(), traffic));
            let (sent_bytes, received_bytes) = (traffic.sent_bytes, traffic.received_bytes);
            reporter.queue_report(Report::Network { refused, sent_bytes, received_bytes });
        }
    }
}
