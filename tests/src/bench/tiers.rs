//! Starts in the tiers of containers, compared with a bare run of the same root file system by the same
//! program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use burrow_tests::{Stack, StackOptions, WAIT_TIMEOUT};
use protocol::WorkspaceId;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, time::timeout};

use super::{
    Goal, Row, bare_vm, create_at_rest, directory, median, read_until,
    start::{api, time_start},
    volume::home::run,
};

/// Rounds alternate, so that all are measured under the same load.
const ROUNDS: usize = 7;
const GOAL: f64 = 1.5;

/// Measures starts to the prompt.
pub async fn measure() -> Vec<Row> {
    let directory = directory();
    let tiers = ["--allow-tier", "container", "--allow-tier", "gvisor"];
    let options = StackOptions::new("microvm", &directory.path().join("d")).with(&tiers);
    let stack = Stack::start(options).await;
    let bundle = Bundle::mount(directory.path());
    let host = host_runtime();
    let gvisor = ["runsc", "--network=none", "--platform=systrap"];
    let rows = vec![
        measure_tier(&stack, &bundle, "container", "container start ÷ bare run", &[host]).await,
        measure_tier(&stack, &bundle, "gvisor", "gvisor start ÷ bare runsc run", &gvisor).await,
    ];
    stack.interrupt().await;
    rows
}

async fn measure_tier(
    stack: &Stack,
    bundle: &Bundle,
    tier: &str,
    name: &'static str,
    runtime: &[&str],
) -> Row {
    let workspace = create_at_rest(stack, tier, tier).await;
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        own.push(time_own(stack, tier, workspace).await);
        peer.push(bundle.time_run(runtime, round).await);
    }
    let (ours, theirs) = (median(&own), median(&peer));
    Row {
        name,
        detail: format!("{} `{}`, to the prompt: {ours:.2?} ÷ {theirs:.2?}", own.len(), runtime[0]),
        value: ours.as_secs_f64() / theirs.as_secs_f64(),
        goal: Goal::AtMost(GOAL),
        unit: "×",
    }
}

async fn time_own(stack: &Stack, name: &str, workspace: WorkspaceId) -> Duration {
    let start = time_start(&api(stack), workspace).await;
    stack.run_ok(&["stop", name]).await;
    start.to_prompt
}

/// The program of the host that runs containers.
fn host_runtime() -> &'static str {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let has_crun = std::env::split_paths(&paths).any(|path| path.join("crun").is_file());
    if has_crun { "crun" } else { "runc" }
}

/// The image's root file system below a writable layer, with a login shell as its program.
struct Bundle {
    path: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Bundle {
    fn mount(directory: &Path) -> Self {
        let path = directory.join("bundle");
        let [image, scratch, root] = ["image", "scratch", "rootfs"].map(|name| path.join(name));
        for part in [&image, &scratch, &root] {
            fs::create_dir_all(part).expect("made");
        }
        let file = bare_vm::image().join("rootfs.erofs");
        run(Command::new("mount").args(["-o", "loop,ro"]).args([&file, &image]));
        run(Command::new("mount").args(["-t", "tmpfs", "scratch"]).arg(&scratch));
        let [upper, work] = ["upper", "work"].map(|name| scratch.join(name));
        for part in [&upper, &work] {
            fs::create_dir(part).expect("made");
        }
        let [image_path, upper, work] = [&image, &upper, &work].map(|path| path.display());
        let layers = format!("lowerdir={image_path},upperdir={upper},workdir={work}");
        run(Command::new("mount").args(["-t", "overlay", "-o", &layers, "root"]).arg(&root));
        run(Command::new(host_runtime()).arg("spec").current_dir(&path));
        let file = path.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("readable")).expect("JSON");
        config["process"]["args"] = json!(["/bin/bash", "-l", "-i"]);
        config["root"]["readonly"] = json!(false);
        fs::write(&file, config.to_string()).expect("written");
        Self { path, mounted: vec![root, scratch, image] }
    }

    /// The time until the shell's prompt.
    async fn time_run(&self, runtime: &[&str], round: usize) -> Duration {
        let line = format!("exec {} run bare-{}-{round}", runtime.join(" "), std::process::id());
        let begun = Instant::now();
        let mut child = tokio::process::Command::new("script")
            .args(["-qc", &line, "/dev/null"])
            .current_dir(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script starts");
        let mut output = child.stdout.take().expect("piped");
        read_until(&mut output, b"# ").await;
        let elapsed = begun.elapsed();
        // The end of its input ends the shell, and the shell's end removes the container.
        drop(child.stdin.take());
        let status = timeout(WAIT_TIMEOUT, async {
            while output.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {}
            child.wait().await
        });
        status.await.expect("it ends").expect("waited for");
        elapsed
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for path in &self.mounted {
            let _ = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}
