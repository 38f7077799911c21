//! From "start" to a prompt in a terminal, beside a bare QEMU with the same kernel, accelerator and size, up to its first process.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_tests::{PATIENCE, Stack};
use client::{Api, socket::TerminalEvent};
use protocol::{
    Redacted, WorkspaceId,
    terminal::{NewTerminal, TerminalSize},
};
use tokio::{io::AsyncReadExt as _, time::timeout};

use super::{Goal, Row, directory, id_of, median, stack};

/// Alternating, so that both see the same moods of the host.
const ROUNDS: usize = 5;
const GOAL: f64 = 1.5;
const SAYS: &str = "bare-init-is-here";
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

pub async fn measure() -> Row {
    let place = directory();
    let stack = stack("microvm", &place).await;
    stack.ok(&["create", "bench"]).await;
    let id = id_of(&stack, "bench").await;
    let api = api(&stack);
    let workspace: WorkspaceId = id.parse().expect("an id");
    let bare = Bare::prepare(place.path());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        stack.ok(&["stop", "bench"]).await;
        ours.push(until_prompt(&stack, &api, workspace, &id).await);
        stack.ok(&["stop", "bench"]).await;
        theirs.push(bare.boot().await);
        eprintln!("start {}/{ROUNDS}: {:.2?} beside {:.2?}", round + 1, ours[round], theirs[round]);
    }
    stack.interrupt().await;
    let (ours, theirs) = (median(&ours), median(&theirs));
    Row {
        what: "start to first prompt ÷ bare boot to /init",
        detail: format!("cold, median of {ROUNDS}: {ours:.2?} ÷ {theirs:.2?}"),
        value: ours.as_secs_f64() / theirs.as_secs_f64(),
        goal: Goal::AtMost(GOAL),
        unit: "×",
    }
}

pub fn api(stack: &Stack) -> Api {
    Api::with_token(&stack.url, Redacted::new(stack.token.clone())).expect("an API")
}

pub async fn until_prompt(stack: &Stack, api: &Api, workspace: WorkspaceId, id: &str) -> Duration {
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
    timeout(PATIENCE, prompt).await.expect("a prompt");
    begun.elapsed()
}

/// A machine with nothing but a first process that says so.
struct Bare {
    kernel: PathBuf,
    initramfs: PathBuf,
    accelerator: &'static str,
}

impl Bare {
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
        let mut said = Vec::new();
        let came_up = async {
            let mut buffer = [0; 4096];
            while !String::from_utf8_lossy(&said).contains(SAYS) {
                let count = console.read(&mut buffer).await.expect("readable");
                assert_ne!(count, 0, "it ended: {}", String::from_utf8_lossy(&said));
                said.extend_from_slice(&buffer[..count]);
            }
        };
        timeout(PATIENCE, came_up).await.expect("it boots");
        let elapsed = begun.elapsed();
        child.kill().await.expect("killed");
        elapsed
    }
}

/// The counter's speed, as the kernel has measured it.
fn tsc_khz() -> u64 {
    let text = std::fs::read_to_string("/proc/cpuinfo").expect("there");
    let megahertz =
        text.lines().find_map(|line| line.strip_prefix("cpu MHz")).and_then(|rest| rest.split(':').nth(1));
    let megahertz: f64 = megahertz.and_then(|text| text.trim().parse().ok()).expect("a speed");
    (megahertz * 1000.0) as u64
}

/// A first process of three lines.
fn initramfs(directory: &Path) -> PathBuf {
    let root = directory.join("bare");
    std::fs::create_dir_all(root.join("dev")).expect("made");
    let source = directory.join("init.c");
    let program = format!(
        "#include <unistd.h>\nint main(void){{ write(1, \"{SAYS}\\n\", {}); for(;;) pause(); }}\n",
        SAYS.len() + 1
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
