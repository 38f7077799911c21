//! Outages of the server itself, through the real executable: workspaces and their
//! terminals continue.

use std::{path::Path, time::Duration};

use burrow_tests::{Stack, StackOptions, send_signal, wait_until};
use client::{
    Api,
    socket::{Terminal, TerminalEvent},
};
use protocol::terminal::{NewTerminal, TerminalSize};
use rustix::process::Signal;
use serde_json::Value;

/// Longer than a runner's lease (30 s).
const PAUSE: Duration = Duration::from_secs(40);
/// With `BURROW_SOAK_FACTOR`.
const LONG_PAUSE: Duration = Duration::from_secs(120);

fn pause() -> Duration {
    if burrow_tests::soak_factor().is_some() { LONG_PAUSE } else { PAUSE }
}

/// A terminal in which a shell runs.
struct Shell {
    terminal: Terminal,
    output: String,
    commands: u32,
}

impl Shell {
    async fn open(stack: &Stack, name: &str) -> Self {
        let api =
            Api::with_token(&stack.url, stack.token.clone().into(), client::TrustedAuthorities::system())
                .expect("an address");
        let list = api.workspaces().await.expect("a list").workspaces;
        let workspace = list.iter().find(|one| one.name == name).expect("created").id;
        let size = TerminalSize { cols: 80, rows: 24 };
        let new = NewTerminal { size: Some(size), ..NewTerminal::default() };
        let opened = api.create_terminal(workspace, &new).await.expect("opened");
        let terminal = api.attach(workspace, opened.id, size).await.expect("attached");
        Self { terminal, output: String::new(), commands: 0 }
    }

    /// Runs a command, and waits for its output.
    async fn check(&mut self) {
        self.commands += 1;
        let (command, expected) = (format!("echo sum=$((1000+{}))\r", self.commands), 1000 + self.commands);
        self.terminal.input().send_input(command.as_bytes()).expect("room");
        let answer = tokio::time::timeout(Duration::from_secs(90), async {
            while !self.output.contains(&format!("sum={expected}")) {
                match self.terminal.next().await.expect("the terminal continues") {
                    TerminalEvent::Output(bytes) | TerminalEvent::Redraw(bytes) => {
                        self.output.push_str(&String::from_utf8_lossy(&bytes));
                    }
                    // The break was long: the user is told, and types it again.
                    TerminalEvent::InputDropped(bytes) => {
                        assert_eq!(bytes, command.len());
                        self.terminal.input().send_input(command.as_bytes()).expect("room");
                    }
                    TerminalEvent::Exited(status) => panic!("the shell exited: {status:?}"),
                    _ => {}
                }
            }
        });
        assert!(answer.await.is_ok(), "no answer to {command:?}: {:?}", self.output);
    }
}

/// The process id of the private Postgres, once it is ready.
fn postgres(data: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(data.join("postgres/postmaster.pid")).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    (lines.get(7)?.trim() == "ready").then(|| lines[0].trim().parse().ok())?
}

async fn assert_running(stack: &Stack, epoch: u64) {
    let path = "/workspaces";
    let list = stack.get_until(path, |answer: &Value| answer["workspaces"].is_array()).await;
    let workspace = &list["workspaces"][0];
    assert_eq!(
        (workspace["phase"].as_str(), workspace["epoch"].as_u64()),
        (Some("running"), Some(epoch)),
        "{list}"
    );
}

#[tokio::test]
async fn terminal_survives_pause_and_loss_of_postgres() {
    let place = tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory");
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("fake", &data)).await;
    stack.run_ok(&["create", "demo"]).await;
    let mut shell = Shell::open(&stack, "demo").await;
    shell.check().await;

    let old = postgres(&data).expect("ready");
    send_signal(old, Signal::KILL);
    shell.check().await;
    wait_until("Postgres runs again", || postgres(&data).is_some_and(|new| new != old)).await;
    assert_running(&stack, 1).await;
    shell.check().await;

    // The pause itself is what is tested: nothing happens during it that could be waited for.
    send_signal(stack.pid(), Signal::STOP);
    tokio::time::sleep(pause()).await;
    send_signal(stack.pid(), Signal::CONT);
    wait_until("deadlines are shifted", || stack.log_file().contains("shifted deadlines")).await;
    shell.check().await;
    assert_running(&stack, 1).await;
    stack.run_ok(&["stop", "demo"]).await;
    stack.interrupt().await;
}

/// Moves the wall clock of a server and of its children, and not the monotonic one.
struct FakeClock(tempfile::NamedTempFile);

impl FakeClock {
    fn new() -> Self {
        let clock = Self(tempfile::NamedTempFile::new().expect("a file"));
        clock.set("+0");
        clock
    }

    fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("LD_PRELOAD", "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
            ("FAKETIME_TIMESTAMP_FILE", self.0.path().to_str().expect("UTF-8")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// Sets the distance to the real time, for example `+1h`.
    fn set(&self, offset: &str) {
        std::fs::write(self.0.path(), offset).expect("written");
    }
}

#[tokio::test]
async fn terminal_survives_jumps_of_the_clock() {
    let place = tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory");
    let data = place.path().join("d");
    let clock = FakeClock::new();
    let options = StackOptions::new("fake", &data).environment(&clock.environment());
    let stack = Stack::start(options).await;
    stack.run_ok(&["create", "demo"]).await;
    let mut shell = Shell::open(&stack, "demo").await;
    shell.check().await;
    for (jumps, offset) in [(1, "+1h"), (2, "-1h"), (3, "+0")] {
        clock.set(offset);
        let shifted = || stack.log_file().matches("shifted deadlines").count() >= jumps;
        wait_until("deadlines are shifted", shifted).await;
        shell.check().await;
        assert_running(&stack, 1).await;
    }
    stack.run_ok(&["exec", "demo", "--", "true"]).await;
    stack.run_ok(&["stop", "demo"]).await;
    stack.interrupt().await;
}
