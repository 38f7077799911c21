//! `burrow volume scrub --repair` with the real executable: damaged objects of a home are repaired
//! while its workspace runs.

use std::path::{Path, PathBuf};

use burrow_tests::{Stack, StackOptions, guests_enabled};
use serde_json::Value;

/// Creates files of several sizes.
const FILL: &str = "cd ~; mkdir -p d; head -c 3000000 /dev/urandom > d/random;
    seq 100000 > d/numbers; echo text > d/text; sync";
const FINGERPRINT: &str = "cd ~/d; sha256sum *";

async fn check_repair(runtime: &'static str) {
    // A short path, because sockets are below it.
    let place = tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory");
    let data = place.path().join("d");
    let stack = Stack::start(StackOptions::new(runtime, &data)).await;
    stack.run_ok(&["create", "demo"]).await;
    stack.sh("demo", FILL).await;
    let before = stack.sh("demo", FINGERPRINT).await;
    stack.run_ok(&["snapshot", "create", "demo", "sound"]).await;
    let objects = objects(&data.join("objects"));
    assert!(objects.len() >= 2, "{objects:?}");
    for (number, path) in objects.iter().enumerate() {
        damage(path, number);
    }

    let scrub = ["volume", "scrub", "demo", "-o", "json"];
    let found = stack.run(&scrub).await;
    assert_eq!(found.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&found.stderr);
    assert!(stderr.contains("hint: burrow volume scrub demo --repair"), "{stderr}");
    let repaired: Value =
        serde_json::from_str(&stack.run_ok(&[&scrub[..], &["--repair"]].concat()).await).expect("JSON");
    assert_eq!((&repaired["newest_is_whole"], &repaired["repair"]["lost_bytes"]), (&true.into(), &0.into()));
    assert!(repaired["repair"]["rewritten_bytes"].as_u64() > Some(3_000_000), "{repaired}");
    let named = repaired["damaged_snapshots"].as_array().expect("a list");
    assert!(named.iter().any(|one| one["name"] == "sound"), "older snapshots stay damaged: {repaired}");
    let again: Value = serde_json::from_str(&stack.run_ok(&scrub).await).expect("JSON");
    assert_eq!(again["damaged"].as_array().map(Vec::len), Some(0));

    // Without the cache, everything comes from the repaired store.
    stack.run_ok(&["stop", "demo"]).await;
    let refused = stack.run(&["volume", "scrub", "demo", "--repair"]).await;
    assert_eq!(refused.status.code(), Some(5), "a stopped workspace cannot be repaired");
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    stack.run_ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", FINGERPRINT).await, before);
    stack.interrupt().await;
}

fn objects(below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).expect("listed").map(|entry| entry.expect("read").path());
    entries.flat_map(|path| if path.is_dir() { objects(&path) } else { vec![path] }).collect()
}

/// Damages an object: deletes it, truncates it, or flips a bit.
fn damage(path: &Path, number: usize) {
    let mut bytes = std::fs::read(path).expect("readable");
    match number % 3 {
        0 => return std::fs::remove_file(path).expect("removed"),
        1 => bytes.truncate(bytes.len() / 2),
        _ => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
    }
    std::fs::write(path, bytes).expect("writable");
}

#[tokio::test]
async fn running_workspace_repairs_damage() {
    check_repair("fake").await;
}

#[tokio::test]
async fn running_microvm_repairs_damage() {
    if guests_enabled() {
        check_repair("microvm").await;
    }
}
