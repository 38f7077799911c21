//! `cargo xtask test` and `soak`: install and build what the tests need, run them, then print their
//! number and the duration of each stage.

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
    node, packages, run, tools,
};

/// Runs all tests of the gate.
pub fn test(quick: bool, filter: &[String]) -> Result<()> {
    let mut report = Report::default();
    let peers = prepare(&mut report)?;
    report.stage("build", || {
        build::agent(Profile::Dev)?;
        // Builds `burrow` too, with the features that the tests need.
        run::run(run::cargo().args(["test", "--workspace", "--no-run"]))
    })?;
    build::browser_packages()?;
    let mut environment = environment(peers);
    if !quick {
        report.stage("base image", || build::image(Profile::Dev))?;
        environment.extend(guest_and_browser_environment()?);
    }
    report.tests("cargo test", || {
        let mut command = run::cargo();
        command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(filter).envs(environment);
        run_counted(&mut command, parse_cargo_counts)
    });
    if filter.is_empty() {
        report.tests("web: npm test", || run_counted(node::npm().args(["test"]), parse_vitest_counts));
    }
    report.finish()
}

/// The tests of homes: those of the volume, of the reader, and those with real microVMs.
const HOME_TESTS: [&[&str]; 2] = [
    &["-p", "burrow-volume", "-p", "burrow-reader"],
    &["-p", "burrow-tests", "--test", "export", "--test", "snapshots", "--test", "durability"],
];

/// Runs the tests optimized and with `factor` times as many random cases. The first word `volume`
/// selects the tests of homes.
pub fn soak(factor: u32, filter: &[String]) -> Result<()> {
    let (sets, filter) = match filter {
        [first, rest @ ..] if first == "volume" => (&HOME_TESTS[..], rest),
        _ => (&[&["--workspace"][..]][..], filter),
    };
    let mut report = Report::default();
    packages::install(packages::BENCH)?;
    packages::install(packages::SOAK)?;
    let peers = prepare(&mut report)?;
    let fsx = report.stage("fsx", tools::install_fsx)?;
    report.stage("build", || {
        build::executable(Profile::Release)?;
        build::agent(Profile::Release)?;
        build::image(Profile::Release)?;
        build::browser_packages()
    })?;
    let mut environment: BTreeMap<_, _> = environment(peers);
    environment.extend(build::environment(Profile::Release));
    environment.extend(guest_and_browser_environment()?);
    environment.insert("BURROW_IMAGE_CACHE", build::image_cache());
    environment.insert("BURROW_FSX", fsx);
    for set in sets {
        report.tests("cargo test --release", || {
            let mut command = run::cargo();
            command
                .args(["test", "--release", "--no-fail-fast"])
                .args(*set)
                // The tests print how many cases they ran.
                .args(["--", "--show-output"])
                .args(filter)
                .envs(&environment)
                .env("BURROW_SOAK_FACTOR", factor.to_string());
            run_counted(&mut command, parse_cargo_counts)
        });
    }
    report.finish()
}

/// Servers of other projects that tests use.
struct Peers {
    moto: PathBuf,
    openbao: PathBuf,
    schemathesis: PathBuf,
    basedpyright: PathBuf,
}

/// Installs what all tests need, before they are built.
fn prepare(report: &mut Report) -> Result<Peers> {
    report.stage("packages", || {
        packages::install(packages::UP)?;
        packages::install(packages::TEST)
    })?;
    report.stage("Node.js, web app", || {
        node::ensure()?;
        build::web()
    })?;
    report.stage("moto, OpenBao, schemathesis, basedpyright", || {
        Ok(Peers {
            moto: tools::install_moto()?,
            openbao: tools::install_openbao()?,
            schemathesis: tools::install_schemathesis()?,
            basedpyright: tools::install_basedpyright()?,
        })
    })
}

fn environment(peers: Peers) -> BTreeMap<&'static str, PathBuf> {
    let mut environment: BTreeMap<_, _> = build::environment(Profile::Dev).into_iter().collect();
    environment.insert("BURROW_MOTO_SERVER", peers.moto);
    environment.insert("BURROW_BAO", peers.openbao);
    environment.insert("BURROW_SCHEMATHESIS", peers.schemathesis);
    environment.insert("BURROW_BASEDPYRIGHT", peers.basedpyright);
    environment
}

