//! A home's past on real machines: streamed, read without its machine, brought back, forked, grown, and there when the host is
//! not. What the volume promises by itself is tested in `volume`, what the controller promises in `controller`.

use std::process::Stdio;

use burrow_tests::{Options, PATIENCE, Stack, guests_wanted};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::{Instant, timeout},
};

/// Says each number once it is on the home's disk.
const NUMBERED: &str = "python3 -uc '
import os
log = open(\"log\", \"a\")
for number in range(100000):
    print(number, file=log, flush=True)
    os.fsync(log.fileno())
    print(number)
'";

fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory")
}

async fn workspace(stack: &Stack, name: &str) -> Value {
    let listed: Value = serde_json::from_str(&stack.ok(&["list", "-o", "json"]).await).expect("JSON");
    let listed = listed.as_array().expect("a list");
    listed.iter().find(|one| one["name"] == name).expect("it is there").clone()
}

/// Waits until the newest snapshot of `demo` holds a file so.
async fn in_the_store(stack: &Stack, path: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = stack.burrow(&["history", "demo", "--at", "latest", path]).await;
        if output.stdout == expected.as_bytes() {
            return;
        }
        assert!(Instant::now() < deadline, "{path} is not in the store");
    }
}

#[tokio::test]
async fn a_home_has_a_past_that_is_read_forked_and_brought_back() {
    if !guests_wanted() {
        return;
    }
    let place = directory();
    let options = Options::new("microvm", &place.path().join("d")).with(&["--stream-seconds", "1"]);
    let stack = Stack::start(options).await;
    stack.ok(&["create", "demo"]).await;

    // Streamed while it runs, and put in order when asked.
    stack.sh("demo", "mkdir src && echo one > src/file && echo gone > gone && sync").await;
    stack.ok(&["snapshot", "create", "demo", "first"]).await;
    stack.sh("demo", "echo two > src/file && rm gone && sync").await;
    let id = workspace(&stack, "demo").await["id"].as_str().expect("text").to_owned();
    let path = format!("/workspaces/{id}/snapshots");
    in_the_store(&stack, "src/file", "two\n").await;
    let newest = stack.get_until(&path, |list| list["snapshots"][0]["kind"] == "stream").await;
    let named = newest["snapshots"].as_array().expect("a list").iter().find(|one| one["name"] == "first");
    assert_eq!(named.expect("it stays")["consistency"], "clean", "{newest}");
    assert_eq!(newest["snapshots"][0]["consistency"], "crash", "{newest}");

    // Read without the machine.
    assert_eq!(stack.ok(&["history", "demo", "--at", "first", "src/file"]).await, "one\n");
    let changes = stack.ok(&["history", "demo", "--at", "first", "--diff", "-o", "json"]).await;
    let changes: Value = serde_json::from_str(&changes).expect("JSON");
    let of = |path: &str| {
        let changes = changes["changes"].as_array().or_else(|| changes.as_array()).expect("a list");
        changes.iter().find(|change| change["path"] == path).map(|change| change["kind"].clone())
    };
    assert_eq!((of("gone"), of("src/file")), (Some("removed".into()), Some("changed".into())), "{changes}");
    let diff = stack.ok(&["history", "demo", "--at", "first", "--diff", "src/file"]).await;
    assert!(diff.contains("-one") && diff.contains("+two"), "{diff}");

    forks_are_not_noticed(&stack).await;

    // One file, and then the whole of it and back again.
    stack.ok(&["restore", "demo", "--at", "first", "gone"]).await;
    assert_eq!(stack.sh("demo", "cat gone src/file").await, "gone\ntwo\n");
    stack.ok(&["restore", "demo", "--at", "first", "--all", "-y"]).await;
    assert_eq!(stack.sh("demo", "cat gone src/file").await, "gone\none\n");
    let undo: Value =
        serde_json::from_str(&stack.ok(&["history", "demo", "-o", "json"]).await).expect("JSON");
    let undo = undo
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["kind"] == "requested" && one["name"].is_null());
    let undo = undo.expect("what it was is kept")["id"].as_str().expect("text").to_owned();
    stack.ok(&["restore", "demo", "--at", &undo, "--all", "-y"]).await;
    assert_eq!(stack.sh("demo", "cat gone src/file").await, "gone\ntwo\n");

    // Larger while it is used.
    let size = "df --output=size -B1M ~ | tail -1";
    let before: u64 = stack.sh("demo", size).await.trim().parse().expect("a number");
    stack.ok(&["grow", "demo", "+2G"]).await;
    let mut after = before;
    while after < before + 1900 {
        after = stack.sh("demo", size).await.trim().parse().expect("a number");
    }
    full_home_starts(&stack).await;
    assert!(stack.ok(&["volume", "scrub", "demo", "--all"]).await.is_empty(), "nothing is damaged");
    stack.interrupt().await;
}

