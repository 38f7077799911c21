//! Debian packages that are missing: named with their reason, then installed.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::run;

/// A package, the file or program that proves its presence, and why it is needed.
pub struct Package {
    name: &'static str,
    /// A path if it begins with `/`, else a program.
    proof: &'static str,
    why: &'static str,
}

const fn package(name: &'static str, proof: &'static str, why: &'static str) -> Package {
    Package { name, proof, why }
}

/// What building and running needs.
pub const UP: &[Package] = &[
    package("gcc", "gcc", "builds the parts of libraries that are written in C"),
    package("libc6-dev", "/usr/include/stdlib.h", "builds the static agent"),
    package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "checks servers' certificates"),
    package("postgresql", "initdb", "holds the control plane's records"),
    package("qemu-system-x86", "qemu-system-x86_64", "runs the microVMs"),
    package("qemu-utils", "qemu-img", "looks at disks of microVMs"),
    package("mmdebstrap", "mmdebstrap", "builds the base image"),
    package(
        "debian-archive-keyring",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "checks the base image's packages",
    ),
    package("erofs-utils", "mkfs.erofs", "packs the base image"),
    package("e2fsprogs", "mkfs.ext4", "makes homes and scratch disks"),
    package("nftables", "nft", "keeps microVMs off the host and each other"),
    package("iproute2", "ip", "makes the microVMs' networks"),
    package("lz4", "lz4", "packs the microVMs' initramfs"),
    package("zstd", "zstd", "unpacks kernels"),
    package("cpio", "cpio", "unpacks and packs initramfs files"),
    package("kmod", "depmod", "orders the kernel's modules"),
    package("util-linux", "setpriv", "drops privileges"),
];

/// What the tests need besides.
pub const TEST: &[Package] = &[
    package("chromium", "chromium", "the browser that tests drive"),
    package("nbdkit", "nbdkit", "an independent NBD server"),
    package("libnbd-bin", "nbdinfo", "independent NBD clients"),
    package("fio", "fio", "writes to the home's export and checks what it reads"),
    package("openssh-server", "sshd", "what keystrokes are measured against"),
    package("openssh-client", "ssh", "what keystrokes are measured with"),
    package("python3-venv", "python3", "holds moto and OpenBao, servers that are not ours"),
    package("tmux", "tmux", "a terminal that tests look into"),
    package("jq", "jq", "reads JSON in tests"),
];

/// What the benchmarks need besides: peers, and what asks both sides.
pub const BENCH: &[Package] = &[
    package("restic", "restic", "what homes are measured against"),
    package("fio", "fio", "asks the home's export and qemu-nbd the same"),
    package("qemu-utils", "qemu-nbd", "what the home's export is measured against"),
    package("e2fsprogs", "debugfs", "makes the home that is measured, and changes it"),
];

/// What the long proofs need besides: an S3 gateway that is in wide use.
pub const SOAK: &[Package] = &[
    package("ceph-mon", "ceph-mon", "the monitor of a small Ceph cluster"),
    package("ceph-osd", "ceph-osd", "its store, in memory"),
    package("radosgw", "radosgw", "its S3 gateway, which homes must get on with"),
    package("ceph-common", "ceph", "asks and sets up the cluster"),
];

impl Package {
    /// What builds the web app.
    pub const NODE: &'static [Self] = &[
        package("nodejs", "node", "builds the web app"),
        package("npm", "npm", "installs what the web app is built with"),
    ];

    /// What records queries.
    pub const POSTGRES: &'static [Self] = &[
        package("postgresql", "initdb", "describes the queries"),
        package("util-linux", "setpriv", "drops privileges"),
    ];
}

/// Which of them are missing.
fn missing(packages: &'static [Package]) -> Vec<&'static Package> {
    packages.iter().filter(|package| !is_there(package)).collect()
}

fn is_there(package: &Package) -> bool {
    match package.name {
        // Debian splits what `python3 -m venv` needs off; other Pythons have it.
        "python3-venv" => Command::new("python3")
            .args(["-c", "import venv, ensurepip"])
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success()),
        _ if package.proof.starts_with('/') => Path::new(package.proof).exists(),
        _ => run::find(package.proof).is_some(),
    }
}

