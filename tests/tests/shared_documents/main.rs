//! Random histories of a document through the whole system: stock clients of y-websocket type through the
//! gateway and lose their connections, programs write the file in the ways that programs do, and the
//! workspace is stopped and started while both go on. Whenever everything rests, all replicas and the file
//! are equal. No line is there twice, and none is missing that a program had written or that another client
//! had seen.

mod clients;

use std::{
    collections::BTreeSet,
    process::Output,
    time::{Duration, Instant},
};

use burrow_tests::{Stack, StackOptions, short_directory, soak_factor};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

use self::clients::Clients;

const WORKSPACE: &str = "demo";
const PAGE: &str = "page.txt";
const WRITER: &str = include_str!("writer.sh");
const CLIENTS: usize = 4;
/// Rounds of the gate, and at most in the soak.
const ROUNDS: u32 = 20;
const MAX_ROUNDS: u32 = 2000;
/// Everything rests after so many rounds, and the workspace is stopped after so many.
const ROUNDS_PER_REST: u32 = 4;
const ROUNDS_PER_STOP: u32 = 10;
/// A program that runs when the workspace stops has more lines than it can write until then.
const LINES_PER_STOP: usize = 500;
/// Edits of a client that types faster than any user.
const LINES_PER_BURST: usize = 30;
/// How long replicas and file may differ when nobody types and no program writes.
const REST_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at the file.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The lines that are never deleted begin so.
const KEPT: &str = "line";

/// Programs that keep what they have written so far when they are killed.
const APPENDING: [&str; 2] = ["append", "append-to-open-file"];
/// Programs that write the whole file.
const WRITING: [&str; 5] = ["rewrite-in-halves", "sed-in-place", "rename-over", "git-checkout", "format"];

/// A program that adds lines to the file.
struct Writer {
    kind: &'static str,
    lines: Vec<String>,
    run: JoinHandle<Output>,
}

struct History {
    random: StdRng,
    stack: Stack,
    workspace: String,
    clients: Clients,
    is_connected: [bool; CLIENTS],
    /// Lines that the file must contain.
    required: BTreeSet<String>,
    /// Lines that were typed or begun when the workspace stopped, and of which nobody knew.
    uncertain: BTreeSet<String>,
    writer: Option<Writer>,
    next_line: u64,
}

impl History {
    async fn begin(stack: Stack, seed: u64) -> Self {
        stack.run_ok(&["create", WORKSPACE]).await;
        let (_, list) = stack.get("/workspaces").await;
        let workspace = list["workspaces"][0]["id"].as_str().expect("an id").to_owned();
        let required: BTreeSet<String> = (0..50).map(|number| format!("{KEPT} {number} ä😀")).collect();
        let text: Vec<String> = required.iter().map(|line| format!("{line}\n")).collect();
        let page = content_path(&workspace, PAGE);
        let written = stack.request(reqwest::Method::PUT, &page).body(text.concat()).send().await;
        assert!(written.expect("an answer").status().is_success());
        let clients = Clients::start(&stack, &workspace, PAGE, CLIENTS);
        Self {
            random: StdRng::seed_from_u64(seed),
            stack,
            workspace,
            clients,
            is_connected: [true; CLIENTS],
            required,
            uncertain: BTreeSet::new(),
            writer: None,
            next_line: 0,
        }
    }

    fn new_line(&mut self, kind: &str) -> String {
        self.next_line += 1;
        let line = format!("{kind} {}", self.next_line);
        self.required.insert(line.clone());
        line
    }

    async fn run_round(&mut self) {
        if self.writer.as_ref().is_none_or(|writer| writer.run.is_finished()) {
            self.finish_writer().await;
            let count = self.random.random_range(1..10);
            self.start_writer(&[&APPENDING[..], &WRITING].concat(), count);
        }
        for _ in 0..self.random.random_range(1..8) {
            self.act_as_client().await;
        }
    }

