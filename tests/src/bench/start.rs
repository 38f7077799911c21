//! The time from a start request to a prompt: of a boot, compared with a bare QEMU with the same kernel,
//! accelerator and size until its first process runs; and from a prototype, compared with the boot.

use std::time::{Duration, Instant};

use burrow_tests::{Stack, StackOptions, WAIT_TIMEOUT};
use client::{Api, Event, socket::TerminalEvent};
use protocol::{
    Redacted, WorkspaceId,
    terminal::{NewTerminal, TerminalSize},
    workspace::{Phase, StartPriority},
};
use tokio::time::timeout;

use super::{Goal, Row, bare_vm::BareVm, cpu_time, create_at_rest, directory, median, quantile};

/// Rounds alternate, so that all are measured under the same load.
const ROUNDS: usize = 5;
/// Warm starts in a round.
const WARM_STARTS: usize = 4;
const COLD_GOAL: f64 = 1.5;
const WARM_GOAL: f64 = 0.1;
const WARM_P95_GOAL: f64 = 0.2;
const ADDED_GOAL_MS: f64 = 60.0;
const IDLE_MEMORY_GOAL_MIB: f64 = 45.0;
const IDLE_CPU_GOAL: f64 = 2.0;
const IDLE_CPU_RATIO_GOAL: f64 = 1.3;
/// A guest that nobody uses settles in this time, and returns unused memory.
const SETTLE_TIME: Duration = Duration::from_secs(20);
/// For how long the CPU time of an idle guest is measured.
const IDLE_TIME: Duration = Duration::from_secs(20);
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// Measures the time from a start to a prompt, of guests that boot and of copies of a prototype, and what
/// an idle guest costs.
pub async fn measure() -> Vec<Row> {
    let (cold_directory, warm_directory) = (directory(), directory());
    let cold = Starter::prepare(&cold_directory, &["--no-prototypes"]).await;
    let warm = Starter::prepare(&warm_directory, &[]).await;
    let bare = BareVm::prepare(cold_directory.path());
    let saved = bare.save().await;
    let (mut colds, mut warms) = (Vec::new(), Vec::new());
    let (mut bares, mut restores) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        colds.push(cold.start().await);
        bares.push(time_boot(&bare).await);
        for _ in 0..WARM_STARTS {
            warms.push(warm.start().await);
            restores.push(saved.time_restore().await);
        }
        let last = warms[warms.len() - 1].to_prompt;
        eprintln!(
            "start {}/{ROUNDS}: {:.2?} booting, {last:.2?} copying, bare VM {:.2?}",
            round + 1,
            colds[round].to_prompt,
            bares[round]
        );
    }
    let idle = warm.measure_idle(&bare).await;
    cold.stack.interrupt().await;
    warm.stack.interrupt().await;
    let to_prompts = |starts: &[Start]| starts.iter().map(|start| start.to_prompt).collect::<Vec<_>>();
    let prompts = to_prompts(&warms);
    let (cold, p50, p95) = (median(&to_prompts(&colds)), median(&prompts), quantile(&prompts, 0.95));
    let bare = median(&bares);
    let warm_row = |name, warm: Duration, goal| Row {
        name,
        detail: format!("{} starts, {ROUNDS} boots: {warm:.2?} ÷ {cold:.2?}", warms.len()),
        value: warm.as_secs_f64() / cold.as_secs_f64(),
        goal: Goal::AtMost(goal),
        unit: "×",
    };
    let mut rows = vec![
        Row {
            name: "start to first prompt ÷ bare boot to /init",
            detail: format!("cold, median of {ROUNDS}: {cold:.2?} ÷ {bare:.2?}"),
            value: cold.as_secs_f64() / bare.as_secs_f64(),
            goal: Goal::AtMost(COLD_GOAL),
            unit: "×",
        },
        warm_row("start from prototype ÷ cold start, p50", p50, WARM_GOAL),
        warm_row("start from prototype ÷ cold start, p95", p95, WARM_P95_GOAL),
        added_row(&warms, &restores),
    ];
    rows.extend(idle);
    rows
}

/// What Burrow adds to a bare QEMU until the workspace runs, with its home.
fn added_row(starts: &[Start], restores: &[Duration]) -> Row {
    let running: Vec<Duration> = starts.iter().map(|start| start.to_running).collect();
    let (running, restore) = (median(&running), median(restores));
    Row {
        name: "start from prototype − bare restore, p50",
        detail: format!("to the running workspace {running:.2?}, bare restore to an answer {restore:.2?}"),
        value: running.saturating_sub(restore).as_secs_f64() * 1000.0,
        goal: Goal::AtMost(ADDED_GOAL_MS),
        unit: "ms",
    }
}

