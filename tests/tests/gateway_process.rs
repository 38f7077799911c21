//! The gateway's process: what it may do, and that nobody notices its end.

use std::fs;

use burrow_tests::{
    Stack, StackOptions, WAIT_TIMEOUT,
    processes::{assert_unprivileged, role_of, visible_files},
    send_signal, short_directory, soak_factor, wait_until,
};
use client::{
    Api, TrustedAuthorities,
    socket::{Terminal, TerminalEvent, TerminalInput},
};
use protocol::{
    Redacted, WorkspaceId,
    terminal::{NewTerminal, TerminalSize},
};
use rustix::process::Signal;

/// The process id of the stack's gateway.
fn gateway(stack: &Stack) -> Option<u32> {
    role_of(stack.pid(), "gateway")
}

#[tokio::test]
async fn gateway_has_no_privileges_and_is_replaced() {
    let place = short_directory();
    let data = place.path().join("d");
    let options = StackOptions::new("fake", &data).environment(&[("AWS_SECRET_ACCESS_KEY", "secret")]);
    let stack = Stack::start(options).await;
    stack.run_ok(&["create", "demo"]).await;
    let first = gateway(&stack).expect("it runs");
    if rustix::process::geteuid().is_root() {
        assert_unprivileged(first, 619_997);
        let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).expect("readable by root");
        assert_ne!(network(first), network(stack.pid()), "it reaches nothing of the host's network");
        let run = data.canonicalize().expect("there").join("run");
        let seen = visible_files(first, &[&run]);
        assert!(seen.contains(&run), "{seen:?}");
        assert!(seen.iter().all(|path| run.starts_with(path)), "only the way to its sockets: {seen:?}");
        let environment = fs::read(format!("/proc/{first}/environ")).expect("readable by root");
        assert!(!String::from_utf8_lossy(&environment).contains("secret"));
    }
    let refused = stack.get("/api/v1/workspaces/00000000-0000-0000-0000-000000000000").await;
    assert_eq!(refused.0, 404);
    send_signal(first, Signal::KILL);
    wait_until("another gateway runs", || gateway(&stack).is_some_and(|pid| pid != first)).await;
    // Who connects in between waits for it.
    assert_eq!(stack.sh("demo", "echo here").await.trim(), "here");
    assert!(stack.log_file().contains("the gateway has exited"), "{}", stack.log_file());
    stack.interrupt().await;
}

/// A program that answers each line. Its answers are long, so that a restart of the gateway often cuts one.
const ANSWER: &str = "stty -echo; printf 'ready.'; pad=$(printf '%0500d' 0); \
                      while read -r line; do printf 'got %s %s\\n' \"$line\" \"$pad\"; done";
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };
/// Restarts and terminals in the gate. `cargo xtask soak` multiplies the terminals.
const RESTARTS: u64 = 5;
const TERMINALS: usize = 16;
/// A workspace has at most 64.
const TERMINALS_OF_WORKSPACE: usize = 50;

/// A terminal whose program answers numbers, and the bytes that have arrived.
struct Conversation {
    terminal: Terminal,
    input: TerminalInput,
    arrived: Vec<u8>,
    /// The number that is to be answered next.
    number: u64,
    has_begun: bool,
}

impl Conversation {
    async fn begin(api: &Api, workspace: WorkspaceId) -> Self {
        let command = ["sh", "-c", ANSWER].map(str::to_owned).to_vec();
        let request = NewTerminal { command: Some(command), size: Some(SIZE), ..NewTerminal::default() };
        let created = api.create_terminal(workspace, &request).await.expect("a terminal");
        let terminal = api.attach(workspace, created.id, SIZE).await.expect("attached");
        let input = terminal.input();
        Self { terminal, input, arrived: Vec::new(), number: 0, has_begun: false }
    }

    /// Sends numbers, each after the answer to the one before, until there were this many restarts. Returns
    /// how many answers have arrived. Every byte of them must have arrived once, and in order.
    async fn converse(mut self, restarts: tokio::sync::watch::Receiver<u64>) -> u64 {
        loop {
            match self.terminal.next().await.expect("it goes on") {
                TerminalEvent::Output(bytes) => self.arrived.extend_from_slice(&bytes),
                TerminalEvent::Redraw(bytes) => {
                    assert!(!self.has_begun, "output was lost after answer {}", self.number);
                    self.arrived = bytes.to_vec();
                }
                // After a break of seconds, what was typed into it is not sent later.
                TerminalEvent::InputDropped(_) => self.send(),
                TerminalEvent::Exited(status) => panic!("the program ended: {status:?}"),
                TerminalEvent::Resized(_) | TerminalEvent::Disconnected | TerminalEvent::Reconnected => {}
            }
            if self.take_answers() && *restarts.borrow() >= RESTARTS {
                return self.number;
            }
        }
    }

    /// Takes whole lines. Returns whether an answer was among them.
    fn take_answers(&mut self) -> bool {
        if !self.has_begun && self.arrived.windows(6).any(|word| word == b"ready.") {
            // Nothing follows before the first number.
            self.arrived.clear();
            self.has_begun = true;
            self.send_next();
        }
        let mut has_answer = false;
        while self.has_begun
            && let Some(end) = self.arrived.windows(2).position(|pair| pair == b"\r\n")
        {
            let line: Vec<u8> = self.arrived.drain(..end + 2).collect();
            let expected = format!("got {} {:0500}\r\n", self.number, 0);
            assert!(line == expected.as_bytes(), "answer {}: {}", self.number, line.escape_ascii());
            has_answer = true;
            self.send_next();
        }
        has_answer
    }

    fn send_next(&mut self) {
        self.number += 1;
        self.send();
    }

    fn send(&self) {
        self.input.send_input(format!("{}\n", self.number).as_bytes()).expect("room for a line");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_restarts_lose_no_byte() {
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("fake", &place.path().join("d"))).await;
    let api = Api::with_token(&stack.url, Redacted::new(stack.token.clone()), TrustedAuthorities::system());
    let api = api.expect("an API");
    let terminals = TERMINALS * soak_factor().unwrap_or(1) as usize;
    let (restart, restarts) = tokio::sync::watch::channel(0);
    let mut conversations = tokio::task::JoinSet::new();
    for number in 0..terminals {
        if number.is_multiple_of(TERMINALS_OF_WORKSPACE) {
            stack.run_ok(&["create", &format!("box{}", number / TERMINALS_OF_WORKSPACE)]).await;
        }
        let workspaces = api.workspaces().await.expect("listed").workspaces;
        let name = format!("box{}", number / TERMINALS_OF_WORKSPACE);
        let workspace = workspaces.iter().find(|listed| listed.name == name).expect("created").id;
        let conversation = Conversation::begin(&api, workspace).await;
        conversations.spawn(conversation.converse(restarts.clone()));
    }
    for number in 1..=RESTARTS {
        let old = gateway(&stack).expect("it runs");
        send_signal(old, Signal::KILL);
        wait_until("another gateway runs", || gateway(&stack).is_some_and(|pid| pid != old)).await;
        // All of them may be in the middle of something when the next one is killed.
        assert_eq!(stack.sh("box0", "echo here").await.trim(), "here");
        restart.send_replace(number);
    }
    let answers = tokio::time::timeout(WAIT_TIMEOUT, conversations.join_all()).await.expect("all go on");
    assert_eq!(answers.len(), terminals);
    assert!(answers.iter().all(|answers| *answers > 0), "{answers:?}");
    stack.interrupt().await;
}