/// A program's output goes on while its machine's home is forked, and both homes live their own lives.
async fn forks_are_not_noticed(stack: &Stack) {
    let counting = stack
        .command(&["exec", "demo", "--", "bash", "-c", "for i in $(seq 300); do echo $i; sleep 0.01; done"])
        .spawn()
        .expect("it starts");
    stack.ok(&["fork", "demo", "copy"]).await;
    let counted = timeout(PATIENCE, counting.wait_with_output()).await.expect("in time").expect("it ends");
    let expected: Vec<String> = (1..=300).map(|number| number.to_string()).collect();
    assert_eq!(String::from_utf8_lossy(&counted.stdout).lines().collect::<Vec<_>>(), expected);
    stack.sh("copy", "test ! -e gone && echo theirs >> src/file").await;
    assert_eq!(stack.sh("demo", "cat src/file").await, "two\n");
    assert_eq!(stack.sh("copy", "cat src/file").await, "two\ntheirs\n");
    assert_eq!(
        workspace(stack, "copy").await["forked_from"]["workspace"],
        workspace(stack, "demo").await["id"]
    );
    stack.ok(&["delete", "copy", "-y"]).await;
}

/// A home without one free block starts, and there is a terminal in it.
async fn full_home_starts(stack: &Stack) {
    stack
        .sh(
            "demo",
            "fallocate -l $(( $(stat -f -c '%a*%S' ~) )) filler; head -c 1M /dev/zero >> filler; df ~; true",
        )
        .await;
    stack.ok(&["stop", "demo"]).await;
    stack.ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", "rm filler && cat src/file").await, "two\n");
}

/// The host goes away without a word, and its disk with it: what was said to be safe is there, and nothing that never was.
#[tokio::test]
async fn what_was_said_to_be_safe_outlives_the_host() {
    if !guests_wanted() {
        return;
    }
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(Options::new("microvm", &data).with(&["--stream-seconds", "1"])).await;
    stack.ok(&["create", "demo"]).await;
    let id = workspace(&stack, "demo").await["id"].as_str().expect("text").to_owned();
    let mut writing = stack
        .command(&["exec", "demo", "--", "bash", "-c", NUMBERED])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(writing.stdout.take().expect("piped")).lines();
    let mut acknowledged: Vec<(OffsetDateTime, u64)> = Vec::new();
    let safe_at = loop {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("readable");
        let number = line.expect("it goes on").parse().expect("a number");
        acknowledged.push((OffsetDateTime::now_utc(), number));
        // Some snapshots' worth of numbers.
        let (_, now) = stack.get(&format!("/workspaces/{id}")).await;
        let safe_at =
            now["safe_at"].as_str().map(|text| OffsetDateTime::parse(text, &Rfc3339).expect("a time"));
        let safe = |safe_at: &OffsetDateTime| acknowledged.iter().filter(|(at, _)| at < safe_at).count() > 20;
        if let Some(safe_at) = safe_at.filter(safe) {
            break safe_at;
        }
    };
    let again = stack.kill().await;
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    let stack = Stack::start(again).await;
    let log = stack.sh("demo", "cat log").await;
    let found: Vec<u64> = log.lines().filter_map(|line| line.parse().ok()).collect();
    let written: Vec<u64> = (0..found.len() as u64).collect();
    assert_eq!(found, written, "a prefix of what was written");
    let safe = acknowledged.iter().filter(|(at, _)| *at < safe_at).map(|(_, number)| *number).max();
    assert!(found.last().copied() >= safe, "{:?} of {safe:?}, safe at {safe_at}", found.last());
    safe_again(&stack).await;
    stack.interrupt().await;
}

async fn safe_again(stack: &Stack) {
    stack.sh("demo", "echo after > after && sync").await;
    in_the_store(stack, "after", "after\n").await;
}
