//! The main job in a real headless browser. What it does stands in `browser/drive.mjs`; this gives it a server.

use std::path::Path;

use burrow_tests::{Options, PATIENCE, Stack, guests_wanted, target_directory};
use tokio::{process::Command, time::timeout};

async fn drive(runtime: &'static str) {
    if std::env::var_os("BURROW_CHROMIUM").is_none() {
        return eprintln!("no browser is driven: BURROW_CHROMIUM is not set");
    }
    let place = tempfile::Builder::new().prefix("bw").tempdir_in("/tmp").expect("a directory");
    let stack = Stack::start_signed_out(Options::new(runtime, &place.path().join("d"))).await;
    let browser = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let driving = Command::new("node")
        .arg("drive.mjs")
        .current_dir(browser)
        .env("BURROW_LINK", &stack.link)
        .env("BURROW_SCREENSHOTS", target_directory().join("screenshots").join(runtime))
        .env("BURROW_RUNTIME", runtime)
        .env("BURROW_PATIENCE", PATIENCE.as_secs().to_string())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE * 4, driving).await.expect("it ends in time").expect("node runs");
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}\n{}", stack.log());
    stack.interrupt().await;
}

#[tokio::test]
async fn a_browser_does_the_main_job() {
    drive("fake").await;
}

#[tokio::test]
async fn a_browser_does_the_main_job_on_machines() {
    if guests_wanted() {
        drive("microvm").await;
    }
}
