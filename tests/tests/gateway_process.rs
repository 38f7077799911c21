//! The gateway's process: what it may do, and that nobody notices its end.

use std::{collections::BTreeMap, fs, path::PathBuf};

use burrow_tests::{Stack, StackOptions, processes::role_of, send_signal, short_directory, wait_until};
use rustix::process::Signal;

/// The process id of the stack's gateway.
fn gateway(stack: &Stack) -> Option<u32> {
    role_of(stack.pid(), "gateway")
}

/// The fields of `/proc/<pid>/status`.
fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// All files that a process sees below its root directory, but not inside `shown`.
fn visible(pid: u32, shown: &std::path::Path) -> Vec<PathBuf> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let (mut found, mut directories) = (Vec::new(), vec![root.clone()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("readable").flatten() {
            let path = PathBuf::from("/").join(entry.path().strip_prefix(&root).expect("below it"));
            if entry.file_type().expect("known").is_dir() && path != shown {
                directories.push(entry.path());
            }
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn gateway_has_no_privileges_and_is_replaced() {
    let place = short_directory();
    let data = place.path().join("d");
    let options = StackOptions::new("fake", &data).environment(&[("AWS_SECRET_ACCESS_KEY", "secret")]);
    let stack = Stack::start(options).await;
    stack.run_ok(&["create", "demo"]).await;
    let first = gateway(&stack).expect("it runs");
    if rustix::process::geteuid().is_root() {
        let status = status(first);
        assert_eq!(status["Uid"], "619997\t619997\t619997\t619997");
        assert_eq!((status["Groups"].as_str(), status["NoNewPrivs"].as_str()), ("", "1"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0".repeat(16), "{set}");
        }
        let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).expect("readable by root");
        assert_ne!(network(first), network(stack.pid()), "it reaches nothing of the host's network");
        let run = data.canonicalize().expect("there").join("run");
        let seen = visible(first, &run);
        assert!(seen.contains(&run), "{seen:?}");
        assert!(seen.iter().all(|path| run.starts_with(path)), "only the way to its sockets: {seen:?}");
        let environment = fs::read(format!("/proc/{first}/environ")).expect("readable by root");
        assert!(!String::from_utf8_lossy(&environment).contains("secret"));
    }
    let refused = stack.get("/api/v1/workspaces/00000000-0000-0000-0000-000000000000").await;
    assert_eq!(refused.0, 404);
    send_signal(first, Signal::KILL);
    wait_until("another gateway runs", || gateway(&stack).is_some_and(|pid| pid != first)).await;
    // Who connects in between waits for it.
    assert_eq!(stack.sh("demo", "echo here").await.trim(), "here");
    assert!(stack.log_file().contains("the gateway has exited"), "{}", stack.log_file());
    stack.interrupt().await;
}