    fn start_writer(&mut self, kinds: &[&'static str], count: usize) {
        let kind = *kinds.choose(&mut self.random).expect("not empty");
        let lines: Vec<String> = (0..count).map(|_| self.new_line("written")).collect();
        let command = ["exec", WORKSPACE, "--", "bash", "-c", WRITER, "writer", kind];
        let mut command = self.stack.command(&command);
        command.args(&lines);
        let run = tokio::spawn(async move { command.output().await.expect("it starts") });
        self.writer = Some(Writer { kind, lines, run });
    }

    async fn finish_writer(&mut self) {
        let Some(Writer { kind, run, .. }) = self.writer.take() else { return };
        let output = run.await.expect("no panic");
        assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn act_as_client(&mut self) {
        let client = self.random.random_range(0..CLIENTS);
        let action = match self.random.random_range(0..24) {
            0 => "drop",
            1 if self.is_connected[client] => "disconnect",
            1..4 if !self.is_connected[client] => "connect",
            _ => "type",
        };
        if action == "type" {
            let count = if self.random.random_ratio(1, 10) { LINES_PER_BURST } else { 1 };
            let lines: Vec<String> = (0..count).map(|_| self.new_line("typed")).collect();
            let at: f64 = self.random.random();
            self.clients.send(json!({ "do": action, "client": client, "at": at, "lines": lines })).await;
        } else {
            self.clients.send(json!({ "do": action, "client": client })).await;
            self.is_connected[client] =
                action != "disconnect" && (action == "connect" || self.is_connected[client]);
        }
        let pause = self.random.random_range(0..80);
        sleep(Duration::from_millis(pause)).await;
    }

    /// Stops the workspace while clients type and a program appends, and starts it.
    async fn stop_and_start(&mut self) {
        self.finish_writer().await;
        self.start_writer(&APPENDING, LINES_PER_STOP);
        let first = self.writer.as_ref().expect("started").lines[0].clone();
        while !self.read_file("written").await.contains(&first) {
            sleep(POLL_INTERVAL).await;
        }
        let mut command = self.stack.command(&["stop", WORKSPACE]);
        let stop = tokio::spawn(async move { command.output().await.expect("it starts") });
        while !stop.is_finished() {
            self.act_as_client().await;
        }
        let output = stop.await.expect("no panic");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let killed = self.writer.take().expect("started");
        killed.run.await.expect("no panic");
        let seen = self.seen_lines().await;
        self.stack.run_ok(&["start", WORKSPACE]).await;
        let written = self.read_file("written").await;
        let written: BTreeSet<&str> =
            written.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
        let is_uncertain = |line: &String| {
            (line.starts_with("typed") && !seen.contains(line))
                || (killed.lines.contains(line) && !written.contains(line.as_str()))
        };
        self.uncertain.extend(self.required.extract_if(.., is_uncertain));
        let replaced = self.clients.send(json!({ "do": "reopen" })).await;
        println!("stopped; close codes of the old replicas: {replaced}");
        self.check_rest().await;
    }

    /// The lines that more clients have than the one that typed them.
    async fn seen_lines(&mut self) -> BTreeSet<String> {
        let (mut once, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for text in self.clients.replicas().await.texts {
            for line in lines_of(&text) {
                if !once.insert(line.clone()) {
                    seen.insert(line);
                }
            }
        }
        seen
    }

    /// Waits until everything rests, checks what is there, and deletes it.
    async fn check_rest(&mut self) {
        self.finish_writer().await;
        for client in 0..CLIENTS {
            self.clients.send(json!({ "do": "connect", "client": client })).await;
        }
        self.is_connected = [true; CLIENTS];
        let file = self.wait_for_rest(|found, required| required.is_subset(found)).await;
        let found = lines_of(&file);
        let unknown: Vec<_> = found
            .iter()
            .filter(|line| !self.required.contains(*line) && !self.uncertain.contains(*line))
            .collect();
        assert!(unknown.is_empty(), "damaged or deleted lines: {unknown:?}\n{file}");
        assert_eq!(file.lines().count(), found.len(), "a line is there twice\n{file}");
        self.required.retain(|line| line.starts_with(KEPT));
        self.uncertain.clear();
        self.clients.send(json!({ "do": "clear", "client": 0, "keep": KEPT })).await;
        self.wait_for_rest(|found, required| found == required).await;
    }

    /// Waits until all replicas and the file are equal, and their lines are as they should be.
    async fn wait_for_rest(
        &mut self,
        is_complete: impl Fn(&BTreeSet<String>, &BTreeSet<String>) -> bool,
    ) -> String {
        let deadline = Instant::now() + REST_TIMEOUT;
        loop {
            let replicas = self.clients.replicas().await;
            let file = self.read_file(PAGE).await;
            let is_equal = replicas.are_synchronized && replicas.texts.iter().all(|text| *text == file);
            let found = lines_of(&file);
            if is_equal && is_complete(&found, &self.required) {
                return file;
            }
            if Instant::now() > deadline {
                let missing: Vec<_> = self.required.difference(&found).collect();
                let (synchronized, equal) =
                    (replicas.are_synchronized, replicas.texts.windows(2).all(|two| two[0] == two[1]));
                panic!(
                    "no rest; missing: {missing:?}; synchronized: {synchronized}, equal: {equal}\n\
                     file:\n{file}\nfirst replica:\n{}\n{}",
                    replicas.texts[0],
                    self.stack.log()
                );
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Reads a file of the home. Empty if it does not exist.
    async fn read_file(&self, path: &str) -> String {
        let request = self.stack.request(reqwest::Method::GET, &content_path(&self.workspace, path));
        let response = request.send().await.expect("an answer");
        if response.status().is_success() { response.text().await.expect("text") } else { String::new() }
    }
}

fn content_path(workspace: &str, path: &str) -> String {
    format!("/workspaces/{workspace}/agent/files/content?path={path}")
}

fn lines_of(text: &str) -> BTreeSet<String> {
    text.lines().map(|line| line.trim_start().to_owned()).collect()
}

#[tokio::test]
async fn random_history_with_stops_loses_no_line() {
    let seed = burrow_tests::seed();
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("fake", &place.path().join("d"))).await;
    let mut history = History::begin(stack, seed).await;
    let rounds = ROUNDS.saturating_mul(soak_factor().unwrap_or(1)).min(MAX_ROUNDS);
    for round in 1..=rounds {
        history.run_round().await;
        if round % ROUNDS_PER_STOP == 0 {
            history.stop_and_start().await;
        } else if round % ROUNDS_PER_REST == 0 {
            history.check_rest().await;
        }
    }
    history.check_rest().await;
    println!("{rounds} rounds");
    let History { stack, clients, .. } = history;
    drop(clients);
    stack.interrupt().await;
}
