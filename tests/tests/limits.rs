//! Limits of `burrow up` and the caches of homes, with the real executable.

use burrow_tests::{Stack, StackOptions, short_directory, wait_until};

/// Caches of homes in a data directory.
fn caches(data: &std::path::Path) -> usize {
    std::fs::read_dir(data.join("cache")).map_or(0, |entries| entries.flatten().count())
}

#[tokio::test]
async fn limit_is_explained_and_discard_removes_cache() {
    let place = short_directory();
    let data = place.path().join("d");
    let options = StackOptions::new("fake", &data).with(&["--max-running-per-teacher", "1"]);
    let stack = Stack::start(options).await;
    stack.run_ok(&["create", "first"]).await;
    let refused = stack.run(&["create", "second"]).await;
    assert_eq!(refused.status.code(), Some(6));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("1 of your workspaces run or wait (`first`), and 1 may run at once"), "{stderr}");
    stack.run_ok(&["create", "second", "--no-start"]).await;
    assert_eq!(stack.run(&["start", "second"]).await.status.code(), Some(6));

    stack.sh("first", "head -c 1000000 /dev/urandom > ~/secret; sync").await;
    assert_eq!(caches(&data), 1);
    stack.run_ok(&["delete", "first", "-y"]).await;
    wait_until("the cache of the deleted home is removed", || caches(&data) == 0).await;
    stack.run_ok(&["start", "second"]).await;
    stack.run_ok(&["stop", "second"]).await;
    assert_eq!(caches(&data), 1, "the cache of a stopped workspace stays");
    stack.run_ok(&["delete", "second", "-y"]).await;
    wait_until("the cache is removed without a runner", || caches(&data) == 0).await;
    stack.interrupt().await;
}
