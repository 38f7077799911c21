//! `burrow push` and `burrow pull` between two installations. That only missing chunks are sent,
//! whatever a home contains, is tested in `volume` and `controller`.

use std::path::Path;

use burrow_tests::{Stack, StackOptions, WAIT_TIMEOUT, guests_enabled, wait_until};
use serde_json::Value;
use tokio::time::timeout;

/// Packs in the store when the push is killed. The whole home has about twenty.
const STORED_PACKS: usize = 5;
/// Chunks that have certainly arrived then: the last request may not be acknowledged, and a running
/// workspace changes some.
const MIN_ARRIVED_CHUNKS: u64 = 3 * 48;

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

/// Number of objects of one kind in a stack's store.
fn objects(data: &Path, kind: &str) -> usize {
    let tenants = std::fs::read_dir(data.join("objects")).into_iter().flatten().flatten();
    tenants.flat_map(|tenant| std::fs::read_dir(tenant.path().join(kind))).flatten().count()
}

async fn push(from: &Stack, to: &Stack) -> Value {
    let pushed = from.run_ok(&["push", "demo", "--to", &to.url, "--as", "moved", "-o", "json"]).await;
    serde_json::from_str(&pushed).expect("JSON")
}

fn number(pushed: &Value, name: &str) -> u64 {
    pushed[name].as_u64().unwrap_or_else(|| panic!("{name}: {pushed}"))
}

async fn check_push(runtime: &'static str) {
    let place = directory();
    let (here, there) = (place.path().join("here"), place.path().join("there"));
    let from = Stack::start(StackOptions::new(runtime, &here)).await;
    let to = Stack::start(StackOptions::new(runtime, &there)).await;
    let login = ["login", &to.url, "--token", "-"];
    let signed_in = from.run_with_input(&login, Some(to.token.as_bytes())).await;
    assert!(signed_in.status.success(), "{}", String::from_utf8_lossy(&signed_in.stderr));
    from.run_ok(&["create", "demo"]).await;
    from.sh("demo", "head -c 60M /dev/urandom > noise && mkdir src && echo one > src/file && sync").await;
    let sums = "find . -type f ! -path './.cache/*' ! -name '.*' -print0 | sort -z | xargs -0 sha256sum";
    let expected = from.sh("demo", sums).await;
    if runtime == "fake" {
        // The fake runtime saves a home only when it stops.
        from.run_ok(&["stop", "demo"]).await;
    }

    // Killed halfway. What has arrived is not sent again.
    let arguments = ["push", "demo", "--to", &to.url, "--as", "moved", "-o", "json"];
    let mut pushing = from.command(&arguments).spawn().expect("it starts");
    wait_until("some chunks have arrived", || objects(&there, "packs") >= STORED_PACKS).await;
    pushing.start_kill().expect("killed");
    let ended = timeout(WAIT_TIMEOUT, pushing.wait_with_output()).await;
    let ended = ended.expect("in time").expect("it exits");
    assert!(!ended.status.success(), "it was killed before it finished");
    assert!(to.run_ok(&["list", "-o", "name"]).await.is_empty(), "an incomplete import is not a workspace");
    let pushed = push(&from, &to).await;
    let (chunks, sent) = (number(&pushed, "chunks"), number(&pushed, "sent_chunks"));
    assert!(sent > 0 && sent + MIN_ARRIVED_CHUNKS <= chunks, "{pushed}");
    to.run_ok(&["start", "moved"]).await;
    assert_eq!(to.sh("moved", sums).await, expected);

    // After a small change, little is sent, to the same workspace, which must be stopped.
    if runtime == "fake" {
        from.run_ok(&["start", "demo"]).await;
    }
    from.sh("demo", "echo two >> src/file && sync").await;
    let expected = from.sh("demo", sums).await;
    if runtime == "fake" {
        from.run_ok(&["stop", "demo"]).await;
    }
    let refused = from.run(&arguments).await;
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    to.run_ok(&["stop", "moved"]).await;
    let pushed = push(&from, &to).await;
    eprintln!("the second push: {pushed}");
    if runtime == "microvm" {
        assert!(number(&pushed, "sent_chunks") * 10 < chunks, "{pushed}");
    }
    to.run_ok(&["start", "moved"]).await;
    assert_eq!(to.sh("moved", sums).await, expected);
    if runtime == "fake" {
        // The other direction, to a third workspace.
        to.run_ok(&["stop", "moved"]).await;
        from.run_ok(&["pull", "moved", "--from", &to.url, "--as", "back"]).await;
        from.run_ok(&["start", "back"]).await;
        assert_eq!(from.sh("back", sums).await, expected);
    }
    from.interrupt().await;
    to.interrupt().await;
}

#[tokio::test]
async fn push_resumes_and_sends_differences() {
    check_push("fake").await;
}

#[tokio::test]
async fn microvm_push_resumes_and_sends_differences() {
    if guests_enabled() {
        check_push("microvm").await;
    }
}
