//! An object store that stalls, disappears and returns while a user works in a real microVM and a
//! real browser: the page reports it, the workspace continues, and nothing is lost. The steps in
//! the browser are in `browser/slow-store.mjs`.

use burrow_tests::{
    Stack, StackOptions,
    browser::{browser_enabled, run_script},
    guests_enabled,
    store::{Moto, Proxy, ProxyMode},
};

const BUCKET: &str = "homes";

#[tokio::test]
async fn slow_store_is_reported_and_loses_nothing() {
    if !guests_enabled() || !browser_enabled() {
        return;
    }
    let moto = Moto::start(BUCKET).await;
    let proxy = Proxy::to(moto.address).await;
    let place = tempfile::Builder::new().prefix("bw").tempdir_in("/tmp").expect("a directory");
    let store = format!("s3://{BUCKET}/burrow?endpoint=http://{}", proxy.address);
    let options = StackOptions::new("microvm", &place.path().join("d"))
        // Its guests boot, so that a start takes long enough to be watched.
        .with(&["--store", &store, "--stream-seconds", "1", "--no-prototypes"])
        .environment(&[("AWS_ACCESS_KEY_ID", "tester"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
    let mut stack = Stack::start_signed_out(options).await;
    run_script(&stack, "slow-store.mjs", "slow-store", async |action| match action {
        "stall the store" => proxy.set(ProxyMode::Stall),
        "stop the store" => proxy.set(ProxyMode::Break),
        "start the store" => proxy.set(ProxyMode::Forward),
        "kill the VMM" => stack.kill_newest_vmm().await,
        other => panic!("unknown action: {other}"),
    })
    .await;
    // Everything that was written is in the store, to the last line.
    stack.sign_in("ada@example.org", "correct horse battery").await;
    let written = stack.sh("demo", "sync; cat log").await;
    stack.run_ok(&["snapshot", "create", "demo", "after"]).await;
    let stored = stack.run_ok(&["history", "demo", "--at", "after", "log"]).await;
    assert!(written.lines().count() > 20, "{written}");
    assert!(stored == written, "the store has {} bytes of {}", stored.len(), written.len());
    let numbers: Vec<usize> = stored.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(numbers.iter().copied().eq(0..numbers.len()), "none is missing");
    stack.interrupt().await;
}
