//! Many starts in the same moment, as when a class begins, compared with as many bare VMs that are
//! restored in the same moment.

use std::time::{Duration, Instant};

use burrow_tests::{Stack, StackOptions};
use futures_util::future::join_all;
use protocol::WorkspaceId;

use super::{
    Goal, Row,
    bare_vm::{BareVm, SavedVm},
    create_at_rest, directory, quantile,
    start::{api, time_start},
};

/// Starts in the same moment, if the host has memory for them.
const MAX_STARTS: u64 = 30;
/// Memory that the host has for each workspace of 1 GiB, in MiB.
const MEMORY_MIB: u64 = 1536;
/// All of these move together, so that a slow second hurts both sides.
const ROUNDS: usize = 3;
const RATE_GOAL: f64 = 0.7;
const P95_GOAL_SECONDS: f64 = 5.0;

/// Measures starts that are requested at once. One that fails ends the benchmark.
pub async fn measure() -> Vec<Row> {
    let directory = directory();
    let unlimited = ["--max-running-per-teacher", "0", "--max-scratch-per-teacher", "0"];
    let options = StackOptions::new("microvm", &directory.path().join("d")).with(&unlimited);
    let stack = Stack::start(options).await;
    let workspaces = create_workspaces(&stack, count_starts()).await;
    let bare = BareVm::prepare(directory.path());
    let saved = bare.save().await;
    let (mut own, mut peer, mut prompts) = (Duration::ZERO, Duration::ZERO, Vec::new());
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let starts = start_all(&stack, &workspaces).await;
        own += begun.elapsed();
        prompts.extend(starts);
        stop_all(&stack, &workspaces).await;
        let restored = time_restores(&saved, workspaces.len()).await;
        peer += restored;
        eprintln!("herd {}/{ROUNDS}: {} starts, bare restores {restored:.2?}", round + 1, workspaces.len());
    }
    stack.interrupt().await;
    let total = (workspaces.len() * ROUNDS) as f64;
    let (ours, theirs) = (total / own.as_secs_f64(), total / peer.as_secs_f64());
    let p95 = quantile(&prompts, 0.95);
    vec![
        Row {
            name: "starts at once per second ÷ bare restores",
            detail: format!("{} at once, {ROUNDS} times: {ours:.2}/s ÷ {theirs:.2}/s", workspaces.len()),
            value: ours / theirs,
            goal: Goal::AtLeast(RATE_GOAL),
            unit: "×",
        },
        Row {
            name: "starts at once, to the prompt, p95",
            detail: format!("p50 {:.2?}", quantile(&prompts, 0.5)),
            value: p95.as_secs_f64(),
            goal: Goal::AtMost(P95_GOAL_SECONDS),
            unit: "s",
        },
    ]
}

/// As many as the host has memory for.
fn count_starts() -> u64 {
    let info = rustix::system::sysinfo();
    let total_mib = info.totalram.saturating_mul(u64::from(info.mem_unit)) / (1024 * 1024);
    (total_mib / MEMORY_MIB).clamp(1, MAX_STARTS)
}

/// Workspaces that have run before, and are at rest.
async fn create_workspaces(stack: &Stack, count: u64) -> Vec<WorkspaceId> {
    let mut workspaces = Vec::new();
    for index in 0..count {
        let name = format!("herd-{index}");
        workspaces.push(create_at_rest(stack, &name, "base").await);
    }
    workspaces
}

/// The times to the prompts.
async fn start_all(stack: &Stack, workspaces: &[WorkspaceId]) -> Vec<Duration> {
    let api = api(stack);
    let starts = workspaces.iter().map(|workspace| time_start(&api, *workspace));
    join_all(starts).await.into_iter().map(|start| start.to_prompt).collect()
}

async fn stop_all(stack: &Stack, workspaces: &[WorkspaceId]) {
    for index in 0..workspaces.len() {
        stack.run_ok(&["stop", &format!("herd-{index}")]).await;
    }
}

async fn time_restores(saved: &SavedVm<'_>, count: usize) -> Duration {
    let begun = Instant::now();
    let running = join_all((0..count).map(async |index| saved.restore(&index.to_string()).await)).await;
    let elapsed = begun.elapsed();
    for vm in running {
        vm.kill().await;
    }
    elapsed
}
