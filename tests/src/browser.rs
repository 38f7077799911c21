//! A real headless browser, driven by a script of `tests/browser`. A script may wish for what is outside its browser: it says
//! so in a line that begins with `> `, and is answered by a line when it is so.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::{PATIENCE, Stack, target_directory};

/// Several waits of a person, one after the other.
const SCRIPT_TIMEOUT: u32 = 4;

/// Whether a browser is there to be driven.
pub fn browser_wanted() -> bool {
    let wanted = std::env::var_os("BURROW_CHROMIUM").is_some();
    if !wanted {
        eprintln!("no browser is driven: BURROW_CHROMIUM is not set");
    }
    wanted
}

/// Runs a script against `stack` to its end. `pictures` names the directory of its screenshots.
pub async fn drive(stack: &Stack, script: &str, pictures: &str, mut wish: impl AsyncFnMut(&str)) {
    let mut child = Command::new("node")
        .arg(script)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser"))
        .env("BURROW_LINK", &stack.link)
        .env("BURROW_SCREENSHOTS", target_directory().join("screenshots").join(pictures))
        .env("BURROW_RUNTIME", stack.runtime())
        .env("BURROW_PATIENCE", PATIENCE.as_secs().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node runs");
    let mut answers = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut errors = child.stderr.take().expect("piped");
    let listening = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            eprintln!("{line}");
            if let Some(wished) = line.strip_prefix("> ") {
                wish(wished).await;
                answers.write_all(b"so it is\n").await.expect("it listens");
            }
        }
    };
    let mut complaint = String::new();
    let ending = async { tokio::join!(listening, errors.read_to_string(&mut complaint), child.wait()).2 };
    let status =
        timeout(PATIENCE * SCRIPT_TIMEOUT, ending).await.expect("it ends in time").expect("waited for");
    assert!(status.success(), "{complaint}\n{}", stack.log());
}
