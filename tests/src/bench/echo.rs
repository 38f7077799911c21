//! The round trip of a keystroke: the terminal protocol through gateway, front and agent, compared
//! with OpenSSH on loopback. Both type into the same program.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use burrow_tests::WAIT_TIMEOUT;
use client::{
    Api,
    socket::{Terminal, TerminalEvent},
};
use protocol::{
    WorkspaceId,
    terminal::{NewTerminal, TerminalSize},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Goal, Row, directory, id_of, median, quantile, read_until, stack, start::api};

/// The program on both sides. The echo of the terminal is off, so that the program answers.
const PROGRAM: &str = "stty raw -echo; echo ready; exec cat";
/// Blocks alternate, so that both are measured under the same load.
const BLOCKS: usize = 20;
const KEYS: usize = 100;
const GOAL: f64 = 1.2;
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// Measures the echo of keystrokes.
pub async fn measure() -> Row {
    let directory = directory();
    let stack = stack("fake", &directory).await;
    stack.run_ok(&["create", "bench"]).await;
    let workspace = id_of(&stack, "bench").await;
    let api = api(&stack);
    let keys = directory.path().to_owned();
    let typing = tokio::task::spawn_blocking(move || {
        // One thread, like `burrow attach` and `ssh`.
        let client = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        client.block_on(type_into_both(&api, workspace, &keys))
    });
    let (own, peer) = typing.await.expect("typed");
    stack.interrupt().await;
    let tail = (quantile(&own, 0.99), quantile(&peer, 0.99));
    let (ours, theirs) = (median(&own), median(&peer));
    Row {
        name: "keystroke echo ÷ OpenSSH, p50",
        detail: format!("{} keys: {ours:.0?} ÷ {theirs:.0?}; p99 {:.0?} ÷ {:.0?}", own.len(), tail.0, tail.1),
        value: ours.as_secs_f64() / theirs.as_secs_f64(),
        goal: Goal::AtMost(GOAL),
        unit: "×",
    }
}

/// The round trip times of all keys, ours and theirs.
async fn type_into_both(api: &Api, workspace: WorkspaceId, keys: &Path) -> (Vec<Duration>, Vec<Duration>) {
    let mut ours = BurrowSession::open(api, workspace).await;
    let mut theirs = SshSession::open(keys).await;
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        for _ in 0..KEYS {
            own.push(timeout(WAIT_TIMEOUT, ours.time_key()).await.expect("an echo"));
        }
        for _ in 0..KEYS {
            peer.push(timeout(WAIT_TIMEOUT, theirs.time_key()).await.expect("an echo"));
        }
    }
    theirs.close().await;
    (own, peer)
}

/// A terminal of Burrow.
pub struct BurrowSession(Terminal);

impl BurrowSession {
    /// Starts the program in a new terminal.
    pub async fn open(api: &Api, workspace: WorkspaceId) -> Self {
        let command = ["bash", "-c", PROGRAM].map(str::to_owned).to_vec();
        let request = NewTerminal { command: Some(command), size: Some(SIZE), ..NewTerminal::default() };
        let made = api.create_terminal(workspace, &request).await.expect("a terminal");
        let mut ours = Self(api.attach(workspace, made.id, SIZE).await.expect("attached"));
        ours.read_until(b"ready").await;
        ours
    }

    async fn read_until(&mut self, needle: &[u8]) {
        let mut seen = Vec::new();
        while !seen.windows(needle.len()).any(|window| window == needle) {
            if let TerminalEvent::Output(bytes) | TerminalEvent::Redraw(bytes) =
                self.0.next().await.expect("output")
            {
                seen.extend_from_slice(&bytes);
            }
        }
    }

    /// The round trip of one key.
    pub async fn time_key(&mut self) -> Duration {
        let begun = Instant::now();
        self.0.input().send_input(b"x").expect("room");
        self.read_until(b"x").await;
        begun.elapsed()
    }
}

/// An SSH server on a free port, and one session of the OpenSSH client.
struct SshSession {
    server: Child,
    client: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl SshSession {
    async fn open(directory: &Path) -> Self {
        let (host_key, key) = (directory.join("host"), directory.join("user"));
        for key in [&host_key, &key] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key).status();
            assert!(made.await.expect("ssh-keygen runs").success());
        }
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|free| free.local_addr())
            .expect("a port")
            .port();
        std::fs::create_dir_all("/run/sshd").expect("sshd's own directory");
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string()])
            .arg("-h")
            .arg(&host_key)
            .arg("-o")
            .arg(format!("AuthorizedKeysFile={}", key.with_extension("pub").display()))
            .args(["-o", "ListenAddress=127.0.0.1", "-o", "StrictModes=no", "-o", "PermitRootLogin=yes"])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("sshd starts");
        let listening = async { while TcpStream::connect(("127.0.0.1", port)).await.is_err() {} };
        timeout(WAIT_TIMEOUT, listening).await.expect("sshd listens");
        let mut client = Command::new("ssh")
            .args(["-tt", "-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"])
            .arg(&key)
            .args(["-p", &port.to_string(), "127.0.0.1", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("ssh starts");
        let (input, output) = (client.stdin.take().expect("piped"), client.stdout.take().expect("piped"));
        let mut theirs = Self { server, client, input, output };
        read_until(&mut theirs.output, b"ready").await;
        theirs
    }

    async fn time_key(&mut self) -> Duration {
        let begun = Instant::now();
        self.input.write_all(b"x").await.expect("room");
        read_until(&mut self.output, b"x").await;
        begun.elapsed()
    }

    async fn close(mut self) {
        let _ = self.client.kill().await;
        let _ = self.server.kill().await;
    }
}
