//! Faults of sandboxes and hosts: each ends in a defined phase, with a message that says what happened and
//! what to do. The table is in `docs/src/operator/troubleshooting.md`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use burrow_tests::{Stack, StackOptions, guests_enabled, send_signal, short_directory};
use rustix::process::Signal;
use serde_json::Value;

/// An agent that does what a file says: it lies, ends, or is the real one.
const AGENT: &str = r#"#!/bin/sh
case $(cat MODE) in
  garbage) exec perl -MIO::Socket::UNIX -e '
    $server = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $ARGV[0], Listen => 1) or die;
    while ($client = $server->accept) { 1 while print $client "\xa5" x 65536; }' "$2" ;;
  ends) echo "no such device" >&2; exit 3 ;;
  *) exec REAL "$@" ;;
esac
"#;

struct LyingAgent {
    program: PathBuf,
    mode: PathBuf,
}

impl LyingAgent {
    fn create(directory: &Path) -> Self {
        let agent = Self { program: directory.join("agent"), mode: directory.join("mode") };
        let real = std::env::var("BURROW_AGENT").expect("the task runner sets it");
        let script = AGENT.replace("MODE", &agent.mode.display().to_string()).replace("REAL", &real);
        fs::write(&agent.program, script).expect("written");
        fs::set_permissions(&agent.program, fs::Permissions::from_mode(0o755)).expect("executable");
        agent.set_mode("honest");
        agent
    }

    fn set_mode(&self, mode: &str) {
        fs::write(&self.mode, mode).expect("written");
    }
}

/// Waits until the only workspace is at rest. Returns its failure.
async fn failure(stack: &Stack) -> Value {
    let is_at_rest = |list: &Value| {
        let workspace = &list["workspaces"][0];
        matches!(workspace["phase"].as_str(), Some("failed" | "terminated"))
            && !workspace["failure"].is_null()
    };
    stack.get_until("/workspaces", is_at_rest).await["workspaces"][0]["failure"].clone()
}

fn text<'a>(failure: &'a Value, field: &str) -> &'a str {
    failure[field].as_str().unwrap_or_else(|| panic!("no {field} in {failure}"))
}

#[tokio::test]
async fn lying_agent_fails_the_start() {
    let place = short_directory();
    let agent = LyingAgent::create(place.path());
    let options = StackOptions::new("fake", &place.path().join("d"));
    let stack = Stack::start(options.with(&["--agent", agent.program.to_str().expect("UTF-8")])).await;
    stack.run_ok(&["create", "box"]).await;
    stack.sh("box", "echo kept > ~/file").await;
    stack.run_ok(&["stop", "box"]).await;

    for (mode, cause, log) in [
        ("garbage", "garbage instead of its preamble", ""),
        ("ends", "the agent exited (exit status: 3)", "no such device"),
    ] {
        agent.set_mode(mode);
        let start = stack.run(&["start", "box"]).await;
        assert!(!start.status.success());
        let failure = failure(&stack).await;
        assert!(text(&failure, "cause").to_lowercase().contains(&cause.to_lowercase()), "{failure}");
        assert!(text(&failure, "action").contains("Start it again"), "{failure}");
        assert!(failure["log"].to_string().contains(log), "{failure}");
        let stderr = String::from_utf8_lossy(&start.stderr);
        assert!(stderr.to_lowercase().contains(&cause.to_lowercase()), "the command says it, too: {stderr}");
    }
    agent.set_mode("honest");
    stack.run_ok(&["start", "box"]).await;
    assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n");
    stack.interrupt().await;
}

#[tokio::test]
async fn killed_agent_ends_the_workspace() {
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("fake", &place.path().join("d"))).await;
    stack.run_ok(&["create", "box"]).await;
    stack.sh("box", "echo kept > ~/file; sync").await;
    let agent = stack.sh("box", "echo $PPID").await.trim().parse().expect("a process");
    send_signal(agent, Signal::KILL);
    let failure = failure(&stack).await;
    assert!(text(&failure, "cause").contains("he agent exited (signal: 9"), "{failure}");
    assert!(text(&failure, "action").contains("Start it again"), "{failure}");
    stack.run_ok(&["start", "box"]).await;
    assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n");
    stack.interrupt().await;
}

