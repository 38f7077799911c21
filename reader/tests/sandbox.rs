//! What the reading process cannot do, tried from within; and what the kernel says of a real one, seen from outside.

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

/// Once by every wall, and once by those behind the filter of system calls, which would hide them.
const BEHIND_THE_FILTER: [&str; 2] = ["whole", "without-filter"];
const BY_THE_FILTER: [&str; 1] = ["whole"];

fn attempt(mode: &str, probe: &str, argument: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandbox-probe"))
        .args([mode, probe, argument])
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Succeeds without the sandbox, and in none of the modes with it.
fn check(probe: &str, argument: &str, modes: &[&str]) {
    let bare = attempt("bare", probe, argument);
    assert!(bare.status.success(), "the probe {probe} itself fails: {bare:?}");
    for mode in modes {
        let output = attempt(mode, probe, argument);
        assert!(!output.status.success(), "{probe} {argument} succeeds: {mode}");
    }
}

#[test]
fn nothing_that_a_process_has_is_left() {
    if !is_root() {
        return eprintln!("left out: only root can give up everything");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    check("read", "/etc/passwd", &BEHIND_THE_FILTER);
    check("read", "/proc/self/status", &BEHIND_THE_FILTER);
    check("list-root", "", &BEHIND_THE_FILTER);
    check("write", "", &BEHIND_THE_FILTER);
    check("connect", &address, &BEHIND_THE_FILTER);
    check("signal-parent", "", &BEHIND_THE_FILTER);
    check("fork", "", &BEHIND_THE_FILTER);
    check("thread", "", &BEHIND_THE_FILTER);
    check("become-root", "", &BEHIND_THE_FILTER);
    check("namespace", "", &BEHIND_THE_FILTER);
    check("execute", "", &BEHIND_THE_FILTER);
    check("much-memory", "", &BEHIND_THE_FILTER);
    check("socket", "", &BY_THE_FILTER);
    check("executable-memory", "", &BY_THE_FILTER);
}

#[test]
fn a_call_that_is_not_listed_ends_the_process() {
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
        let output = attempt("whole", probe, argument);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{probe}: {output:?}");
    }
    let words = attempt("whole", "speak", "");
    assert!(words.status.success() && words.stderr == b"words\n", "{words:?}");
}

fn status(process: u32) -> BTreeMap<String, String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().replace('\t', " "))).collect()
}

#[tokio::test]
async fn the_kernel_says_the_same_of_a_real_one() {
    let scratch = tempfile::tempdir().expect("a directory");
    let image = scratch.path().join("image");
    make_image(&image, &[], None, "8M");
    let home = open_image(&image).await.expect("a home");
    let process = home.process_id().expect("it runs");
    let status = status(process);
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], "2");
    assert_eq!(status["Threads"], "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    if !is_root() {
        return eprintln!("left out: the rest holds where root starts it");
    }
    assert!(home.sandbox_report().is_complete(), "{:?}", home.sandbox_report());
    assert_eq!(status["CapBnd"], "0000000000000000");
    assert_eq!(status["Uid"], [READER_UID; 4].map(|user| user.to_string()).join(" "));
    assert_eq!(status["Gid"], status["Uid"]);
    assert_eq!(status["Groups"], "");
    let within = |name: &str| format!("/proc/{process}/{name}");
    let mut descriptors: Vec<_> = fs::read_dir(within("fd"))
        .expect("it runs")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("a number"))
        .collect();
    descriptors.sort();
    assert_eq!(descriptors, ["0", "2"]);
    assert_eq!(fs::read_dir(within("root")).expect("a directory").count(), 0, "its root is empty");
    assert_eq!(fs::read(within("environ")).expect("it runs"), b"", "it has no environment");
    for namespace in ["net", "mnt", "ipc", "uts"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).expect("it runs");
        assert_ne!(of(&process.to_string()), of("self"), "{namespace}");
    }
    let devices = fs::read_to_string(within("net/dev")).expect("it runs");
    let devices: Vec<_> =
        devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert!(devices.iter().all(|device| *device == "lo"), "{devices:?}");
    home.close().await;
    assert!(!fs::exists(format!("/proc/{process}")).expect("readable"), "it is reaped");
}
