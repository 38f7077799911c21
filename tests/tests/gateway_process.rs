//! The gateway's process: what it may do, and that nobody notices its end.

use std::fs;

use burrow_tests::{
    Stack, StackOptions,
    processes::{assert_unprivileged, role_of, visible_files},
    send_signal, short_directory, wait_until,
};
use rustix::process::Signal;

/// The process id of the stack's gateway.
fn gateway(stack: &Stack) -> Option<u32> {
    role_of(stack.pid(), "gateway")
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
        assert_unprivileged(first, 619_997);
        let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).expect("readable by root");
        assert_ne!(network(first), network(stack.pid()), "it reaches nothing of the host's network");
        let run = data.canonicalize().expect("there").join("run");
        let seen = visible_files(first, &[&run]);
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
