//! The time from a start request to a prompt: of a boot, compared with a bare QEMU with the same kernel,
//! accelerator and size until its first process runs; and from a prototype, compared with the boot.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_tests::{Stack, StackOptions, WAIT_TIMEOUT};
use client::{Api, socket::TerminalEvent};
use protocol::{
    Redacted, WorkspaceId,
    terminal::{NewTerminal, TerminalSize},
};
use tokio::{io::AsyncReadExt as _, time::timeout};

use super::{Goal, Row, directory, id_of, median, quantile};

/// Rounds alternate, so that all are measured under the same load.
const ROUNDS: usize = 5;
/// Warm starts in a round.
const WARM_STARTS: usize = 4;
const COLD_GOAL: f64 = 1.5;
const WARM_GOAL: f64 = 0.1;
const WARM_P95_GOAL: f64 = 0.2;
const IDLE_MEMORY_GOAL_MIB: f64 = 45.0;
const IDLE_CPU_GOAL: f64 = 2.0;
/// A guest that nobody uses settles in this time, and returns unused memory.
const SETTLE_TIME: Duration = Duration::from_secs(20);
/// For how long the CPU time of an idle guest is measured.
const IDLE_TIME: Duration = Duration::from_secs(20);
/// What the first process of the bare QEMU prints.
const READY_MESSAGE: &str = "bare-init-is-ready";
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// Measures the time from a start to a prompt, of guests that boot and of copies of a prototype, and what
/// an idle guest costs.
pub async fn measure() -> Vec<Row> {
    let (cold_directory, warm_directory) = (directory(), directory());
    let cold = Starter::prepare(&cold_directory, &["--no-prototypes"]).await;
    let warm = Starter::prepare(&warm_directory, &[]).await;
    let bare = BareVm::prepare(cold_directory.path());
    let (mut colds, mut warms, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        colds.push(cold.start().await);
        bares.push(bare.boot().await);
        for _ in 0..WARM_STARTS {
            warms.push(warm.start().await);
        }
        let last = warms[warms.len() - 1];
        eprintln!(
            "start {}/{ROUNDS}: {:.2?} booting, {last:.2?} copying, bare VM {:.2?}",
            round + 1,
            colds[round],
            bares[round]
        );
    }
    let idle = warm.measure_idle().await;
    cold.stack.interrupt().await;
    warm.stack.interrupt().await;
    let (cold, p50, p95) = (median(&colds), median(&warms), quantile(&warms, 0.95));
    let bare = median(&bares);
    let warm_row = |name, warm: Duration, goal| Row {
        name,
        detail: format!("{} starts, {ROUNDS} boots: {warm:.2?} ÷ {cold:.2?}", warms.len()),
        value: warm.as_secs_f64() / cold.as_secs_f64(),
        goal: Goal::AtMost(goal),
        unit: "×",
    };
    let mut rows = vec![
        Row {
            name: "start to first prompt ÷ bare boot to /init",
            detail: format!("cold, median of {ROUNDS}: {cold:.2?} ÷ {bare:.2?}"),
            value: cold.as_secs_f64() / bare.as_secs_f64(),
            goal: Goal::AtMost(COLD_GOAL),
            unit: "×",
        },
        warm_row("start from prototype ÷ cold start, p50", p50, WARM_GOAL),
        warm_row("start from prototype ÷ cold start, p95", p95, WARM_P95_GOAL),
    ];
    rows.extend(idle);
    rows
}

/// A server with one workspace that is at rest.
struct Starter {
    stack: Stack,
    api: Api,
    id: String,
}

impl Starter {
    async fn prepare(directory: &tempfile::TempDir, arguments: &[&str]) -> Self {
        let options = StackOptions::new("microvm", &directory.path().join("d")).with(arguments);
        let stack = Stack::start(options).await;
        stack.run_ok(&["create", "bench"]).await;
        stack.run_ok(&["stop", "bench"]).await;
        let (id, api) = (id_of(&stack, "bench").await, api(&stack));
        Self { stack, api, id }
    }

    /// The time from a start to a prompt. The workspace is at rest before and after.
    async fn start(&self) -> Duration {
        let workspace: WorkspaceId = self.id.parse().expect("an id");
        let elapsed = time_to_prompt(&self.stack, &self.api, workspace, &self.id).await;
        self.stack.run_ok(&["stop", "bench"]).await;
        elapsed
    }

    /// What an idle workspace costs: memory that is its VMM's own, and CPU time.
    async fn measure_idle(&self) -> [Row; 2] {
        self.stack.run_ok(&["start", "bench"]).await;
        let vmm = self.stack.newest_vmm().await;
        tokio::time::sleep(SETTLE_TIME).await;
        let before = cpu_time(vmm);
        tokio::time::sleep(IDLE_TIME).await;
        let share = cpu_time(vmm).saturating_sub(before).as_secs_f64() / IDLE_TIME.as_secs_f64();
        let memory = own_memory_mib(vmm);
        let row = |name, detail: &str, value, goal, unit| Row {
            name,
            detail: detail.to_owned(),
            value,
            goal: Goal::AtMost(goal),
            unit,
        };
        [
            row(
                "memory of an idle 1 GiB workspace's VMM",
                "anonymous, without what it shares with its prototype",
                memory,
                IDLE_MEMORY_GOAL_MIB,
                "MiB",
            ),
            row("CPU of an idle workspace's VMM", "of one core, for 20 s", 100.0 * share, IDLE_CPU_GOAL, "%"),
        ]
    }
}

/// Memory of a process that no other process shares, in MiB.
fn own_memory_mib(process: u32) -> f64 {
    let maps = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("it lives");
    let line = maps.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("a size");
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}

/// The CPU time that the threads of a process have used.
fn cpu_time(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("it lives").flatten();
    // The first field is the time in nanoseconds. A thread may have ended in between.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    let nanos = stats.filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
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
