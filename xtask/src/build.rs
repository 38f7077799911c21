//! Builds the parts: web app, executable, static agent, base image. Nothing is built twice from the
//! same sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{node, root, run};

/// How to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For tests.
    Dev,
    /// For `cargo xtask up`: optimized like a release, with less to compile.
    Up,
    /// For releases and benchmarks.
    Release,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Up => "up",
            Self::Release => "release",
        }
    }

    /// The path of the built `burrow`.
    pub fn executable(self) -> PathBuf {
        target_directory().join(self.directory()).join("burrow")
    }

    /// The path of the built agent.
    pub fn agent(self) -> PathBuf {
        target_directory().join(TARGET).join(self.directory()).join("workspace-agent")
    }

    fn apply(self, command: &mut std::process::Command) {
        match self {
            Self::Dev => {}
            Self::Up => _ = command.args(["--profile", "up"]),
            Self::Release => _ = command.arg("--release"),
        }
    }
}

/// Where the static agent is kept: the directory that cargo has for this target.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where tests and benchmarks keep built images.
pub fn image_cache() -> PathBuf {
    target_directory().join("images")
}

/// Variables that tell `burrow` and the tests where the parts of the checkout are.
pub fn environment(profile: Profile) -> Vec<(&'static str, PathBuf)> {
    let mut variables = vec![
        ("BURROW_BIN", profile.executable()),
        ("BURROW_AGENT", profile.agent()),
        ("BURROW_IMAGE_SOURCE", root().join("images/base")),
    ];
    if profile == Profile::Dev || std::env::var_os("BURROW_IMAGE_CACHE").is_some() {
        let cache = std::env::var_os("BURROW_IMAGE_CACHE").map_or_else(image_cache, PathBuf::from);
        variables.push(("BURROW_IMAGE_CACHE", cache));
    }
    variables
}

/// Builds `web/dist` unless its sources are unchanged.
pub fn web() -> Result<()> {
    web_packages()?;
    let web = root().join("web");
    let sources: Vec<PathBuf> = fs::read_dir(&web)
        .context("Cannot read web/")?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().map_or(true, |path| !is_generated(path)))
        .collect::<Result<_>>()?;
    let exists = web.join("dist/index.html").is_file();
    once(&stamp("web-dist")?, &hash(&sources)?, exists, || {
        run::stage("npm run build", || run::run(node::npm().args(["run", "build"])))
    })
}

/// Installs `web/node_modules` unless the lock file is unchanged.
pub fn web_packages() -> Result<()> {
    let web = root().join("web");
    let lock = hash(&[web.join("package-lock.json"), web.join("package.json")])?;
    once(&stamp("web-packages")?, &lock, web.join("node_modules").is_dir(), || {
        run::stage("npm ci", || run::run(node::npm().args(["ci", "--no-audit", "--no-fund"])))
    })
}

/// Installs what drives the browser in tests, and stock clients of documents, unless its lock file
/// is unchanged.
pub fn browser_packages() -> Result<()> {
    let browser = root().join("tests/browser");
    let lock = hash(&[browser.join("package-lock.json"), browser.join("package.json")])?;
    once(&stamp("browser-packages")?, &lock, browser.join("node_modules").is_dir(), || {
        run::stage("npm ci: browser tests", || {
            run::run(node::npm().current_dir(&browser).args(["ci", "--no-audit", "--no-fund"]))
        })
    })
}

fn is_generated(path: &Path) -> bool {
    matches!(path.file_name().and_then(|name| name.to_str()), Some("node_modules" | "dist"))
}

/// The file that records the hash of the sources of the last build.
fn stamp(name: &str) -> Result<PathBuf> {
    let stamps = target_directory().join("xtask");
    fs::create_dir_all(&stamps)?;
    Ok(stamps.join(name))
}

/// Builds `burrow`.
pub fn executable(profile: Profile) -> Result<()> {
    run::stage("cargo build: burrow", || run::run(build_command(profile).args(["--bin", "burrow"])))
}

