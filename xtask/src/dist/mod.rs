//! `cargo xtask dist`: the files of a release, in `target/dist`.
//!
//! | file | what it is |
//! |---|---|
//! | `burrow` | the executable, with the web app and the agent inside |
//! | `burrow_VERSION_amd64.deb` | the Debian package |
//! | `burrow-VERSION.oci.tar` | a container image (OCI archive) of Debian with the package installed |
//! | `burrow.cdx.json`, `burrow-web.cdx.json` | SBOMs (CycloneDX) of the executable and of the web app |
//! | `SHA256SUMS` | checksums of the files above |

mod container;
mod deb;
mod oci;
mod sbom;
mod test;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

pub use self::test::test;
use crate::{
    build::{self, Profile},
    node,
    packages::{self, Package},
    root, run,
};

/// Builds all files of a release.
pub fn build() -> Result<()> {
    packages::install(packages::UP)?;
    packages::install(Package::DIST)?;
    node::ensure()?;
    build::web()?;
    let release = Release::new(Profile::Release)?;
    release.build_executable()?;
    run::stage("SBOM", || sbom::write(&release))?;
    run::stage("Debian package", || deb::build(&release))?;
    run::stage("container image", || oci::build(&release))?;
    release.write_checksums()?;
    eprintln!("The release is in {}", release.directory.display());
    Ok(())
}

/// A release that is being built.
struct Release {
    /// The version of the workspace.
    version: String,
    profile: Profile,
    /// `target/dist`.
    directory: PathBuf,
}

impl Release {
    fn new(profile: Profile) -> Result<Self> {
        let directory = root().join("target/dist");
        fs::create_dir_all(&directory)?;
        Ok(Self { version: env!("CARGO_PKG_VERSION").to_owned(), profile, directory })
    }

    /// The executable with everything inside.
    fn executable(&self) -> PathBuf {
        self.directory.join("burrow")
    }

    fn package(&self) -> PathBuf {
        self.directory.join(format!("burrow_{}_amd64.deb", self.version))
    }

    fn image(&self) -> PathBuf {
        self.directory.join(format!("burrow-{}.oci.tar", self.version))
    }

    /// The SBOM of the executable.
    fn sbom(&self) -> PathBuf {
        self.directory.join("burrow.cdx.json")
    }

    fn web_sbom(&self) -> PathBuf {
        self.directory.join("burrow-web.cdx.json")
    }

    fn build_executable(&self) -> Result<()> {
        build::agent(self.profile)?;
        build::bundled_executable(self.profile)?;
        let built = self.profile.executable();
        fs::copy(&built, self.executable()).with_context(|| format!("Cannot copy {}", built.display()))?;
        run::run(Command::new("strip").arg("--strip-debug").arg(self.executable()))
    }

    fn write_checksums(&self) -> Result<()> {
        let files = [self.executable(), self.package(), self.image(), self.sbom(), self.web_sbom()];
        let names = files.iter().filter(|file| file.is_file()).filter_map(|file| file.file_name());
        let sums = run::output(Command::new("sha256sum").current_dir(&self.directory).args(names))?;
        fs::write(self.directory.join("SHA256SUMS"), sums).context("Cannot write SHA256SUMS")
    }
}
