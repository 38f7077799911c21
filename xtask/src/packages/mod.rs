//! Distribution packages that building, running and testing need. Missing ones are listed with
//! their reason and installed. `apt` decides from which source, and never downgrades or removes a
//! package without consent.

mod apt;

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::run;

/// A package of Debian and Ubuntu.
pub struct Package {
    name: &'static str,
    /// What proves that it is installed: a path if it begins with `/`, else a program.
    proof: &'static str,
    /// What it is needed for, in a few words.
    purpose: &'static str,
}

const fn package(name: &'static str, proof: &'static str, purpose: &'static str) -> Package {
    Package { name, proof, purpose }
}

/// What building and running need.
pub const UP: &[Package] = &[
    package("gcc", "gcc", "compiles the C parts of libraries"),
    package("libc6-dev", "/usr/include/stdlib.h", "links the static agent"),
    package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "verifies servers' certificates"),
    package("postgresql", "initdb", "stores the control plane's records"),
    package("qemu-system-x86", "qemu-system-x86_64", "runs the microVMs"),
    package("qemu-utils", "qemu-img", "inspects disks of microVMs"),
    package("mmdebstrap", "mmdebstrap", "builds the base image"),
    package(
        "debian-archive-keyring",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "verifies the base image's packages",
    ),
    package("erofs-utils", "mkfs.erofs", "packs the base image"),
    package("e2fsprogs", "mkfs.ext4", "formats homes and scratch disks"),
    package("nftables", "nft", "isolates microVMs from the host and each other"),
    package("iproute2", "ip", "configures the microVMs' networks"),
    package("lz4", "lz4", "compresses the microVMs' initramfs"),
    package("zstd", "zstd", "decompresses kernels"),
    package("cpio", "cpio", "reads and writes initramfs files"),
    package("kmod", "depmod", "computes the order of kernel modules"),
    package("util-linux", "setpriv", "drops privileges"),
];

/// What the tests need besides [`UP`].
pub const TEST: &[Package] = &[
    package("chromium", "chromium", "the browser that tests drive"),
    package("nbdkit", "nbdkit", "an independent NBD server"),
    package("libnbd-bin", "nbdinfo", "independent NBD clients"),
    package("fio", "fio", "writes to the home's export and verifies what it reads"),
    package("openssh-server", "sshd", "the reference for the echo of keystrokes"),
    package("openssh-client", "ssh", "the reference's client"),
    package("python3-venv", "python3", "holds moto and OpenBao, servers of other projects"),
    package("tmux", "tmux", "a terminal that tests inspect"),
    package("faketime", "faketime", "moves the clock of a server under test"),
    package("jq", "jq", "reads JSON in tests"),
    package("curl", "curl", "runs the examples of the API guide"),
    package("nginx", "nginx", "tests the documented reverse proxy"),
    package("caddy", "caddy", "tests the documented reverse proxy"),
    package("runc", "runc", "starts containers, also where two versions of cgroups are mounted"),
    package("runsc", "runsc", "starts sandboxes of gVisor"),
];

/// What the benchmarks need besides [`UP`]: the programs that Burrow is compared with.
pub const BENCH: &[Package] = &[
    package("restic", "restic", "the reference for backups of homes"),
    package("fio", "fio", "puts the same load on the home's export and on qemu-nbd"),
    package("qemu-utils", "qemu-nbd", "the reference for the home's export"),
    package("e2fsprogs", "debugfs", "creates and changes the measured home"),
];

/// What the long tests need besides [`TEST`]: an S3 gateway that is widely used.
pub const SOAK: &[Package] = &[
    package("ceph-mon", "ceph-mon", "the monitor of a small Ceph cluster"),
    package("ceph-osd", "ceph-osd", "its store, in memory"),
    package("radosgw", "radosgw", "its S3 gateway, which homes must work with"),
    package("ceph-common", "ceph", "configures the cluster"),
];

impl Package {
    /// What builds the web app.
    pub const NODE: &'static [Self] = &[
        package("nodejs", "node", "builds the web app"),
        package("npm", "npm", "installs the web app's build tools"),
    ];

    /// What records queries.
    pub const POSTGRES: &'static [Self] = &[
        package("postgresql", "initdb", "describes the queries"),
        package("util-linux", "setpriv", "drops privileges"),
    ];

    /// What installs programs from PyPI.
    pub const PYTHON: &'static [Self] =
        &[package("python3-venv", "python3", "holds programs of other projects")];

    /// What builds and tests a release.
    pub const DIST: &'static [Self] = &[
        package("dpkg-dev", "dpkg-deb", "builds the Debian package"),
        package("mmdebstrap", "mmdebstrap", "creates the roots that packages are tested in"),
    ];

    /// What tests the container image of a release.
    pub const CONTAINER: &'static [Self] = &[
        package("podman", "podman", "runs the container image"),
        package("runc", "runc", "starts podman's containers, also where two versions of cgroups are mounted"),
    ];

    /// The name, the same in Debian and Ubuntu.
    #[cfg(test)]
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn is_installed(&self) -> bool {
        match self.name {
            // Debian packages what `python3 -m venv` needs separately; other distributions include
            // it in Python.
            "python3-venv" => Command::new("python3")
                .args(["-c", "import venv, ensurepip"])
                .stderr(std::process::Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
            _ if self.proof.starts_with('/') => Path::new(self.proof).exists(),
            _ => run::find(self.proof).is_some(),
        }
    }
}

/// Lists the missing packages with their purpose and installs them.
pub fn install(packages: &'static [Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("These packages are missing:");
    for package in &missing {
        eprintln!("  {:24} {}", package.name, package.purpose);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if run::find("apt-get").is_none() {
        bail!("Cannot install packages: there is no apt-get. Install by other means: {}", names.join(" "));
    }
    if !run::is_root() && run::find("sudo").is_none() {
        bail!(
            "Cannot install packages: neither root nor sudo. As root, run: \
             apt-get install --no-install-recommends {}",
            names.join(" ")
        );
    }
    run::stage("apt-get install", || apt::install(&names))?;
    let missing: Vec<&str> = self::missing(packages).iter().map(|package| package.name).collect();
    if !missing.is_empty() {
        bail!("apt-get succeeded, but these are still missing: {}", missing.join(" "));
    }
    Ok(())
}

fn missing(packages: &'static [Package]) -> Vec<&'static Package> {
    packages.iter().filter(|package| !package.is_installed()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_listed_once() {
        let mut names: Vec<&str> = UP.iter().chain(TEST).map(|package| package.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
