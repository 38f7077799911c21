//! The time from a start request to a prompt, compared with a bare QEMU with the same kernel,
//! accelerator and size until its first process runs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_tests::{Stack, WAIT_TIMEOUT};
use client::{Api, socket::TerminalEvent};
use protocol::{
    Redacted, WorkspaceId,
    terminal::{NewTerminal, TerminalSize},
};
use tokio::{io::AsyncReadExt as _, time::timeout};

use super::{Goal, Row, directory, id_of, median, stack};

/// Rounds alternate, so that both are measured under the same load.
const ROUNDS: usize = 5;
const GOAL: f64 = 1.5;
/// What the first process of the bare QEMU prints.
const READY_MESSAGE: &str = "bare-init-is-ready";
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// Measures the time from a start to a prompt.
pub async fn measure() -> Row {
    let directory = directory();
    let stack = stack("microvm", &directory).await;
    stack.run_ok(&["create", "bench"]).await;
    let id = id_of(&stack, "bench").await;
    let api = api(&stack);
    let workspace: WorkspaceId = id.parse().expect("an id");
    let bare = BareVm::prepare(directory.path());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        stack.run_ok(&["stop", "bench"]).await;
        ours.push(time_to_prompt(&stack, &api, workspace, &id).await);
        stack.run_ok(&["stop", "bench"]).await;
        theirs.push(bare.boot().await);
        eprintln!("start {}/{ROUNDS}: {:.2?}, bare VM {:.2?}", round + 1, ours[round], theirs[round]);
    }
    stack.interrupt().await;
    let (ours, theirs) = (median(&ours), median(&theirs));
    Row {
        name: "start to first prompt ÷ bare boot to /init",
        detail: format!("cold, median of {ROUNDS}: {ours:.2?} ÷ {theirs:.2?}"),
        value: ours.as_secs_f64() / theirs.as_secs_f64(),
        goal: Goal::AtMost(GOAL),
        unit: "×",
    }
}

/// An API client of the owner.
pub fn api(stack: &Stack) -> Api {
    Api::with_token(&stack.url, Redacted::new(stack.token.clone()), client::TrustedAuthorities::system())
        .expect("an API")
}

/// Starts the workspace and waits for a prompt in a new terminal.
pub async fn time_to_prompt(stack: &Stack, api: &Api, workspace: WorkspaceId, id: &str) -> Duration {
    let begun = Instant::now();
    api.start_workspace(workspace).await.expect("it starts");
    stack.get_until(&format!("/workspaces/{id}"), |workspace| workspace["phase"] == "running").await;
    let request = NewTerminal { size: Some(SIZE), ..NewTerminal::default() };
    let terminal = api.create_terminal(workspace, &request).await.expect("a terminal");
    let mut attached = api.attach(workspace, terminal.id, SIZE).await.expect("attached");
    let mut seen = Vec::new();
    let prompt = async {
        while !seen.windows(2).any(|pair| pair == b"$ ") {
            match attached.next().await.expect("output") {
                TerminalEvent::Output(bytes) | TerminalEvent::Redraw(bytes) => seen.extend_from_slice(&bytes),
                _ => {}
            }
        }
    };
    timeout(WAIT_TIMEOUT, prompt).await.expect("a prompt");
    begun.elapsed()
}

/// A VM with nothing but a first process that prints a message.
struct BareVm {
    kernel: PathBuf,
    initramfs: PathBuf,
    accelerator: &'static str,
}

impl BareVm {
    fn prepare(directory: &Path) -> Self {
        let cache = std::env::var_os("BURROW_IMAGE_CACHE")
            .map_or_else(|| burrow_tests::target_directory().join("images"), PathBuf::from);
        let images = std::fs::read_dir(&cache).expect("a built image").flatten();
        let image = images.map(|entry| entry.path()).find(|path| path.join("vmlinux").is_file());
        let kernel = image.expect("a built image").join("vmlinux");
        let verdict = std::fs::read_to_string(kernel.with_file_name("accelerator.json")).unwrap_or_default();
        Self {
            initramfs: initramfs(directory),
            accelerator: if verdict.contains("\"kvm\"") { "kvm" } else { "tcg" },
            kernel,
        }
    }

    async fn boot(&self) -> Duration {
        let begun = Instant::now();
        let (model, clock) = match self.accelerator {
            "kvm" => ("host", String::new()),
            _ => ("max", format!("tsc_early_khz={} no_timer_check", tsc_khz())),
        };
        let mut child = tokio::process::Command::new("qemu-system-x86_64")
            .args("-no-user-config -nodefaults -no-reboot -display none -smp 2 -m 1024M".split(' '))
            .args(["-machine", "microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on", "-cpu", model])
            .args(["-accel", self.accelerator])
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console", "-kernel"])
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &format!("console=ttyS0 panic=-1 reboot=t quiet {clock}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("qemu starts");
        let mut console = child.stdout.take().expect("piped");
        let mut output = Vec::new();
        let boot = async {
            let mut buffer = [0; 4096];
            while !String::from_utf8_lossy(&output).contains(READY_MESSAGE) {
                let count = console.read(&mut buffer).await.expect("readable");
                assert_ne!(count, 0, "it ended: {}", String::from_utf8_lossy(&output));
                output.extend_from_slice(&buffer[..count]);
            }
        };
        timeout(WAIT_TIMEOUT, boot).await.expect("it boots");
        let elapsed = begun.elapsed();
        child.kill().await.expect("killed");
        elapsed
    }
}

/// The frequency of the TSC, as the kernel has measured it.
fn tsc_khz() -> u64 {
    let text = std::fs::read_to_string("/proc/cpuinfo").expect("there");
    let megahertz =
        text.lines().find_map(|line| line.strip_prefix("cpu MHz")).and_then(|rest| rest.split(':').nth(1));
    let megahertz: f64 = megahertz.and_then(|text| text.trim().parse().ok()).expect("a speed");
    (megahertz * 1000.0) as u64
}

/// Builds an initramfs whose first process prints the message.
fn initramfs(directory: &Path) -> PathBuf {
    let root = directory.join("bare");
    std::fs::create_dir_all(root.join("dev")).expect("made");
    let source = directory.join("init.c");
    let program = format!(
        "#include <unistd.h>\nint main(void){{ write(1, \"{READY_MESSAGE}\\n\", {}); for(;;) pause(); }}\n",
        READY_MESSAGE.len() + 1
    );
    std::fs::write(&source, program).expect("written");
    let init = root.join("init");
    run(Command::new("gcc").args(["-static", "-O2", "-w", "-o"]).arg(&init).arg(&source));
    run(Command::new("mknod").arg(root.join("dev/console")).args(["c", "5", "1"]));
    let archive = directory.join("bare.cpio");
    let pack = "find . | cpio --quiet -o -H newc > \"$0\" && lz4 -q -l -9 \"$0\" \"$0.lz4\"";
    run(Command::new("sh").args(["-c", pack]).arg(&archive).current_dir(&root));
    archive.with_extension("cpio.lz4")
}

fn run(command: &mut Command) {
    let status = command.status().expect("it starts");
    assert!(status.success(), "{command:?}: {status}");
}
