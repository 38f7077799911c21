//! A real headless browser, driven by a script of `tests/browser`. A script can ask for actions
//! outside the browser, with a line that begins with `> `. It gets a line as an answer when the
//! action is done.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::{Stack, WAIT_TIMEOUT, target_directory};

/// A script may wait this many times as long as a single step.
const SCRIPT_TIMEOUT_FACTOR: u32 = 4;

/// Whether tests with a browser are enabled.
pub fn browser_enabled() -> bool {
    let is_enabled = std::env::var_os("BURROW_CHROMIUM").is_some();
    if !is_enabled {
        eprintln!("skipped, no browser is driven: BURROW_CHROMIUM is not set");
    }
    is_enabled
}

/// Runs a script that asks for nothing against `stack` to its end, with further environment
/// variables. `screenshots` names the directory of its screenshots.
pub async fn run_script_with(stack: &Stack, script: &str, screenshots: &str, variables: &[(&str, &str)]) {
    let act = async |action: &str| panic!("unknown action: {action}");
    run(stack, script, screenshots, variables, act).await;
}

/// Runs a script against `stack` to its end. `screenshots` names the directory of its screenshots,
/// `act` does what the script asks for.
pub async fn run_script(stack: &Stack, script: &str, screenshots: &str, act: impl AsyncFnMut(&str)) {
    run(stack, script, screenshots, &[], act).await;
}

async fn run(
    stack: &Stack,
    script: &str,
    screenshots: &str,
    variables: &[(&str, &str)],
    mut act: impl AsyncFnMut(&str),
) {
    let mut child = Command::new("node")
        .arg(script)
        .envs(variables.iter().copied())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser"))
        .env("BURROW_LINK", &stack.link)
        .env("BURROW_SCREENSHOTS", target_directory().join("screenshots").join(screenshots))
        .env("BURROW_RUNTIME", stack.runtime())
        .env("BURROW_PATIENCE", WAIT_TIMEOUT.as_secs().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node runs");
    let mut answers = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut errors = child.stderr.take().expect("piped");
    let follow = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            eprintln!("{line}");
            if let Some(action) = line.strip_prefix("> ") {
                act(action).await;
                answers.write_all(b"so it is\n").await.expect("it listens");
            }
        }
    };
    let mut stderr = String::new();
    let end = async { tokio::join!(follow, errors.read_to_string(&mut stderr), child.wait()).2 };
    let status =
        timeout(WAIT_TIMEOUT * SCRIPT_TIMEOUT_FACTOR, end).await.expect("ends in time").expect("exits");
    assert!(status.success(), "{stderr}\n{}", stack.log());
}