/// Builds `burrow` with the agent of the same profile inside.
pub fn bundled_executable(profile: Profile) -> Result<()> {
    run::stage("cargo build: burrow with the agent inside", || {
        let mut command = build_command(profile);
        command.args(["--bin", "burrow", "--features", "burrow/bundled"]);
        run::run(command.env("BURROW_BUNDLED_AGENT", profile.agent()))
    })
}

/// Builds the agent without shared libraries, because the guests of every image run it.
pub fn agent(profile: Profile) -> Result<()> {
    run::stage("cargo build: static agent", || {
        let mut command = build_command(profile);
        // Applies to the crates of this workspace only: all others are built once.
        command.env("RUSTC_WORKSPACE_WRAPPER", root().join("xtask/static-agent.sh"));
        run::run(command.args(["--bin", "workspace-agent"]))?;
        // `cargo test` builds the agent without these flags at the same place.
        let built = profile.executable().with_file_name("workspace-agent");
        let agent = profile.agent();
        fs::create_dir_all(agent.parent().context("it is in a directory")?)?;
        fs::copy(&built, &agent).with_context(|| format!("Cannot copy {}", built.display()))?;
        Ok(())
    })
}

/// Builds a part of the product. Both packages are selected for either part, so that their common
/// dependencies get the same features and are built once.
fn build_command(profile: Profile) -> std::process::Command {
    let mut command = run::cargo();
    command.args(["build", "-p", "burrow", "-p", "workspace-agent"]);
    profile.apply(&mut command);
    command
}

/// Builds the base image and the initramfs as `burrow up` would.
pub fn image(profile: Profile) -> Result<()> {
    run::stage("base image", || {
        let cache = std::env::var_os("BURROW_IMAGE_CACHE").map_or_else(image_cache, PathBuf::from);
        let mut command = run::program(profile.executable());
        command.args(["image", "build"]).envs(environment(profile)).env("BURROW_IMAGE_CACHE", cache);
        run::run(&mut command)
    })
}

/// Does `work` unless the stamp says that it was done for this hash and its result exists.
fn once(stamp: &Path, hash: &str, result_exists: bool, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if result_exists && fs::read_to_string(stamp).is_ok_and(|text| text == hash) {
        return Ok(());
    }
    work()?;
    fs::write(stamp, hash).with_context(|| format!("Cannot write {}", stamp.display()))
}

/// A hash of the names and contents of files and directories.
fn hash(paths: &[PathBuf]) -> Result<String> {
    let mut files = Vec::new();
    for path in paths {
        collect_files(path, &mut files)?;
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        let content = fs::read(file).with_context(|| format!("Cannot read {}", file.display()))?;
        for part in [file.as_os_str().as_encoded_bytes(), &content] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Adds `path`, or the files below it.
fn collect_files(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect_files(&entry?.path(), files)?;
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_depends_on_names_and_contents() {
        let directory = tempfile::tempdir().expect("a directory");
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        let of = || hash(&[directory.path().to_owned()]).expect("readable");
        fs::write(&a, "1").expect("written");
        let first = of();
        assert_eq!(first, of());
        fs::rename(&a, &b).expect("renamed");
        let second = of();
        fs::write(&b, "2").expect("written");
        assert!(first != second && second != of());
    }

    #[test]
    fn work_is_done_once_per_hash() {
        let directory = tempfile::tempdir().expect("a directory");
        let stamp = directory.path().join("stamp");
        let mut times = 0;
        for (hash, there) in [("a", false), ("a", true), ("a", false), ("b", true)] {
            once(&stamp, hash, there, || {
                times += 1;
                Ok(())
            })
            .expect("done");
        }
        assert_eq!(times, 3);
        assert!(once(&stamp, "c", true, || anyhow::bail!("no")).is_err());
        assert_eq!(fs::read_to_string(&stamp).expect("there"), "b");
    }
}
