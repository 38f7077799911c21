//! The main functions in a real headless browser. The steps are in `browser/drive.mjs`; this test
//! starts the server.

use burrow_tests::{
    Stack, StackOptions,
    browser::{browser_enabled, run_script},
    guests_enabled,
};

async fn run_in_browser(runtime: &'static str) {
    if !browser_enabled() {
        return;
    }
    let place = tempfile::Builder::new().prefix("bw").tempdir_in("/tmp").expect("a directory");
    let stack = Stack::start_signed_out(StackOptions::new(runtime, &place.path().join("d"))).await;
    run_script(&stack, "drive.mjs", runtime, async |action| panic!("unknown action: {action}")).await;
    stack.interrupt().await;
}

#[tokio::test]
async fn browser_end_to_end() {
    run_in_browser("fake").await;
}

#[tokio::test]
async fn browser_end_to_end_on_microvms() {
    if guests_enabled() {
        run_in_browser("microvm").await;
    }
}
