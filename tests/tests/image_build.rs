//! Builds of real images that end before they are complete: after SIGKILL or Ctrl-C at any step, no
//! mount, no process and no file of the host is affected, and the next build succeeds. Needs root, the
//! network and many minutes, so it is part of the soak only.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use burrow_tests::{
    burrow,
    leftovers::{mounts_below, processes_with},
    send_signal, short_directory, soak_enabled, wait_until,
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

/// Longest wait for a step: Debian's packages are downloaded before.
const STEP_TIMEOUT: Duration = Duration::from_mins(20);

/// A small image, built from the same steps as the base image.
const DEFINITION: &str = r#"
name = "small"
suite = "bookworm"
mirror = "http://deb.debian.org/debian"
security_mirror = "http://deb.debian.org/debian-security"
kernel = "linux-image-cloud-amd64"
hostname = "workspace"
locale = "C.UTF-8"
locales = []
packages = ["kmod", "sudo"]

[user]
name = "dev"
uid = 1000
gid = 1000
shell = "/bin/bash"
groups = ["sudo"]
"#;

/// Steps in which programs run inside the new root, with file systems of the host mounted in it.
const STEPS_WITH_MOUNTS: [&str; 3] =
    ["Installing the base system", "Installing the image's packages", "Adding the kernel and the user"];

/// A file in the host's shared memory. A build once deleted such files through a mount that it left.
struct SharedMemoryFile(PathBuf);

impl SharedMemoryFile {
    fn create(name: &str) -> Self {
        let path = Path::new("/dev/shm").join(format!("burrow-test-{name}-{}", std::process::id()));
        fs::write(&path, "of another program").expect("written");
        Self(path)
    }

    fn assert_unchanged(&self) {
        assert_eq!(fs::read_to_string(&self.0).expect("it is still there"), "of another program");
    }
}

impl Drop for SharedMemoryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Directories of one test.
struct Place {
    source: PathBuf,
    cache: PathBuf,
    _directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = short_directory();
        let (source, cache) = (directory.path().join("source"), directory.path().join("cache"));
        fs::create_dir(&source).expect("created");
        fs::write(source.join("image.toml"), DEFINITION).expect("written");
        Self { source, cache, _directory: directory }
    }

    /// Starts `burrow image build`.
    fn start(&self) -> Child {
        let mut command = Command::new(burrow());
        command.args(["image", "build", "-o", "json", "--image-source"]).arg(&self.source);
        command.arg("--image-cache").arg(&self.cache);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().expect("burrow starts")
    }

    /// Starts a build and ends it with `signal` once it has begun this step.
    async fn end_build_at(&self, step: &str, signal: Signal) {
        self.remove_published();
        let mut child = self.start();
        // Kept, because a closed pipe would end the build too.
        let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        wait_for(&mut stderr, step).await;
        if STEPS_WITH_MOUNTS.contains(&step) {
            let works_in_root =
                || processes_with(&self.cache).iter().any(|it| it.root.starts_with(&self.cache));
            wait_until("a program runs in the new root", works_in_root).await;
        }
        // What earlier builds left is removed, and what this one mounts is invisible.
        let unfinished = self.unfinished();
        assert!(unfinished.len() <= 1, "{unfinished:?}");
        assert_eq!(mounts_below(&self.cache), Vec::<String>::new());
        send_signal(child.id().expect("it runs"), signal);
        timeout(STEP_TIMEOUT, child.wait()).await.expect("it ends").expect("its status");
        wait_until("all processes of the build have ended", || processes_with(&self.cache).is_empty()).await;
        assert_eq!(mounts_below(&self.cache), Vec::<String>::new());
    }

    /// Builds to the end, and checks that the image is complete and nothing else is left.
    async fn build(&self) {
        let output = timeout(STEP_TIMEOUT, self.start().wait_with_output()).await.expect("it ends");
        let output = output.expect("its output");
        assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        let built: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let directory = Path::new(built["directory"].as_str().expect("a path"));
        let initramfs = Path::new(built["initramfs"].as_str().expect("a path"));
        for file in [&directory.join("rootfs.erofs"), &directory.join("vmlinux"), initramfs] {
            assert!(fs::metadata(file).is_ok_and(|file| file.len() > 0), "{} is missing", file.display());
        }
        assert_eq!(self.unfinished(), Vec::<PathBuf>::new());
        assert_eq!(processes_with(&self.cache), []);
        assert_eq!(mounts_below(&self.cache), Vec::<String>::new());
    }

    /// Removes what a build has published before it was ended. What it has not published stays.
    fn remove_published(&self) {
        for directory in [self.cache.join("initramfs"), self.cache.clone()] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_image = entry.file_name().to_string_lossy().starts_with("small-");
                let is_initramfs = path.extension().is_some_and(|extension| extension == "lz4");
                if is_image {
                    fs::remove_dir_all(path).expect("removed");
                } else if is_initramfs {
                    fs::remove_file(path).expect("removed");
                }
            }
        }
    }

    /// The directories of builds that have not ended, or were not removed.
    fn unfinished(&self) -> Vec<PathBuf> {
        let directories = [self.cache.clone(), self.cache.join("initramfs")];
        let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
        let paths = entries.map(|entry| entry.expect("readable").path());
        paths.filter(|path| path.to_string_lossy().contains("/.building-")).collect()
    }
}

/// Waits until a build has begun a step.
async fn wait_for(stderr: &mut Lines<BufReader<ChildStderr>>, step: &str) {
    let mut log = String::new();
    let reading = async {
        while let Some(line) = stderr.next_line().await.expect("readable") {
            log.extend([&line, "\n"]);
            if line.contains(step) {
                return true;
            }
        }
        false
    };
    let is_reached = timeout(STEP_TIMEOUT, reading).await;
    assert!(is_reached.is_ok_and(|is_reached| is_reached), "no step `{step}`:\n{log}");
}

#[tokio::test]
async fn killed_build_leaves_nothing_at_any_step() {
    if !soak_enabled() {
        return;
    }
    let (place, shared) = (Place::new(), SharedMemoryFile::create("kill"));
    for step in runner::images::build_steps() {
        eprintln!("SIGKILL at: {step}");
        place.end_build_at(step, Signal::KILL).await;
        shared.assert_unchanged();
    }
    // The next build removes what the killed ones left.
    place.build().await;
    shared.assert_unchanged();
}

#[tokio::test]
async fn interrupted_build_leaves_nothing_at_any_step() {
    if !soak_enabled() {
        return;
    }
    let (place, shared) = (Place::new(), SharedMemoryFile::create("interrupt"));
    for step in runner::images::build_steps() {
        eprintln!("SIGINT at: {step}");
        place.end_build_at(step, Signal::INT).await;
        // As a user does who gives up.
        fs::remove_dir_all(&place.cache).expect("nothing is mounted below it");
        shared.assert_unchanged();
    }
    place.build().await;
    shared.assert_unchanged();
}
