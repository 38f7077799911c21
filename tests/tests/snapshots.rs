//! Snapshots of real microVMs: uploaded while they run, browsed, restored, forked, and safe when
//! the host is lost. The guarantees of the volume and the controller by themselves are tested in
//! their crates.

use std::process::Stdio;

use burrow_tests::{Stack, StackOptions, WAIT_TIMEOUT, guests_enabled};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::{Instant, timeout},
};

/// Writes numbers to a file, and prints each once it is durable.
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
    let listed: Value = serde_json::from_str(&stack.run_ok(&["list", "-o", "json"]).await).expect("JSON");
    let listed = listed.as_array().expect("a list");
    listed.iter().find(|one| one["name"] == name).expect("it is there").clone()
}

/// Waits until the newest snapshot of `demo` has a file with this content.
async fn wait_for_snapshot(stack: &Stack, path: &str, expected: &str) {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        let output = stack.run(&["history", "demo", "--at", "latest", path]).await;
        if output.stdout == expected.as_bytes() {
            return;
        }
        assert!(Instant::now() < deadline, "{path} is not in the store");
    }
}

#[tokio::test]
async fn snapshots_are_browsed_forked_and_restored() {
    if !guests_enabled() {
        return;
    }
    let place = directory();
    let options = StackOptions::new("microvm", &place.path().join("d")).with(&["--stream-seconds", "1"]);
    let stack = Stack::start(options).await;
    stack.run_ok(&["create", "demo"]).await;

    // Uploaded while the workspace runs. A requested snapshot is clean.
    stack.sh("demo", "mkdir src && echo one > src/file && echo gone > gone && sync").await;
    stack.run_ok(&["snapshot", "create", "demo", "first"]).await;
    stack.sh("demo", "echo two > src/file && rm gone && sync").await;
    let id = workspace(&stack, "demo").await["id"].as_str().expect("text").to_owned();
    let path = format!("/workspaces/{id}/snapshots");
    wait_for_snapshot(&stack, "src/file", "two\n").await;
    let newest = stack.get_until(&path, |list| list["snapshots"][0]["kind"] == "stream").await;
    let named = newest["snapshots"].as_array().expect("a list").iter().find(|one| one["name"] == "first");
    assert_eq!(named.expect("it stays")["consistency"], "clean", "{newest}");
    assert_eq!(newest["snapshots"][0]["consistency"], "crash", "{newest}");

    // Browse without the workspace.
    assert_eq!(stack.run_ok(&["history", "demo", "--at", "first", "src/file"]).await, "one\n");
    let changes = stack.run_ok(&["history", "demo", "--at", "first", "--diff", "-o", "json"]).await;
    let changes: Value = serde_json::from_str(&changes).expect("JSON");
    let of = |path: &str| {
        let changes = changes["changes"].as_array().or_else(|| changes.as_array()).expect("a list");
        changes.iter().find(|change| change["path"] == path).map(|change| change["kind"].clone())
    };
    assert_eq!((of("gone"), of("src/file")), (Some("removed".into()), Some("changed".into())), "{changes}");
    let diff = stack.run_ok(&["history", "demo", "--at", "first", "--diff", "src/file"]).await;
    assert!(diff.contains("-one") && diff.contains("+two"), "{diff}");

    check_fork_of_running_workspace(&stack).await;
    check_restore_of_files(&stack).await;

    // Restore one file, then the whole home, then undo it.
    stack.run_ok(&["restore", "demo", "--at", "first", "gone"]).await;
    assert_eq!(stack.sh("demo", "cat gone src/file").await, "gone\ntwo\n");
    stack.run_ok(&["restore", "demo", "--at", "first", "--all", "-y"]).await;
    assert_eq!(stack.sh("demo", "cat gone src/file").await, "gone\none\n");
    let undo: Value =
        serde_json::from_str(&stack.run_ok(&["history", "demo", "-o", "json"]).await).expect("JSON");
    let undo = undo
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["kind"] == "requested" && one["name"].is_null());
    let undo = undo.expect("the previous state is kept")["id"].as_str().expect("text").to_owned();
    stack.run_ok(&["restore", "demo", "--at", &undo, "--all", "-y"]).await;
    assert_eq!(stack.sh("demo", "cat gone src/file").await, "gone\ntwo\n");

    // Grow the home while it is in use.
    let size = "df --output=size -B1M ~ | tail -1";
    let before: u64 = stack.sh("demo", size).await.trim().parse().expect("a number");
    stack.run_ok(&["grow", "demo", "+2G"]).await;
    let mut after = before;
    while after < before + 1900 {
        after = stack.sh("demo", size).await.trim().parse().expect("a number");
    }
    check_full_home_starts(&stack).await;
    assert!(stack.run_ok(&["volume", "scrub", "demo", "--all"]).await.is_empty(), "nothing is damaged");
    stack.interrupt().await;
}

