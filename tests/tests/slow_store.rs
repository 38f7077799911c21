//! A store that is slow, gone and back while people work, on a real machine and in a real browser: the page says so, the machine
//! goes on, nothing is lost. What the browser does stands in `browser/slow-store.mjs`.

use burrow_tests::{
    Options, Stack,
    browser::{browser_wanted, drive},
    guests_wanted,
    store::{Flow, Line, Moto},
};

const BUCKET: &str = "homes";

#[tokio::test]
async fn a_slow_store_is_told_and_loses_nothing() {
    if !guests_wanted() || !browser_wanted() {
        return;
    }
    let moto = Moto::start(BUCKET).await;
    let line = Line::to(moto.address).await;
    let place = tempfile::Builder::new().prefix("bw").tempdir_in("/tmp").expect("a directory");
    let store = format!("s3://{BUCKET}/burrow?endpoint=http://{}", line.address);
    let options = Options::new("microvm", &place.path().join("d"))
        .with(&["--store", &store, "--stream-seconds", "1"])
        .environment(&[("AWS_ACCESS_KEY_ID", "tester"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
    let mut stack = Stack::start_signed_out(options).await;
    drive(&stack, "slow-store.mjs", "slow-store", async |wish| match wish {
        "the store stalls" => line.set(Flow::Stalls),
        "the store is gone" => line.set(Flow::Breaks),
        "the store is back" => line.set(Flow::Passes),
        "the machine dies" => stack.kill_newest_machine().await,
        other => panic!("it wishes for {other}"),
    })
    .await;
    // What was written meanwhile is in the store, to the last line.
    stack.sign_in("ada@example.org", "correct horse battery").await;
    let written = stack.sh("demo", "sync; cat log").await;
    stack.ok(&["snapshot", "create", "demo", "after"]).await;
    let stored = stack.ok(&["history", "demo", "--at", "after", "log"]).await;
    assert!(written.lines().count() > 20, "{written}");
    assert!(stored == written, "the store has {} bytes of {}", stored.len(), written.len());
    let numbers: Vec<usize> = stored.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(numbers.iter().copied().eq(0..numbers.len()), "none is missing");
    stack.interrupt().await;
}