/// One guest, one fault after another: each start is a copy of the prototype.
#[tokio::test]
async fn guest_faults_have_a_phase_and_a_message() {
    if !guests_enabled() {
        return;
    }
    let place = short_directory();
    let stack = Stack::start(StackOptions::new("microvm", &place.path().join("d"))).await;
    stack.run_ok(&["create", "box"]).await;
    stack.sh("box", "echo kept > ~/file; sync").await;

    // The console is slow, and nobody waits for its reader.
    stack.sh("box", "sudo sh -c 'head -c 300000 /dev/urandom | base64 > /dev/ttyS0'").await;
    assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "a flood of the console disturbs nothing");

    for command in ["poweroff", "reboot"] {
        println!("{command}");
        stack.run(&["exec", "box", "--", "sudo", command]).await;
        let is_stopped = |list: &Value| list["workspaces"][0]["phase"] == "terminated";
        let list = stack.get_until("/workspaces", is_stopped).await;
        assert!(list["workspaces"][0]["failure"].is_null(), "{command} is a stop: {list}");
        stack.run_ok(&["start", "box"]).await;
        assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "after {command}");
    }

    for (script, cause) in [
        ("sysctl -w kernel.sysrq=1; echo c > /proc/sysrq-trigger", "he guest's kernel panicked"),
        // Restarts at once, without telling the agent.
        ("sysctl -w kernel.sysrq=1; echo b > /proc/sysrq-trigger", ""),
    ] {
        println!("{script}");
        stack.run(&["exec", "box", "--", "sudo", "sh", "-c", script]).await;
        let is_at_rest =
            |list: &Value| matches!(list["workspaces"][0]["phase"].as_str(), Some("failed" | "terminated"));
        let list = stack.get_until("/workspaces", is_at_rest).await;
        let failure = &list["workspaces"][0]["failure"];
        if cause.is_empty() {
            assert!(failure.is_null(), "a restart is a stop: {list}");
        } else {
            assert!(text(failure, "cause").contains(cause), "{list}");
            assert!(text(failure, "action").contains("Start it again"), "{list}");
        }
        stack.run_ok(&["start", "box"]).await;
        assert_eq!(stack.sh("box", "cat ~/file").await, "kept\n", "after {script}");
    }
    stack.interrupt().await;
}

/// Runs burrow on a host without some programs and devices: a mount namespace hides them.
fn run_without(hidden: &[&str], arguments: &[&str]) -> (bool, String) {
    let hide = hidden.iter().map(|path| {
        format!(
            "if [ -d {path} ]; then mount -t tmpfs none {path}; \
             elif [ -e {path} ]; then mount --bind /dev/null {path}; fi; "
        )
    });
    let script = hide.collect::<String>() + "exec \"$@\"";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(burrow_tests::burrow())
        .args(arguments)
        .output()
        .expect("unshare runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn missing_programs_are_named() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can hide programs");
        return;
    }
    let programs = |name: &str| {
        ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"]
            .map(|directory| format!("{directory}/{name}"))
    };
    for (hidden, expected) in [
        (programs("nft").to_vec(), "nft is not installed. Run `apt-get install nftables`"),
        (vec!["/dev/net".to_owned()], "Run `modprobe tun`"),
        (programs("qemu-system-x86_64").to_vec(), "apt-get install qemu-system-x86"),
        ([programs("runc"), programs("crun")].concat(), "is not installed. Run `apt-get install "),
    ] {
        let hidden: Vec<&str> = hidden.iter().map(String::as_str).collect();
        let (_, doctor) = run_without(&hidden, &["doctor"]);
        assert!(doctor.contains(expected), "{hidden:?}: {doctor}");
    }
}

/// `burrow up` does not start where sandboxes would have no network that is filtered.
#[test]
fn server_does_not_start_without_nft() {
    if !guests_enabled() {
        return;
    }
    let place = short_directory();
    let data = place.path().join("d");
    let arguments = ["up", "--port", "0", "--data-dir", data.to_str().expect("UTF-8")];
    for (hidden, expected) in [
        (&["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"][..], "apt-get install nftables"),
        (&["/dev/net"], "modprobe tun"),
    ] {
        let (is_started, output) = run_without(hidden, &arguments);
        assert!(!is_started && output.contains("error: ") && output.contains(expected), "{output}");
    }
    let forbidden = [&arguments[..], &["--allow-private-network", "169.254.169.254"]].concat();
    let (is_started, output) = run_without(&[], &forbidden);
    assert!(!is_started && output.contains("the metadata services of clouds"), "{output}");
}
