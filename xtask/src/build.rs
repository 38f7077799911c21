//! Building the parts: web app, executable, static agent, base image. Each does nothing when nothing changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{root, run};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }

    pub fn executable(self) -> PathBuf {
        target_directory().join(self.directory()).join("burrow")
    }

    pub fn agent(self) -> PathBuf {
        target_directory().join(TARGET).join(self.directory()).join("workspace-agent")
    }

    fn apply(self, command: &mut std::process::Command) {
        if self == Self::Release {
            command.arg("--release");
        }
    }
}

/// Built for this target by name, so that its flags make no other crate build anew.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where images are built for tests and benchmarks, and by `up` from a checkout.
pub fn image_cache() -> PathBuf {
    target_directory().join("images")
}

/// What `burrow` and the tests are told about the checkout's parts.
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

/// `web/dist`, by the hash of what it is made of.
pub fn web() -> Result<()> {
    web_packages()?;
    let web = root().join("web");
    let sources: Vec<PathBuf> = fs::read_dir(&web)
        .context("web/ cannot be read")?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().map_or(true, |path| !is_made_by_tools(path)))
        .collect::<Result<_>>()?;
    let is_there = web.join("dist/index.html").is_file();
    once(&stamp("web-dist")?, &hash(&sources)?, is_there, || {
        run::stage("npm run build", || run::run(run::npm().args(["run", "build"])))
    })
}

/// `web/node_modules`, by the hash of the lock file.
pub fn web_packages() -> Result<()> {
    let web = root().join("web");
    let lock = hash(&[web.join("package-lock.json"), web.join("package.json")])?;
    once(&stamp("web-packages")?, &lock, web.join("node_modules").is_dir(), || {
        run::stage("npm ci", || run::run(run::npm().args(["ci", "--no-audit", "--no-fund"])))
    })
}

/// What drives the browser in tests, by the hash of its lock file.
pub fn browser_packages() -> Result<()> {
    let browser = root().join("tests/browser");
    let lock = hash(&[browser.join("package-lock.json"), browser.join("package.json")])?;
    once(&stamp("browser-packages")?, &lock, browser.join("node_modules").is_dir(), || {
        run::stage("npm ci: browser tests", || {
            run::run(run::npm().current_dir(&browser).args(["ci", "--no-audit", "--no-fund"]))
        })
    })
}

fn is_made_by_tools(path: &Path) -> bool {
    matches!(path.file_name().and_then(|name| name.to_str()), Some("node_modules" | "dist"))
}

fn stamp(name: &str) -> Result<PathBuf> {
    let stamps = target_directory().join("xtask");
    fs::create_dir_all(&stamps)?;
    Ok(stamps.join(name))
}

pub fn executable(profile: Profile) -> Result<()> {
    run::stage("cargo build: burrow", || {
        let mut command = run::cargo();
        command.args(["build", "-p", "burrow"]);
        profile.apply(&mut command);
        run::run(&mut command)
    })
}

/// The agent, without any shared library: guests of every image run it.
pub fn agent(profile: Profile) -> Result<()> {
    run::stage("cargo build: static agent", || {
        let mut command = run::cargo();
        command.args(["build", "-p", "workspace-agent", "--target", TARGET]);
        profile.apply(&mut command);
        // It is loaded with every boot: without what only debuggers read it is a sixth.
        run::run(command.env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols"))
    })
}

/// The base image and the initramfs, as `up` would build them.
pub fn image(profile: Profile) -> Result<()> {
    run::stage("base image", || {
        let cache = std::env::var_os("BURROW_IMAGE_CACHE").map_or_else(image_cache, PathBuf::from);
        let mut command = run::program(profile.executable());
        command.args(["image", "build"]).envs(environment(profile)).env("BURROW_IMAGE_CACHE", cache);
        run::run(&mut command)
    })
}

/// Does `work` unless it was done for this very hash and its result is there.
fn once(stamp: &Path, hash: &str, result_is_there: bool, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if result_is_there && fs::read_to_string(stamp).is_ok_and(|text| text == hash) {
        return Ok(());
    }
    work()?;
    fs::write(stamp, hash).with_context(|| format!("{} cannot be written", stamp.display()))
}

/// A hash over names and contents.
fn hash(paths: &[PathBuf]) -> Result<String> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        let content = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        for part in [file.as_os_str().as_encoded_bytes(), &content] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
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
    fn a_hash_follows_names_and_contents() {
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
    fn work_is_done_once_for_a_hash() {
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