/// The variables that enable tests with real microVMs and a browser.
fn guest_and_browser_environment() -> Result<Vec<(&'static str, PathBuf)>> {
    let chromium = run::find("chromium").context("Cannot find chromium on PATH")?;
    Ok(vec![("BURROW_GUEST_TESTS", "1".into()), ("BURROW_CHROMIUM", chromium)])
}

/// Numbers of tests.
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

/// The outcome of the tests of one stage.
struct Outcome {
    counts: Counts,
    failed_names: Vec<String>,
    succeeded: bool,
}

/// Runs a test command, passes its output through, and counts tests with `parse`.
fn run_counted(command: &mut Command, parse: fn(&str) -> Option<Counts>) -> Result<Outcome> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("Cannot start the tests")?;
    let mut counts = Counts::default();
    let mut failed_names = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        // A closed standard output does not stop the tests.
        let _ = writeln!(std::io::stdout(), "{line}");
        counts += parse(&line).unwrap_or_default();
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            failed_names.push(name.to_owned());
        }
    }
    let succeeded = child.wait()?.success();
    Ok(Outcome { counts, failed_names, succeeded })
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn parse_cargo_counts(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let part = rest.split([';', '.']).find(|part| part.trim_end().ends_with(word))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")?, ignored: number("ignored")? })
}

/// `      Tests  1 failed | 12 passed (13)`, with colours.
fn parse_vitest_counts(line: &str) -> Option<Counts> {
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

/// Durations of stages and counts of tests, printed at the end.
#[derive(Default)]
struct Report {
    /// Name, duration and whether it succeeded.
    stages: Vec<(String, Duration, bool)>,
    counts: Counts,
    failed_names: Vec<String>,
    has_failed: bool,
}

impl Report {
    /// Runs a stage that later stages depend on. If it fails, the report is printed.
    fn stage<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = run::stage(name, work);
        self.stages.push((name.to_owned(), started.elapsed(), result.is_ok()));
        if result.is_err() {
            self.print();
        }
        result
    }

    /// Runs tests. Later stages run even if they fail.
    fn tests(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        let started = Instant::now();
        let result = run::stage(name, || {
            let outcome = work()?;
            self.counts += outcome.counts;
            self.failed_names.extend(outcome.failed_names);
            if !outcome.succeeded {
                bail!("tests failed");
            }
            Ok(())
        });
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
            self.has_failed = true;
        }
        self.stages.push((name.to_owned(), started.elapsed(), result.is_ok()));
    }

    fn print(&self) {
        eprintln!("\nstage                        duration");
        for (name, duration, succeeded) in &self.stages {
            eprintln!(
                "{name:28} {:>8}  {}",
                run::format_duration(*duration),
                if *succeeded { "ok" } else { "FAILED" }
            );
        }
        let total: Duration = self.stages.iter().map(|(_, duration, _)| *duration).sum();
        eprintln!("{:28} {:>8}", "total", run::format_duration(total));
        for name in &self.failed_names {
            eprintln!("FAILED: {name}");
        }
        let Counts { passed, failed, ignored } = self.counts;
        eprintln!("{} tests: {passed} passed, {failed} failed, {ignored} ignored", passed + failed + ignored);
    }

    fn finish(self) -> Result<()> {
        self.print();
        if self.has_failed || self.counts.failed > 0 {
            bail!("Some tests failed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_parsed() {
        assert_eq!(
            parse_cargo_counts(
                "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; \
                 finished in 0.01s"
            ),
            Some(Counts { passed: 12, failed: 3, ignored: 1 })
        );
        assert_eq!(parse_cargo_counts("test x ... ok"), None);
        assert_eq!(
            parse_vitest_counts(
                "\x1b[2m      Tests \x1b[22m \x1b[31m1 failed\x1b[39m | \x1b[32m12 passed\x1b[39m (13)"
            ),
            Some(Counts { passed: 12, failed: 1, ignored: 0 })
        );
        assert_eq!(parse_vitest_counts(" Test Files  2 passed (2)"), None);
    }
}