/// Files are restored with everything that the file system keeps about them, and the restore is
/// undone.
async fn check_restore_of_files(stack: &Stack) {
    let make = "set -e; mkdir -p proj/sub; printf keep > proj/a; chmod 640 proj/a; ln proj/a proj/sub/b
        ln -s ../a proj/sub/l; truncate -s 64M proj/sparse
        printf x | dd of=proj/sparse bs=1 seek=1000000 conv=notrunc status=none
        python3 -c \"import os; os.setxattr('proj/a', 'user.origin', b'x\\\\n\\\\0y')\"
        touch -d @1600000000.123456789 proj/a; touch -d @1500000000 proj/sub; sync";
    let describe = "cd proj && stat -c '%n %a %h %s %.9Y' a sub/b sparse && stat -c '%n %Y' sub
        readlink sub/l && cat sub/b && test $(stat -c %b sparse) -lt 2000 && md5sum < sparse
        python3 -c \"import os; print(os.getxattr('a', 'user.origin'))\"";
    stack.sh("demo", make).await;
    let before = stack.sh("demo", describe).await;
    assert!(before.contains("a 640 2 4 1600000000.123456789") && before.contains("x\\n\\x00y"), "{before}");
    stack.run_ok(&["snapshot", "create", "demo", "files"]).await;
    stack.sh("demo", "rm -r proj/sub proj/sparse && echo changed > proj/a && echo new > proj/new").await;
    let preview = stack.run_ok(&["restore", "demo", "--at", "files", "proj", "--dry-run"]).await;
    assert!(preview.contains("proj/sub/b"), "{preview}");
    assert_eq!(
        stack.sh("demo", "cat proj/a; ls -A ~ | grep -c burrow-restores || true").await,
        "changed\n0\n"
    );
    stack.run_ok(&["restore", "demo", "--at", "files", "proj"]).await;
    assert_eq!(stack.sh("demo", describe).await, before);
    assert_eq!(stack.sh("demo", "cat proj/new").await, "new\n");
    let repeated = stack.run_ok(&["restore", "demo", "--at", "files", "proj"]).await;
    assert_eq!(repeated, "", "everything is the same already");
    let restore = stack.sh("demo", "ls ~/.burrow-restores").await;
    stack.run_ok(&["restore", "demo", "--undo", restore.trim()]).await;
    assert_eq!(stack.sh("demo", "cat proj/a; ls -A proj").await, "changed\na\nnew\n");
    assert_eq!(stack.sh("demo", "ls -A ~ | grep -c burrow-restores || true").await, "0\n");
}

/// A program keeps printing while its home is forked, and the two homes are independent.
async fn check_fork_of_running_workspace(stack: &Stack) {
    let counting = stack
        .command(&["exec", "demo", "--", "bash", "-c", "for i in $(seq 300); do echo $i; sleep 0.01; done"])
        .spawn()
        .expect("it starts");
    stack.run_ok(&["fork", "demo", "copy"]).await;
    let counted = timeout(WAIT_TIMEOUT, counting.wait_with_output()).await;
    let counted = counted.expect("in time").expect("it ends");
    let expected: Vec<String> = (1..=300).map(|number| number.to_string()).collect();
    assert_eq!(String::from_utf8_lossy(&counted.stdout).lines().collect::<Vec<_>>(), expected);
    stack.sh("copy", "test ! -e gone && echo theirs >> src/file").await;
    assert_eq!(stack.sh("demo", "cat src/file").await, "two\n");
    assert_eq!(stack.sh("copy", "cat src/file").await, "two\ntheirs\n");
    assert_eq!(
        workspace(stack, "copy").await["forked_from"]["workspace"],
        workspace(stack, "demo").await["id"]
    );
    stack.run_ok(&["delete", "copy", "-y"]).await;
}

/// A workspace whose home has no free block starts.
async fn check_full_home_starts(stack: &Stack) {
    stack
        .sh(
            "demo",
            "fallocate -l $(( $(stat -f -c '%a*%S' ~) )) filler; head -c 1M /dev/zero >> filler; df ~; true",
        )
        .await;
    stack.run_ok(&["stop", "demo"]).await;
    stack.run_ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", "rm filler && cat src/file").await, "two\n");
}

/// After the sudden loss of the host and its disk, everything before "safe up to" is there, and the
/// home is a prefix of what was written.
#[tokio::test]
async fn safe_data_survives_host_loss() {
    if !guests_enabled() {
        return;
    }
    let place = directory();
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new("microvm", &data).with(&["--stream-seconds", "1"])).await;
    stack.run_ok(&["create", "demo"]).await;
    let id = workspace(&stack, "demo").await["id"].as_str().expect("text").to_owned();
    let mut writing = stack
        .command(&["exec", "demo", "--", "bash", "-c", NUMBERED])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(writing.stdout.take().expect("piped")).lines();
    let mut acknowledged: Vec<(OffsetDateTime, u64)> = Vec::new();
    let safe_at = loop {
        let line = timeout(WAIT_TIMEOUT, lines.next_line()).await.expect("in time").expect("readable");
        let number = line.expect("it goes on").parse().expect("a number");
        acknowledged.push((OffsetDateTime::now_utc(), number));
        // Wait for the numbers of some snapshots.
        let (_, now) = stack.get(&format!("/workspaces/{id}")).await;
        let safe_at =
            now["safe_at"].as_str().map(|text| OffsetDateTime::parse(text, &Rfc3339).expect("a time"));
        let safe = |safe_at: &OffsetDateTime| acknowledged.iter().filter(|(at, _)| at < safe_at).count() > 20;
        if let Some(safe_at) = safe_at.filter(safe) {
            break safe_at;
        }
    };
    let options = stack.kill().await;
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    let stack = Stack::start(options).await;
    let log = stack.sh("demo", "cat log").await;
    let found: Vec<u64> = log.lines().filter_map(|line| line.parse().ok()).collect();
    let written: Vec<u64> = (0..found.len() as u64).collect();
    assert_eq!(found, written, "a prefix of what was written");
    let safe = acknowledged.iter().filter(|(at, _)| *at < safe_at).map(|(_, number)| *number).max();
    assert!(found.last().copied() >= safe, "{:?} of {safe:?}, safe at {safe_at}", found.last());
    check_uploads_resume(&stack).await;
    stack.interrupt().await;
}

async fn check_uploads_resume(stack: &Stack) {
    stack.sh("demo", "echo after > after && sync").await;
    wait_for_snapshot(stack, "after", "after\n").await;
}
