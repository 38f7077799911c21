//! The version of runsc and its age, and whether it runs programs on this host.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use time::{Date, Month, OffsetDateTime};
use tokio::{process::Command, time::timeout};

use super::{ContainerError, Kernel, check_host, oci_runtime::OciRuntime};

/// A sandbox for one small program takes a fraction of a second.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
const DAYS_PER_MONTH: i64 = 30;

/// A runsc that works.
#[derive(Clone, Debug)]
pub struct Runsc {
    /// Where it is.
    pub program: PathBuf,
    /// Its version, as it prints it.
    pub version: String,
    /// The date of its release, if the version has one.
    pub released: Option<Date>,
}

impl Runsc {
    /// How old its release is, in months.
    pub fn age_in_months(&self) -> Option<i64> {
        let released = self.released?;
        Some((OffsetDateTime::now_utc().date() - released).whole_days() / DAYS_PER_MONTH)
    }
}

impl fmt::Display for Runsc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.program.display(), self.version)?;
        self.age_in_months().map_or(Ok(()), |months| write!(formatter, ", released {months} months ago"))
    }
}

/// Checks whether this host can run sandboxes of gVisor, by running a program in one. `runsc` is the
/// operator's own, if there is one. An error says why not, and what to do.
pub async fn check_available(runsc: Option<&Path>) -> Result<Runsc, String> {
    check_host()?;
    let runtime = OciRuntime::find(Kernel::Gvisor, runsc).map_err(ContainerError::into_reason)?;
    let version = run(&runtime.program, &["--version"]).await?;
    let version = version.lines().next().unwrap_or_default().trim_start_matches("runsc version ").to_owned();
    probe(&runtime.program).await?;
    Ok(Runsc { released: find_date(&version), program: runtime.program, version })
}

/// Runs a program in a sandbox that sees this host's files, read-only, and no network.
async fn probe(program: &Path) -> Result<(), String> {
    let state = tempfile::tempdir().map_err(|error| format!("cannot create a directory: {error}"))?;
    let state = format!("--root={}", state.path().display());
    let arguments = [&state, "--platform=systrap", "--network=none", "--ignore-cgroups", "do", "true"];
    let hint = "systrap works neither with the sysctl kernel.yama.ptrace_scope=3 nor in WSL";
    run(program, &arguments).await.map(drop).map_err(|error| format!("{error}. {hint}"))
}

async fn run(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let name = program.display();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PROBE_TIMEOUT, command.output()).await;
    let output = output.map_err(|_| format!("{name} does not end"))?;
    let output = output.map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.lines().next_back().unwrap_or("it failed").trim().to_owned();
    Err(format!("{name} runs no program: {message} ({})", output.status))
}

/// The date in a version such as `release-20240729.0` or `0.0~20240729.0`.
fn find_date(version: &str) -> Option<Date> {
    let digits = version.split(|letter: char| !letter.is_ascii_digit()).find(|digits| digits.len() == 8)?;
    let month = Month::try_from(digits[4..6].parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(digits[..4].parse().ok()?, month, digits[6..].parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_found_in_versions() {
        let july = Date::from_calendar_date(2024, Month::July, 29).ok();
        assert_eq!(find_date("0.0~20240729.0"), july);
        assert_eq!(find_date("release-20240729.0"), july);
        assert_eq!(find_date("release-20240729.0-33-g0123456789ab"), july);
        assert_eq!(find_date("VERSION_MISSING"), None);
        assert_eq!(find_date("release-20241399.0"), None);
    }

    #[tokio::test]
    async fn program_that_fails_is_reported() {
        let failed = run(Path::new("/bin/sh"), &["-c", "echo reason >&2; exit 3"]).await;
        let error = failed.expect_err("it fails");
        assert!(error.contains("reason") && error.contains('3'), "{error}");
        assert!(run(Path::new("/nowhere/runsc"), &[]).await.is_err());
    }
}
