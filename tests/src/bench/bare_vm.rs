//! A bare QEMU with Burrow's kernel, accelerator and size, whose first process only prints messages.
//! Burrow's VMs are compared with it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_tests::WAIT_TIMEOUT;
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    process::{Child, ChildStdin, ChildStdout},
    time::{sleep, timeout},
};

use super::{read_until, volume::home::run};

/// What the first process prints when it runs.
const READY_MESSAGE: &str = "bare-init-is-ready";
/// What the first process prints for a line of input.
const ANSWER: &str = "bare-init-answers";
/// A socket that does not exist yet, and a state that is loaded within milliseconds.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const MEMORY: &str = "1024M";

/// How to start bare VMs.
pub struct BareVm {
    directory: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    accelerator: &'static str,
}

/// The state of a bare VM whose first process runs, and its memory.
pub struct SavedVm<'a> {
    vm: &'a BareVm,
    clock: String,
}

/// A VM that runs. It is killed when this is dropped.
pub struct RunningVm {
    child: Child,
    input: ChildStdin,
    console: ChildStdout,
}

impl BareVm {
    /// Builds the first process.
    pub fn prepare(directory: &Path) -> Self {
        let kernel = image().join("vmlinux");
        let verdict = std::fs::read_to_string(kernel.with_file_name("accelerator.json")).unwrap_or_default();
        Self {
            directory: directory.to_owned(),
            initramfs: initramfs(directory),
            accelerator: if verdict.contains("\"kvm\"") { "kvm" } else { "tcg" },
            kernel,
        }
    }

    /// Boots a VM. Returns when its first process runs.
    pub async fn boot(&self) -> RunningVm {
        let mut running = self.spawn(&self.clock(), &[]);
        read_until(&mut running.console, READY_MESSAGE.as_bytes()).await;
        running
    }

    /// Boots a VM and saves it. A VM has one saved state at a time.
    pub async fn save(&self) -> SavedVm<'_> {
        let _ = std::fs::remove_file(self.memory());
        let saved = SavedVm { vm: self, clock: self.clock() };
        let control = self.directory.join("bare-control.sock");
        let qmp = format!("unix:{},server=on,wait=off", control.display());
        let mut running =
            self.spawn(&saved.clock, &[&self.memory_arguments("on"), &["-qmp".to_owned(), qmp]]);
        read_until(&mut running.console, READY_MESSAGE.as_bytes()).await;
        let mut control = Qmp::connect(&control).await;
        control.execute("stop", json!({})).await;
        let uri = format!("exec:cat > {}", self.state().display());
        control.execute("migrate", json!({ "uri": uri })).await;
        control.wait_for_migration().await;
        saved
    }

    /// Emulated guests get the frequency of their clock, as in Burrow.
    fn clock(&self) -> String {
        match self.accelerator {
            "kvm" => String::new(),
            _ => format!("tsc_early_khz={} tsc=reliable no_timer_check", tsc_khz()),
        }
    }

    fn memory(&self) -> PathBuf {
        self.directory.join("bare-memory")
    }

    fn state(&self) -> PathBuf {
        self.directory.join("bare-state")
    }

    fn memory_arguments(&self, share: &str) -> Vec<String> {
        let path = self.memory();
        let object =
            format!("memory-backend-file,id=memory,size={MEMORY},mem-path={},share={share}", path.display());
        ["-machine", "memory-backend=memory", "-object", &object].map(str::to_owned).to_vec()
    }

    fn spawn(&self, clock: &str, more: &[&[String]]) -> RunningVm {
        let model = if self.accelerator == "kvm" { "host" } else { "max" };
        let mut child = tokio::process::Command::new("qemu-system-x86_64")
            .args("-no-user-config -nodefaults -no-reboot -display none -smp 2".split(' '))
            .args(["-m", MEMORY, "-machine", "microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on"])
            .args(["-cpu", model, "-accel", self.accelerator])
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console", "-kernel"])
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &format!("console=ttyS0 panic=-1 reboot=t quiet {clock}")])
            .args(more.iter().flat_map(|arguments| arguments.iter()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("qemu starts");
        let (input, console) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        RunningVm { child, input, console }
    }
}