async fn time_boot(bare: &BareVm) -> Duration {
    let begun = Instant::now();
    let running = bare.boot().await;
    let elapsed = begun.elapsed();
    running.kill().await;
    elapsed
}

/// A server with one workspace that is at rest.
struct Starter {
    stack: Stack,
    api: Api,
    workspace: WorkspaceId,
}

impl Starter {
    async fn prepare(directory: &tempfile::TempDir, arguments: &[&str]) -> Self {
        let options = StackOptions::new("microvm", &directory.path().join("d")).with(arguments);
        let stack = Stack::start(options).await;
        let workspace = create_at_rest(&stack, "bench", "base").await;
        let api = api(&stack);
        Self { stack, api, workspace }
    }

    /// Times a start. The workspace is at rest before and after.
    async fn start(&self) -> Start {
        let start = time_start(&self.api, self.workspace).await;
        self.stack.run_ok(&["stop", "bench"]).await;
        start
    }

    /// What an idle workspace costs: memory that is its VMM's own, and CPU time.
    async fn measure_idle(&self, bare: &BareVm) -> [Row; 3] {
        self.stack.run_ok(&["start", "bench"]).await;
        let vmm = self.stack.newest_vmm().await;
        let bare = bare.boot().await;
        tokio::time::sleep(SETTLE_TIME).await;
        let processes = [vmm, bare.pid()];
        let before = processes.map(cpu_time);
        tokio::time::sleep(IDLE_TIME).await;
        let after = processes.map(cpu_time);
        let [share, bare_share] = [0, 1]
            .map(|index| after[index].saturating_sub(before[index]).as_secs_f64() / IDLE_TIME.as_secs_f64());
        let memory = own_memory_mib(vmm);
        bare.kill().await;
        let row = |name, detail: &str, value, goal, unit| Row {
            name,
            detail: detail.to_owned(),
            value,
            goal: Goal::AtMost(goal),
            unit,
        };
        [
            row(
                "memory of an idle 1 GiB workspace's VMM",
                "anonymous, without what it shares with its prototype",
                memory,
                IDLE_MEMORY_GOAL_MIB,
                "MiB",
            ),
            row("CPU of an idle workspace's VMM", "of one core, for 20 s", 100.0 * share, IDLE_CPU_GOAL, "%"),
            row(
                "CPU of an idle workspace's VMM ÷ of a bare QEMU",
                "both idle for the same 20 s",
                share / bare_share,
                IDLE_CPU_RATIO_GOAL,
                "×",
            ),
        ]
    }
}

/// Memory of a process that no other process shares, in MiB.
fn own_memory_mib(process: u32) -> f64 {
    let maps = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("it lives");
    let line = maps.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("a size");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}

/// An API client of the owner.
pub fn api(stack: &Stack) -> Api {
    Api::with_token(&stack.url, Redacted::new(stack.token.clone()), client::TrustedAuthorities::system())
        .expect("an API")
}

/// When the parts of a start were done, from the request.
#[derive(Clone, Copy)]
pub struct Start {
    /// The workspace runs, with its home.
    pub to_running: Duration,
    /// A terminal shows a prompt.
    pub to_prompt: Duration,
}

/// Starts the workspace and waits for a prompt in a new terminal.
pub async fn time_start(api: &Api, workspace: WorkspaceId) -> Start {
    let begun = Instant::now();
    api.start_workspace(workspace, StartPriority::default()).await.expect("it starts");
    timeout(WAIT_TIMEOUT, wait_until_running(api, workspace)).await.expect("it runs");
    let to_running = begun.elapsed();
    let request = NewTerminal { size: Some(SIZE), ..NewTerminal::default() };
    let terminal = api.create_terminal(workspace, &request).await.expect("a terminal");
    let mut attached = api.attach(workspace, terminal.id, SIZE).await.expect("attached");
    let mut seen = Vec::new();
    let prompt = async {
        while !seen.windows(2).any(|pair| pair == b"$ ") {
            match attached.next().await.expect("output") {
                TerminalEvent::Output(bytes) | TerminalEvent::Redraw(bytes) => seen.extend_from_slice(&bytes),
                _ => {}
            }
        }
    };
    timeout(WAIT_TIMEOUT, prompt).await.expect("a prompt");
    Start { to_running, to_prompt: begun.elapsed() }
}

async fn wait_until_running(api: &Api, workspace: WorkspaceId) {
    let mut events = api.workspace_events(workspace);
    loop {
        let Event::Changed(state) = events.next().await.expect("an event") else { panic!("it is deleted") };
        match state.phase {
            Phase::Running => return,
            Phase::Terminated => panic!("it does not start: {:?}", state.failure),
            _ => {}
        }
    }
}
