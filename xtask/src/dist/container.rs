//! Tests the container image with podman: what the operator guide says to do with it.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use super::Release;
use crate::{
    packages::{self, Package},
    run,
};

/// What runs, with the archive, the tag and a directory for everything of podman.
const SCRIPT: &str = include_str!("container.sh");

/// Loads the image of the release, starts it, uses it and stops it. Needs root.
pub fn test(release: &Release) -> Result<()> {
    packages::install(Package::CONTAINER)?;
    let directory = release.directory.join("container");
    remove(&directory)?;
    fs::create_dir_all(&directory)?;
    let tested = run::run(
        Command::new("bash")
            .args(["-c", SCRIPT, "container.sh"])
            .arg(release.image())
            .arg(format!("burrow:{}", release.version))
            .arg(&directory)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    );
    let removed = remove(&directory);
    // Its error is the one to know.
    tested.and(removed)
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}