impl SavedVm<'_> {
    /// Restores a copy, whose memory is its own. Returns when its first process has answered.
    pub async fn restore(&self, name: &str) -> RunningVm {
        let control = self.vm.directory.join(format!("bare-{name}.sock"));
        let qmp = format!("unix:{},server=on,wait=off", control.display());
        let more = [["-qmp", &qmp].map(str::to_owned), ["-incoming", "defer"].map(str::to_owned)].concat();
        let mut running = self.vm.spawn(&self.clock, &[&self.vm.memory_arguments("off"), &more]);
        let mut control = Qmp::connect(&control).await;
        let uri = format!("exec:cat {}", self.vm.state().display());
        control.execute("migrate-incoming", json!({ "uri": uri })).await;
        control.wait_for_migration().await;
        control.execute("cont", json!({})).await;
        running.input.write_all(b"\n").await.expect("written");
        read_until(&mut running.console, ANSWER.as_bytes()).await;
        running
    }

    /// The time of one restore.
    pub async fn time_restore(&self) -> Duration {
        let begun = Instant::now();
        let running = self.restore("one").await;
        let elapsed = begun.elapsed();
        running.kill().await;
        elapsed
    }
}

impl RunningVm {
    /// The VMM's process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Ends the VM.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// A connection to a VMM's control socket.
struct Qmp(BufReader<UnixStream>);

impl Qmp {
    async fn connect(socket: &Path) -> Self {
        let connecting = async {
            loop {
                match UnixStream::connect(socket).await {
                    Ok(stream) => return stream,
                    Err(_) => sleep(POLL_INTERVAL).await,
                }
            }
        };
        let stream = timeout(WAIT_TIMEOUT, connecting).await.expect("a control socket");
        let mut control = Self(BufReader::new(stream));
        control.execute("qmp_capabilities", json!({})).await;
        let capability = json!([{ "capability": "x-ignore-shared", "state": true }]);
        control.execute("migrate-set-capabilities", json!({ "capabilities": capability })).await;
        control
    }

    async fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        self.0.write_all(request.to_string().as_bytes()).await.expect("written");
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.expect("readable"), 0, "the VMM has ended");
            let mut answer: Value = serde_json::from_str(&line).expect("JSON");
            assert!(answer["error"].is_null(), "{command}: {answer}");
            // Anything else is the greeting or an event.
            if answer.get("return").is_some() {
                return answer["return"].take();
            }
        }
    }

    async fn wait_for_migration(&mut self) {
        loop {
            let migration = self.execute("query-migrate", json!({})).await;
            assert_ne!(migration["status"], "failed", "{migration}");
            if migration["status"] == "completed" {
                return;
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// The directory of the image. A `burrow up` must have built it.
pub fn image() -> PathBuf {
    let cache = std::env::var_os("BURROW_IMAGE_CACHE")
        .map_or_else(|| burrow_tests::target_directory().join("images"), PathBuf::from);
    let images = std::fs::read_dir(&cache).expect("a built image").flatten();
    let image = images.map(|entry| entry.path()).find(|path| path.join("vmlinux").is_file());
    image.expect("a built image")
}

/// The frequency of the TSC, as the kernel has measured it.
fn tsc_khz() -> u64 {
    let text = std::fs::read_to_string("/proc/cpuinfo").expect("there");
    let megahertz =
        text.lines().find_map(|line| line.strip_prefix("cpu MHz")).and_then(|rest| rest.split(':').nth(1));
    let megahertz: f64 = megahertz.and_then(|text| text.trim().parse().ok()).expect("a speed");
    (megahertz * 1000.0) as u64
}

/// Size of a file in the initramfs that nothing reads. With it, the initramfs is as large as Burrow's. With
/// one of some hundred KiB, an emulated kernel may hang where it reads the ACPI tables, which lie near it.
const PADDING_BYTES: usize = 5 << 20;

/// Builds an initramfs whose first process prints the messages.
fn initramfs(directory: &Path) -> PathBuf {
    let root = directory.join("bare");
    std::fs::create_dir_all(root.join("dev")).expect("made");
    let source = directory.join("init.c");
    let program = format!(
        "#include <unistd.h>\n\
         int main(void) {{\n\
           char line[64];\n\
           write(1, \"{READY_MESSAGE}\\n\", {});\n\
           for (;;) {{ if (read(0, line, sizeof line) > 0) write(1, \"{ANSWER}\\n\", {}); else pause(); }}\n\
         }}\n",
        READY_MESSAGE.len() + 1,
        ANSWER.len() + 1
    );
    std::fs::write(&source, program).expect("written");
    let init = root.join("init");
    run(Command::new("gcc").args(["-static", "-O2", "-w", "-o"]).arg(&init).arg(&source));
    run(Command::new("mknod").arg(root.join("dev/console")).args(["c", "5", "1"]));
    let mut padding = vec![0; PADDING_BYTES];
    rand::rng().fill_bytes(&mut padding);
    std::fs::write(root.join("padding"), padding).expect("written");
    let archive = directory.join("bare.cpio");
    let pack = "find . | cpio --quiet -o -H newc > \"$0\" && lz4 -q -l -9 \"$0\" \"$0.lz4\"";
    run(Command::new("sh").args(["-c", pack]).arg(&archive).current_dir(&root));
    archive.with_extension("cpio.lz4")
}
