//! Running other programs, with their words shown and their time told.

use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{node, root};

pub fn program(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// The cargo that runs us, without what it set for us alone.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// `npm` in the web app's directory, with the Node.js that [`node::ensure`] chose.
pub fn npm() -> Command {
    let mut command = Command::new("npm");
    command.current_dir(root().join("web")).env("PATH", node::path());
    command
}

pub fn run(command: &mut Command) -> Result<()> {
    let words = describe(command);
    let status = command.status().with_context(|| format!("`{words}` cannot be started"))?;
    if !status.success() {
        bail!("`{words}` failed ({status})");
    }
    Ok(())
}

/// Standard output of a program that must succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let words = describe(command);
    let output = command.output().with_context(|| format!("`{words}` cannot be started"))?;
    if !output.status.success() {
        bail!("`{words}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{words}` printed something other than text"))
}

/// Becomes the program; returns only if that fails.
pub fn replace(mut command: Command) -> anyhow::Error {
    let words = describe(&command);
    anyhow::Error::new(command.exec()).context(format!("`{words}` cannot be started"))
}

/// Does something with its name before and its time after.
pub fn stage<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {name}");
    let begun = Instant::now();
    let result = work();
    let word = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("<== {name}: {word} in {}", time(begun.elapsed()));
    result
}

pub fn time(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// The first of the directories of PATH, and of those that an ordinary user's PATH lacks, that holds `name`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let postgres = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .chain(postgres.map(|entry| entry.path().join("bin")))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
