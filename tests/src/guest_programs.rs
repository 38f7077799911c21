//! Copying programs of this host into a guest, with the libraries that they load: databases and
//! file system exercisers that are not in the image. Works if guest and host have the same release
//! of Debian.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Stack;

/// Libraries that the guest has itself, in the version of its loader.
const SYSTEM_LIBRARIES: [&str; 7] =
    ["libc.so", "libm.so", "libdl.so", "librt.so", "libpthread.so", "libresolv.so", "ld-linux"];

/// Copies files and directories with these absolute paths to the same paths below `~/host`, and
/// their libraries to `~/host/lib`.
pub async fn copy_programs(stack: &Stack, workspace: &str, paths: &[&Path]) {
    let staging = tempfile::tempdir().expect("a directory");
    let libraries = staging.path().join("lib");
    std::fs::create_dir(&libraries).expect("made");
    let files: Vec<PathBuf> = paths.iter().flat_map(|path| files_below(path)).collect();
    for library in files.iter().flat_map(|file| libraries_of(file)).collect::<BTreeSet<_>>() {
        run_successfully(Command::new("cp").arg("-L").arg(library).arg(&libraries));
    }
    let below_root = paths.iter().map(|path| path.strip_prefix("/").expect("an absolute path"));
    let mut tar = Command::new("tar");
    tar.args(["-c", "-h", "-C", "/"]).args(below_root).arg("-C").arg(staging.path()).arg("lib");
    let archive = tar.stderr(Stdio::inherit()).output().expect("tar runs");
    assert!(archive.status.success(), "{tar:?}: {}", archive.status);
    let arguments = ["exec", "-i", workspace, "--", "bash", "-c", "mkdir -p ~/host && tar -x -C ~/host"];
    let output = stack.run_with_input(&arguments, Some(&archive.stdout)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().flat_map(|entry| files_below(&entry.path())).collect(),
        Err(_) => vec![path.to_owned()],
    }
}

/// The libraries that a program loads. Empty for other files.
fn libraries_of(file: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(file).output().expect("ldd runs");
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = listing.lines().filter_map(|line| line.split_once(" => ")?.1.split(" (").next());
    let is_copied =
        |path: &&str| path.starts_with('/') && !SYSTEM_LIBRARIES.iter().any(|name| path.contains(name));
    paths.filter(is_copied).map(PathBuf::from).collect()
}

fn run_successfully(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
