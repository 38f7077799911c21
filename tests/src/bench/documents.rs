//! Edits of a document: from a writer to its readers, through gateway, front and agent, saved to the file,
//! compared with y-websocket, which keeps the document in memory only. The same clients load both.

use std::{path::Path, process::Stdio, time::Duration};

use burrow_tests::{Stack, WAIT_TIMEOUT, free_port, processes::arguments_of, processes::children_of};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use super::{Goal, Row, cpu_time, directory, id_of, median, stack};

/// Rounds alternate, so that both are measured under the same load.
const ROUNDS: usize = 5;
/// Readers of the document.
const READERS: [usize; 2] = [1, 10];
/// Edits of a burst, as fast as the writer's socket takes them.
const BURST_EDITS: usize = 20_000;
/// Edits of a user, far enough apart that none waits for another.
const TYPED_EDITS: usize = 200;
const TYPED_SPACING: Duration = Duration::from_millis(20);
const RATE_GOAL: f64 = 10.0;
const P50_GOAL: f64 = 0.7;
const P99_GOAL: f64 = 0.5;

/// What the clients have measured.
#[derive(Clone, Copy)]
struct Load {
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
}

/// A server of documents: its address, and what clients need to sign in.
struct Server {
    address: String,
    token: String,
}

/// Measures bursts and single edits. `is_quick`: one round.
pub async fn measure(is_quick: bool) -> Vec<Row> {
    let rounds = if is_quick { 1 } else { ROUNDS };
    let directory = directory();
    let stack = stack("fake", &directory).await;
    stack.run_ok(&["create", "bench"]).await;
    let workspace = id_of(&stack, "bench").await;
    let own_url = stack.url.replace("http", "ws");
    let peer = PeerServer::start().await;
    let processes = data_path(&stack);
    let (mut rows, mut cpu, mut documents) = (Vec::new(), Vec::new(), 0);
    let mut next_pair = async || {
        documents += 1;
        let path = format!("page-{documents}.txt");
        stack.sh("bench", &format!("> {path}")).await;
        let address = format!("{own_url}/api/v1/workspaces/{workspace}/agent/documents?path={path}");
        let theirs = Server { address: format!("{}/{path}", peer.url), token: String::new() };
        (Server { address, token: stack.token.clone() }, theirs)
    };
    for readers in READERS {
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (server, other) = next_pair().await;
            let before: Duration = processes.iter().map(|process| cpu_time(*process)).sum();
            own.push(load(&server, readers, BURST_EDITS, Duration::ZERO).await);
            let after: Duration = processes.iter().map(|process| cpu_time(*process)).sum();
            cpu.push(after.saturating_sub(before) / BURST_EDITS as u32);
            theirs.push(load(&other, readers, BURST_EDITS, Duration::ZERO).await);
        }
        rows.push(rate_row(readers, &own, &theirs));
    }
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (server, other) = next_pair().await;
        own.push(load(&server, READERS[1], TYPED_EDITS, TYPED_SPACING).await);
        theirs.push(load(&other, READERS[1], TYPED_EDITS, TYPED_SPACING).await);
    }
    rows.push(delay_row("edit to 10 readers ÷ y-websocket, p50", P50_GOAL, &own, &theirs, |load| {
        load.p50_us
    }));
    rows.push(delay_row("edit to 10 readers ÷ y-websocket, p99", P99_GOAL, &own, &theirs, |load| {
        load.p99_us
    }));
    rows.push(Row {
        name: "CPU time per edit of a burst",
        detail: "gateway, runner and agent".to_owned(),
        value: median(&cpu).as_secs_f64() * 1e6,
        goal: Goal::None,
        unit: "µs",
    });
    stack.interrupt().await;
    rows
}

fn rate_row(readers: usize, own: &[Load], theirs: &[Load]) -> Row {
    let rate = |loads: &[Load]| BURST_EDITS as f64 / middle(loads, |load| load.seconds);
    let (ours, peers) = (rate(own), rate(theirs));
    Row {
        name: if readers == 1 {
            "document edits/s ÷ y-websocket, 1 reader"
        } else {
            "document edits/s ÷ y-websocket, 10 readers"
        },
        detail: format!("{BURST_EDITS} edits: {ours:.0}/s ÷ {peers:.0}/s"),
        value: ours / peers,
        goal: Goal::AtLeast(RATE_GOAL),
        unit: "×",
    }
}

fn delay_row(
    name: &'static str,
    goal: f64,
    own: &[Load],
    theirs: &[Load],
    delay: impl Fn(&Load) -> f64 + Copy,
) -> Row {
    let (ours, peers) = (middle(own, delay), middle(theirs, delay));
    Row {
        name,
        detail: format!("{ours:.0} µs ÷ {peers:.0} µs"),
        value: ours / peers,
        goal: Goal::AtMost(goal),
        unit: "×",
    }
}

fn middle(loads: &[Load], value: impl Fn(&Load) -> f64) -> f64 {
    let values: Vec<Duration> = loads.iter().map(|load| Duration::from_secs_f64(value(load))).collect();
    median(&values).as_secs_f64()
}

/// The processes that an edit passes through: the gateway, the runner and the agent.
fn data_path(stack: &Stack) -> Vec<u32> {
    let is_role = |pid: &u32, role: &str| arguments_of(*pid).get(1).is_some_and(|first| first == role);
    let children = children_of(stack.pid());
    let runners: Vec<u32> = children.iter().copied().filter(|pid| is_role(pid, "runner")).collect();
    let agents = runners.iter().flat_map(|runner| children_of(*runner));
    let gateways = children.iter().copied().filter(|pid| is_role(pid, "gateway"));
    gateways.chain(agents).chain(runners.iter().copied()).collect()
}

/// Runs the clients against a server.
async fn load(server: &Server, readers: usize, edits: usize, spacing: Duration) -> Load {
    let output = Command::new("node")
        .arg("document-load.mjs")
        .arg(&server.address)
        .args([readers.to_string(), edits.to_string(), spacing.as_micros().to_string()])
        .current_dir(scripts())
        .env("BURROW_TOKEN", &server.token)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = timeout(WAIT_TIMEOUT, output).await.expect("in time").expect("node runs");
    let measured: Value = serde_json::from_slice(&output.stdout).expect("the clients got all edits");
    let number = |name: &str| measured[name].as_f64().expect("a number");
    Load { seconds: number("seconds"), p50_us: number("p50_us"), p99_us: number("p99_us") }
}

fn scripts() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser")
}

/// The server of the y-websocket package of npm.
struct PeerServer {
    url: String,
    _process: Child,
}

impl PeerServer {
    async fn start() -> Self {
        let script = std::env::var_os("BURROW_DOCUMENT_SERVER").expect("`cargo xtask bench` sets it");
        let port = free_port();
        let process = Command::new("node")
            .arg(script)
            .envs([("HOST", "127.0.0.1"), ("PORT", &port.to_string())])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let listening = async { while TcpStream::connect(("127.0.0.1", port)).await.is_err() {} };
        timeout(WAIT_TIMEOUT, listening).await.expect("y-websocket listens");
        Self { url: format!("ws://127.0.0.1:{port}"), _process: process }
    }
}
