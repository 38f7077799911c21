//! The main job in a real headless browser. What it does stands in `browser/drive.mjs`; this gives it a server.

use burrow_tests::{
    Options, Stack,
    browser::{browser_wanted, drive},
    guests_wanted,
};

async fn main_job(runtime: &'static str) {
    if !browser_wanted() {
        return;
    }
    let place = tempfile::Builder::new().prefix("bw").tempdir_in("/tmp").expect("a directory");
    let stack = Stack::start_signed_out(Options::new(runtime, &place.path().join("d"))).await;
    drive(&stack, "drive.mjs", runtime, async |wish| panic!("it wishes for {wish}")).await;
    stack.interrupt().await;
}

#[tokio::test]
async fn a_browser_does_the_main_job() {
    main_job("fake").await;
}

#[tokio::test]
async fn a_browser_does_the_main_job_on_machines() {
    if guests_wanted() {
        main_job("microvm").await;
    }
}
