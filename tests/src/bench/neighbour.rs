//! The echo of keystrokes in one workspace while another one burns all of its processors, compared with
//! the echo while that one is quiet.

use std::time::Duration;

use burrow_tests::WAIT_TIMEOUT;
use tokio::time::timeout;

use super::{Goal, Row, directory, echo::BurrowSession, id_of, quantile, stack, start::api};

/// Quiet and loud times alternate, so that the host's own load hurts both.
const ROUNDS: usize = 5;
const KEYS: usize = 200;
const GOAL: f64 = 3.0;
/// Twice as many as the processors of the workspace.
const BURN: &str = "touch ~/burn; for i in 1 2 3 4; do \
    setsid sh -c 'while [ -e ~/burn ]; do :; done' > /dev/null 2>&1 < /dev/null & done";

/// Measures the echo beside a loud neighbour.
pub async fn measure() -> Row {
    let directory = directory();
    let stack = stack("microvm", &directory).await;
    stack.run_ok(&["create", "calm"]).await;
    stack.run_ok(&["create", "loud"]).await;
    let (calm, api) = (id_of(&stack, "calm").await, api(&stack));
    let mut session = BurrowSession::open(&api, calm).await;
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        quiet.extend(time_keys(&mut session).await);
        stack.sh("loud", BURN).await;
        beside.extend(time_keys(&mut session).await);
        stack.sh("loud", "rm ~/burn").await;
        eprintln!("neighbour {}/{ROUNDS}", round + 1);
    }
    stack.interrupt().await;
    let (ours, alone) = (quantile(&beside, 0.99), quantile(&quiet, 0.99));
    Row {
        name: "echo beside a loud neighbour ÷ quiet, p99",
        detail: format!("{} keys in microVMs: {ours:.1?} ÷ {alone:.1?}", beside.len()),
        value: ours.as_secs_f64() / alone.as_secs_f64(),
        goal: Goal::AtMost(GOAL),
        unit: "×",
    }
}

async fn time_keys(session: &mut BurrowSession) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..KEYS {
        times.push(timeout(WAIT_TIMEOUT, session.time_key()).await.expect("an echo"));
    }
    times
}
