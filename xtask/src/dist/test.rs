//! `cargo xtask dist --test`: installs the Debian package in fresh roots, starts it, creates a
//! workspace and removes it again; then runs the container image.
//!
//! The roots are made by mmdebstrap and entered with `chroot` in namespaces of their own. So this
//! shows that dependencies exist, that the executable runs with the release's libraries and its
//! Postgres, and that nothing is left behind. It does not show systemd, and workspaces are plain
//! processes (`--runtime fake`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{Release, container};
use crate::{
    build::Profile,
    packages::{self, Package},
    root, run,
};

/// Releases that the package supports: name, mirror, components and keyring.
const SUITES: [(&str, &str, &str, &str); 3] = [
    ("bookworm", "http://deb.debian.org/debian", "main", "debian-archive-keyring.gpg"),
    ("trixie", "http://deb.debian.org/debian", "main", "debian-archive-keyring.gpg"),
    ("noble", "http://archive.ubuntu.com/ubuntu", "main,universe", "ubuntu-archive-keyring.gpg"),
];
/// What runs inside.
const SCRIPT: &str = include_str!("test.sh");

/// Tests the package of `target/dist` in each release whose keyring is installed, and the container
/// image. Needs root.
pub fn test() -> Result<()> {
    packages::install(Package::DIST)?;
    let release = Release::new(Profile::Release)?;
    for file in [release.package(), release.image()] {
        if !file.is_file() {
            bail!("Cannot test the release: {} does not exist. Run `cargo xtask dist`", file.display());
        }
    }
    if !run::is_root() {
        bail!("Cannot create root file systems: not root");
    }
    for (suite, mirror, components, keyring) in SUITES {
        if !Path::new("/usr/share/keyrings").join(keyring).is_file() {
            eprintln!("Skipping {suite}: {keyring} is not installed");
            continue;
        }
        let fresh = run::stage(&format!("{suite}: root"), || Root::create(suite, mirror, components))?;
        run::stage(&format!("{suite}: install, run, remove"), || fresh.test(&release.package()))?;
    }
    run::stage("container image: load, run, stop", || container::test(&release))
}

/// A root file system that is deleted when the test ends.
struct Root(PathBuf);

impl Root {
    fn create(suite: &str, mirror: &str, components: &str) -> Result<Self> {
        let directory = root().join("target/dist/roots").join(suite);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(directory.parent().expect("it has a parent"))?;
        run::run(
            Command::new("mmdebstrap")
                .args(["--variant=apt", "--mode=root", "--include=curl,jq,ca-certificates,procps"])
                .arg(format!("--components={components}"))
                .arg(suite)
                .arg(&directory)
                .arg(mirror),
        )?;
        Ok(Self(directory))
    }

    fn test(&self, package: &Path) -> Result<()> {
        fs::copy(package, self.0.join("tmp/package.deb"))?;
        fs::copy("/etc/resolv.conf", self.0.join("etc/resolv.conf"))?;
        fs::write(self.0.join("tmp/test.sh"), SCRIPT)?;
        // In namespaces of its own, everything that the script leaves running ends with it.
        let enter = "mount --bind /dev $0/dev && mount --bind /dev/pts $0/dev/pts && \
                     mount -t proc proc $0/proc && \
                     exec chroot $0 bash /tmp/test.sh";
        run::run(
            Command::new("unshare")
                .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation=private"])
                .args(["sh", "-c", enter])
                .arg(&self.0)
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        )
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