/// Installs what is missing, after saying what and why.
pub fn install(packages: &'static [Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("These packages are missing:");
    for package in &missing {
        eprintln!("  {:24} {}", package.name, package.why);
    }
    let names = with_siblings(&missing, packages);
    if run::find("apt-get").is_none() {
        bail!("there is no apt-get here; install by other means: {}", names.join(" "));
    }
    if !run::is_root() && run::find("sudo").is_none() {
        bail!("neither root nor sudo; as root: apt-get install --no-install-recommends {}", names.join(" "));
    }
    run::stage("apt-get install", || apt(&names))?;
    let still: Vec<&str> = self::missing(packages).iter().map(|package| package.name).collect();
    if !still.is_empty() {
        bail!("apt-get succeeded, but these are still missing: {}", still.join(" "));
    }
    Ok(())
}

/// The names of the missing, and of those that lie in the archive beside them. Installing a part of QEMU of one version removes
/// its other parts of another unless they are asked for too.
fn with_siblings(missing: &[&Package], packages: &'static [Package]) -> Vec<&'static str> {
    let is_qemu = |name: &str| name.starts_with("qemu-");
    let any_of_qemu = missing.iter().any(|package| is_qemu(package.name));
    let is_wanted =
        |name: &str| missing.iter().any(|package| package.name == name) || (any_of_qemu && is_qemu(name));
    packages.iter().map(|package| package.name).filter(|name| is_wanted(name)).collect()
}

fn apt(names: &[&str]) -> Result<()> {
    // A server that a package brings is ours to start, not the package's: no cluster, no sshd on this machine.
    let _no_services = NoServices::begin()?;
    run::run(privileged("apt-get").args(["update", "-qq"]))?;
    let plain = run::run(install_command().args(names));
    let Err(first) = plain else { return Ok(()) };
    // Where a newer qemu came from backports, its parts conflict with the release's: all are then taken from the release.
    let release = codename().with_context(|| format!("{first:#}; and the release has no name"))?;
    let mut pinned: Vec<String> = names.iter().map(|name| format!("{name}/{release}")).collect();
    if names.iter().any(|name| name.starts_with("qemu")) {
        for name in ["qemu-system-x86", "qemu-utils", "qemu-system-common", "qemu-system-data"] {
            let pin = format!("{name}/{release}");
            if !pinned.contains(&pin) {
                pinned.push(pin);
            }
        }
    }
    eprintln!("That failed; trying again with the packages of {release} only (newer ones are replaced).");
    run::run(install_command().arg("--allow-downgrades").args(pinned)).context(first)
}

fn install_command() -> Command {
    let mut command = privileged("apt-get");
    command.args(["install", "-y", "-q", "--no-install-recommends"]);
    command
}

fn privileged(program: &str) -> Command {
    let mut command = if run::is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["env", "DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn codename() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// While it lives, packages' scripts start no service (Debian's `policy-rc.d`). Only as root, and only where nobody else said
/// something about it.
struct NoServices(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self> {
        if !run::is_root() || Path::new(POLICY).exists() {
            return Ok(Self(false));
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o755);
        let file = options.open(POLICY).with_context(|| format!("{POLICY} cannot be written"))?;
        std::io::Write::write_all(&mut &file, b"#!/bin/sh\nexit 101\n")?;
        file.set_permissions(fs::Permissions::from_mode(0o755))?;
        Ok(Self(true))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0 {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_part_of_qemu_is_installed_with_its_siblings() {
        let named = |name: &str| UP.iter().find(|package| package.name == name).expect("listed");
        let names = with_siblings(&[named("qemu-system-x86"), named("cpio")], UP);
        assert_eq!(names, ["qemu-system-x86", "qemu-utils", "cpio"]);
        assert_eq!(with_siblings(&[named("cpio")], UP), ["cpio"]);
    }

    #[test]
    fn no_package_is_named_twice() {
        let mut names: Vec<&str> = UP.iter().chain(TEST).map(|package| package.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
