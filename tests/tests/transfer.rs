//! A home moved from one `burrow up` to another by somebody who is signed in to both. That only what is lacking is sent, whatever
//! a home holds, is tested in `volume` and `controller`.

use std::path::Path;

use burrow_tests::{Options, PATIENCE, Stack, guests_wanted, until};
use serde_json::Value;
use tokio::time::timeout;

/// Requests whose chunks are in the store when the pusher is killed; all of the home are some twenty.
const STORED: usize = 5;
/// Chunks that are then there for sure: of the last request nobody may have heard, and a running machine changes some.
const ARRIVED: u64 = 3 * 48;

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

/// Objects of one kind in a stack's store.
fn objects(data: &Path, kind: &str) -> usize {
    let tenants = std::fs::read_dir(data.join("objects")).into_iter().flatten().flatten();
    tenants.flat_map(|tenant| std::fs::read_dir(tenant.path().join(kind))).flatten().count()
}

async fn push(from: &Stack, to: &Stack) -> Value {
    let pushed = from.ok(&["push", "demo", "--to", &to.url, "--as", "moved", "-o", "json"]).await;
    serde_json::from_str(&pushed).expect("JSON")
}

fn number(pushed: &Value, name: &str) -> u64 {
    pushed[name].as_u64().unwrap_or_else(|| panic!("{name}: {pushed}"))
}

async fn moves(runtime: &'static str) {
    let place = directory();
    let (here, there) = (place.path().join("here"), place.path().join("there"));
    let from = Stack::start(Options::new(runtime, &here)).await;
    let to = Stack::start(Options::new(runtime, &there)).await;
    let login = ["login", &to.url, "--token", "-"];
    let signed_in = from.burrow_with_input(&login, Some(to.token.as_bytes())).await;
    assert!(signed_in.status.success(), "{}", String::from_utf8_lossy(&signed_in.stderr));
    from.ok(&["create", "demo"]).await;
    from.sh("demo", "head -c 60M /dev/urandom > noise && mkdir src && echo one > src/file && sync").await;
    let sums = "find . -type f ! -path './.cache/*' ! -name '.*' -print0 | sort -z | xargs -0 sha256sum";
    let expected = from.sh("demo", sums).await;
    if runtime == "fake" {
        // Only a real machine's home is in the store before it stops.
        from.ok(&["stop", "demo"]).await;
    }

    // Killed midway; what had arrived is not sent again.
    let arguments = ["push", "demo", "--to", &to.url, "--as", "moved", "-o", "json"];
    let mut pushing = from.command(&arguments).spawn().expect("it starts");
    until("some of it has arrived", || objects(&there, "packs") >= STORED).await;
    pushing.start_kill().expect("killed");
    let ended = timeout(PATIENCE, pushing.wait_with_output()).await.expect("in time").expect("waited for");
    assert!(!ended.status.success(), "it was killed before it was done");
    assert!(to.ok(&["list", "-o", "name"]).await.is_empty(), "nothing is there before all is");
    let pushed = push(&from, &to).await;
    let (chunks, sent) = (number(&pushed, "chunks"), number(&pushed, "sent_chunks"));
    assert!(sent > 0 && sent + ARRIVED <= chunks, "{pushed}");
    to.ok(&["start", "moved"]).await;
    assert_eq!(to.sh("moved", sums).await, expected);

    // A little is changed: a little is sent, into the same workspace, which must not be in use.
    if runtime == "fake" {
        from.ok(&["start", "demo"]).await;
    }
    from.sh("demo", "echo two >> src/file && sync").await;
    let expected = from.sh("demo", sums).await;
    if runtime == "fake" {
        from.ok(&["stop", "demo"]).await;
    }
    let refused = from.burrow(&arguments).await;
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    to.ok(&["stop", "moved"]).await;
    let pushed = push(&from, &to).await;
    eprintln!("the second push: {pushed}");
    if runtime == "microvm" {
        assert!(number(&pushed, "sent_chunks") * 10 < chunks, "{pushed}");
    }
    to.ok(&["start", "moved"]).await;
    assert_eq!(to.sh("moved", sums).await, expected);
    if runtime == "fake" {
        // The other way, into a third.
        to.ok(&["stop", "moved"]).await;
        from.ok(&["pull", "moved", "--from", &to.url, "--as", "back"]).await;
        from.ok(&["start", "back"]).await;
        assert_eq!(from.sh("back", sums).await, expected);
    }
    from.interrupt().await;
    to.interrupt().await;
}

#[tokio::test]
async fn a_home_moves_between_installations_by_what_is_lacking() {
    moves("fake").await;
}

#[tokio::test]
async fn a_microvms_home_moves_between_installations_by_what_is_lacking() {
    if guests_wanted() {
        moves("microvm").await;
    }
}
