//! The Debian package, built with `dpkg-deb` from the files in `packaging/`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::Release;
use crate::{root, run};

/// What a running Burrow needs. The base image is built by `mmdebstrap` and its companions at the
/// first start.
const DEPENDENCIES: &str = "libc6 (>= 2.36), libgcc-s1, postgresql, qemu-system-x86, qemu-utils, mmdebstrap, \
     debian-archive-keyring, erofs-utils, e2fsprogs, nftables, iproute2, lz4, zstd, cpio, kmod, util-linux, \
     ca-certificates";

/// Builds the package of the release.
pub fn build(release: &Release) -> Result<()> {
    let tree = Tree::new(release)?;
    tree.add_file(&release.executable(), "usr/bin/burrow", 0o755)?;
    tree.add_file(&root().join("packaging/burrow.service"), "usr/lib/systemd/system/burrow.service", 0o644)?;
    tree.add_file(&root().join("packaging/burrow.env"), "etc/burrow/burrow.env", 0o600)?;
    tree.add_file(&root().join("packaging/copyright"), "usr/share/doc/burrow/copyright", 0o644)?;
    tree.add_file(&release.sbom(), "usr/share/doc/burrow/burrow.cdx.json", 0o644)?;
    tree.add_file(&root().join("CHANGELOG.md"), "usr/share/doc/burrow/changelog", 0o644)?;
    tree.add_generated(release)?;
    for script in ["postinst", "prerm", "postrm"] {
        tree.add_file(&root().join("packaging").join(script), &format!("DEBIAN/{script}"), 0o755)?;
    }
    tree.write("DEBIAN/conffiles", "/etc/burrow/burrow.env\n")?;
    tree.write("DEBIAN/control", &control(release, tree.size_kib()?))?;
    run::run(
        Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(&tree.0)
            .arg(release.package()),
    )
}

fn control(release: &Release, size_kib: u64) -> String {
    format!(
        "Package: burrow\nVersion: {}\nSection: devel\nPriority: optional\nArchitecture: amd64\n\
         Installed-Size: {size_kib}\n\
         Depends: {DEPENDENCIES}\nMaintainer: The Burrow authors <burrow@localhost>\n\
         Description: self-hosted cloud development environment\n \
         Gives each user a Linux microVM with an editor, terminals and files in the browser\n \
         and in the shell. Homes are saved to object storage with their history.\n",
        release.version
    )
}

/// The directory that becomes the package.
struct Tree(PathBuf);

impl Tree {
    fn new(release: &Release) -> Result<Self> {
        let directory = release.directory.join("deb");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(directory.join("DEBIAN"))?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        Ok(Self(directory))
    }

    fn add_file(&self, source: &Path, target: &str, mode: u32) -> Result<()> {
        let target = self.place(target)?;
        fs::copy(source, &target).with_context(|| format!("Cannot copy {}", source.display()))?;
        Ok(fs::set_permissions(&target, fs::Permissions::from_mode(mode))?)
    }

    fn write(&self, target: &str, text: &str) -> Result<()> {
        let target = self.place(target)?;
        fs::write(&target, text)?;
        Ok(fs::set_permissions(&target, fs::Permissions::from_mode(0o644))?)
    }

    /// The path of a file, with its directories created.
    fn place(&self, target: &str) -> Result<PathBuf> {
        let path = self.0.join(target);
        let mut directory = self.0.clone();
        for part in Path::new(target).parent().context("a file is in a directory")? {
            directory.push(part);
            if !directory.is_dir() {
                fs::create_dir(&directory)?;
                fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(path)
    }

    /// Manual pages and completions, which the executable writes itself.
    fn add_generated(&self, release: &Release) -> Result<()> {
        let pages = tempfile::tempdir()?;
        run::run(Command::new(release.executable()).args(["reference", "--man"]).arg(pages.path()))?;
        for entry in fs::read_dir(pages.path())? {
            let entry = entry?;
            run::run(Command::new("gzip").args(["-9n"]).arg(entry.path()))?;
            let name = format!("{}.gz", entry.file_name().to_string_lossy());
            self.add_file(&pages.path().join(&name), &format!("usr/share/man/man1/{name}"), 0o644)?;
        }
        for (shell, target) in [
            ("bash", "usr/share/bash-completion/completions/burrow"),
            ("zsh", "usr/share/zsh/vendor-completions/_burrow"),
            ("fish", "usr/share/fish/vendor_completions.d/burrow.fish"),
        ] {
            let script = run::output(Command::new(release.executable()).args(["completion", shell]))?;
            self.write(target, &script)?;
        }
        Ok(())
    }

    fn size_kib(&self) -> Result<u64> {
        let text = run::output(Command::new("du").args(["-sk"]).arg(&self.0))?;
        text.split_whitespace().next().and_then(|size| size.parse().ok()).context("Cannot read the size")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages;

    /// Packages that only compiling needs.
    const BUILD_ONLY: [&str; 2] = ["gcc", "libc6-dev"];

    #[test]
    fn dependencies_are_those_of_running() {
        let mut needed: Vec<&str> = packages::UP.iter().map(packages::Package::name).collect();
        needed.retain(|name| !BUILD_ONLY.contains(name));
        let mut declared: Vec<&str> =
            DEPENDENCIES.split(", ").filter(|name| !name.starts_with("lib")).collect();
        needed.sort_unstable();
        declared.sort_unstable();
        assert_eq!(declared, needed);
    }
}
