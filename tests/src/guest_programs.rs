//! Programs of this host carried into a guest's home, with the libraries that they load: databases and exercisers that no image
//! of ours holds. Works where guest and host are the same release of Debian.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Stack;

/// What every guest has, in the version that its loader wants.
const OF_THE_LOADER: [&str; 7] =
    ["libc.so", "libm.so", "libdl.so", "librt.so", "libpthread.so", "libresolv.so", "ld-linux"];

/// Copies files and directories of these absolute paths to the same ones below `~/carried`, and libraries to `~/carried/lib`.
pub async fn carry(stack: &Stack, workspace: &str, what: &[&Path]) {
    let staging = tempfile::tempdir().expect("a directory");
    let libraries = staging.path().join("lib");
    std::fs::create_dir(&libraries).expect("made");
    let files: Vec<PathBuf> = what.iter().flat_map(|path| files_below(path)).collect();
    for library in files.iter().flat_map(|file| libraries_of(file)).collect::<BTreeSet<_>>() {
        succeed(Command::new("cp").arg("-L").arg(library).arg(&libraries));
    }
    let below_root = what.iter().map(|path| path.strip_prefix("/").expect("an absolute path"));
    let mut tar = Command::new("tar");
    tar.args(["-c", "-h", "-C", "/"]).args(below_root).arg("-C").arg(staging.path()).arg("lib");
    let archive = tar.stderr(Stdio::inherit()).output().expect("tar runs");
    assert!(archive.status.success(), "{tar:?}: {}", archive.status);
    let arguments =
        ["exec", "-i", workspace, "--", "bash", "-c", "mkdir -p ~/carried && tar -x -C ~/carried"];
    let output = stack.burrow_with_input(&arguments, Some(&archive.stdout)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().flat_map(|entry| files_below(&entry.path())).collect(),
        Err(_) => vec![path.to_owned()],
    }
}

/// Nothing for what is no program.
fn libraries_of(file: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(file).output().expect("ldd runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = said.lines().filter_map(|line| line.split_once(" => ")?.1.split(" (").next());
    let ours =
        paths.filter(|path| path.starts_with('/') && !OF_THE_LOADER.iter().any(|name| path.contains(name)));
    ours.map(PathBuf::from).collect()
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
