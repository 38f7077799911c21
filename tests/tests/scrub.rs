//! Upkeep through the real executable: a home whose objects are damaged in the store is repaired while its machine runs.

use std::path::{Path, PathBuf};

use burrow_tests::{Options, Stack, guests_wanted};
use serde_json::Value;

/// Files of some sizes, and what they hold.
const FILL: &str = "cd ~; mkdir -p d; head -c 3000000 /dev/urandom > d/random; seq 100000 > d/numbers; echo text > d/text; sync";
const FINGERPRINT: &str = "cd ~/d; sha256sum *";

async fn a_damaged_home_is_repaired(runtime: &'static str) {
    // Short: sockets lie below it.
    let place = tempfile::Builder::new().prefix("burrow").tempdir_in("/tmp").expect("a directory");
    let data = place.path().join("d");
    let stack = Stack::start(Options::new(runtime, &data)).await;
    stack.ok(&["create", "demo"]).await;
    stack.sh("demo", FILL).await;
    let before = stack.sh("demo", FINGERPRINT).await;
    stack.ok(&["snapshot", "create", "demo", "sound"]).await;
    let objects = objects(&data.join("objects"));
    assert!(objects.len() >= 2, "{objects:?}");
    for (number, path) in objects.iter().enumerate() {
        damage(path, number);
    }

    let scrub = ["volume", "scrub", "demo", "-o", "json"];
    let found = stack.burrow(&scrub).await;
    assert_eq!(found.status.code(), Some(1));
    let words = String::from_utf8_lossy(&found.stderr);
    assert!(words.contains("hint: burrow volume scrub demo --repair"), "{words}");
    let repaired: Value =
        serde_json::from_str(&stack.ok(&[&scrub[..], &["--repair"]].concat()).await).expect("JSON");
    assert_eq!((&repaired["newest_is_whole"], &repaired["repair"]["lost_bytes"]), (&true.into(), &0.into()));
    assert!(repaired["repair"]["renewed_bytes"].as_u64() > Some(3_000_000), "{repaired}");
    let named = repaired["damaged_snapshots"].as_array().expect("a list");
    assert!(named.iter().any(|one| one["name"] == "sound"), "what is older is as it was: {repaired}");
    let again: Value = serde_json::from_str(&stack.ok(&scrub).await).expect("JSON");
    assert_eq!(again["damaged"].as_array().map(Vec::len), Some(0));

    // What the store has now is all that there is.
    stack.ok(&["stop", "demo"]).await;
    let refused = stack.burrow(&["volume", "scrub", "demo", "--repair"]).await;
    assert_eq!(refused.status.code(), Some(5), "at rest nothing is repaired");
    std::fs::remove_dir_all(data.join("cache")).expect("the cache was there");
    stack.ok(&["start", "demo"]).await;
    assert_eq!(stack.sh("demo", FINGERPRINT).await, before);
    stack.interrupt().await;
}

fn objects(below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).expect("listed").map(|entry| entry.expect("read").path());
    entries.flat_map(|path| if path.is_dir() { objects(&path) } else { vec![path] }).collect()
}

/// Each in another way.
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
async fn a_damaged_home_is_repaired_from_the_running_machine() {
    a_damaged_home_is_repaired("fake").await;
}

#[tokio::test]
async fn a_damaged_home_is_repaired_from_the_running_microvm_machine() {
    if guests_wanted() {
        a_damaged_home_is_repaired("microvm").await;
    }
}
