//! Tests the reader's sandbox: from the inside, what it cannot do; and from the outside, what the
//! kernel reports about it.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output, Stdio},
};

use burrow_reader::sandbox::READER_UID;
use support::{make_image, open_image};

/// Modes for actions that are prevented even without the system call filter, which would hide the
/// other parts.
const WITH_OR_WITHOUT_FILTER: [&str; 2] = ["complete", "without-filter"];
/// Modes for actions that only the filter prevents.
const WITH_FILTER: [&str; 1] = ["complete"];

fn attempt(mode: &str, probe: &str, argument: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandbox-probe"))
        .args([mode, probe, argument])
        .stdin(Stdio::null())
        .output()
        .expect("started")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Asserts that a probe succeeds without the sandbox, and fails in each of the modes.
fn check(probe: &str, argument: &str, modes: &[&str]) {
    let outside = attempt("none", probe, argument);
    assert!(outside.status.success(), "the probe {probe} itself fails: {outside:?}");
    for mode in modes {
        let output = attempt(mode, probe, argument);
        assert!(!output.status.success(), "{probe} {argument} succeeds: {mode}");
    }
}

#[test]
fn sandboxed_reader_can_do_nothing_else() {
    if !is_root() {
        return eprintln!("skipped: only root can enter the whole sandbox");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    check("read", "/etc/passwd", &WITH_OR_WITHOUT_FILTER);
    check("read", "/proc/self/status", &WITH_OR_WITHOUT_FILTER);
    check("list-root", "", &WITH_OR_WITHOUT_FILTER);
    check("write", "", &WITH_OR_WITHOUT_FILTER);
    check("connect", &address, &WITH_OR_WITHOUT_FILTER);
    check("signal-parent", "", &WITH_OR_WITHOUT_FILTER);
    check("fork", "", &WITH_OR_WITHOUT_FILTER);
    check("thread", "", &WITH_OR_WITHOUT_FILTER);
    check("become-root", "", &WITH_OR_WITHOUT_FILTER);
    check("namespace", "", &WITH_OR_WITHOUT_FILTER);
    check("execute", "", &WITH_OR_WITHOUT_FILTER);
    check("much-memory", "", &WITH_OR_WITHOUT_FILTER);
    check("socket", "", &WITH_FILTER);
    check("executable-memory", "", &WITH_FILTER);
}

#[test]
fn unlisted_system_call_kills_the_process() {
    for (probe, argument) in [
        ("read", "/etc/passwd"),
        ("connect", "127.0.0.1:1"),
        ("socket", ""),
        ("fork", ""),
        ("thread", ""),
        ("execute", ""),
        ("executable-memory", ""),
        ("signal-parent", ""),
        ("become-root", ""),
        ("namespace", ""),
    ] {
        let output = attempt("complete", probe, argument);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{probe}: {output:?}");
    }
    let printed = attempt("complete", "print", "");
    assert!(printed.status.success() && printed.stderr == b"words\n", "{printed:?}");
}

fn status(process: u32) -> BTreeMap<String, String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("running");
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().replace('\t', " "))).collect()
}

#[tokio::test]
async fn kernel_reports_the_sandbox_of_a_reader() {
    let scratch = tempfile::tempdir().expect("a directory");
    let image = scratch.path().join("image");
    make_image(&image, &[], None, "8M");
    let files = open_image(&image).await.expect("a home");
    let process = files.process_id().expect("running");
    let status = status(process);
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], "2");
    assert_eq!(status["Threads"], "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    if !is_root() {
        return eprintln!("skipped: the other parts need root");
    }
    assert!(files.sandbox_report().is_complete(), "{:?}", files.sandbox_report());
    assert_eq!(status["CapBnd"], "0000000000000000");
    assert_eq!(status["Uid"], [READER_UID; 4].map(|user| user.to_string()).join(" "));
    assert_eq!(status["Gid"], status["Uid"]);
    assert_eq!(status["Groups"], "");
    let within = |name: &str| format!("/proc/{process}/{name}");
    let mut descriptors: Vec<_> = fs::read_dir(within("fd"))
        .expect("running")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("a number"))
        .collect();
    descriptors.sort();
    assert_eq!(descriptors, ["0", "2"]);
    assert_eq!(fs::read_dir(within("root")).expect("a directory").count(), 0, "its root is empty");
    assert_eq!(fs::read(within("environ")).expect("running"), b"", "it has no environment");
    for namespace in ["net", "mnt", "ipc", "uts"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).expect("running");
        assert_ne!(of(&process.to_string()), of("self"), "{namespace}");
    }
    let devices = fs::read_to_string(within("net/dev")).expect("running");
    let devices: Vec<_> =
        devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert!(devices.iter().all(|device| *device == "lo"), "{devices:?}");
    files.close().await;
    assert!(!fs::exists(format!("/proc/{process}")).expect("readable"), "it is reaped");
}
